"""Start a training job, or adopt the existing one with the same input, so that no input is paid for twice."""

import time
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from aws.errors import AwsError, InvalidRequest, JobOutcome, NotFound, TrainingFailed, Unavailable, translate_errors
from aws.resource_tags import read_tags
from aws.storage import stat_object
from aws.training.following import describe_job
from aws.training.leases import RUN_TAG, lease_tag, renew_lease
from aws.training.outcome import job_outcome
from aws.training.request import FINGERPRINT_TAG, TrainingJobSpec, build_request
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef as JobDescription

MAX_ATTEMPTS = 100
DIVERGED_TAG = "linear-learner:diverged"
"""Tag of a job that was stopped because its loss diverged; its value describes the divergence."""
DIVERGED_REMEDY = "Choose a smaller learning_rate, set normalize_data, or look for extreme values in the data."
MAX_STOPPING_POLLS, STOPPING_PAUSE_SECONDS = 120, 5.0
"""Limit and interval of polling a job that is Stopping: it has two minutes to end, then it uploads its model."""
How = Literal["started", "followed", "reused"]
IfExists = Literal["adopt", "new", "fail"]


class Submission(BaseModel, frozen=True):
    """A training job, and whether this run started it, follows one that was running, or reuses a completed one."""

    name: str
    arn: str
    how: How
    lease_problem: str = ""
    """Why the followed job has no lease of this run; empty if it has one or needs none."""


def start_or_adopt(
    workspace: Workspace, spec: TrainingJobSpec, run: str, tags: dict[str, str], if_exists: IfExists = "adopt"
) -> Submission:
    """Find the job with this fingerprint by its name, or create it; a running job gets a lease of the flow run `run`.

    A Completed job whose model is still in S3 is reused; an InProgress job is followed. If the job was stopped, its
    model was deleted, or it failed for a temporary reason, the name of the next attempt is tried. TrainingFailed is
    raised when the same input would fail again. With `if_exists` "new" or "fail" only a job of this flow run is
    adopted; any other running or completed job is skipped ("new") or raises InvalidRequest ("fail"). Concurrent calls
    return the same job, as SageMaker rejects a second job of that name; after a lost response the job is looked up.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        name = spec.name(attempt)
        description = _wait_while_stopping(workspace, name)
        if description is None:
            if arn := _create(workspace, spec, name, {**tags, RUN_TAG: run, **lease_tag(run)}):
                return Submission(name=name, arn=arn, how="started")
            description = _wait_while_stopping(workspace, name) or describe_job(workspace, name)
        if adopted := _adopt(workspace, spec, description, run, if_exists):
            return adopted
    raise InvalidRequest(
        f"{MAX_ATTEMPTS} training jobs with the same input failed or were stopped, the last one is {name}. "
        "Read their FailureReason and change the input."
    )


def _wait_while_stopping(workspace: Workspace, name: str) -> "JobDescription | None":
    """Return the job's description once it is not Stopping, when its outcome is known; None if there is no such job."""
    for _ in range(MAX_STOPPING_POLLS):
        try:
            description = describe_job(workspace, name)
        except NotFound:
            return None
        if description["TrainingJobStatus"] != "Stopping":
            return description
        time.sleep(STOPPING_PAUSE_SECONDS)
    raise Unavailable(
        f"Training job {name} is still Stopping after {MAX_STOPPING_POLLS * STOPPING_PAUSE_SECONDS:.0f} s."
    )


def _create(workspace: Workspace, spec: TrainingJobSpec, name: str, tags: dict[str, str]) -> str | None:
    """Return the new job's ARN; None if the name is taken, by another run or, if a response was lost, by this run."""
    try:
        with translate_errors(f"creating training job {name}"):
            request = build_request(workspace, spec, name, tags)
            return workspace.client("sagemaker").create_training_job(**request)["TrainingJobArn"]
    except AwsError as error:
        if error.code == "ResourceInUse" or (error.retryable and _wait_while_stopping(workspace, name)):
            return None
        raise


def _adopt(
    workspace: Workspace, spec: TrainingJobSpec, description: "JobDescription", run: str, if_exists: IfExists
) -> Submission | None:
    name, arn, status = description["TrainingJobName"], description["TrainingJobArn"], description["TrainingJobStatus"]
    tags = read_tags(workspace, arn)
    is_own = tags.get(RUN_TAG) == run
    if if_exists == "new" and not is_own:
        return None
    if tags.get(FINGERPRINT_TAG) != spec.fingerprint:
        raise InvalidRequest(
            f"{arn} has the name of this run's job but another fingerprint ({tags.get(FINGERPRINT_TAG)}). It was not "
            "created by this project. Delete it or use another account."
        )
    if not _is_usable(workspace, description):
        _check_worth_another_attempt(spec, description, tags)
        return None
    if if_exists == "fail" and not is_own:
        raise InvalidRequest(
            f"Training job {name} has the same input and is {status}. Set if_exists to "
            '"adopt" to use this job, or to "new" to pay for another one.'
        )
    how: How = "started" if is_own else "followed" if status == "InProgress" else "reused"
    problem = _take_lease(workspace, arn, run, tags) if status == "InProgress" else ""
    return Submission(name=name, arn=arn, how=how, lease_problem=problem)


def _take_lease(workspace: Workspace, arn: str, run: str, tags: dict[str, str]) -> str:
    """Give a running job a lease of this run; return why that is not possible, as the job is followed anyway."""
    try:
        return "" if renew_lease(workspace, arn, run, tags) else "It has no room for another tag."
    except AwsError as error:
        if error.retryable:
            raise
        return str(error)


def _is_usable(workspace: Workspace, description: "JobDescription") -> bool:
    """Whether the job is running, or is completed and its model still exists."""
    if description["TrainingJobStatus"] != "Completed":
        return description["TrainingJobStatus"] == "InProgress"
    try:
        stat_object(workspace, description["ModelArtifacts"]["S3ModelArtifacts"])
    except NotFound:
        return False
    return True


def _check_worth_another_attempt(spec: TrainingJobSpec, description: "JobDescription", tags: dict[str, str]) -> None:
    outcome, requested, previous = job_outcome(description), spec.compute, description["ResourceConfig"]
    if DIVERGED_TAG in tags:
        outcome = JobOutcome("input", f"It was stopped because {tags[DIVERGED_TAG]}.", DIVERGED_REMEDY)
    has_more_resources = (
        requested.instance_type != previous.get("InstanceType")
        or requested.volume_size_gb > previous["VolumeSizeInGB"]
        or requested.max_runtime_seconds > description["StoppingCondition"].get("MaxRuntimeInSeconds", 0)
    )
    if outcome.retry == "never" and not (outcome.kind == "compute" and has_more_resources):
        raise TrainingFailed(
            f"Training job {description['TrainingJobName']} had the same input. {outcome.cause} This input would "
            f"fail again at the same cost. {outcome.remedy}"
        )
