"""SageMaker's training-job calls: rejected requests and their messages, lists and tags."""

import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.faults import Faults
from sandbox.sagemaker.api_model import ServiceError
from sandbox.sagemaker.model_registry import ModelRegistry
from sandbox.sagemaker.service import SageMaker
from sandbox.sagemaker.training_jobs import TrainingJobs

NAMES = ("apple-1", "banana-2", "cherry-3", "apple-4", "banana-5")


@pytest.fixture(scope="module")
def jobs(user: Any) -> list[str]:
    """Jobs that fail at once, because their bucket is missing."""
    for name in NAMES:
        user.train(f"list-{name}", InputDataConfig=user.channel("s3://missing/x"))
    return [f"list-{name}" for name in NAMES]


def rejection(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def listed(user: Any, **arguments: Any) -> list[str]:
    pages = user.sagemaker.get_paginator("list_training_jobs").paginate(NameContains="list-", **arguments)
    return [summary["TrainingJobName"] for page in pages for summary in page["TrainingJobSummaries"]]


def test_a_job_name_is_unique(user: Any, jobs: list[str]) -> None:
    code, message = rejection(user.start, name=jobs[0])
    assert code == "ResourceInUse"
    assert message == (
        "Training job names must be unique within an AWS account and region, and a training job with this name already "
        f"exists (arn:aws:sagemaker:us-east-1:123456789012:training-job/{jobs[0]})"
    )


@pytest.mark.parametrize("call", ["describe_training_job", "stop_training_job"])
def test_an_unknown_job_is_not_found(user: Any, call: str) -> None:
    code, message = rejection(getattr(user.sagemaker, call), TrainingJobName="missing")
    assert (code, message) == ("ValidationException", "Requested resource not found.")


def test_a_job_that_has_ended_cannot_be_stopped(user: Any, jobs: list[str]) -> None:
    code, message = rejection(user.stop, name=jobs[0])
    assert code == "ValidationException"
    assert message == "The request was rejected because the training job is in status Failed."


@pytest.mark.parametrize("name", ["-begins-with-a-dash", "ends-with-a-dash-", "under_score", "dot.ted", "a" * 64])
def test_an_invalid_name_is_rejected_with_the_message_of_the_service(user: Any, name: str) -> None:
    code, message = rejection(user.start, name=name)
    assert code == "ValidationException"
    assert f"Value '{name}' at 'trainingJobName' failed to satisfy constraint: Member must " in message


@pytest.fixture(scope="module")
def unvalidated(user: Any) -> Any:
    """A client without parameter validation."""
    return boto3.client(
        "sagemaker",
        region_name="us-east-1",
        endpoint_url=user.sandbox.endpoint_url,
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",
        config=Config(parameter_validation=False),
    )


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"RoleArn": "training"}, "'roleArn' failed to satisfy constraint: Member must have length greater than or eq"),
        ({"RoleArn": "x" * 30}, "at 'roleArn' failed to satisfy constraint: Member must satisfy regular expression"),
        ({"ResourceConfig": {"InstanceType": "ml.x"}}, "'resourceConfig.instanceType' failed to satisfy constraint:"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "Member must have value greater than or equal to 1"),
        ({"HyperParameters": {"k": "v" * 2501}}, "'hyperParameters.k.member' failed to satisfy constraint:"),
        ({"InputDataConfig": []}, "'inputDataConfig' failed to satisfy constraint: Member must have length greater"),
        ({"InputDataConfig": [{}]}, "Value null at 'inputDataConfig.1.member.channelName' failed to satisfy constr"),
        ({"RoleArn": None}, "Value null at 'roleArn' failed to satisfy constraint: Member must not be null"),
        ({"ResourceConfig": None}, "Value null at 'resourceConfig' failed to satisfy constraint: Member must not be"),
        ({"OutputDataConfig": None}, "Value null at 'outputDataConfig' failed to satisfy constraint: Member must not"),
        ({"EnableManagedSpotTraining": True}, "Invalid MaxWaitTimeInSeconds. It must be present and be greater than"),
        (
            {"StoppingCondition": {"MaxWaitTimeInSeconds": 90}},
            "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true",
        ),
    ],
)
def test_an_invalid_request_is_rejected_with_its_field(
    user: Any, unvalidated: Any, change: dict[str, Any], part: str
) -> None:
    request = {name: value for name, value in (user.request("rejected") | change).items() if value is not None}
    code, message = rejection(unvalidated.create_training_job, **request)
    assert code == "ValidationException"
    assert part in message
    assert rejection(user.describe, name="rejected")[0] == "ValidationException"


