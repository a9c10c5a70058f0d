"""Scaling of an endpoint's instances with its requests, by Application Auto Scaling."""

from typing import Any, Final

from pydantic import BaseModel

from aws.endpoints.settings import Hosting
from aws.endpoints.specification import VARIANT
from aws.errors import NotFound, translate_errors
from aws.workspace import Workspace

NAMESPACE: Final = "sagemaker"
DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"
METRIC: Final = "SageMakerVariantInvocationsPerInstance"
"""Requests per minute and instance."""
SCALE_OUT_SECONDS, SCALE_IN_SECONDS = 60, 300
"""Time that has to pass after instances were added or removed, before more are."""


class Scaling(BaseModel, frozen=True):
    """The limits of an endpoint's number of instances, and the requests per minute and instance that it follows."""

    min_instances: int
    max_instances: int
    requests_per_instance: int | None
    """None if the target has no policy of this project yet."""

    def as_hosting(self) -> dict[str, int]:
        """Return the fields of Hosting that describe this scaling."""
        return {key: value for key, value in self.model_dump().items() if value is not None}


def resource_id(endpoint: str) -> str:
    """Return the name of the scalable target."""
    return f"endpoint/{endpoint}/variant/{VARIANT}"


def describe_scaling(workspace: Workspace, endpoint: str) -> Scaling | None:
    """Return the scaling of the endpoint's instances; None if they are not scaled."""
    client, resource = workspace.client("application-autoscaling"), resource_id(endpoint)
    with translate_errors(f"reading the scaling of endpoint {endpoint}"):
        found = client.describe_scalable_targets(
            ServiceNamespace=NAMESPACE, ResourceIds=[resource], ScalableDimension=DIMENSION
        )["ScalableTargets"]
        if not found:
            return None
        policies = client.describe_scaling_policies(
            ServiceNamespace=NAMESPACE, ResourceId=resource, ScalableDimension=DIMENSION
        )["ScalingPolicies"]
    targets = [
        one["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
        for one in policies
        if one["PolicyName"] == _policy_name(endpoint)
    ]
    return Scaling(
        min_instances=found[0]["MinCapacity"],
        max_instances=found[0]["MaxCapacity"],
        requests_per_instance=int(targets[0]) if targets else None,
    )


def apply_scaling(workspace: Workspace, endpoint: str, hosting: Hosting) -> None:
    """Let the number of instances follow the requests, if `hosting` says so, otherwise end this; repeatable.

    The endpoint must be InService (Application Auto Scaling refuses to register a variant that does not exist).
    """
    if not hosting.is_scaled:
        remove_scaling(workspace, endpoint)
        return
    client = workspace.client("application-autoscaling")
    with translate_errors(f"scaling endpoint {endpoint}"):
        client.register_scalable_target(**build_target_request(endpoint, hosting))
        client.put_scaling_policy(**build_policy_request(endpoint, hosting))


def build_target_request(endpoint: str, hosting: Hosting) -> dict[str, Any]:
    """Return the RegisterScalableTarget request; registering again changes the limits."""
    return {
        "ServiceNamespace": NAMESPACE,
        "ResourceId": resource_id(endpoint),
        "ScalableDimension": DIMENSION,
        "MinCapacity": hosting.min_instances,
        "MaxCapacity": hosting.max_instances,
    }


def build_policy_request(endpoint: str, hosting: Hosting) -> dict[str, Any]:
    """Return the PutScalingPolicy request; a policy of the same name is replaced."""
    return {
        "PolicyName": _policy_name(endpoint),
        "ServiceNamespace": NAMESPACE,
        "ResourceId": resource_id(endpoint),
        "ScalableDimension": DIMENSION,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": float(hosting.requests_per_instance),
            "PredefinedMetricSpecification": {"PredefinedMetricType": METRIC},
            "ScaleOutCooldown": SCALE_OUT_SECONDS,
            "ScaleInCooldown": SCALE_IN_SECONDS,
        },
    }


def remove_scaling(workspace: Workspace, endpoint: str) -> bool:
    """End the scaling of the endpoint; return whether there was one. Its policies and their alarms are deleted too."""
    if describe_scaling(workspace, endpoint) is None:
        return False
    client = workspace.client("application-autoscaling")
    try:
        with translate_errors(f"ending the scaling of endpoint {endpoint}"):
            client.deregister_scalable_target(
                ServiceNamespace=NAMESPACE, ResourceId=resource_id(endpoint), ScalableDimension=DIMENSION
            )
    except NotFound:
        return False
    return True


def _policy_name(endpoint: str) -> str:
    return f"{endpoint}-requests"
