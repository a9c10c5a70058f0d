"""Models and endpoint configurations: creation, description, lists, tags, and what is refused."""

from typing import Any

import pytest

pytestmark = pytest.mark.sandbox
ARN = "arn:aws:sagemaker:us-east-1:123456789012"
SERVERLESS = {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}
CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://bucket/captured",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}
VPC = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}


def test_a_model_is_described_listed_and_deleted(client: Any) -> None:
    arn = client.create_model("described", Tags=[{"Key": "team", "Value": "a"}])
    assert arn == f"{ARN}:model/described"
    model = client.sagemaker.describe_model(ModelName="described")
    assert model["PrimaryContainer"]["ModelDataUrl"].endswith("/described.tar.gz")
    assert model["PrimaryContainer"]["Mode"] == "SingleModel"
    [listed] = client.sagemaker.list_models(NameContains="described")["Models"]
    assert listed == {name: model[name] for name in ("ModelName", "ModelArn", "CreationTime")}
    assert client.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    already = f'ValidationException: Cannot create already existing model "{arn}".'
    container = {"Image": "image", "ModelDataUrl": "s3://bucket/key"}
    role = "arn:aws:iam::123456789012:role/r"
    again = {"ModelName": "described", "PrimaryContainer": container, "ExecutionRoleArn": role}
    assert client.rejection("create_model", **again) == already
    client.sagemaker.delete_model(ModelName="described")
    missing = f'ValidationException: Could not find model "{arn}".'
    assert client.rejection("describe_model", ModelName="described") == missing
    assert client.rejection("delete_model", ModelName="described") == missing


def test_a_configuration_is_described_listed_and_deleted(client: Any) -> None:
    arn = client.create_config("described", "old", DataCaptureConfig=CAPTURE, Tags=[{"Key": "team", "Value": "a"}])
    config = client.sagemaker.describe_endpoint_config(EndpointConfigName="described")
    assert config["EndpointConfigArn"] == arn == f"{ARN}:endpoint-config/described"
    assert config["DataCaptureConfig"] == CAPTURE
    assert config["ProductionVariants"][0]["InitialVariantWeight"] == 1.0
    names = [one["EndpointConfigName"] for one in client.sagemaker.list_endpoint_configs()["EndpointConfigs"]]
    assert names[0] == "described"
    assert {"old", "new"} < set(names)
    client.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["team"])
    assert client.sagemaker.list_tags(ResourceArn=arn)["Tags"] == []
    client.sagemaker.delete_endpoint_config(EndpointConfigName="described")
    missing = f'ValidationException: Could not find endpoint configuration "{arn}".'
    assert client.rejection("describe_endpoint_config", EndpointConfigName="described") == missing
    already = f'ValidationException: Cannot create already existing endpoint configuration "{ARN}:endpoint-config/old".'
    variant = {"VariantName": "main", "ModelName": "old", **SERVERLESS}
    again = {"EndpointConfigName": "old", "ProductionVariants": [variant]}
    assert client.rejection("create_endpoint_config", **again) == already


INSTANCES = {"InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}


@pytest.mark.parametrize(
    ("variant", "changes", "message"),
    [
        ({"ModelName": "missing", **INSTANCES}, {}, f'Could not find model "{ARN}:model/missing".'),
        ({"ModelName": "old"}, {}, "A production variant needs InstanceType and InitialInstanceCount"),
        ({"ModelName": "old", **SERVERLESS}, {"DataCaptureConfig": CAPTURE}, "does not support DataCaptureConfig"),
        ({"ModelName": "old", **SERVERLESS, **INSTANCES}, {}, "does not support instances"),
        ({"ModelName": "vpc", **SERVERLESS}, {}, "does not support a model with VpcConfig"),
        (
            {"ModelName": "old", "ServerlessConfig": {"MemorySizeInMB": 2000, "MaxConcurrency": 5}},
            {},
            "MemorySizeInMB 2000 is not one of",
        ),
        (
            {"ModelName": "old", **INSTANCES, "InstanceType": "ml.g5.xlarge"},
            {"KmsKeyId": "key"},
            "KMS key is not supported for NVMe instance storage",
        ),
        (
            {"ModelName": "old", **INSTANCES, "InstanceType": "ml.huge"},
            {},
            "'productionVariants.1.member.instanceType'",
        ),
    ],
)
def test_configurations_that_the_service_does_not_support_are_refused(
    client: Any, variant: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    if variant["ModelName"] == "vpc":
        client.create_model("vpc", VpcConfig=VPC)
    request = {"EndpointConfigName": "refused", "ProductionVariants": [{"VariantName": "main", **variant}], **changes}
    assert message in client.rejection("create_endpoint_config", **request)


def test_several_variants_are_refused(client: Any) -> None:
    variants = [{"VariantName": name, "ModelName": "old", **INSTANCES} for name in ("a", "b")]
    refused = client.rejection("create_endpoint_config", EndpointConfigName="two", ProductionVariants=variants)
    assert "does not implement several variants" in refused