def test_all_violated_constraints_are_reported_together(user: Any, unvalidated: Any) -> None:
    _, message = rejection(unvalidated.create_training_job, **user.request("_", RoleArn="x" * 30))
    assert message.startswith("2 validation errors detected: ")


def test_metric_definitions_of_a_built_in_algorithm_cannot_be_given(user: Any) -> None:
    specification = user.request("metrics")["AlgorithmSpecification"]
    specification["MetricDefinitions"] = [{"Name": "own", "Regex": "x=(.*)"}]
    code, message = rejection(user.start, name="metrics", AlgorithmSpecification=specification)
    assert code == "ValidationException"
    assert "override the metric definitions" in message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60)
@given(member=st.sampled_from(["TrainingJobName", "InputDataConfig", "StoppingCondition", "Tags"]), value=json_values)
def test_any_request_returns_a_response_or_a_service_error(
    tmp_path_factory: Any, user: Any, member: str, value: Any
) -> None:
    folder = tmp_path_factory.mktemp("state")
    jobs = TrainingJobs(folder / "jobs", lambda _: None, lambda _: None, Faults())
    sagemaker = SageMaker(jobs, ModelRegistry(folder / "registry"))
    with suppress(ServiceError):
        assert json.dumps(sagemaker.handle("CreateTrainingJob", user.request("any") | {member: value}))


@pytest.mark.parametrize("page", [1, 2, 5, 100])
def test_lists_are_filtered_before_pagination(user: Any, jobs: list[str], page: int) -> None:
    config = {"PageSize": page}
    assert listed(user, PaginationConfig=config) == jobs
    assert listed(user, SortOrder="Descending", PaginationConfig=config) == jobs[::-1]
    assert listed(user, SortBy="Name", PaginationConfig=config) == sorted(jobs)
    assert listed(user, SortBy="Status", PaginationConfig=config) == sorted(jobs)
    assert listed(user, StatusEquals="Completed", PaginationConfig=config) == []


def test_lists_are_filtered_by_name_status_and_time(user: Any, jobs: list[str]) -> None:
    assert (
        user.sagemaker.list_training_jobs(NameContains="banana")["TrainingJobSummaries"][0]["TrainingJobName"]
        == jobs[1]
    )
    third = user.describe(jobs[2])["CreationTime"]
    assert listed(user, CreationTimeAfter=third) == jobs[3:]
    assert listed(user, CreationTimeBefore=third, StatusEquals="Failed") == jobs[:2]
    assert listed(user, LastModifiedTimeBefore=third) == jobs[:2]


def test_a_summary_contains_the_status_of_a_job(user: Any, jobs: list[str]) -> None:
    [summary] = user.sagemaker.list_training_jobs(NameContains=jobs[0])["TrainingJobSummaries"]
    job = user.describe(jobs[0])
    assert summary == {name: job[name] for name in summary}
    assert {"TrainingJobArn", "TrainingJobStatus", "TrainingEndTime", "LastModifiedTime"} <= set(summary)


def test_an_invalid_next_token_is_rejected(user: Any) -> None:
    assert rejection(user.sagemaker.list_training_jobs, NextToken="invalid")[0] == "ValidationException"


