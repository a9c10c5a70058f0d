"""Fit: start the training job, or adopt the one that this very input already has."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import deployment, flow_run

from aws.errors import NoCapacity, QuotaExceeded
from aws.training.compute import CapacityOption, Compute, capacity_options
from aws.training.cost import price, runtime_limit, worst_case
from aws.training.request import specify, taggable
from aws.training.submission import IfExists, Submission, start_or_adopt
from aws.workspace import Workspace
from linear_learner.errors import HyperparameterError
from linear_learner.hyperparameters import Hyperparameters
from tasks.caching.explain_rerun import DATA, why
from tasks.caching.policy import RETRIES, Result
from tasks.prefect_ui.cancellation import wait_unless_cancelled
from tasks.prefect_ui.events import announce_job
from tasks.upload import Uploaded

BATCHES_PER_EPOCH = 16
"""At least this many, when the container's default batch is larger than the data."""
WHAT_DECIDES = (*DATA, "hyperparameters", "compute.instance_count")
"""Names of the facts that a training job's outcome depends on."""
DEPLOYMENT_TAG = "prefect:deployment"


class Fitted(Result):
    """The job that was started or adopted, and the kind of instances it was asked for."""

    submission: Submission
    option: CapacityOption


@task(task_run_name="fit {hyperparameters.predictor_type} on {compute.instance_type}", cache_policy=NO_CACHE, **RETRIES)
def fit(  # noqa: PLR0913, PLR0917 - what decides about a job
    workspace: Workspace,
    uploaded: Uploaded,
    hyperparameters: Hyperparameters,
    compute: Compute,
    if_exists: IfExists = "adopt",
    first_option: int = 0,
) -> Fitted:
    """Submit the job; its name says what decides its outcome, so that no input is ever paid for twice.

    While the account's quota is in use it waits in line and asks for the other kinds of instances; raises QuotaExceeded
    when that takes longer than `max_queue_seconds`, or cannot help.
    """
    rows = uploaded["train"].rows
    fitting = fit_batch_size(hyperparameters, rows)
    _warn(hyperparameters, fitting, compute, rows)
    refused: QuotaExceeded | NoCapacity | None = None
    hopeless: set[Compute] = set()
    pause = 0.0
    for option in capacity_options(compute, first_option):
        pause += option.pause
        if option.compute in hopeless:
            continue
        _wait(pause)
        pause = 0.0
        try:
            submission = _submit(workspace, uploaded, fitting, option.compute, if_exists)
        except (QuotaExceeded, NoCapacity) as error:
            get_run_logger().warning("%s", error)
            refused = error
            if isinstance(error, QuotaExceeded) and not error.waiting_helps:
                hopeless.add(option.compute)
        else:
            return Fitted(submission=submission, option=option)
    raise refused or NoCapacity(
        f"AWS had none of the instances asked for in {compute.max_queue_seconds} s. Allow other types with "
        "fallback_instance_types, or wait longer with max_queue_seconds."
    )


def _warn(asked: Hyperparameters, fitting: Hyperparameters, compute: Compute, rows: int) -> None:
    logger = get_run_logger()
    if fitting != asked:
        said = "mini_batch_size is %d: the default of %d does not suit %d training rows"
        logger.warning(said, fitting.mini_batch_size, asked.mini_batch_size, rows)
    for warning in fitting.warnings():
        logger.warning(warning)
    if compute.spot and not compute.checkpoints:
        logger.warning("spot without checkpoints: an interrupted job begins again, and what it had trained is paid for")


def _wait(seconds: float) -> None:
    if seconds:
        get_run_logger().info("waiting in line for instances: asking again in %.0f s", seconds)
        wait_unless_cancelled(seconds)


def _submit(
    workspace: Workspace, uploaded: Uploaded, fitting: Hyperparameters, compute: Compute, if_exists: IfExists
) -> Submission:
    logger = get_run_logger()
    hourly = price(compute.instance_type, workspace.region, workspace.prices)
    kind, count = compute.instance_type, compute.instance_count
    limit = runtime_limit(compute.max_runtime_seconds, compute.max_cost_usd, hourly, count, kind)
    affordable = compute.model_copy(update={"max_runtime_seconds": limit})
    spec = specify(workspace, fitting.to_wire(), uploaded.inputs, affordable)
    at_most = worst_case(kind, limit, count, hourly, workspace.region)
    logger.info("if it has to be trained: %s", at_most)
    tags = {DEPLOYMENT_TAG: taggable(deployment.name)} if deployment.name else {}
    submission = start_or_adopt(workspace, spec, str(flow_run.id), tags, if_exists)
    otherwise = (
        "if_exists is new" if if_exists == "new" else "the last job of this input has failed, or its model is gone"
    )
    reason = why("fit", WHAT_DECIDES, f"training job {submission.name}", otherwise)
    if submission.how == "started":
        logger.info(reason)
    signs = {"reused": "training job"} if submission.how == "reused" else {}
    logger.info("%s: training job %s", submission.how, submission.name, extra=signs)
    announce_job(workspace, submission, at_most)
    return submission


def fit_batch_size(hyperparameters: Hyperparameters, rows: int) -> Hyperparameters:
    """With a mini_batch_size that `rows` allow: a default too large is made a power of two, a chosen one refused.

    The container fails a job whose mini_batch_size exceeds its rows, after the instance was paid for.
    """
    if hyperparameters.mini_batch_size <= rows:
        return hyperparameters
    if hyperparameters.mini_batch_size != Hyperparameters().mini_batch_size:
        raise HyperparameterError(
            f"mini_batch_size is {hyperparameters.mini_batch_size}, but there are only {rows} training rows. "
            f"Choose at most {rows}."
        )
    batch = 1 << max(0, (rows // BATCHES_PER_EPOCH).bit_length() - 1)
    return hyperparameters.model_copy(update={"mini_batch_size": batch})
