"""Start a training job, or adopt the one that exists: the same input never pays twice."""

from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from aws.errors import InvalidRequest, NotFound, TrainingFailed, answer, translated
from aws.storage import look
from aws.training_job import FINGERPRINT_TAG, TrainingJobSpec, request
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

MOST_ATTEMPTS = 100
How = Literal["started", "followed", "reused"]


class Submission(BaseModel):
    """The job that will have the result, and what it took: a new job, one that runs already, one that is done."""

    model_config = ConfigDict(frozen=True)

    name: str
    arn: str
    how: How


def describe(workspace: Workspace, name: str) -> "DescribeTrainingJobResponseTypeDef | None":
    """DescribeTrainingJob's answer, or None when there is no job of that name."""
    with translated(f"looking for training job {name}"):
        try:
            return workspace.client("sagemaker").describe_training_job(TrainingJobName=name)
        except ClientError as error:
            # SageMaker has no code of its own for this; the wording is read off real answers.
            if "not found" in answer(error)[1].lower():
                return None
            raise


def start_or_adopt(workspace: Workspace, spec: TrainingJobSpec, tags: dict[str, str]) -> Submission:
    """Find the job of this fingerprint, by name, or create it.

    Completed with its model still in S3: reused. InProgress: followed. Stopped, its model deleted, or Failed for a
    reason outside of it: the next attempt's name is tried. Raises TrainingFailed when the algorithm itself has refused
    this very input before. Two callers at once end with one job, as SageMaker refuses a second of the same name.
    """
    for attempt in range(1, MOST_ATTEMPTS + 1):
        name = spec.name(attempt)
        description = describe(workspace, name)
        if description is None:
            arn = _create(workspace, spec, name, tags)
            if arn:
                return Submission(name=name, arn=arn, how="started")
            description = describe(workspace, name)
        if description is None:
            raise InvalidRequest(f"Training job {name} both exists and does not. Check who else uses this account.")
        how = _adoptable(workspace, description)
        if how:
            _check_fingerprint(workspace, spec, description["TrainingJobArn"])
            return Submission(name=name, arn=description["TrainingJobArn"], how=how)
    raise InvalidRequest(
        f"{MOST_ATTEMPTS} training jobs with this very input have failed or were stopped, the last one {name}. "
        "Look at their FailureReason and change the input."
    )


def _create(workspace: Workspace, spec: TrainingJobSpec, name: str, tags: dict[str, str]) -> str | None:
    with translated(f"creating training job {name}"):
        try:
            created = workspace.client("sagemaker").create_training_job(**request(workspace, spec, name, tags))
        except ClientError as error:
            if answer(error)[0] == "ResourceInUse":
                return None
            raise
    return created["TrainingJobArn"]


def _adoptable(workspace: Workspace, description: "DescribeTrainingJobResponseTypeDef") -> How | None:
    if description["TrainingJobStatus"] == "InProgress":
        return "followed"
    if description["TrainingJobStatus"] != "Completed":
        _check_worth_another_attempt(description)
        return None
    try:
        look(workspace, description["ModelArtifacts"]["S3ModelArtifacts"])
    except NotFound:
        return None
    return "reused"


def _check_worth_another_attempt(description: "DescribeTrainingJobResponseTypeDef") -> None:
    reason = description.get("FailureReason", "")
    # The container's exit code for what is wrong with data or hyperparameters, both of which the fingerprint covers.
    if reason.endswith("exit code: 2"):
        raise TrainingFailed(
            f"Training job {description['TrainingJobName']} had this very input and failed: {reason}. It would fail "
            "again, and cost again. Change the data or the hyperparameters."
        )


def _check_fingerprint(workspace: Workspace, spec: TrainingJobSpec, arn: str) -> None:
    with translated(f"reading the tags of {arn}"):
        tags = workspace.client("sagemaker").list_tags(ResourceArn=arn)["Tags"]
    found = {tag["Key"]: tag["Value"] for tag in tags}.get(FINGERPRINT_TAG)
    if found != spec.fingerprint:
        raise InvalidRequest(
            f"{arn} has the name of this run's job but another fingerprint ({found}). It was not made by this project; "
            "delete it or use another account."
        )
