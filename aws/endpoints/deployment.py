"""Create what an endpoint consists of, or adopt it, and create or update the endpoint itself.

All names are fingerprints of the content. A call that is repeated, by a retry after a lost response or by another run
after a kill, therefore finds what the first one has created, and uses it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Literal

from aws.endpoints.request import (
    build_config_request,
    build_create_request,
    build_model_request,
    build_update_request,
    config_tags,
    expiry_tag,
    model_tags,
)
from aws.endpoints.scaling import describe_scaling
from aws.endpoints.settings import Traffic
from aws.endpoints.specification import ENDPOINT_TAG, EndpointSpec
from aws.endpoints.state import EndpointState, describe_endpoint
from aws.errors import AwsError, InvalidRequest, NotFound, Unavailable, translate_errors
from aws.resource_tags import add_tags, read_tags, remove_tags
from aws.training.request import FINGERPRINT_TAG
from aws.workspace import Workspace

Started = Literal["created", "updating", "unchanged", "busy"]
IN_PROGRESS = "Cannot update in-progress endpoint"
"""SageMaker's answer to a second update or deletion."""


def ensure_model_and_config(workspace: Workspace, spec: EndpointSpec) -> None:
    """Create the model and the endpoint configuration, or adopt those that exist with the same content.

    An adopted model gets the tags of the package and the training job of `spec`. Raises InvalidRequest if a name is
    taken by a resource that this project did not create.
    """
    client = workspace.client("sagemaker")

    def create_model() -> None:
        client.create_model(**build_model_request(workspace, spec))

    def find_model() -> str:
        return client.describe_model(ModelName=spec.model_name)["ModelArn"]

    def create_config() -> None:
        client.create_endpoint_config(**build_config_request(workspace, spec))

    def find_config() -> str:
        return client.describe_endpoint_config(EndpointConfigName=spec.config_name)["EndpointConfigArn"]

    _ensure(workspace, f"model {spec.model_name}", model_tags(spec), create_model, find_model)
    config = f"endpoint configuration {spec.config_name}"
    _ensure(workspace, config, config_tags(spec), create_config, find_config)


def _ensure(
    workspace: Workspace, what: str, tags: dict[str, str], create: Callable[[], None], find: Callable[[], str]
) -> None:
    """Adopt the resource that `find` returns the ARN of, or `create` it; after a lost response look for it again."""
    if _adopt(workspace, what, tags, find):
        return
    try:
        with translate_errors(f"creating {what}"):
            create()
    except AwsError as error:
        is_taken = "Cannot create already existing" in str(error)
        if not ((is_taken or error.retryable) and _adopt(workspace, what, tags, find)):
            raise


def _adopt(workspace: Workspace, what: str, tags: dict[str, str], find: Callable[[], str]) -> bool:
    """Return whether the resource exists; raises InvalidRequest if it is not of this project or has other content."""
    try:
        with translate_errors(f"looking for {what}"):
            arn = find()
        present = read_tags(workspace, arn)
    except NotFound:
        return False
    for key in (ENDPOINT_TAG, FINGERPRINT_TAG):
        if present.get(key) != tags[key]:
            raise InvalidRequest(
                f"{arn} has the name of this {what.rpartition(' ')[0]}, but its tag {key} is {present.get(key)}. This "
                "project did not create it for this content. Delete it, or deploy to an endpoint with another name."
            )
    if changed := {key: value for key, value in tags.items() if present.get(key) != value}:
        add_tags(workspace, arn, changed)  # the same model was registered again, in another package
    return True


def start(workspace: Workspace, spec: EndpointSpec, traffic: Traffic, alarms: Sequence[str]) -> Started:
    """Create the endpoint or start its update to the configuration of `spec`, which must exist; return what happens.

    - "created": it is being created with this configuration
    - "updating": it is being updated to this configuration, by this call or by an earlier one
    - "unchanged": it serves this configuration
    - "busy": something else is in progress; call again when it has ended. This includes the deletion of an endpoint
      whose creation failed, which this call requests, as SageMaker can do nothing else with it.

    While requests move, any of the `alarms` rolls the update back, except for serverless endpoints, which SageMaker
    updates without alarms. Raises InvalidRequest if this project did not create the endpoint, and Unavailable if
    SageMaker does not find the new configuration yet.
    """
    state = describe_endpoint(workspace, spec.endpoint)
    if state is None:
        return _create(workspace, spec)
    if started := find_started(state, spec):
        return started
    if state.status == "Failed":
        delete_endpoint(workspace, spec.endpoint)
        return "busy"
    return _update(workspace, spec, traffic, alarms, state)


