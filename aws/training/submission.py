"""Start a training job, or adopt the one that exists: the same input never pays twice."""

import time
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from aws.errors import InvalidRequest, NotFound, TrainingFailed, Unavailable, answer, translated
from aws.preflight import check_workspace
from aws.storage import look
from aws.training.leases import RUN_TAG, add_tags, lease_tag, tags_of
from aws.training.outcome import job_outcome
from aws.training.request import FINGERPRINT_TAG, TrainingJobSpec, request
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

MAX_ATTEMPTS = 100
DIVERGED_TAG = "linear-learner:diverged"
"""On a job that was stopped because its loss diverged; its value says how."""
DIVERGED_REMEDY = "Choose a smaller learning_rate, normalize_data, or look for extreme values in the data."
MAX_STOPPING_POLLS, STOPPING_PAUSE_SECONDS = 120, 5.0
"""A job that is told to stop has two minutes to end, and then uploads what it has."""
COMPUTE_KINDS = {"max_runtime", "memory", "disk"}
"""Kinds of endings that another instance, disk or limit can change."""
How = Literal["started", "followed", "reused"]
IfExists = Literal["adopt", "new", "fail"]


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


def start_or_adopt(
    workspace: Workspace, spec: TrainingJobSpec, run: str, tags: dict[str, str], if_exists: IfExists = "adopt"
) -> Submission:
    """Find the job of this fingerprint, by name, or create it, for the flow run of id `run`, which follows it now.

    Completed with its model still in S3: reused. InProgress: followed. Stopped, its model deleted, or Failed for a
    reason that may pass: the next attempt's name is tried. Raises TrainingFailed when this very input would fail again.
    With `if_exists` other than "adopt" only a job of this same flow run is adopted; another that is running or complete
    is passed over ("new") or an error ("fail"). Two callers at once end with one job, as SageMaker refuses a second of
    the same name; an answer that got lost is made up for by looking.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        name = spec.name(attempt)
        description = _settled(workspace, name)
        if description is None:
            arn = _create(workspace, spec, name, {**tags, RUN_TAG: run, **lease_tag(run)})
            if arn:
                return Submission(name=name, arn=arn, how="started")
            description = _settled(workspace, name)
        if description is None:
            raise InvalidRequest(f"Training job {name} both exists and does not. Check who else uses this account.")
        adopted = _adopt(workspace, spec, description, run, if_exists)
        if adopted:
            return adopted
    raise InvalidRequest(
        f"{MAX_ATTEMPTS} training jobs with this very input have failed or were stopped, the last one {name}. "
        "Look at their FailureReason and change the input."
    )


def _settled(workspace: Workspace, name: str) -> "DescribeTrainingJobResponseTypeDef | None":
    """As `describe`, but a job that is about to stop is waited for: only then can it be told what it came to."""
    for _ in range(MAX_STOPPING_POLLS):
        description = describe(workspace, name)
        if description is None or description["TrainingJobStatus"] != "Stopping":
            return description
        time.sleep(STOPPING_PAUSE_SECONDS)
    raise Unavailable(
        f"Training job {name} is still Stopping after {MAX_STOPPING_POLLS * STOPPING_PAUSE_SECONDS:.0f} s."
    )


def _create(workspace: Workspace, spec: TrainingJobSpec, name: str, tags: dict[str, str]) -> str | None:
    """The new job's ARN, or None when there is a job of that name by now: another's, or ours if the answer got lost."""
    check_workspace(workspace)  # last, as the table may have been loaded on another day
    try:
        with translated(f"creating training job {name}"):
            try:
                created = workspace.client("sagemaker").create_training_job(**request(workspace, spec, name, tags))
            except ClientError as error:
                if answer(error)[0] == "ResourceInUse":
                    return None
                raise
    except Unavailable:
        if describe(workspace, name):
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
    tags = tags_of(workspace, arn)
    own = tags.get(RUN_TAG) == run
    if if_exists == "new" and not own:
        return None
    if tags.get(FINGERPRINT_TAG) != spec.fingerprint:
        raise InvalidRequest(
            f"{arn} has the name of this run's job but another fingerprint ({tags.get(FINGERPRINT_TAG)}). It was not "
            "made by this project; delete it or use another account."
        )
    how = _adoptable(workspace, description)
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


def _adoptable(workspace: Workspace, description: "DescribeTrainingJobResponseTypeDef") -> How | None:
    if description["TrainingJobStatus"] == "InProgress":
        return "followed"
    if description["TrainingJobStatus"] != "Completed":
        return None
    try:
        look(workspace, description["ModelArtifacts"]["S3ModelArtifacts"])
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
    elif outcome.kind in COMPUTE_KINDS and _is_given_more(spec, description):
        return
    if retry == "never":
        raise TrainingFailed(
            f"Training job {description['TrainingJobName']} had this very input. {cause} It would end so again, and "
            f"cost again. {remedy}"
        )


def _is_given_more(spec: TrainingJobSpec, description: "DescribeTrainingJobResponseTypeDef") -> bool:
    asked, had = spec.compute, description["ResourceConfig"]
    return (
        asked.instance_type != had.get("InstanceType")
        or asked.volume_size_gb > had["VolumeSizeInGB"]
        or asked.max_runtime_seconds > description["StoppingCondition"].get("MaxRuntimeInSeconds", 0)
    )
