"""Monitor: follow the training job to its end, with its phases, its metrics and its log."""

import time
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, cast

from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from aws.errors import TrainingFailed
from aws.following import LogLine, Status, described, follow
from aws.submission import Submission
from aws.workspace import Workspace
from linear_learner.log_reader import LogReader
from linear_learner.log_report import EpochReport
from tasks.reuse import RETRIES, Result

if TYPE_CHECKING:
    from uuid import UUID

    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef


class FinishedJob(Result):
    """A training job that completed: its model, its final metrics, its clock (UTC and seconds)."""

    name: str
    model_uri: str
    metrics: dict[str, float]
    created: datetime
    training_seconds: int
    billable_seconds: int


@task(task_run_name="monitor {submission.name}", **RETRIES)
def monitor(workspace: Workspace, submission: Submission) -> FinishedJob:
    """Wait for the job, telling what happens; raises TrainingFailed with the reason when it ends without a model."""
    if submission.how == "reused":
        return _finished(described(workspace, submission.name))
    return _finished(follow(workspace, submission.name, _Display()))


class _Display:
    """Phases, epochs and progress of a running job, in the flow run's log and as an artifact."""

    def __init__(self) -> None:
        self._log = get_run_logger()
        self._reader = LogReader()
        self._shown, self._shown_at = 0.0, -inf
        # Prefect types its artifacts for sync and async callers alike.
        self._artifact = cast("UUID", create_progress_artifact(0.0, description="Epochs of the training job"))

    def __call__(self, event: Status | LogLine) -> None:
        match event:
            case Status(phase, message):
                self._log.info("%s: %s", phase, message)
            case LogLine(text):
                self._log.debug(text)
                for epoch in self._reader.feed(text):
                    self._epoch(epoch, self._reader.progress or 0.0)

    def _epoch(self, epoch: EpochReport, progress: float) -> None:
        # A long job has thousands of epochs: a line per per cent or ten seconds, an update per twentieth.
        now = time.monotonic()
        if progress >= min(self._shown + 1, 100) or now > self._shown_at + 10:
            said = "epoch %d: best %s %.6g, %.0f %% done"
            self._log.info(said, epoch.index, epoch.criteria, epoch.value, progress, extra={"progress": progress})
            if progress >= 100 or progress // 5 > self._shown // 5:
                update_progress_artifact(self._artifact, progress)
            self._shown, self._shown_at = progress, now


def _finished(description: "DescribeTrainingJobResponseTypeDef") -> FinishedJob:
    name, status = description["TrainingJobName"], description["TrainingJobStatus"]
    if status != "Completed":
        reason = description.get("FailureReason") or description["SecondaryStatus"]
        raise TrainingFailed(f"Training job {name} ended as {status}: {reason}")
    return FinishedJob(
        name=name,
        model_uri=description["ModelArtifacts"]["S3ModelArtifacts"],
        metrics={metric["MetricName"]: metric["Value"] for metric in description.get("FinalMetricDataList", [])},
        created=description["CreationTime"],
        training_seconds=description.get("TrainingTimeInSeconds", 0),
        billable_seconds=description.get("BillableTimeInSeconds", 0),
    )
