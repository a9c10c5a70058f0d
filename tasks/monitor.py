"""Monitor: follow the training job to its end, with its phases, its metrics and its log."""

from datetime import datetime
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from aws.errors import AwsError, TrainingFailed
from aws.training.cost import Bill, price
from aws.training.following import LogLine, Position, Status, described, follow, log_of
from aws.training.leases import add_tags
from aws.training.outcome import job_outcome
from aws.training.stopping import stop, stop_when_interrupted
from aws.training.submission import DIVERGED_REMEDY, DIVERGED_TAG, Submission
from aws.workspace import Workspace
from linear_learner.logs.reader import LogReader
from linear_learner.logs.training_summary import TrainingSummary, divergence
from tasks.caching.local_files import cache_folder
from tasks.caching.policy import PERSISTED, RETRIES, ContentCachePolicy, Inputs, Result
from tasks.prefect_ui.cancellation import wait_unless_cancelled
from tasks.prefect_ui.job_progress import JobProgress

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef


class FinishedJob(Result):
    """A training job that completed: its model, its final metrics, its creation (UTC), what it cost."""

    name: str
    model_uri: str
    metrics: dict[str, float]
    created: datetime
    bill: Bill


class _Diverged(Exception):
    """The job's loss left all bounds; the message says how."""


@task(task_run_name="monitor {submission.name}", cache_policy=NO_CACHE, **RETRIES)
def monitor(workspace: Workspace, submission: Submission, *, stop_when_diverging: bool = False) -> FinishedJob:
    """Wait for the job, telling what happens; raises TrainingFailed with the reason when it ends without a model.

    When the run is interrupted or cancelled the job is stopped, unless another run follows it as well.
    """
    name, run = submission.name, str(flow_run.id)
    if submission.how == "reused":
        return _finished(workspace, described(workspace, name), said="0 USD; reuse saved")
    news = _News(name, stop_when_diverging=stop_when_diverging)
    position = Position.load(cache_folder() / "following" / f"{run}-{name}.json")
    with stop_when_interrupted(workspace, name, run):
        try:
            description = follow(workspace, name, run, news, position)
        except _Diverged as reason:
            raise _diverged(workspace, submission, str(reason), tuple(news.tail)) from None
    return _finished(workspace, description, tuple(news.tail))


class _News(JobProgress):
    """The display, which also looks whether it is worth going on."""

    def __init__(self, job: str, *, stop_when_diverging: bool) -> None:
        super().__init__(job)
        self._stop_when_diverging = stop_when_diverging

    def tell(self, event: Status | LogLine) -> None:
        self.show(event)
        if self._stop_when_diverging and (reason := divergence(self.epochs)):
            raise _Diverged(reason)

    def wait(self, seconds: float) -> None:
        wait_unless_cancelled(seconds)


def _diverged(workspace: Workspace, submission: Submission, reason: str, tail: tuple[str, ...]) -> TrainingFailed:
    """Stop the job for good: the mark on it keeps later runs from paying for the same once more."""
    try:
        add_tags(workspace, submission.arn, {DIVERGED_TAG: reason})
    finally:
        stop(workspace, submission.name)
    said = f"Training job {submission.name} was stopped, as {reason}. {DIVERGED_REMEDY}"
    return TrainingFailed(said, log_tail=tail)


def _finished(
    workspace: Workspace,
    description: "DescribeTrainingJobResponseTypeDef",
    tail: tuple[str, ...] = (),
    *,
    said: str = "cost",
) -> FinishedJob:
    name, outcome = description["TrainingJobName"], job_outcome(description)
    # Of runs that were killed while they followed.
    for position in (cache_folder() / "following").glob(f"*-{name}.json"):
        position.unlink(missing_ok=True)
    kind = description["ResourceConfig"].get("InstanceType", "")
    bill = Bill.of(description, price(kind, workspace.region, workspace.prices))
    get_run_logger().info("training job %s: %s %s", name, said, bill)
    if outcome.kind != "completed":
        message = f"Training job {name} ended as {description['TrainingJobStatus']}: {outcome.cause} {outcome.remedy}"
        raise TrainingFailed(message, outcome=outcome, usd=bill.usd or 0.0, log_tail=tail)
    return FinishedJob(
        name=name,
        model_uri=description["ModelArtifacts"]["S3ModelArtifacts"],
        metrics={metric["MetricName"]: metric["Value"] for metric in description.get("FinalMetricDataList", [])},
        created=description["CreationTime"],
        bill=bill,
    )


VERSION = 1
"""Of what is read off a log."""


class TrainingLogSummary(Result):
    """What the log tells, or why there is nothing to tell."""

    summary: TrainingSummary | None
    objection: str | None

    def __str__(self) -> str:
        return f"story of the training, {self.summary.epochs} epochs" if self.summary else "no story of the training"


def _identity(inputs: Inputs) -> tuple[object, ...]:
    job: FinishedJob = inputs["job"]
    return job.name, job.created.isoformat(), VERSION


def _missing(inputs: Inputs, log_summary: TrainingLogSummary) -> list[str]:
    return [] if log_summary.summary else [f"the log of {inputs['job'].name}"]


@task(
    task_run_name="recount {job.name}",
    cache_policy=ContentCachePolicy(step="recount", identity=_identity, missing=_missing, of=("training job",)),
    **PERSISTED,
    **RETRIES,
)
def read_training_log(workspace: Workspace, job: FinishedJob) -> TrainingLogSummary:
    """The story of the training, for the report; that its log cannot be read is no reason to fail."""
    try:
        report = LogReader.read(log_of(workspace, job.name))
    except AwsError as error:
        if error.retryable:
            raise
        get_run_logger().warning("The report will not tell how the model was trained. %s", error)
        return TrainingLogSummary(summary=None, objection=str(error))
    if not report.epochs:
        return TrainingLogSummary(summary=None, objection="CloudWatch holds no log of the job (any more).")
    return TrainingLogSummary(summary=TrainingSummary.of(report), objection=None)
