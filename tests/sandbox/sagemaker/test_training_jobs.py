"""SageMaker's training-job calls: what is refused, in which words, and what lists and tags answer."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.account import ROLE_ARN
from sandbox.faults import Faults
from sandbox.sagemaker.api_model import ServiceError
from sandbox.sagemaker.model_registry import ModelRegistry
from sandbox.sagemaker.service import SageMaker
from sandbox.sagemaker.training_jobs import TrainingJobs

NAMES = ("apple-1", "banana-2", "cherry-3", "apple-4", "banana-5")


@pytest.fixture(scope="module")
def jobs(user: Any) -> list[str]:
    """Jobs that fail at once, for want of data."""
    for name in NAMES:
        user.train(f"list-{name}", InputDataConfig=user.channel("s3://never-made/x"))
    return [f"list-{name}" for name in NAMES]


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def listed(user: Any, **arguments: Any) -> list[str]:
    pages = user.sagemaker.get_paginator("list_training_jobs").paginate(NameContains="list-", **arguments)
    return [summary["TrainingJobName"] for page in pages for summary in page["TrainingJobSummaries"]]


def test_a_name_is_used_once(user: Any, jobs: list[str]) -> None:
    code, message = refusal(user.start, name=jobs[0])
    assert code == "ResourceInUse"
    assert message == (
        "Training job names must be unique within an AWS account and region, and a training job with this name already "
        f"exists (arn:aws:sagemaker:us-east-1:123456789012:training-job/{jobs[0]})"
    )


@pytest.mark.parametrize("call", ["describe_training_job", "stop_training_job"])
def test_an_unknown_job_is_not_found(user: Any, call: str) -> None:
    code, message = refusal(getattr(user.sagemaker, call), TrainingJobName="never-made")
    assert (code, message) == ("ValidationException", "Requested resource not found.")


def test_a_job_that_is_over_cannot_be_stopped(user: Any, jobs: list[str]) -> None:
    code, message = refusal(user.stop, name=jobs[0])
    assert code == "ValidationException"
    assert message == "The request was rejected because the training job is in status Failed."


@pytest.mark.parametrize("name", ["-begins-with-a-dash", "ends-with-a-dash-", "under_score", "dot.ted", "a" * 64])
def test_a_bad_name_is_refused_in_the_services_words(user: Any, name: str) -> None:
    code, message = refusal(user.start, name=name)
    assert code == "ValidationException"
    assert f"Value '{name}' at 'trainingJobName' failed to satisfy constraint: Member must " in message


@pytest.fixture(scope="module")
def unchecked(user: Any) -> Any:
    """A client that leaves all checks to the service."""
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
def test_a_bad_request_is_refused_with_its_field(user: Any, unchecked: Any, change: dict[str, Any], part: str) -> None:
    request = {name: value for name, value in (user.request("refused") | change).items() if value is not None}
    code, message = refusal(unchecked.create_training_job, **request)
    assert code == "ValidationException"
    assert part in message
    assert refusal(user.describe, name="refused")[0] == "ValidationException"


def test_every_broken_constraint_is_reported_at_once(user: Any, unchecked: Any) -> None:
    _, message = refusal(unchecked.create_training_job, **user.request("_", RoleArn="x" * 30))
    assert message.startswith("2 validation errors detected: ")


def test_metric_definitions_of_a_built_in_algorithm_cannot_be_given(user: Any) -> None:
    specification = user.request("metrics")["AlgorithmSpecification"]
    specification["MetricDefinitions"] = [{"Name": "mine", "Regex": "x=(.*)"}]
    code, message = refusal(user.start, name="metrics", AlgorithmSpecification=specification)
    assert code == "ValidationException"
    assert "override the metric definitions" in message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60)
@given(member=st.sampled_from(["TrainingJobName", "InputDataConfig", "StoppingCondition", "Tags"]), value=json_values)
def test_no_document_breaks_the_service(tmp_path_factory: Any, user: Any, member: str, value: Any) -> None:
    folder = tmp_path_factory.mktemp("state")
    jobs = TrainingJobs(folder / "jobs", lambda _: None, lambda _: None, Faults())
    sagemaker = SageMaker(jobs, ModelRegistry(folder / "registry"))
    with suppress(ServiceError):
        assert json.dumps(sagemaker.handle("CreateTrainingJob", user.request("any") | {member: value}))


@pytest.mark.parametrize("page", [1, 2, 5, 100])
def test_lists_are_filtered_before_they_are_cut_into_pages(user: Any, jobs: list[str], page: int) -> None:
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


def test_a_summary_says_what_became_of_a_job(user: Any, jobs: list[str]) -> None:
    [summary] = user.sagemaker.list_training_jobs(NameContains=jobs[0])["TrainingJobSummaries"]
    job = user.describe(jobs[0])
    assert summary == {name: job[name] for name in summary}
    assert {"TrainingJobArn", "TrainingJobStatus", "TrainingEndTime", "LastModifiedTime"} <= set(summary)


def test_a_token_that_was_not_given_out_is_refused(user: Any) -> None:
    assert refusal(user.sagemaker.list_training_jobs, NextToken="made-up")[0] == "ValidationException"


def test_tags_of_a_job_can_be_added_listed_and_deleted(user: Any) -> None:
    given_tags = [{"Key": "team", "Value": "blue"}, {"Key": "cost", "Value": "7"}]
    arn = user.start("tagged", InputDataConfig=user.channel("s3://never-made/x"), Tags=given_tags)
    user.wait("tagged")
    assert user.sagemaker.list_tags(ResourceArn=arn)["Tags"] == given_tags
    user.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "red"}])
    user.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["cost"])
    assert user.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "red"}]
    assert "Tags" not in user.describe("tagged")


def test_tags_of_an_unknown_job_are_not_found(user: Any) -> None:
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/never-made"
    assert refusal(user.sagemaker.list_tags, ResourceArn=arn)[1] == "Requested resource not found."


def test_tags_of_anything_else_are_motos(user: Any) -> None:
    tags = [{"Key": "a", "Value": "b"}]
    arn = user.sagemaker.create_model(ModelName="model", ExecutionRoleArn=ROLE_ARN, Tags=tags)["ModelArn"]
    assert user.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
