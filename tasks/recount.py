"""Recount: read the log of the finished job once more, and say what it tells of the training."""

from prefect import task
from prefect.logging import get_run_logger

from aws.errors import AwsError
from aws.following import log_of
from aws.workspace import Workspace
from linear_learner.log_reader import LogReader
from linear_learner.story import Story
from tasks.monitor import FinishedJob
from tasks.reuse import KEPT, RETRIES, Inputs, Result, WhileItExists

VERSION = 1
"""Of what is read off a log."""


class Recounted(Result):
    """What the log tells, or why there is nothing to tell."""

    story: Story | None
    objection: str | None

    def __str__(self) -> str:
        return f"story of the training, {self.story.epochs} epochs" if self.story else "no story of the training"


def _identity(inputs: Inputs) -> tuple[object, ...]:
    job: FinishedJob = inputs["job"]
    return job.name, job.created.isoformat(), VERSION


def _missing(inputs: Inputs, recounted: Recounted) -> list[str]:
    return [] if recounted.story else [f"the log of {inputs['job'].name}"]


@task(
    task_run_name="recount {job.name}",
    cache_policy=WhileItExists(step="recount", identity=_identity, missing=_missing, of=("training job",)),
    **KEPT,
    **RETRIES,
)
def recount(workspace: Workspace, job: FinishedJob) -> Recounted:
    """The story of the training, for the report; that its log cannot be read is no reason to fail."""
    try:
        report = LogReader.read(log_of(workspace, job.name))
    except AwsError as error:
        if error.retryable:
            raise
        get_run_logger().warning("The report will not tell how the model was trained. %s", error)
        return Recounted(story=None, objection=str(error))
    if not report.epochs:
        return Recounted(story=None, objection="CloudWatch holds no log of the job (any more).")
    return Recounted(story=Story.of(report), objection=None)
