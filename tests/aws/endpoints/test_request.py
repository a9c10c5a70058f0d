"""Requests that create and update an endpoint: valid by the service model, with role, network, keys and tags."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from aws.endpoints.alarms import ALARM_KINDS, build_alarm_requests
from aws.endpoints.request import (
    build_config_request,
    build_create_request,
    build_model_request,
    build_update_request,
    expiry_tag,
)
from aws.endpoints.scaling import build_policy_request, build_target_request
from aws.endpoints.settings import Guard, Hosting, Traffic
from aws.endpoints.specification import EndpointSpec, ServedModel, build_spec
from aws.workspace import Workspace
from sandbox import client

pytestmark = pytest.mark.unit

MODEL = ServedModel(
    image="image:1",
    model_uri="s3://data/model.tar.gz",
    sha256="a" * 64,
    package_arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/churn/3",
    training_job="linear-learner-1",
)
INSTANCE = Hosting()
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
traffics = st.builds(
    Traffic,
    shift=st.sampled_from(["all-at-once", "canary", "linear"]),
    percent=st.integers(10, 50),
    minutes=st.integers(3, 60),
)
hostings = st.builds(
    Hosting,
    kind=st.sampled_from(["instances", "serverless"]),
    instance_type=st.sampled_from(["ml.m5.large", "ml.g5.xlarge"]),
    min_instances=st.integers(1, 100),
    memory_mb=st.sampled_from([1024, 6144]),
    max_concurrency=st.integers(1, 200),
    capture_percent=st.integers(0, 100),
    expires_after=st.sampled_from([None, "8h", "14d"]),
)


@pytest.fixture(scope="module")
def plain() -> Workspace:
    return client.make_workspace("http://127.0.0.1:1")


@pytest.fixture(scope="module")
def secured(plain: Workspace) -> Workspace:
    changes = {
        "subnets": ["subnet-1"],
        "security_group_ids": ["sg-1"],
        "network_isolation": True,
        "kms_key_id": KEY,
        "tags": {"cost": "7"},
    }
    return plain.model_copy(update=changes)


def check(workspace: Workspace, service: Any, operation: str, request: Any) -> None:
    shape = workspace.client(service).meta.service_model.operation_model(operation).input_shape
    report = ParamValidator().validate(dict(request), shape)
    assert not report.has_errors(), report.generate_report()


def spec_of(workspace: Workspace, hosting: Hosting = INSTANCE, endpoint: str = "churn") -> EndpointSpec:
    return build_spec(workspace, endpoint, MODEL, hosting)


@given(hosting=hostings, traffic=traffics, keep=st.booleans(), alarms=st.lists(st.just("alarm"), max_size=4))
def test_every_request_is_valid_by_the_service_model(
    secured: Workspace, hosting: Hosting, traffic: Traffic, keep: bool, alarms: list[str]
) -> None:
    spec = spec_of(secured, hosting)
    check(secured, "sagemaker", "CreateModel", build_model_request(secured, spec))
    check(secured, "sagemaker", "CreateEndpointConfig", build_config_request(secured, spec))
    check(secured, "sagemaker", "CreateEndpoint", build_create_request(secured, spec))
    update = build_update_request(spec, traffic, alarms, keep_instances=keep)
    check(secured, "sagemaker", "UpdateEndpoint", update)


def test_the_requests_of_alarms_and_scaling_are_valid(secured: Workspace) -> None:
    scaled = Hosting(min_instances=2, max_instances=5)
    check(secured, "application-autoscaling", "RegisterScalableTarget", build_target_request("churn", scaled))
    check(secured, "application-autoscaling", "PutScalingPolicy", build_policy_request("churn", scaled))
    requests = build_alarm_requests(secured, "churn", Guard())
    assert [request["AlarmName"] for request in requests] == [f"churn-{kind}" for kind in ALARM_KINDS]
    for request in requests:
        check(secured, "cloudwatch", "PutMetricAlarm", request)


def test_the_model_has_role_network_and_tags(plain: Workspace, secured: Workspace) -> None:
    request = build_model_request(secured, spec_of(secured))
    assert request["PrimaryContainer"] == {"Image": "image:1", "ModelDataUrl": "s3://data/model.tar.gz"}
    assert request["ExecutionRoleArn"] == secured.role_arn
    assert request["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert request["EnableNetworkIsolation"] is True
    tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    assert (
        tags
        | {
            "cost": "7",
            "linear-learner:endpoint": "churn",
            "linear-learner:sha256": "a" * 64,
            "linear-learner:package": MODEL.package_arn,
            "linear-learner:training-job": "linear-learner-1",
        }
        == tags
    )
    assert not {"VpcConfig", "EnableNetworkIsolation"} & set(build_model_request(plain, spec_of(plain)))


def test_instances_are_encrypted_unless_their_hardware_does(plain: Workspace, secured: Workspace) -> None:
    def key(workspace: Workspace, hosting: Hosting) -> Any:
        return build_config_request(workspace, spec_of(workspace, hosting)).get("KmsKeyId")

    assert key(secured, Hosting()) == KEY
    assert key(secured, Hosting(instance_type="ml.g5.xlarge")) is None
    assert key(secured, Hosting(kind="serverless")) is None
    assert key(plain, Hosting()) is None
    assert key(secured.model_copy(update={"volume_kms_key_id": "alias/disk"}), Hosting()) == "alias/disk"


def test_captures_go_to_the_workspace_with_its_key(plain: Workspace, secured: Workspace) -> None:
    captured = Hosting(capture_percent=20)
    found = build_config_request(secured, spec_of(secured, captured))["DataCaptureConfig"]
    assert found["DestinationS3Uri"] == secured.uri("captures")
    assert (found["EnableCapture"], found["InitialSamplingPercentage"], found["KmsKeyId"]) == (True, 20, KEY)
    assert "KmsKeyId" not in build_config_request(plain, spec_of(plain, captured))["DataCaptureConfig"]
    assert "DataCaptureConfig" not in build_config_request(plain, spec_of(plain))


def test_a_variant_has_either_instances_or_serverless_capacity(plain: Workspace) -> None:
    def variant(hosting: Hosting) -> Any:
        return build_config_request(plain, spec_of(plain, hosting))["ProductionVariants"][0]

    spec = spec_of(plain)
    assert variant(Hosting(min_instances=3)) == {
        "VariantName": "main",
        "ModelName": spec.model_name,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 3,
        "InitialVariantWeight": 1.0,
    }
    assert variant(Hosting(kind="serverless", memory_mb=1024, max_concurrency=5)) == {
        "VariantName": "main",
        "ModelName": spec.model_name,
        "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 5},
    }


@pytest.mark.parametrize(
    ("traffic", "kind", "size", "termination", "limit"),
    [
        (Traffic(minutes=5), "ALL_AT_ONCE", {}, 300, 300 + 300 + 3600),
        (Traffic(shift="canary", percent=20, minutes=10), "CANARY", {"CanarySize": 20}, 0, 1200 + 3600),
        (Traffic(shift="linear", percent=30, minutes=10), "LINEAR", {"LinearStepSize": 30}, 0, 2400 + 3600),
        (Traffic(shift="linear", percent=10, minutes=45), "LINEAR", {"LinearStepSize": 10}, 0, 28_800),
    ],
)
def test_an_update_moves_requests_while_alarms_are_watched(
    plain: Workspace, traffic: Traffic, kind: str, size: dict[str, int], termination: int, limit: int
) -> None:
    request = build_update_request(spec_of(plain), traffic, ["churn-5xx", "churn-latency"])
    sizes = {key: {"Type": "CAPACITY_PERCENT", "Value": value} for key, value in size.items()}
    assert request["DeploymentConfig"] == {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": kind, "WaitIntervalInSeconds": 60 * traffic.minutes, **sizes},
            "TerminationWaitInSeconds": termination,
            "MaximumExecutionTimeoutInSeconds": limit,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "churn-5xx"}, {"AlarmName": "churn-latency"}]},
    }
    assert "RetainAllVariantProperties" not in request


def test_a_scaled_endpoint_keeps_its_number_of_instances_only(plain: Workspace) -> None:
    request = build_update_request(spec_of(plain), Traffic(), [], keep_instances=True)
    assert request["RetainAllVariantProperties"] is True
    excluded = {one["VariantPropertyType"] for one in request["ExcludeRetainedVariantProperties"]}
    assert excluded == {"DesiredWeight", "DataCaptureConfig"}


def test_the_update_of_a_serverless_endpoint_has_no_policy(plain: Workspace) -> None:
    spec = spec_of(plain, Hosting(kind="serverless"))
    request = build_update_request(spec, Traffic(), ["churn-5xx"])
    assert request == {"EndpointName": "churn", "EndpointConfigName": spec.config_name}


def test_an_endpoint_expires_after_its_creation(plain: Workspace) -> None:
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    key = "linear-learner:expires"
    assert expiry_tag(Hosting(), now) == {}
    assert expiry_tag(Hosting(expires_after="8h"), now) == {key: "2026-11-29T20:00:00+00:00"}
    request = build_create_request(plain, spec_of(plain, Hosting(expires_after="14d")))
    tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    assert tags["linear-learner:endpoint"] == "churn"
    remaining = datetime.fromisoformat(tags[key]) - datetime.now(UTC)
    assert timedelta(days=13, hours=23) < remaining <= timedelta(days=14)
    assert key not in {tag["Key"] for tag in build_create_request(plain, spec_of(plain))["Tags"]}
