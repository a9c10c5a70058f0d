"""What a deployment will change, and whether it may."""

from datetime import datetime
from typing import Any, Literal, NamedTuple

from aws.endpoints.cost import check_budget, hosting_cost
from aws.endpoints.settings import Guard, Hosting, Traffic
from aws.endpoints.specification import EndpointSpec, build_spec, find_conflicts
from aws.endpoints.state import EndpointState, Served, describe_endpoint, describe_served
from aws.errors import InvalidRequest
from aws.instance_types import find_unknown_type
from aws.registry import describe_package
from aws.workspace import Workspace
from tasks.caching.policy import Result
from tasks.serving.parameters import Deployment
from tasks.serving.served_model import Candidate

ROLLED_BACK_TAG, PREVIOUS_TAG = "linear-learner:rolled-back", "linear-learner:previous"
"""Tags of an endpoint: the configuration that was rolled back last, and the one that served before the present one."""
Action = Literal["create", "update", "follow", "nothing", "wait"]


class Change(NamedTuple):
    """A property of the endpoint, before and after."""

    name: str
    before: str
    after: str


class Plan(Result):
    """What is to be done to an endpoint."""

    spec: EndpointSpec
    action: Action
    """`follow` an update to the same configuration that is in progress, or `wait` for the end of another one."""
    changes: tuple[Change, ...]
    cost: str
    """What the endpoint costs, or why that is not known."""
    served: Served | None
    """What serves now."""
    since: datetime | None
    """When the endpoint was changed last."""
    tags: dict[str, str]

    @property
    def was_rolled_back(self) -> bool:
        """Whether the last attempt to serve exactly this was rolled back."""
        return self.tags.get(ROLLED_BACK_TAG) == self.spec.config_name

    def __str__(self) -> str:
        actions = {
            "create": f"endpoint {self.spec.endpoint} will be created",
            "update": f"endpoint {self.spec.endpoint} will be updated",
            "follow": f"endpoint {self.spec.endpoint} is being changed to this already",
            "nothing": f"endpoint {self.spec.endpoint} serves exactly this already",
            "wait": f"another update of endpoint {self.spec.endpoint} is in progress",
        }
        return actions[self.action]


def name_endpoint(deployment: Deployment) -> str:
    """Return the endpoint's name; raises InvalidRequest when there is none."""
    if name := deployment.endpoint_name:
        return name
    raise InvalidRequest(
        f"{deployment.model} is no model package group: give the name of the endpoint with --endpoint."
    )


def make_plan(
    workspace: Workspace, candidate: Candidate, deployment: Deployment, hosting: Hosting, traffic: Traffic
) -> Plan:
    """Compare the endpoint with what is wanted; nothing is created.

    Settings that were not given keep the values of the endpoint. Raises InvalidRequest for an endpoint of another
    program or in a state that permits no update, for unknown instance types, for combinations that SageMaker does not
    accept, and for a price above the limit.
    """
    name = name_endpoint(deployment)
    state = describe_endpoint(workspace, name)
    served = None
    if state is not None:
        _check_state(state)
        served = describe_served(workspace, state.config) if state.config and state.status != "Failed" else None
    wanted = keep_settings(hosting, served.hosting) if served else hosting
    spec = build_spec(workspace, name, candidate.served, wanted)
    if unknown := find_unknown_type(workspace, wanted.instance_type, "hosting"):
        raise unknown
    if problems := find_conflicts(wanted, traffic, workspace, state.instances if state else None):
        raise InvalidRequest(f"Endpoint {name} cannot be deployed: {'; '.join(problems)}.")
    cost = hosting_cost(workspace, wanted)
    check_budget(wanted, cost)
    return Plan(
        spec=spec,
        action=_choose_action(state, spec),
        changes=tuple(_list_changes(served, spec)),
        cost=cost if isinstance(cost, str) else cost.text,
        served=served,
        since=state.modified if state else None,
        tags=state.tags if state else {},
    )


def require_approval(workspace: Workspace, candidate: Candidate, guard: Guard) -> None:
    """Raise InvalidRequest when the package of the candidate is no longer Approved."""
    package = candidate.source.package
    if package is None or guard.allow_unapproved:
        return
    if (status := describe_package(workspace, package.arn).status) != "Approved":
        raise InvalidRequest(
            f"Version {package.version} of {package.group} was set to {status} in the meantime. The endpoint was not "
            "changed. Run again to serve the newest Approved version."
        )


def _check_state(state: EndpointState) -> None:
    if not state.is_own:
        raise InvalidRequest(
            f"Endpoint {state.name} was created by another program. Give another name with --endpoint, or delete it."
        )
    if state.status == "OutOfService":
        raise InvalidRequest(
            f"Endpoint {state.name} is {state.status}, in which SageMaker accepts no update"
            f"{': ' + state.failure_reason if state.failure_reason else ''}. Remove it with `python -m flows.undeploy "
            f"{state.name}`, and deploy again."
        )


def keep_settings(given: Hosting, present: Hosting) -> Hosting:
    """Return the given settings, and those of the endpoint for all that were not given.

    The form of Prefect submits every field that has a default: a default is then not taken for a choice.
    """
    chosen: dict[str, Any] = {name: getattr(given, name) for name in given.model_fields_set}
    defaults = Hosting().model_dump(exclude_none=True)
    if chosen.keys() >= defaults.keys():
        chosen = {name: value for name, value in chosen.items() if value not in (None, defaults.get(name))}
    return Hosting.model_validate({**present.model_dump(), **chosen})


def _choose_action(state: EndpointState | None, spec: EndpointSpec) -> Action:
    if state is None or state.status == "Failed":  # SageMaker can only delete what it could not create
        return "create"
    if state.status in {"InService", "UpdateRollbackFailed"}:
        return "nothing" if (state.status, state.config) == ("InService", spec.config_name) else "update"
    wanted = state.pending_config or (state.config if state.status == "Creating" else None)
    return "follow" if wanted == spec.config_name else "wait"


def _list_changes(served: Served | None, spec: EndpointSpec) -> list[Change]:
    """The differences between what serves and what is wanted; everything for a new endpoint."""
    after = {"model": describe_model(spec.model), "image": spec.model.image, **_describe_hosting(spec.hosting)}
    before: dict[str, str] = {}
    if served:
        before = {"model": describe_model(served.model), "image": served.model.image}
        before |= _describe_hosting(served.hosting)
    names = dict.fromkeys([*before, *after])
    found = [Change(name, before.get(name, ""), after.get(name, "")) for name in names]
    return [change for change in found if change.before != change.after]


def describe_model(model: Any) -> str:
    """Return the package's group and version, or the place of a model without package, with its checksum."""
    if model.package_arn:
        group, _, version = model.package_arn.rpartition("/")
        return f"{group.rpartition('/')[2]}/{version}"
    return f"{model.model_uri} ({model.sha256[:12]})"


def _describe_hosting(hosting: Hosting) -> dict[str, str]:
    if hosting.kind == "serverless":
        return {"capacity": f"serverless, {hosting.memory_mb} MB, at most {hosting.max_concurrency} requests at a time"}
    most = f" to {hosting.max_instances}" if hosting.is_scaled else ""
    return {
        "capacity": f"{hosting.min_instances}{most} x {hosting.instance_type}",
        "captured requests": f"{hosting.capture_percent} %",
    }
