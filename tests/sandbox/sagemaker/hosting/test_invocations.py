"""InvokeEndpoint: answers, errors of the container and of the service, recorded calls, and data capture."""

import base64
import json
import re
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linear_learner.formats.artifact import write_model
from linear_learner.model import LinearModel
from linear_learner.schema import CategoryColumn, LabelSchema, NumberColumn, Schema
from sandbox import faults
from sandbox.account import BUCKET
from sandbox.client import send_request

pytestmark = pytest.mark.sandbox
ARN = "arn:aws:sagemaker:us-east-1:123456789012"


@pytest.fixture(scope="module")
def served(client: Any) -> Any:
    client.create("served")
    return client


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"1,2\n3,4", "text/csv"),
        (b'{"instances": [{"features": [1, 2]}, {"features": [3, 4]}]}', "application/json"),
        (b'{"features": [1, 2]}\n{"features": [3, 4]}', "application/jsonlines"),
    ],
)
def test_an_endpoint_answers_each_format_as_the_container_does(served: Any, body: bytes, content_type: str) -> None:
    answer = served.invoke("served", body, ContentType=content_type, InferenceId="request-1")
    assert json.loads(answer["Body"].read()) == {"predictions": [{"score": 3.5}, {"score": 7.5}]}
    assert answer["ContentType"] == "application/json"
    assert answer["InvokedProductionVariant"] == "main"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-sagemaker-inference-id"] == "request-1"
    lines = served.invoke("served", body, ContentType=content_type, Accept="application/jsonlines")
    assert [json.loads(line) for line in lines["Body"].read().splitlines()] == [{"score": 3.5}, {"score": 7.5}]


def test_another_image_answers_rows_by_column_name_with_the_schema_in_the_archive(client: Any, tmp_path: Path) -> None:
    columns = (CategoryColumn(name="city", categories=("Bonn", "Rome"), other=False), NumberColumn(name="age"))
    weights = np.array([[10], [20], [1]], np.float32)
    model = LinearModel("binary_classifier", "hinge_loss", weights, np.array([-21], np.float32), 0.0)
    schema = Schema(label=LabelSchema(name="left", classes=("stays", "leaves")), columns=columns)
    (tmp_path / "schema.json").write_text(schema.to_json())
    write_model(model, tmp_path)
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        for name in ("model_algo-1", "schema.json"):
            tar.add(tmp_path / name, name)
    client.s3.upload_file(str(tmp_path / "model.tar.gz"), BUCKET, "with-schema.tar.gz")
    container = {"ModelDataUrl": f"s3://{BUCKET}/with-schema.tar.gz"}
    own = container | {"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/serve:1"}
    built_in = container | {"Image": "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1"}
    for name, one in (("own", own), ("built-in", built_in)):
        client.create_model(name, PrimaryContainer=one)
        client.create_config(name, name)
        assert client.create(name, name)["EndpointStatus"] == "InService"
    rows = b'{"instances": [{"age": 2, "city": "Rome"}, {"city": "Bonn", "age": 5}]}'
    answer = json.loads(client.invoke("own", rows, ContentType="application/json")["Body"].read())
    assert [row["predicted_class"] for row in answer["predictions"]] == ["leaves", "stays"]
    assert [row["score"] for row in answer["predictions"]] == [1.0, -6.0]
    with pytest.raises(client.runtime.exceptions.ModelError):
        client.invoke("built-in", rows, ContentType="application/json")


@pytest.mark.parametrize(("body", "content_type"), [(b"a,b", "text/csv"), (b"1,2,3", "text/csv"), (b"1", "text/plain")])
def test_an_error_of_the_container_is_a_model_error(served: Any, body: bytes, content_type: str) -> None:
    with pytest.raises(served.runtime.exceptions.ModelError) as caught:
        served.invoke("served", body, ContentType=content_type)
    error = caught.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert 400 <= error["OriginalStatusCode"] < 500
    assert error["OriginalMessage"]
    assert error["Error"]["Message"].startswith(
        f'Received client error ({error["OriginalStatusCode"]}) from primary with message "{error["OriginalMessage"]}".'
    )


def test_other_errors_have_the_codes_of_the_runtime_api(served: Any) -> None:
    with pytest.raises(served.runtime.exceptions.ValidationError) as caught:
        served.invoke("none")
    assert caught.value.response["Error"]["Message"] == "Endpoint none of account 123456789012 not found."
    with pytest.raises(served.runtime.exceptions.ClientError, match="exceeded the limit of 26214400 bytes"):
        served.invoke("served", bytes((25 << 20) + 1))
    with pytest.raises(served.runtime.exceptions.ValidationError, match="Variant other"):
        served.invoke("served", TargetVariant="other")


def test_faults_of_calls_apply_to_invocations(served: Any) -> None:
    url = served.sandbox.endpoint_url
    faults.inject(url, kind="throttling", action="InvokeEndpoint")
    with pytest.raises(served.runtime.exceptions.ClientError, match=r"ThrottlingException.*Rate exceeded"):
        served.invoke("served")
    faults.inject(url, kind="access-denied", action="InvokeEndpoint")
    resource = f"sagemaker:InvokeEndpoint on resource: {ARN}:endpoint/served"
    with pytest.raises(served.runtime.exceptions.ClientError, match=re.escape(resource)):
        served.invoke("served")
    served.invoke("served")


