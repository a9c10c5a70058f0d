"""The outcome of a job that has ended: kind, cause, remedy and retry, by real FailureReasons."""

import re
from typing import TYPE_CHECKING, Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.error_catalogue import read_catalogue
from aws.errors import JobOutcome, OutcomeKind
from aws.training.outcome import job_outcome

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

REASONS = [  # FailureReason, kind, retry, a part of the remedy
    (("CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance "
     "type."), "capacity", "now", "fallback_instance_types"),
    ("InternalServerError: We encountered an internal error. Please try again.", "internal", "now", "AWS support"),
    ("InternalServerError: We encountered an internal error.  Please try again.", "internal", "now", "AWS support"),
    (("ClientError: Please use an instance type with more memory, or reduce the size of training data processed on an "
     "instance."), "compute", "never", "instance type with more"),
    (("ClientError: Please use an instance type with more memory, or reduce the size of job data processed on an "
     "instance."), "compute", "never", "instance type with more"),
    ("ClientError: Artifact upload failed:ClientError: Out of Memory. Please use a larger instance",
     "compute", "never", "instance type with more"),
    ("AlgorithmError: , exit code: 137", "compute", "never", "instance type with more"),
    ("ClientError: Data download failed:Insufficient disk space", "compute", "never", "volume_size_gb"),
    ("ClientError: SageMaker was unable to assume the role 'arn:aws:iam::123456789012:role/training'",
     "other", "later", "trust policy"),
    (("ClientError: TrainingHostAgent Initialization failed:InvalidInputException: SageMaker is unable to perform: "
     "sts:AssumeRole on the role. Check if you have a trust relationship for 'sagemaker.amazonaws.com' to assume the "
     "role."), "other", "later", "trust policy"),
    ("ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions are incorrect.",
     "other", "later", "pull images from ECR"),
    (("ClientError: Data download failed:Unable to download object s3://data/train/rows.csv (AccessDenied: Access "
     "Denied)"), "other", "later", "s3:GetObject"),
    ("ClientError: Data download failed:failed to download data. 403 Forbidden (403): Forbidden",
     "other", "later", "s3:GetObject"),
    ("ClientError: Artifact upload failed:Error 7: AccessDenied (403): Access Denied",
     "other", "later", "s3:PutObject"),
    ("ClientError: Artifact upload failed:Error 7: NoSuchBucket (404): The specified bucket does not exist",
     "other", "later", "bucket exists"),
    (("ClientError: Data download failed:Please ensure that the subnet's route table has a route to an S3 VPC endpoint "
     "or a NAT device, and both the security groups and the subnet's network ACL allow outbound traffic to S3."),
     "other", "later", "route to S3"),
    (("ClientError: Artifact upload failed:Please ensure that the subnet's route table has a route to an S3 VPC "
     "endpoint or a NAT device, and both the security groups and the subnet's network ACL allow outbound traffic to "
     "S3"),
     "other", "later", "route to S3"),
    (("ClientError: Data download failed: Failed to download data. ListObjectsV2 failed for s3://data/train/ : Unable "
     "to execute request to S3"), "other", "later", "route to S3"),
    (("ClientError: Data download failed:Failed to download data. S3 key: s3://data/shared//train/rows.csv has an "
     "illegal char sub-sequence '//' in it"), "other", "later", "data is in S3"),
    (('ClientError: No S3 objects found under S3 URL "s3://data/train/" given in input data source. Please ensure that '
     "the bucket exists in the selected region (us-west-2)"), "other", "later", "data is in S3"),
    (("ClientError: Found at least 16 entries in the training data with missing values:\nRow 2, column 1\nRow 32, "
     "column 6, exit code: 2"), "input", "never", "data or the hyperparameters"),
    ("AlgorithmError: , exit code: 1", "other", "later", "job's log"),
    ("AlgorithmError: , exit code: 2", "other", "later", "job's log"),
    ("AlgorithmError: Exit Code: 139", "other", "later", "job's log"),
    ("ClientError: Please use a GPU instance for training", "other", "later", "console"),
    ("", "other", "later", "console"),
]  # fmt: skip
LIMITS = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}


