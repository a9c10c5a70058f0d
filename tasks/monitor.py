"""Monitor: follow the training job until it ends, and show its phases, metrics and log."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from prefect import task
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from aws.errors import TrainingFailed
from aws.prices import find_price
from aws.resource_tags import add_tags
from aws.storage import StoredObject, stat_object
from aws.training.cost import Bill
from aws.training.following import describe_job, follow
from aws.training.job_log import read_log_lines
from aws.training.outcome import job_outcome
from aws.training.stopping import stop_job, stop_when_interrupted
from aws.training.submission import DIVERGED_REMEDY, DIVERGED_TAG, Submission
from aws.workspace import Workspace
from linear_learner.logs.reader import LogReader, LogReport
from tasks.caching.explain_rerun import Fact
from tasks.caching.policy import RETRIES, UNCACHED, Inputs, Result, cached
from tasks.prefect_ui.display import describe_exception
from tasks.prefect_ui.job_progress import JobProgress

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

LOG_SUMMARY_VERSION = 2
"""Part of the cache key; raised when logs are summarised in another way."""


class TrainingLogSummary(Result):
    """The summary of the training log, or the reason why there is none."""

    summary: LogReport | None
    objection: str | None

    def missing(self, workspace: Workspace) -> list[str]:
        """A log that could not be read, so that it is read again."""
        del workspace
        return [] if self.summary else ["the log of the job"]

    def __str__(self) -> str:
        return f"training log, {self.summary.epoch_count} epochs" if self.summary else "no training log"


class FinishedJob(Result):
    """A completed training job: its model, final metrics, creation time (UTC), cost and the summary of its log."""

    name: str
    model: StoredObject
    metrics: dict[str, float]
    created: datetime
    bill: Bill
    log: TrainingLogSummary


@task(task_run_name="monitor the training job", **UNCACHED, **RETRIES)
def monitor(workspace: Workspace, submission: Submission, *, stop_when_diverging: bool = False) -> FinishedJob:
    """Wait for the job and log its progress; raises TrainingFailed with the reason when it ends without a model.

    When the run is interrupted or cancelled, the job is stopped unless another run follows it too. After any other
    exception it continues to run.
    """
    name, run = submission.name, str(flow_run.id)
    if submission.how == "reused":
        return _conclude(workspace, describe_job(workspace, name), bill_label="0 USD; reuse saved")
    progress = JobProgress(name, stop_when_diverging=stop_when_diverging)
    with stop_when_interrupted(workspace, name, run, progress.on_warning):
        description = follow(workspace, name, run, progress)
        if progress.stop_reason:
            raise _stop_diverged_job(workspace, submission, progress.stop_reason, tuple(progress.tail))
    return _conclude(workspace, description, tuple(progress.tail))


def _stop_diverged_job(
    workspace: Workspace, submission: Submission, reason: str, tail: tuple[str, ...]
) -> TrainingFailed:
    """Stop the job and tag it as diverged, so that later runs do not pay for the same input again."""
    try:
        add_tags(workspace, submission.arn, {DIVERGED_TAG: reason})
    finally:
        stop_job(workspace, submission.name)
    message = f"Training job {submission.name} was stopped because {reason}. {DIVERGED_REMEDY}"
    return TrainingFailed(message, log_tail=tail)


def _conclude(
    workspace: Workspace,
    description: "DescribeTrainingJobResponseTypeDef",
    tail: tuple[str, ...] = (),
    *,
    bill_label: str = "cost",
) -> FinishedJob:
    """Log the cost of the job and return its results; raises TrainingFailed when it has no model."""
    name, outcome = description["TrainingJobName"], job_outcome(description)
    instance_type = description["ResourceConfig"].get("InstanceType", "")
    bill = Bill.of(description, find_price(workspace, instance_type, max_age=timedelta.max).price)
    get_run_logger().info("training job %s: %s %s", name, bill_label, bill)
    if outcome.kind != "completed":
        message = f"Training job {name} ended as {description['TrainingJobStatus']}: {outcome.cause} {outcome.remedy}"
        raise TrainingFailed(message, outcome=outcome, usd=bill.usd or 0.0, log_tail=tail)
    return FinishedJob(
        name=name,
        model=stat_object(workspace, description["ModelArtifacts"]["S3ModelArtifacts"]),
        metrics={metric["MetricName"]: metric["Value"] for metric in description.get("FinalMetricDataList", [])},
        created=description["CreationTime"],
        bill=bill,
        log=read_training_log(workspace, name, description["CreationTime"]),
    )


def _facts(inputs: Inputs) -> dict[str, Fact]:
    # A deleted job's name may be used again.
    created = inputs["created"].isoformat()
    return {"training job": inputs["job"], "job.identity": created, "version.log summary": LOG_SUMMARY_VERSION}


@task(name="read log", task_run_name="read the training log", **cached("read log", _facts))
def read_training_log(workspace: Workspace, job: str, created: datetime) -> TrainingLogSummary:
    """Summarise the log of a finished job for the report; a log that cannot be read does not fail the run.

    The result is cached: CloudWatch may have deleted the log by the time the job is reused.
    """
    del created  # only part of the cache key
    try:
        report = LogReader.read(read_log_lines(workspace, job))
    except Exception as error:  # noqa: BLE001 - the model does not depend on the log
        get_run_logger().warning("The report will have no training summary. %s", error)
        return TrainingLogSummary(summary=None, objection=describe_exception(error))
    if not report.epochs:
        return TrainingLogSummary(summary=None, objection="CloudWatch has no log of the job, or has deleted it.")
    return TrainingLogSummary(summary=report.condensed(), objection=None)
