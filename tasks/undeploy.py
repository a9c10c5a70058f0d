"""Undeploy: delete an endpoint with everything that belongs to it, at once or when it has expired."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from aws.endpoints.cleanup import delete_all
from aws.endpoints.cost import hosting_cost
from aws.endpoints.invocation import invocations
from aws.endpoints.request import EXPIRES_TAG
from aws.endpoints.state import EndpointState, describe_served, list_endpoints
from aws.workspace import Workspace
from tasks.caching.policy import RETRIES, UNCACHED
from tasks.prefect_ui.cancellation import wait_unless_cancelled
from tasks.prefect_ui.events import REMOVED, emit_endpoint_event


@task(task_run_name="remove {endpoint}", **UNCACHED, **RETRIES)
def undeploy(workspace: Workspace, endpoint: str) -> tuple[str, ...]:
    """Delete scaling targets, alarms, endpoint, configurations and models; returns the names of what was deleted.

    What is missing already is no error, so that a run that was killed is repeated to its end.
    """
    return _delete(workspace, endpoint)


def reap_endpoints(workspace: Workspace, idle_days: int) -> list[str]:
    """Remove the endpoints that have expired, list the idle ones with their price, and return the removed ones."""
    logger, removed = get_run_logger(), []
    found = list_endpoints(workspace)
    for state in found:
        if _has_expired(state):
            logger.warning("endpoint %s expired at %s and is removed", state.name, state.tags[EXPIRES_TAG])
            _delete(workspace, state.name)
            removed.append(state.name)
    if idle := list(_list_idle(workspace, [one for one in found if one.name not in removed], idle_days)):
        for row in idle:
            logger.warning("endpoint %s had no request for %d days: %s", row["endpoint"], idle_days, row["cost"])
        create_table_artifact(idle, key="idle-endpoints", description="Endpoints without requests")
    return removed


def _delete(workspace: Workspace, endpoint: str) -> tuple[str, ...]:
    deleted = delete_all(workspace, endpoint, wait_unless_cancelled)
    get_run_logger().info("deleted: %s", ", ".join(deleted) or "nothing, as nothing was left")
    if deleted:
        emit_endpoint_event(REMOVED, endpoint, {"deleted": deleted})
    return tuple(deleted)


def _has_expired(state: EndpointState) -> bool:
    expires = state.tags.get(EXPIRES_TAG)
    return expires is not None and datetime.fromisoformat(expires) <= datetime.now(UTC)


def _list_idle(workspace: Workspace, states: list[EndpointState], days: int) -> Iterator[dict[str, str]]:
    for state in states:
        is_old = datetime.now(UTC) - state.created > timedelta(days=days)
        if state.config and is_old and not invocations(workspace, state.name, days):
            cost = hosting_cost(workspace, describe_served(workspace, state.config).hosting)
            text = cost if isinstance(cost, str) else cost.text
            yield {"endpoint": state.name, "cost": text, "remove": f"python -m flows.undeploy {state.name}"}
