"""Delete what an endpoint consists of: what is no longer used after an update, or everything."""

import time
from collections.abc import Callable, Collection, Iterator

from aws.endpoints.alarms import delete_alarms
from aws.endpoints.deployment import delete_endpoint
from aws.endpoints.scaling import remove_scaling, resource_id
from aws.endpoints.specification import ENDPOINT_TAG, MAX_NAME_PART, is_name_of
from aws.endpoints.state import EndpointState, describe_endpoint, is_tagged
from aws.errors import InvalidRequest, NotFound, Unavailable, translate_errors
from aws.workspace import Workspace

POLL_SECONDS = 5.0
MAX_WAIT_SECONDS = 32_400.0
"""How long an update or a deletion is waited for; an update takes at most eight hours."""


def delete_superseded(workspace: Workspace, endpoint: str, keep: Collection[str] = ()) -> list[str]:
    """Delete the endpoint's configurations that are not in `keep`, then its models that no configuration uses.

    What the endpoint serves, and what an update in progress applies, is never deleted: the endpoint is read again
    before each deletion. Returns what was deleted, such as "model churn-0123456789abcdef".
    """
    deleted = []
    for name in own_configs(workspace, endpoint):
        if name not in keep and name not in _used_configs(workspace, endpoint):
            deleted += _delete_config(workspace, name)
    used = {model for name in own_configs(workspace, endpoint) for model in _models_of(workspace, name)}
    used |= {model for name in _used_configs(workspace, endpoint) for model in _models_of(workspace, name)}
    for name in own_models(workspace, endpoint):
        if name not in used:
            deleted += _delete_model(workspace, name)
    return deleted


def delete_all(workspace: Workspace, endpoint: str, wait: Callable[[float], None] = time.sleep) -> list[str]:
    """Delete scaling, alarms, the endpoint, its configurations and its models, in this order.

    Waits until the endpoint is gone, and before that until a creation or an update of it has ended, as SageMaker
    refuses to delete it earlier; `wait` pauses for a number of seconds, and may end the call by an exception. What does
    not exist is no error, so that the call can be repeated after it was interrupted. Also finds models and
    configurations without an endpoint. Returns what was deleted, such as "alarm churn-5xx". Raises InvalidRequest if
    this project did not create the endpoint, and Unavailable if waiting takes longer than `MAX_WAIT_SECONDS`.
    """
    _describe_own(workspace, endpoint)
    deleted = []
    if remove_scaling(workspace, endpoint):
        deleted.append(f"scaling of {resource_id(endpoint)}")
    deleted += [f"alarm {name}" for name in delete_alarms(workspace, endpoint)]
    if _delete_and_wait(workspace, endpoint, wait):
        deleted.append(f"endpoint {endpoint}")
    for name in own_configs(workspace, endpoint):
        deleted += _delete_config(workspace, name)
    for name in own_models(workspace, endpoint):
        deleted += _delete_model(workspace, name)
    return deleted


def own_configs(workspace: Workspace, endpoint: str) -> list[str]:
    """Return the names of the endpoint's configurations: by the form of their names, and by their tag."""
    return list(_find_own(workspace, endpoint, "list_endpoint_configs", "EndpointConfig"))


def own_models(workspace: Workspace, endpoint: str) -> list[str]:
    """Return the names of the endpoint's models: by the form of their names, and by their tag."""
    return list(_find_own(workspace, endpoint, "list_models", "Model"))


def _find_own(workspace: Workspace, endpoint: str, operation: str, kind: str) -> Iterator[str]:
    prefix = f"{endpoint[:MAX_NAME_PART]}-"
    with translate_errors(f"listing what endpoint {endpoint} consists of"):
        pages = workspace.client("sagemaker").get_paginator(operation)  # type: ignore[call-overload]
        found = [
            (one[f"{kind}Name"], one[f"{kind}Arn"])
            for page in pages.paginate(NameContains=prefix, PaginationConfig={"PageSize": 100})
            for one in page[f"{kind}s"]
        ]
    for name, arn in found:
        if is_name_of(endpoint, name) and is_tagged(workspace, arn, endpoint):
            yield name


def _used_configs(workspace: Workspace, endpoint: str) -> set[str]:
    state = describe_endpoint(workspace, endpoint)
    return {name for name in (state.config, state.pending_config) if name} if state else set()


def _models_of(workspace: Workspace, config: str) -> list[str]:
    try:
        with translate_errors(f"reading endpoint configuration {config}"):
            found = workspace.client("sagemaker").describe_endpoint_config(EndpointConfigName=config)
    except NotFound:
        return []
    return [variant["ModelName"] for variant in found["ProductionVariants"] if "ModelName" in variant]


def _delete_config(workspace: Workspace, name: str) -> list[str]:
    return _delete(
        f"endpoint configuration {name}",
        lambda: workspace.client("sagemaker").delete_endpoint_config(EndpointConfigName=name),
    )


def _delete_model(workspace: Workspace, name: str) -> list[str]:
    return _delete(f"model {name}", lambda: workspace.client("sagemaker").delete_model(ModelName=name))


def _delete(what: str, request: Callable[[], object]) -> list[str]:
    """Delete something; return its description, or nothing if it does not exist."""
    try:
        with translate_errors(f"deleting {what}"):
            request()
    except NotFound:
        return []
    return [what]


def _delete_and_wait(workspace: Workspace, endpoint: str, wait: Callable[[float], None]) -> bool:
    """Delete the endpoint, as soon as SageMaker allows this, and wait until it is gone; return whether it existed."""
    waited, existed = 0.0, False
    while state := _describe_own(workspace, endpoint):
        existed = True
        if waited > MAX_WAIT_SECONDS:
            raise Unavailable(f"Endpoint {endpoint} is still {state.status} after {waited:.0f} s. Run again later.")
        if not state.is_changing and state.status != "Deleting":
            delete_endpoint(workspace, endpoint)
        wait(POLL_SECONDS)
        waited += POLL_SECONDS
    return existed


def _describe_own(workspace: Workspace, endpoint: str) -> EndpointState | None:
    state = describe_endpoint(workspace, endpoint)
    if state and not state.is_own:
        raise InvalidRequest(
            f"Endpoint {endpoint} was not created by this project: it has no tag {ENDPOINT_TAG}. It is not deleted."
        )
    return state