def find_started(state: EndpointState, spec: EndpointSpec) -> Started | None:
    """Return what is in progress or done already; None if an update has to be started. No call to AWS.

    Raises InvalidRequest if this project did not create the endpoint.
    """
    if not state.is_own:
        raise InvalidRequest(
            f"Endpoint {state.name} was not created by this project: it has no tag {ENDPOINT_TAG}. Choose another name."
        )
    if state.status == "Deleting":
        return "busy"
    if state.is_changing:
        if (state.pending_config or state.config) != spec.config_name or state.status == "RollingBack":
            return "busy"
        return "created" if state.status == "Creating" else "updating"
    return "unchanged" if state.status == "InService" and state.config == spec.config_name else None


def _create(workspace: Workspace, spec: EndpointSpec) -> Started:
    try:
        with translate_errors(f"creating endpoint {spec.endpoint}"):
            workspace.client("sagemaker").create_endpoint(**build_create_request(workspace, spec))
    except AwsError as error:
        state = describe_endpoint(workspace, spec.endpoint)
        if state is None:
            raise _explain_missing_config(workspace, spec, error) from error
        return find_started(state, spec) or "busy"  # another process has created it with another configuration
    return "created"


def _update(
    workspace: Workspace, spec: EndpointSpec, traffic: Traffic, alarms: Sequence[str], state: EndpointState
) -> Started:
    keep_instances = spec.hosting.is_scaled and describe_scaling(workspace, spec.endpoint) is not None
    set_tags(workspace, state.arn, expiry_tag(spec.hosting))
    try:
        with translate_errors(f"updating endpoint {spec.endpoint}"):
            request = build_update_request(spec, traffic, alarms, keep_instances=keep_instances)
            workspace.client("sagemaker").update_endpoint(**request)
    except AwsError as error:
        if not (error.retryable or IN_PROGRESS in str(error)):
            raise _explain_missing_config(workspace, spec, error) from error
        current = describe_endpoint(workspace, spec.endpoint)
        started = find_started(current, spec) if current else None
        if started is None and error.retryable:
            raise
        return "updating" if started == "unchanged" else started or "busy"
    return "updating"


def _explain_missing_config(workspace: Workspace, spec: EndpointSpec, error: AwsError) -> AwsError:
    """Return the error to raise: a retryable one if a configuration that exists was not found.

    SageMaker reads configurations with eventual consistency (AWS: CreateEndpoint).
    """
    if not isinstance(error, NotFound):
        return error
    try:
        with translate_errors(f"looking for endpoint configuration {spec.config_name}"):
            workspace.client("sagemaker").describe_endpoint_config(EndpointConfigName=spec.config_name)
    except AwsError:
        return error
    return Unavailable(f"SageMaker does not find endpoint configuration {spec.config_name} yet. {error}")


def delete_endpoint(workspace: Workspace, name: str) -> bool:
    """Request the deletion of an endpoint; return whether it exists. Its configuration and model stay.

    While a creation, an update or a deletion is in progress, SageMaker refuses this, and nothing changes.
    """
    try:
        with translate_errors(f"deleting endpoint {name}"):
            workspace.client("sagemaker").delete_endpoint(EndpointName=name)
    except NotFound:
        return False
    except InvalidRequest as error:
        if IN_PROGRESS not in str(error):
            raise
    return True


def set_tags(workspace: Workspace, arn: str, tags: Mapping[str, str | None]) -> None:
    """Add or replace tags of a resource; those with the value None are removed."""
    if added := {key: value for key, value in tags.items() if value is not None}:
        add_tags(workspace, arn, added)
    if removed := [key for key, value in tags.items() if value is None]:
        with suppress(NotFound):
            remove_tags(workspace, arn, removed)
