"""Follow a training job until it ends: report its status changes and log lines, in order."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from aws.errors import NotFound, Unavailable, translate_errors
from aws.training.leases import LEASE_RENEWAL, add_tags, lease_tag
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef as JobDescription

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
FINAL_STATUSES = frozenset({"Completed", "Failed", "Stopped"})
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, PAUSE_GROWTH = 0.2, 10.0, 1.4
"""Pause between two polls: short at first, because a small job ends soon, then growing up to the maximum."""
LATE_LOG_SECONDS = 10.0
"""How long to wait for the end of the log after the job has ended; CloudWatch shows lines some seconds late."""
MAX_OFFLINE_SECONDS = 300.0
"""How long AWS may be unavailable before following fails; less than the duration of a lease."""


class JobObserver(Protocol):
    """Receives the events of a job. An exception that one of its methods raises ends `follow`."""

    stop_reason: str | None
    """Reason to end following before the job ends; None to continue."""

    def on_phase(self, phase: str, message: str) -> None:
        """Handle a status change of the job."""

    def on_line(self, text: str) -> None:
        """Handle a line of the container's log."""

    def has_complete_log(self) -> bool:
        """Whether the line received last is the final line of a log."""

    def wait(self, seconds: float) -> None:
        """Pause between two polls."""


def follow(workspace: Workspace, name: str, run: str, observer: JobObserver) -> "JobDescription":
    """Report all events of a job, from the first one on, to `observer`; return the job's last description.

    Renews the lease of the flow run `run`. Returns after the job has ended, when it waits up to `LATE_LOG_SECONDS` for
    the rest of the log, or earlier when the observer has a `stop_reason`. Raises Unavailable only after AWS has been
    unavailable for `MAX_OFFLINE_SECONDS`.
    """
    report = _JobReport(_LogStreams(workspace, name), observer)
    pause = FIRST_PAUSE_SECONDS
    responded = renewed = time.monotonic()
    while True:
        try:
            description = describe_job(workspace, name)
            if time.monotonic() > renewed + LEASE_RENEWAL.total_seconds():
                add_tags(workspace, description["TrainingJobArn"], lease_tag(run))
                renewed = time.monotonic()
            report.update(description)
            responded = time.monotonic()
        except Unavailable:
            if time.monotonic() > responded + MAX_OFFLINE_SECONDS:
                raise
        else:
            if description["TrainingJobStatus"] in FINAL_STATUSES:
                report.finish(description)
                return description
            if observer.stop_reason:
                return description
        observer.wait(pause)
        pause = min(pause * PAUSE_GROWTH, MAX_PAUSE_SECONDS)


@dataclass
class _JobReport:
    """Reports the new events of a job: log lines after the first phase Training, and before the later phases."""

    log: "_LogStreams"
    observer: JobObserver
    phases: int = 0
    """Number of status changes that have been reported."""

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
        end, trained = time.monotonic() + LATE_LOG_SECONDS, _phases_until_training(description)
        while trained and not self.observer.has_complete_log() and time.monotonic() < end:
            self.observer.wait(FIRST_PAUSE_SECONDS)
            with suppress(Unavailable):
                self._report_lines()
        self._report_phases(description)

    def _report_phases(self, description: "JobDescription", end: int | None = None) -> None:
        for new in description.get("SecondaryStatusTransitions", [])[self.phases : end]:
            self.observer.on_phase(new["Status"], new.get("StatusMessage", ""))
            self.phases += 1

    def _report_lines(self) -> None:
        for _, text in self.log.new_lines():
            self.observer.on_line(text)


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


def read_log_lines(workspace: Workspace, name: str) -> Iterator[str]:
    """Yield the log lines of a job's first host, as all hosts log the same; none if there is no log."""
    lines = _LogStreams(workspace, name).new_lines()
    return (text for stream, text in lines if stream.startswith(f"{name}/algo-1-"))


@dataclass
class _LogStreams:
    """The job's log streams; each read continues where the previous read ended."""

    workspace: Workspace
    job: str
    tokens: dict[str, str] = field(default_factory=dict)

    def new_lines(self) -> Iterator[tuple[str, str]]:
        """Yield stream and text of each line that is new since the previous call."""
        pages = self.workspace.client("logs").get_paginator("describe_log_streams")
        # The log group is created with the account's first job, and a stream some time after its job has started.
        with suppress(NotFound), translate_errors(f"reading the log of {self.job}"):
            found = pages.paginate(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{self.job}/")
            for stream in sorted(stream["logStreamName"] for page in found for stream in page["logStreams"]):
                for text in self._read(stream):
                    yield stream, text

    def _read(self, stream: str) -> Iterator[str]:
        logs = self.workspace.client("logs")
        while True:
            token = {"nextToken": self.tokens[stream]} if stream in self.tokens else {}
            page = logs.get_log_events(
                logGroupName=LOG_GROUP,
                logStreamName=stream,
                startFromHead=True,
                **token,  # type: ignore[arg-type]
            )
            for event in page["events"]:
                yield event["message"]
            # CloudWatch returns the same token again when there are no new events.
            if page["nextForwardToken"] == self.tokens.get(stream):
                return
            self.tokens[stream] = page["nextForwardToken"]
