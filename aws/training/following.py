"""Follow a training job until it ends: report its status changes and log lines, in order.

Only the response of DescribeTrainingJob decides when a job has ended, and how. A log that cannot be read, a lease that
cannot be renewed and an observer that fails are reported as warnings, once each.
"""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from aws.errors import AwsError, NotFound, translate_errors
from aws.training.job_log import JobLog
from aws.training.leases import LEASE_DURATION, LEASE_RENEWAL, renew_lease
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef as JobDescription

FINAL_STATUSES = frozenset({"Completed", "Failed", "Stopped"})
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, PAUSE_GROWTH = 0.2, 10.0, 1.4
"""Pause between two polls: short at first, because a small job ends soon, then growing up to the maximum."""
LATE_LOG_SECONDS = 10.0
"""How long to wait for the end of the log after the job has ended; CloudWatch shows lines some seconds late."""
MAX_OFFLINE_SECONDS = 300.0
"""How long the status may be unknown before following fails; less than the duration of a lease."""


class JobObserver(Protocol):
    """Receives the events of a job. Only `wait` may end `follow` by an exception."""

    stop_reason: str | None
    """Reason to end following before the job ends; None to continue."""

    def on_phase(self, phase: str, message: str) -> None:
        """Handle a status change of the job."""

    def on_line(self, text: str) -> None:
        """Handle a line of the container's log."""

    def on_warning(self, message: str) -> None:
        """Handle a problem that does not end following."""

    def has_complete_log(self) -> bool:
        """Whether the line received last is the final line of a log."""

    def wait(self, seconds: float) -> None:
        """Pause between two polls."""


def follow(workspace: Workspace, name: str, run: str, observer: JobObserver) -> "JobDescription":
    """Report all events of a job, from the first one on, to `observer`; return the job's last description.

    Renews the lease of the flow run `run`. Returns after the job has ended, when it waits up to `LATE_LOG_SECONDS` for
    the rest of the log, or earlier when the observer has a `stop_reason`. Raises NotFound when there is no such job,
    and another AwsError only after the status has been unknown for `MAX_OFFLINE_SECONDS`.
    """
    # A call that hangs must not delay the next one, the renewal of the lease or a cancellation by minutes.
    workspace = workspace.with_short_timeouts()
    report, pause = _JobReport(JobLog(workspace, name), observer), FIRST_PAUSE_SECONDS
    responded = renewed = time.monotonic()
    while True:
        try:
            description = describe_job(workspace, name)
        except NotFound:
            raise
        except AwsError as error:
            if time.monotonic() > responded + MAX_OFFLINE_SECONDS:
                raise
            report.warn_once(f"Training job {name} continues, but its status cannot be read. Trying again.", error)
        else:
            responded = time.monotonic()
            report.update(description)
            if description["TrainingJobStatus"] in FINAL_STATUSES:
                report.finish(description)
                return description
            if observer.stop_reason:
                return description
            if responded > renewed + LEASE_RENEWAL.total_seconds():
                renewed = responded if report.renew_lease(description, run) else renewed
        observer.wait(pause)
        pause = min(pause * PAUSE_GROWTH, MAX_PAUSE_SECONDS)


@dataclass
class _JobReport:
    """Reports the new events of a job: log lines after the first phase Training, and before the later phases."""

    log: JobLog
    observer: JobObserver
    phases: int = 0
    """Number of status changes that have been reported."""
    warnings: set[str] = field(default_factory=set)
    is_log_readable: bool = True

    def update(self, description: "JobDescription") -> None:
        """Report new events, except for the last phases of a job that has ended."""
        trained = _phases_until_training(description)
        self._report_phases(description, trained)
        if trained:
            self._report_lines()
        if description["TrainingJobStatus"] not in FINAL_STATUSES:
            self._report_phases(description)

    def finish(self, description: "JobDescription") -> None:
        """Report the rest of the log, as soon as CloudWatch shows it, and the last phases."""
        end, pause = time.monotonic() + LATE_LOG_SECONDS, FIRST_PAUSE_SECONDS
        while self._expects_lines(description) and time.monotonic() < end:
            self.observer.wait(pause)
            self._report_lines()
            pause *= PAUSE_GROWTH
        self._report_phases(description)

    def renew_lease(self, description: "JobDescription", run: str) -> bool:
        """Renew the lease of the flow run `run`; return whether this was possible."""
        try:
            renew_lease(self.log.workspace, description["TrainingJobArn"], run)
        except AwsError as error:
            minutes = LEASE_DURATION.total_seconds() / 60
            self.warn_once(f"The lease on {self.log.job} is not renewed: it expires after {minutes:.0f} min.", error)
            return False
        return True

    def warn_once(self, message: str, error: Exception) -> None:
        """Report a problem, unless it has been reported before."""
        if message not in self.warnings:
            self.warnings.add(message)
            with suppress(Exception):
                self.observer.on_warning(f"{message} {error}")

    def _expects_lines(self, description: "JobDescription") -> bool:
        return bool(
            self.is_log_readable and _phases_until_training(description) and not self.observer.has_complete_log()
        )

    def _report_phases(self, description: "JobDescription", end: int | None = None) -> None:
        for new in description.get("SecondaryStatusTransitions", [])[self.phases : end]:
            self.phases += 1
            try:
                self.observer.on_phase(new["Status"], new.get("StatusMessage", ""))
            except Exception as error:  # noqa: BLE001 - a failure to show a job does not end it
                self._warn_about_display(error)

    def _report_lines(self) -> None:
        try:
            for _, text in self.log.new_lines():
                self._report_line(text)
            self.is_log_readable = True
        except Exception as error:  # noqa: BLE001 - the status of the job does not depend on its log
            self.is_log_readable = isinstance(error, AwsError) and error.retryable
            self.warn_once(f"The log of {self.log.job} cannot be read; the job is followed by its status.", error)

    def _report_line(self, text: str) -> None:
        try:
            self.observer.on_line(text)
        except Exception as error:  # noqa: BLE001 - as above
            self._warn_about_display(error)

    def _warn_about_display(self, error: Exception) -> None:
        self.warn_once(f"The progress of {self.log.job} is not shown completely.", error)


def _phases_until_training(description: "JobDescription") -> int:
    """Return the number of status changes up to and including the first Training; 0 before it, when there is no log."""
    phases: list[str] = [new["Status"] for new in description.get("SecondaryStatusTransitions", [])]
    return phases.index("Training") + 1 if "Training" in phases else 0


def describe_job(workspace: Workspace, name: str) -> "JobDescription":
    """Return the DescribeTrainingJob response; raises NotFound when there is no such job."""
    try:
        with translate_errors(f"looking for training job {name}"):
            return workspace.client("sagemaker").describe_training_job(TrainingJobName=name)
    except NotFound as error:
        raise NotFound(f"There is no training job {name} in region {workspace.region}.") from error
