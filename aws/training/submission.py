"""Start a training job, or adopt the existing one with the same input, so that no input is paid for twice."""

import time
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from aws.errors import InvalidRequest, NotFound, TrainingFailed, Unavailable, error_code_and_message, translate_errors
from aws.preflight import check_workspace
from aws.storage import stat_object
from aws.training.leases import RUN_TAG, add_tags, job_tags, lease_tag
from aws.training.outcome import job_outcome
from aws.training.request import FINGERPRINT_TAG, TrainingJobSpec, build_request
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

MAX_ATTEMPTS = 100
DIVERGED_TAG = "linear-learner:diverged"
"""Tag of a job that was stopped because its loss diverged; its value says how."""
DIVERGED_REMEDY = "Choose a smaller learning_rate, normalize_data, or look for extreme values in the data."
MAX_STOPPING_POLLS, STOPPING_PAUSE_SECONDS = 120, 5.0
"""A job that is Stopping has two minutes to end, and then uploads what it has."""
COMPUTE_OUTCOMES = {"max_runtime", "memory", "disk"}
"""Outcomes that another instance type, a larger volume or a longer time limit can change."""
How = Literal["started", "followed", "reused"]
IfExists = Literal["adopt", "new", "fail"]


class Submission(BaseModel):
    """The job that has or will have the result, and whether it was started, was running already, or is complete."""

    model_config = ConfigDict(frozen=True)

    name: str
    arn: str
    how: How


def find_job(workspace: Workspace, name: str) -> "DescribeTrainingJobResponseTypeDef | None":
    """The DescribeTrainingJob response, or None when there is no job of that name."""
    with translate_errors(f"looking for training job {name}"):
        try:
            return workspace.client("sagemaker").describe_training_job(TrainingJobName=name)
        except ClientError as error:
            # SageMaker has no specific error code for this; the wording is that of real responses.
            if "not found" in error_code_and_message(error)[1].lower():
                return None
            raise


def start_or_adopt(
    workspace: Workspace, spec: TrainingJobSpec, run: str, tags: dict[str, str], if_exists: IfExists = "adopt"
) -> Submission:
    """Find the job of this fingerprint by its name, or create it; the flow run `run` gets a lease on a job that runs.

    A job that is Completed, with its model still in S3, is reused; one that is InProgress is followed. After one that
    was stopped, whose model was deleted, or that failed for a reason that may pass, the next attempt's name is tried.
    Raises TrainingFailed when the same input would fail again. With `if_exists` other than "adopt" only a job of this
    same flow run is adopted; another one that is running or complete is skipped ("new") or an error ("fail"). Two
    callers at once get the same job, as SageMaker refuses a second job of the same name; when the response to the
    creation is lost, the job is looked up.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        name = spec.name(attempt)
        description = _wait_while_stopping(workspace, name)
        if description is None:
            arn = _create(workspace, spec, name, {**tags, RUN_TAG: run, **lease_tag(run)})
            if arn:
                return Submission(name=name, arn=arn, how="started")
            description = _wait_while_stopping(workspace, name)
        if description is None:
            raise InvalidRequest(f"Training job {name} both exists and does not. Check who else uses this account.")
        adopted = _adopt(workspace, spec, description, run, if_exists)
        if adopted:
            return adopted
    raise InvalidRequest(
        f"{MAX_ATTEMPTS} training jobs with this very input have failed or were stopped, the last one {name}. "
        "Look at their FailureReason and change the input."
    )


def _wait_while_stopping(workspace: Workspace, name: str) -> "DescribeTrainingJobResponseTypeDef | None":
    """As `find_job`, but waits for a job that is Stopping, as only its end shows its outcome."""
    for _ in range(MAX_STOPPING_POLLS):
        description = find_job(workspace, name)
        if description is None or description["TrainingJobStatus"] != "Stopping":
            return description
        time.sleep(STOPPING_PAUSE_SECONDS)
    raise Unavailable(
        f"Training job {name} is still Stopping after {MAX_STOPPING_POLLS * STOPPING_PAUSE_SECONDS:.0f} s."
    )


def _create(workspace: Workspace, spec: TrainingJobSpec, name: str, tags: dict[str, str]) -> str | None:
    """The new job's ARN, or None when the name is taken: by another run, or by this one if a response was lost."""
    check_workspace(workspace)  # just before it is paid for: the data may have been prepared days ago
    try:
        with translate_errors(f"creating training job {name}"):
            try:
                created = workspace.client("sagemaker").create_training_job(
                    **build_request(workspace, spec, name, tags)
                )
            except ClientError as error:
                if error_code_and_message(error)[0] == "ResourceInUse":
                    return None
                raise
    except Unavailable:
        if find_job(workspace, name):
            return None
        raise
    return created["TrainingJobArn"]


def _adopt(
    workspace: Workspace,
    spec: TrainingJobSpec,
    description: "DescribeTrainingJobResponseTypeDef",
    run: str,
    if_exists: IfExists,
) -> Submission | None:
    name, arn = description["TrainingJobName"], description["TrainingJobArn"]
    tags = job_tags(workspace, arn)
    own = tags.get(RUN_TAG) == run
    if if_exists == "new" and not own:
        return None
    if tags.get(FINGERPRINT_TAG) != spec.fingerprint:
        raise InvalidRequest(
            f"{arn} has the name of this run's job but another fingerprint ({tags.get(FINGERPRINT_TAG)}). It was not "
            "made by this project; delete it or use another account."
        )
    how = _adoption_mode(workspace, description)
    if how is None:
        _check_worth_another_attempt(spec, description, tags)
        return None
    if if_exists == "fail" and not own:
        raise InvalidRequest(
            f"Training job {name} has this very input and is {description['TrainingJobStatus']}. To use it, choose "
            'if_exists "adopt"; to pay for another one, "new".'
        )
    if how == "followed":
        add_tags(workspace, arn, lease_tag(run))
    return Submission(name=name, arn=arn, how="started" if own else how)


def _adoption_mode(workspace: Workspace, description: "DescribeTrainingJobResponseTypeDef") -> How | None:
    if description["TrainingJobStatus"] == "InProgress":
        return "followed"
    if description["TrainingJobStatus"] != "Completed":
        return None
    try:
        stat_object(workspace, description["ModelArtifacts"]["S3ModelArtifacts"])
    except NotFound:
        return None
    return "reused"


def _check_worth_another_attempt(
    spec: TrainingJobSpec, description: "DescribeTrainingJobResponseTypeDef", tags: dict[str, str]
) -> None:
    if description["TrainingJobStatus"] == "Completed":
        return  # its model was deleted
    outcome = job_outcome(description)
    retry, cause, remedy = outcome.retry, outcome.cause, outcome.remedy
    if DIVERGED_TAG in tags:
        retry, cause, remedy = "never", f"It was stopped, as {tags[DIVERGED_TAG]}.", DIVERGED_REMEDY
    elif outcome.kind in COMPUTE_OUTCOMES and _has_more_resources(spec, description):
        return
    if retry == "never":
        raise TrainingFailed(
            f"Training job {description['TrainingJobName']} had this very input. {cause} The same input would fail "
            f"again, and cost again. {remedy}"
        )


def _has_more_resources(spec: TrainingJobSpec, description: "DescribeTrainingJobResponseTypeDef") -> bool:
    requested, previous = spec.compute, description["ResourceConfig"]
    return (
        requested.instance_type != previous.get("InstanceType")
        or requested.volume_size_gb > previous["VolumeSizeInGB"]
        or requested.max_runtime_seconds > description["StoppingCondition"].get("MaxRuntimeInSeconds", 0)
    )
