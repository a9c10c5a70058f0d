"""Endpoints: every path through their states, and what they describe."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.account import BUCKET
from sandbox.client import send_request

pytestmark = pytest.mark.sandbox
Inject = Callable[..., None]
Config = Callable[..., dict[str, Any]]
ARN = "arn:aws:sagemaker:us-east-1:123456789012"
NOT_HEALTHY = (
    "The primary container for production variant main did not pass the ping health check. Please check CloudWatch "
    "logs for this endpoint."
)


def test_an_endpoint_is_created_described_listed_and_deleted(client: Any, scores: dict[str, float]) -> None:
    tags = [{"Key": "team", "Value": "a"}]
    client.sagemaker.create_endpoint(EndpointName="life", EndpointConfigName="old", Tags=tags)
    endpoint = client.wait("life")
    assert endpoint["EndpointArn"] == f"{ARN}:endpoint/life"
    assert endpoint["EndpointConfigName"] == "old"
    [variant] = endpoint["ProductionVariants"]
    assert (variant["VariantName"], variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == ("main", 2, 2)
    assert "PendingDeploymentSummary" not in endpoint
    assert client.answer("life") == scores["old"]
    assert client.sagemaker.list_tags(ResourceArn=endpoint["EndpointArn"])["Tags"] == tags
    [listed] = client.sagemaker.list_endpoints(NameContains="life", StatusEquals="InService")["Endpoints"]
    assert listed["EndpointArn"] == endpoint["EndpointArn"]
    assert send_request(client.sandbox.endpoint_url, "GET", "/_sandbox")[1]["endpoints"]["life"] == "InService"
    again = client.rejection("create_endpoint", EndpointName="life", EndpointConfigName="old")
    assert again == f'ValidationException: Cannot create already existing endpoint "{ARN}:endpoint/life".'
    client.sagemaker.delete_endpoint(EndpointName="life")
    wait_until_deleted(client, "life")
    assert client.rejection("describe_endpoint", EndpointName="life") == (
        f'ValidationException: Could not find endpoint "{ARN}:endpoint/life".'
    )
    assert client.sagemaker.describe_endpoint_config(EndpointConfigName="old")["EndpointConfigName"] == "old"
    client.create("life")  # the name can be used again


def wait_until_deleted(client: Any, name: str) -> None:
    deadline = time.monotonic() + 30
    while client.sagemaker.list_endpoints(NameContains=name)["Endpoints"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("fault", "key", "reason"),
    [
        (None, "missing.tar.gz", "Failed to download model data for container"),
        (None, "damaged.tar.gz", NOT_HEALTHY),
        ("endpoint-unhealthy", "old.tar.gz", NOT_HEALTHY),
        ("endpoint-no-capacity", "old.tar.gz", "due to InsufficientInstanceCapacity error"),
    ],
)
def test_an_endpoint_without_a_healthy_fleet_is_failed_and_can_only_be_deleted(
    client: Any, inject: Inject, fault: str | None, key: str, reason: str
) -> None:
    client.s3.put_object(Bucket=BUCKET, Key="damaged.tar.gz", Body=b"no model")
    name = f"failed-{fault or key.partition('.')[0]}"
    client.create_model(name, key)
    client.create_config(name, name)
    if fault:
        inject(kind=fault, endpoint=name)
    endpoint = client.create(name, name)
    assert endpoint["EndpointStatus"] == "Failed"
    assert reason in endpoint["FailureReason"]
    update = {"EndpointName": name, "EndpointConfigName": "old"}
    assert "in status Failed" in client.rejection("update_endpoint", **update)
    with pytest.raises(
        client.runtime.exceptions.ClientError, match=f"Endpoint {name} of account 123456789012 not found"
    ):
        client.invoke(name)
    client.sagemaker.delete_endpoint(EndpointName=name)
    wait_until_deleted(client, name)


def test_calls_on_missing_endpoints_and_configurations_are_rejected(client: Any) -> None:
    no_config = f'ValidationException: Could not find endpoint configuration "{ARN}:endpoint-config/none".'
    no_endpoint = f'ValidationException: Could not find endpoint "{ARN}:endpoint/none".'
    assert client.rejection("create_endpoint", EndpointName="e", EndpointConfigName="none") == no_config
    assert client.rejection("update_endpoint", EndpointName="none", EndpointConfigName="old") == no_endpoint
    assert client.rejection("delete_endpoint", EndpointName="none") == no_endpoint


def test_an_update_shows_the_pending_deployment_and_refuses_another_one(client: Any, deployment_config: Config) -> None:
    client.create("updated")
    client.update("updated", DeploymentConfig=deployment_config(wait=3600))
    updating = client.describe("updated")
    assert (updating["EndpointStatus"], updating["EndpointConfigName"]) == ("Updating", "old")
    assert updating["PendingDeploymentSummary"]["EndpointConfigName"] == "new"
    assert "StartTime" in updating["PendingDeploymentSummary"]
    busy = f'ValidationException: Cannot update in-progress endpoint "{ARN}:endpoint/updated".'
    for call, more in (("update_endpoint", {"EndpointConfigName": "old"}), ("delete_endpoint", {})):
        assert client.rejection(call, EndpointName="updated", **more) == busy


def test_a_successful_update_has_the_new_configuration(
    client: Any, deployment_config: Config, scores: dict[str, float]
) -> None:
    client.create("successful")
    config = deployment_config(wait=30)
    client.update("successful", DeploymentConfig=config)
    endpoint = client.wait("successful")
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", "new")
    assert endpoint["LastDeploymentConfig"] == config
    assert not {"FailureReason", "PendingDeploymentSummary"} & endpoint.keys()
    assert client.answer("successful") == scores["new"]


def test_the_number_of_instances_is_changed_and_retained_on_request(client: Any) -> None:
    client.create("scaled")
    change = {"VariantName": "main", "DesiredInstanceCount": 5}
    client.sagemaker.update_endpoint_weights_and_capacities(EndpointName="scaled", DesiredWeightsAndCapacities=[change])
    assert client.describe("scaled")["ProductionVariants"][0]["DesiredInstanceCount"] == 5
    assert client.wait("scaled")["ProductionVariants"][0]["CurrentInstanceCount"] == 5
    client.update("scaled", RetainAllVariantProperties=True)
    assert client.wait("scaled")["ProductionVariants"][0]["CurrentInstanceCount"] == 5
    client.update("scaled", "old")
    assert client.wait("scaled")["ProductionVariants"][0]["CurrentInstanceCount"] == 2


def test_a_deleted_configuration_serves_on_but_cannot_be_updated_or_scaled(
    client: Any, scores: dict[str, float]
) -> None:
    client.create_config("doomed", "old")
    client.create("orphan", "doomed")
    client.sagemaker.delete_endpoint_config(EndpointConfigName="doomed")
    assert client.answer("orphan") == scores["old"]
    missing = f'ValidationException: Could not find endpoint configuration "{ARN}:endpoint-config/doomed".'
    update = {"EndpointName": "orphan", "EndpointConfigName": "new"}
    assert client.rejection("update_endpoint", **update) == missing
    change = [{"VariantName": "main", "DesiredInstanceCount": 3}]
    scale = {"EndpointName": "orphan", "DesiredWeightsAndCapacities": change}
    assert client.rejection("update_endpoint_weights_and_capacities", **scale) == missing


@pytest.mark.parametrize(
    ("kind", "percent", "config", "message"),
    [
        ("CANARY", 10, "one", "CanarySize must be at most 50%"),
        ("CANARY", 60, "new", "CanarySize must be at most 50%"),
        ("LINEAR", 5, "new", "LinearStepSize must be at most 50% and at least 10%"),
        ("CANARY", 0, "new", "CanarySize is required"),
        ("CANARY", 10, "serverless", "not supported for serverless endpoints"),
    ],
)
def test_updates_that_the_service_does_not_support_are_refused(
    client: Any, deployment_config: Config, kind: str, percent: int, config: str, message: str
) -> None:
    ensure_refusing_endpoint(client)
    update = {"EndpointName": "refusing", "EndpointConfigName": config}
    refused = client.rejection("update_endpoint", **update, DeploymentConfig=deployment_config(kind, 60, percent))
    assert message in refused
    assert client.describe("refusing")["EndpointStatus"] == "InService"


def ensure_refusing_endpoint(client: Any) -> None:
    if not client.sagemaker.list_endpoints(NameContains="refusing")["Endpoints"]:
        client.create_config("one", "new", instances=1)
        serverless = {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}
        client.create_config("serverless", "new", variant=serverless)
        client.create("refusing")


def test_an_update_with_a_missing_alarm_or_another_variant_is_refused(client: Any, deployment_config: Config) -> None:
    ensure_refusing_endpoint(client)
    update = {"EndpointName": "refusing", "EndpointConfigName": "new"}
    config = deployment_config(alarms=("none",))
    assert "alarm none" in client.rejection("update_endpoint", **update, DeploymentConfig=config)
    variant = {"VariantName": "other", "ModelName": "new", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    client.sagemaker.create_endpoint_config(EndpointConfigName="other", ProductionVariants=[variant])
    update["EndpointConfigName"] = "other"
    assert "variants" in client.rejection("update_endpoint", **update)


def test_the_quota_fault_rejects_a_new_fleet(client: Any, inject: Inject) -> None:
    inject(kind="endpoint-quota", limit=1)
    rejected = client.rejection("create_endpoint", EndpointName="beyond", EndpointConfigName="old")
    assert rejected.startswith(
        "ResourceLimitExceeded: The account-level service limit 'ml.m5.large for endpoint usage' is 1 Instances, with "
        "current utilization of 1 Instances and a request delta of 2 Instances."
    )
    assert client.create("beyond")["EndpointStatus"] == "InService"


def test_a_serverless_endpoint_answers(client: Any, scores: dict[str, float]) -> None:
    ensure_refusing_endpoint(client)
    endpoint = client.create("serverless", "serverless")
    [variant] = endpoint["ProductionVariants"]
    assert variant["CurrentServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    assert client.answer("serverless") == scores["new"]
    client.update("serverless", "serverless")
    assert client.wait("serverless")["EndpointConfigName"] == "serverless"
    with pytest.raises(client.runtime.exceptions.ClientError, match="exceeded the limit of 4194304 bytes"):
        client.invoke("serverless", bytes((4 << 20) + 1))


def test_endpoints_and_an_update_in_progress_survive_a_restart(
    client: Any, restart: Callable[[], Any], deployment_config: Config, scores: dict[str, float]
) -> None:
    client.create("steady")
    for name in ("moving", "nearly-done"):
        client.create(name)
    client.update("moving", DeploymentConfig=deployment_config(wait=3600))
    client.update("nearly-done", DeploymentConfig=deployment_config(wait=60))
    client.sagemaker.add_tags(
        ResourceArn=client.describe("moving")["EndpointArn"], Tags=[{"Key": "expires", "Value": "never"}]
    )
    client = restart()
    assert client.describe("moving")["EndpointStatus"] == "Updating"
    assert client.describe("steady")["EndpointStatus"] == "InService"
    assert client.answer("steady") == scores["old"]
    arn = client.describe("moving")["EndpointArn"]
    assert client.sagemaker.list_tags(ResourceArn=arn)["Tags"][0]["Key"] == "expires"
    assert client.wait("nearly-done")["EndpointConfigName"] == "new"
    assert client.answer("nearly-done") == scores["new"]