def test_calls_are_recorded_with_the_resources_of_policies(served: Any) -> None:
    served.invoke("served")
    scaling = served.client("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/served/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=3)
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    tracking = {"TargetValue": 1000.0, "PredefinedMetricSpecification": metric}
    scaling.put_scaling_policy(
        **target,
        PolicyName="requests",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=tracking,
    )
    [described] = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (described["ResourceId"], described["MaxCapacity"]) == (target["ResourceId"], 3)
    scaling.deregister_scalable_target(**target)
    with pytest.raises(scaling.exceptions.ClientError, match="No scalable target found"):
        scaling.deregister_scalable_target(**target)
    served.cloudwatch.describe_alarms(AlarmNames=["a", "b"])
    calls = send_request(served.sandbox.endpoint_url, "GET", "/_sandbox/calls")[1]
    recorded = {(call["action"], call["resource"]) for call in calls if not call["own"]}
    assert {
        ("sagemaker:CreateModel", f"{ARN}:model/old"),
        ("sagemaker:CreateEndpointConfig", f"{ARN}:endpoint-config/old"),
        ("sagemaker:CreateEndpoint", f"{ARN}:endpoint/served"),
        ("sagemaker:CreateEndpoint", f"{ARN}:endpoint-config/old"),
        ("sagemaker:DescribeEndpoint", f"{ARN}:endpoint/served"),
        ("sagemaker:InvokeEndpoint", f"{ARN}:endpoint/served"),
        ("cloudwatch:DescribeAlarms", "arn:aws:cloudwatch:us-east-1:123456789012:alarm:a"),
        ("cloudwatch:DescribeAlarms", "arn:aws:cloudwatch:us-east-1:123456789012:alarm:b"),
        (
            "application-autoscaling:RegisterScalableTarget",
            "arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/*",
        ),
        ("application-autoscaling:DescribeScalableTargets", "*"),
    } <= recorded


def capture_config(percent: int, *modes: str, **headers: list[str]) -> dict[str, Any]:
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": percent,
        "DestinationS3Uri": f"s3://{BUCKET}/captured/",
        "CaptureOptions": [{"CaptureMode": mode} for mode in modes],
        **({"CaptureContentTypeHeader": headers} if headers else {}),
    }


def captured(client: Any, endpoint: str, count: int) -> list[dict[str, Any]]:
    """Wait for this many records of an endpoint."""
    deadline = time.monotonic() + 30
    while True:
        listed = client.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"captured/{endpoint}/main/").get("Contents", [])
        bodies = [client.s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in listed]
        records = [json.loads(line) for body in bodies for line in body.splitlines()]
        if len(records) >= count:
            pattern = rf"captured/{endpoint}/main/\d{{4}}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{{3}}-[0-9a-f-]{{36}}\.jsonl"
            assert all(re.fullmatch(pattern, one["Key"]) for one in listed)
            assert len(records) == count
            return records
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_captured_requests_have_the_documented_format(client: Any) -> None:
    config = capture_config(100, "Input", "Output", CsvContentTypes=["text/csv"], JsonContentTypes=["application/json"])
    client.create_config("captured", "old", DataCaptureConfig=config)
    endpoint = client.create("captured", "captured")
    assert endpoint["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{BUCKET}/captured/",
    }
    client.invoke("captured", b"1,2", InferenceId="first")
    [record] = captured(client, "captured", 1)
    output = {"observedContentType": "application/json", "mode": "OUTPUT", "encoding": "JSON"}
    assert record["captureData"] == {
        "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "1,2", "encoding": "CSV"},
        "endpointOutput": output | {"data": '{"predictions":[{"score":3.5}]}'},
    }
    assert record["eventVersion"] == "0"
    assert record["eventMetadata"].keys() == {"eventId", "inferenceId", "inferenceTime"}
    assert record["eventMetadata"]["inferenceId"] == "first"


def test_a_sample_of_the_requests_is_captured_and_unlisted_types_in_base64(client: Any) -> None:
    client.create_config("sampled", "old", DataCaptureConfig=capture_config(25, "Input"))
    client.create("sampled", "sampled")
    for number in range(20):
        client.invoke("sampled", f"{number},0".encode())
    records = captured(client, "sampled", 5)
    assert all(record["captureData"].keys() == {"endpointInput"} for record in records)
    contents = [record["captureData"]["endpointInput"] for record in records]
    assert {content["encoding"] for content in contents} == {"BASE64"}
    assert [base64.b64decode(content["data"]) for content in contents] == [b"3,0", b"7,0", b"11,0", b"15,0", b"19,0"]


def test_captured_requests_are_written_when_the_sandbox_stops(client: Any, restart: Any) -> None:
    client.create_config("stopped", "old", DataCaptureConfig=capture_config(100, "Input"))
    client.create("stopped", "stopped")
    client.invoke("stopped")
    restart()
    assert len(captured(client, "stopped", 1)) == 1