def described(status: str, secondary: str | None = None, passed: tuple[str, ...] = (), **rest: Any) -> Any:
    transitions = [{"Status": one, "StatusMessage": ""} for one in (*passed, secondary or status)]
    return {
        "TrainingJobStatus": status,
        "SecondaryStatus": secondary or status,
        "SecondaryStatusTransitions": transitions,
        "StoppingCondition": LIMITS,
        **rest,
    }


def ended(*arguments: Any, **rest: Any) -> JobOutcome:
    return job_outcome(cast("DescribeTrainingJobResponseTypeDef", described(*arguments, **rest)))


@pytest.mark.parametrize(("reason", "kind", "retry", "remedy"), REASONS)
def test_a_failure_has_the_reason_of_aws_and_a_remedy(reason: str, kind: str, retry: str, remedy: str) -> None:
    found = ended("Failed", FailureReason=reason)
    assert (found.kind, found.retry) == (kind, retry)
    assert found.cause == f"{reason.removesuffix('.') or 'AWS gives no reason'}."
    assert remedy in found.remedy


def test_every_pattern_matches_a_real_reason_and_every_remedy_is_a_sentence() -> None:
    reached = {ended("Failed", FailureReason=reason).remedy for reason, *_ in REASONS}
    assert {remedy for _, remedy in read_catalogue().failures.values()} <= reached
    assert all(re.fullmatch(r"[A-Z].*\.", remedy) for remedy in reached)


def test_every_kind_of_outcome_occurs() -> None:
    kinds = {ended("Failed", FailureReason=reason).kind for reason, *_ in REASONS}
    kinds |= {ended("Stopped", status).kind for status in ("MaxRuntimeExceeded", "MaxWaitTimeExceeded", "Stopped")}
    assert kinds | {ended("Completed").kind} == set(get_args(OutcomeKind))


def test_input_that_the_algorithm_rejects_is_never_retried() -> None:
    text = "ClientError: Artifact upload failed: AccessDenied, CapacityError in row 3, exit code: 2"
    assert ended("Failed", FailureReason=text).retry == "never"


def test_a_failure_without_a_reason_gets_the_general_remedy() -> None:
    assert ended("Failed").remedy == ended("Failed", FailureReason="An unknown reason.").remedy


def test_a_job_that_exceeded_its_time_limit_is_not_retried() -> None:
    found = ended("Stopped", "MaxRuntimeExceeded")
    assert (found.kind, found.retry) == ("compute", "never")
    assert found.cause == "MaxRuntimeExceeded: it trained for longer than its limit of 3600 s."
    assert "max_runtime_seconds" in found.remedy
    assert "max_cost_usd" in found.remedy


def test_a_spot_job_that_exceeded_its_wait_limit_may_be_retried_now() -> None:
    found = ended("Stopped", "MaxWaitTimeExceeded", ("Starting",))
    assert (found.kind, found.retry) == ("capacity", "now")
    assert found.cause == "MaxWaitTimeExceeded: its limit of 7200 s passed before training on spot ended."
    assert "interruption" not in found.cause


def test_a_stopped_job_may_be_retried_by_a_later_run() -> None:
    found = ended("Stopped", ModelArtifacts={"S3ModelArtifacts": "s3://models/half-trained/model.tar.gz"})
    assert (found.kind, found.retry) == ("other", "later")
    assert found.cause.startswith("Stopped: ")


def test_a_completed_job_has_the_outcome_completed() -> None:
    assert ended("Completed").kind == "completed"


@pytest.mark.parametrize(("interruptions", "text"), [(1, "1 spot interruption"), (2, "2 spot interruptions")])
def test_spot_interruptions_are_counted(interruptions: int, text: str) -> None:
    passed = ("Starting", "Downloading", "Training", "Interrupted") * interruptions
    for found in (ended("Stopped", "MaxWaitTimeExceeded", passed), ended("Failed", None, passed)):
        assert found.cause.endswith(f" It had {text}.")


@given(st.text())
def test_any_failure_has_a_cause_and_a_remedy(reason: str) -> None:
    found = ended("Failed", FailureReason=reason)
    assert found.cause.strip(" .")
    assert found.remedy.strip()


@given(st.text())
def test_any_stopped_job_has_a_cause_and_a_remedy(secondary: str) -> None:
    found = ended("Stopped", secondary)
    assert found.cause.strip()
    assert found.remedy.strip()
