"""Requests that create and update models, endpoint configurations and endpoints."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aws.endpoints.settings import Hosting, Traffic
from aws.endpoints.specification import (
    ENDPOINT_TAG,
    JOB_TAG,
    MAX_UPDATE_SECONDS,
    PACKAGE_TAG,
    ROOM_SECONDS,
    SHA256_TAG,
    EndpointSpec,
    count_steps,
)
from aws.training.request import FINGERPRINT_TAG
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import CreateEndpointInputTypeDef, CreateModelInputTypeDef, TagTypeDef

EXPIRES_TAG = "linear-learner:expires"
"""Tag of endpoints: the time (ISO 8601, UTC) after which the reaper removes the endpoint."""


def model_tags(spec: EndpointSpec) -> dict[str, str]:
    """Return this project's tags of the model."""
    tags = {
        ENDPOINT_TAG: spec.endpoint,
        FINGERPRINT_TAG: spec.model_fingerprint,
        SHA256_TAG: spec.model.sha256,
        PACKAGE_TAG: spec.model.package_arn,
        JOB_TAG: spec.model.training_job,
    }
    return {key: value for key, value in tags.items() if value}


def config_tags(spec: EndpointSpec) -> dict[str, str]:
    """Return this project's tags of the endpoint configuration."""
    return {ENDPOINT_TAG: spec.endpoint, FINGERPRINT_TAG: spec.config_fingerprint}


def expiry_tag(hosting: Hosting, now: datetime | None = None) -> dict[str, str]:
    """Return the tag with the time at which an endpoint expires; none, so that an earlier one stays, if not given."""
    if hosting.lifetime is None:
        return {}
    expires = (now or datetime.now(UTC)) + hosting.lifetime
    return {EXPIRES_TAG: expires.astimezone(UTC).isoformat(timespec="seconds")}


def build_model_request(workspace: Workspace, spec: EndpointSpec) -> "CreateModelInputTypeDef":
    """Return the CreateModel request. The containers need no environment."""
    request: CreateModelInputTypeDef = {
        "ModelName": spec.model_name,
        "PrimaryContainer": {"Image": spec.model.image, "ModelDataUrl": spec.model.model_uri},
        "ExecutionRoleArn": spec.role_arn,
        "Tags": list_tags(workspace, model_tags(spec)),
    }
    if spec.subnets:
        request["VpcConfig"] = {
            "Subnets": list(spec.subnets),
            "SecurityGroupIds": list(spec.security_group_ids),
        }
    if spec.network_isolation:
        request["EnableNetworkIsolation"] = True
    return request


def build_config_request(workspace: Workspace, spec: EndpointSpec) -> dict[str, Any]:
    """Return the CreateEndpointConfig request."""
    return {
        "EndpointConfigName": spec.config_name,
        **spec.config_content,
        "Tags": list_tags(workspace, config_tags(spec)),
    }


def build_create_request(workspace: Workspace, spec: EndpointSpec) -> "CreateEndpointInputTypeDef":
    """Return the CreateEndpoint request; an endpoint that expires does so from now on."""
    tags = {ENDPOINT_TAG: spec.endpoint, **expiry_tag(spec.hosting)}
    return {
        "EndpointName": spec.endpoint,
        "EndpointConfigName": spec.config_name,
        "Tags": list_tags(workspace, tags),
    }


def build_update_request(
    spec: EndpointSpec, traffic: Traffic, alarms: Sequence[str], *, keep_instances: bool = False
) -> dict[str, Any]:
    """Return the UpdateEndpoint request.

    With `keep_instances` the new fleet has as many instances as the old one, to which it was scaled. SageMaker's
    deployment guardrails are for instances only (AWS's user guide): the request for a serverless endpoint has neither
    a policy nor alarms, so that nothing but a failure of its start rolls it back.
    """
    request: dict[str, Any] = {"EndpointName": spec.endpoint, "EndpointConfigName": spec.config_name}
    if spec.hosting.kind == "serverless":
        return request
    request["DeploymentConfig"] = {"BlueGreenUpdatePolicy": _policy(traffic)}
    if alarms:
        listed = [{"AlarmName": name} for name in alarms]
        request["DeploymentConfig"]["AutoRollbackConfiguration"] = {"Alarms": listed}
    if keep_instances:
        # The number of instances is the only property to keep: a new share of captures must have an effect.
        request["RetainAllVariantProperties"] = True
        request["ExcludeRetainedVariantProperties"] = [
            {"VariantPropertyType": "DesiredWeight"},
            {"VariantPropertyType": "DataCaptureConfig"},
        ]
    return request


def _policy(traffic: Traffic) -> dict[str, Any]:
    """Return the BlueGreenUpdatePolicy.

    After all requests have moved at once, the old fleet stays for the minutes of `traffic`, to be returned to. That
    alarms are watched in this time, or in the interval between steps, is inferred: the request has both.
    """
    seconds = 60 * traffic.minutes
    routing: dict[str, Any] = {
        "Type": traffic.shift.replace("-", "_").upper(),
        "WaitIntervalInSeconds": seconds,
    }
    size = {"Type": "CAPACITY_PERCENT", "Value": traffic.percent}
    if traffic.shift == "canary":
        routing["CanarySize"] = size
    if traffic.shift == "linear":
        routing["LinearStepSize"] = size
    termination = seconds if traffic.shift == "all-at-once" else 0
    return {
        "TrafficRoutingConfiguration": routing,
        "TerminationWaitInSeconds": termination,
        "MaximumExecutionTimeoutInSeconds": min(
            MAX_UPDATE_SECONDS, count_steps(traffic) * seconds + termination + ROOM_SECONDS
        ),
    }


def list_tags(workspace: Workspace, tags: Mapping[str, str]) -> list["TagTypeDef"]:
    """Return the tags of the workspace and `tags`, in the form of SageMaker's API."""
    return [{"Key": key, "Value": value} for key, value in {**workspace.tags, **tags}.items()]
