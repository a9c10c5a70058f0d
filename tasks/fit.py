"""Fit: start the training job, or adopt the existing one with the same input."""

from collections.abc import Mapping

from prefect import task
from prefect.logging import get_run_logger
from prefect.runtime import deployment, flow_run

from aws.errors import AwsError, InvalidRequest, NoCapacity, QuotaExceeded, UnsupportedInstanceType
from aws.prices import find_price
from aws.training.compute import CapacityOption, Compute, capacity_options
from aws.training.cost import describe_worst_case, runtime_limit
from aws.training.request import build_spec, to_tag_value
from aws.training.submission import IfExists, Submission, start_or_adopt
from aws.workspace import Workspace
from linear_learner.hyperparameters import Hyperparameters
from tasks.caching.explain_rerun import ROUTINE, flatten, is_routine
from tasks.caching.policy import RETRIES, UNCACHED, Result
from tasks.caching.result_storage import count_as_reused, explain_rerun
from tasks.prefect_ui.cancellation import wait_unless_cancelled
from tasks.prefect_ui.events import show_job
from tasks.upload import Uploaded

DEPLOYMENT_TAG = "prefect:deployment"
Refusal = QuotaExceeded | NoCapacity | UnsupportedInstanceType
"""AWS does not start the job on the requested instances; it may on others."""


class FitResult(Result):
    """The job that was started or adopted, and the instances that were requested for it."""

    submission: Submission
    option: CapacityOption


@task(task_run_name="fit {hyperparameters.predictor_type} on {compute.instance_type}", **UNCACHED, **RETRIES)
def fit(  # noqa: PLR0913, PLR0917 - the parameters of a job
    workspace: Workspace,
    uploaded: Uploaded,
    hyperparameters: Hyperparameters,
    compute: Compute,
    if_exists: IfExists = "adopt",
    first_option: int = 0,
) -> FitResult:
    """Submit the job; its name is derived from its input, so that no input is paid for twice.

    While the quota is used up or AWS has no capacity, wait and try the other instances that `compute` allows. An
    instance type that AWS refuses for another reason is skipped. Raises QuotaExceeded, NoCapacity or
    UnsupportedInstanceType after `max_queue_seconds`, or at once when waiting cannot help.
    """
    _warn(hyperparameters, compute)
    refusals: dict[str, Refusal] = {}
    excluded: set[Compute] = set()
    for option in capacity_options(compute, first_option, excluded):
        _wait(option.pause)
        try:
            submission = _submit(workspace, uploaded, hyperparameters, option.compute, if_exists)
        except (QuotaExceeded, NoCapacity, UnsupportedInstanceType) as error:
            instance_type, is_skipped = option.compute.instance_type, not _waiting_helps(error)
            get_run_logger().warning("%s%s", f"{instance_type} is skipped: " if is_skipped else "", error)
            refusals[instance_type] = error
            if is_skipped:
                excluded.add(option.compute)
        else:
            return FitResult(submission=submission, option=option)
    raise _summarize(refusals) or NoCapacity(
        f"AWS had none of the requested instances within {compute.max_queue_seconds} s. Allow other types with "
        "fallback_instance_types, or wait longer with max_queue_seconds."
    )


def _waiting_helps(error: Refusal) -> bool:
    return error.waiting_helps if isinstance(error, QuotaExceeded) else isinstance(error, NoCapacity)


def _summarize(refusals: Mapping[str, Refusal]) -> AwsError | None:
    """Return one error with the last refusal of each instance type; None if there was none."""
    if len(refusals) < 2:
        only = next(iter(refusals.values()), None)
        return only.__cause__ if only and isinstance(only.__cause__, InvalidRequest) else only
    # The class of the first refusal for which waiting longer could have helped, if there is one.
    first = max(refusals.values(), key=_waiting_helps)
    listed = "".join(f"\n{number}. {name}: {refusals[name]}" for number, name in enumerate(refusals, start=1))
    return type(first)(f"AWS accepted none of the {len(refusals)} instance types:{listed}")


def _warn(hyperparameters: Hyperparameters, compute: Compute) -> None:
    logger = get_run_logger()
    for warning in hyperparameters.warnings():
        logger.warning(warning)
    if compute.spot and not compute.checkpoints:
        logger.warning("spot without checkpoints: after an interruption training restarts, and the lost time is billed")


def _wait(seconds: float) -> None:
    if seconds:
        get_run_logger().info("waiting for instances: next attempt in %.0f s", seconds)
        wait_unless_cancelled(seconds)


def _submit(
    workspace: Workspace, uploaded: Uploaded, hyperparameters: Hyperparameters, compute: Compute, if_exists: IfExists
) -> Submission:
    logger = get_run_logger()
    found = find_price(workspace, compute.instance_type, logger.warning)
    try:
        limit = runtime_limit(compute, found.price, found.problem)
    except InvalidRequest as error:  # the budget may be enough for another type, or its price may be known
        raise UnsupportedInstanceType(str(error)) from error
    limited = compute.model_copy(update={"max_runtime_seconds": limit})
    spec = build_spec(workspace, hyperparameters.to_wire(), uploaded.channels, limited, uploaded.schema_sha256)
    at_most = describe_worst_case(limited, found.price, workspace.region)
    tags = {DEPLOYMENT_TAG: to_tag_value(deployment.name)} if deployment.name else {}
    submission = start_or_adopt(workspace, spec, str(flow_run.id), tags, if_exists)
    if submission.how == "started":
        made_of = {**uploaded.made_of, **flatten({"hyperparameters": hyperparameters})}
        unusable = "the last job with this input did not complete, or its model was deleted"
        default_reason = "if_exists is new" if if_exists == "new" else unusable
        why = explain_rerun("fit", made_of, f"training job {submission.name}", default_reason)
        logger.info(why, extra={ROUTINE: is_routine(why)})
        logger.info("started: training job %s, %s", submission.name, at_most)
    elif submission.how == "reused":
        count_as_reused("training job")
    if submission.how != "started":
        logger.info("%s: training job %s", submission.how, submission.name)
    if submission.lease_problem:
        logger.warning(
            "followed without a lease: another run that follows the job can stop it. %s", submission.lease_problem
        )
    show_job(workspace, submission, at_most)
    return submission