def test_tags_of_a_job_can_be_added_listed_and_deleted(user: Any) -> None:
    given_tags = [{"Key": "team", "Value": "blue"}, {"Key": "cost", "Value": "7"}]
    arn = user.start("tagged", InputDataConfig=user.channel("s3://missing/x"), Tags=given_tags)
    user.wait("tagged")
    assert user.sagemaker.list_tags(ResourceArn=arn)["Tags"] == given_tags
    user.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "red"}])
    user.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["cost"])
    assert user.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "red"}]
    assert "Tags" not in user.describe("tagged")


def test_tags_of_an_unknown_job_are_not_found(user: Any) -> None:
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/missing"
    assert rejection(user.sagemaker.list_tags, ResourceArn=arn)[1] == "Requested resource not found."


def test_tags_of_other_resources_are_handled_by_moto(user: Any) -> None:
    tags = [{"Key": "a", "Value": "b"}]
    arn = user.sagemaker.create_experiment(ExperimentName="experiment")["ExperimentArn"]
    user.sagemaker.add_tags(ResourceArn=arn, Tags=tags)
    assert user.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]


def tag_list(count: int, prefix: str = "tag") -> list[dict[str, str]]:
    return [{"Key": f"{prefix} {n}", "Value": ""} for n in range(count)]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (tag_list(51), "at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50"),
        ([{"Key": "Aws:team", "Value": "x"}], "Customers cannot set tag keys starting with aws:"),
        ([{"Key": "a;b", "Value": "x"}], "at 'tags.1.member.key' failed to satisfy constraint"),
        ([{"Key": "team", "Value": "a;b"}], "at 'tags.1.member.value' failed to satisfy constraint"),
        ([{"Key": "k" * 129, "Value": ""}], "length less than or equal to 128"),
        ([{"Key": "team", "Value": "v" * 257}], "length less than or equal to 256"),
    ],
    ids=["51 tags", "aws:", "key", "value", "long key", "long value"],
)
def test_invalid_tags_are_rejected(user: Any, tags: list[dict[str, str]], message: str) -> None:
    arn = user.start(f"tags-{uuid.uuid4().hex}", InputDataConfig=user.channel("s3://missing/x"))
    for call, parameters in (
        (user.sagemaker.add_tags, {"ResourceArn": arn}),
        (user.sagemaker.create_training_job, user.request(f"tags-{uuid.uuid4().hex}")),
    ):
        code, text = rejection(call, **parameters, Tags=tags)
        assert code == "ValidationException"
        assert message in text
    assert user.sagemaker.list_tags(ResourceArn=arn)["Tags"] == []


def test_a_job_has_at_most_fifty_tags(user: Any) -> None:
    arn = user.start("fifty", InputDataConfig=user.channel("s3://missing/x"), Tags=tag_list(30))
    user.sagemaker.add_tags(ResourceArn=arn, Tags=tag_list(20, "more"))
    assert "exceed 50" in rejection(user.sagemaker.add_tags, ResourceArn=arn, Tags=[{"Key": "one", "Value": ""}])[1]
    user.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "tag 0", "Value": "replaced"}])


@pytest.mark.parametrize("instance_type", ["ml.g4dn.xlarge", "ml.g5.xlarge", "ml.p6-b200.48xlarge", "ml.r5d.large"])
def test_a_volume_key_is_rejected_for_instance_types_with_local_disks(user: Any, instance_type: str) -> None:
    resources = {"InstanceType": instance_type, "InstanceCount": 1, "VolumeSizeInGB": 5, "VolumeKmsKeyId": "1234"}
    request = user.request(f"nvme-{uuid.uuid4().hex}", ResourceConfig=resources)
    answer = rejection(user.sagemaker.create_training_job, **request)
    assert answer == ("ValidationException", "KMS key is not supported for NVMe instance storage")
    resources["InstanceType"] = "ml.c5.xlarge"
    user.sagemaker.create_training_job(**request)
    assert user.describe(request["TrainingJobName"])["ResourceConfig"] == resources
