"""Fit: start the training job, or adopt the one that this very input already has."""

from prefect import task
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from aws.compute import Compute
from aws.submission import Submission, start_or_adopt
from aws.training_job import ChannelInput, specify
from aws.workspace import Workspace
from linear_learner.errors import HyperparameterError
from linear_learner.hyperparameters import Hyperparameters
from tasks.reuse import RETRIES
from tasks.upload import CONTENT_TYPE, Uploaded

BATCHES_PER_EPOCH = 16
"""At least this many, when the container's default batch is larger than the data."""


@task(task_run_name="fit {hyperparameters.predictor_type} on {compute.instance_type}", **RETRIES)
def fit(workspace: Workspace, uploaded: Uploaded, hyperparameters: Hyperparameters, compute: Compute) -> Submission:
    """Submit the job; its name says what decides its outcome, so that no input is ever paid for twice."""
    logger = get_run_logger()
    fitting = suited(hyperparameters, uploaded["train"].rows)
    if fitting != hyperparameters:
        logger.warning(
            "mini_batch_size is %d: the default of %d does not suit %d training rows",
            fitting.mini_batch_size,
            hyperparameters.mini_batch_size,
            uploaded["train"].rows,
        )
    for warning in fitting.warnings():
        logger.warning(warning)
    channels = tuple(
        ChannelInput(name=file.channel, uri=file.folder, content_type=CONTENT_TYPE, sha256=file.sha256)
        for file in uploaded.files
    )
    spec = specify(workspace, fitting.to_wire(), channels, compute)
    submission = start_or_adopt(workspace, spec, {"prefect:flow-run-id": str(flow_run.id)})
    signs = {"reused": "training job"} if submission.how == "reused" else {}
    logger.info("%s: training job %s", submission.how, submission.name, extra=signs)
    return submission


def suited(hyperparameters: Hyperparameters, rows: int) -> Hyperparameters:
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
