"""Follow a training job to its end: its status changes and log lines, in order."""

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
"""Pause between two polls: short at first, as a small job is over soon, then longer and longer up to the maximum."""
LATE_LOG_SECONDS = 10.0
"""How long to wait for the end of the log once the job is over; CloudWatch takes some seconds to show a line."""
MAX_OFFLINE_SECONDS = 300.0
"""How long AWS may be unavailable before following fails; less than the duration of a lease."""


class JobObserver(Protocol):
    """Receives what happens to a job. An exception that one of its methods raises ends `follow`."""

    stop_reason: str | None
    """Why the job need not be followed any longer, once there is a reason."""

    def on_phase(self, phase: str, message: str) -> None:
        """Handle that the job entered a phase."""

    def on_line(self, text: str) -> None:
        """Handle a line of the container's log."""

    def has_complete_log(self) -> bool:
        """Whether the last line received so far is the last line of a log."""

    def wait(self, seconds: float) -> None:
        """Pause between two polls."""


def follow(workspace: Workspace, name: str, run: str, observer: JobObserver) -> "JobDescription":
    """Report a job's events, from its first one on, to `observer` until the job is over; return its last description.

    `run` is the flow run whose lease is renewed. Raises Unavailable only after AWS has not answered for
    `MAX_OFFLINE_SECONDS`. Once the job is over, waits up to `LATE_LOG_SECONDS` for the rest of its log. Returns
    earlier, while the job runs, when the observer has a `stop_reason`.
    """
    report = _JobReport(_LogStreams(workspace, name), observer)
    pause = FIRST_PAUSE_SECONDS
    answered = renewed = time.monotonic()
    while True:
        try:
            description = describe_job(workspace, name)
            if time.monotonic() > renewed + LEASE_RENEWAL.total_seconds():
                add_tags(workspace, description["TrainingJobArn"], lease_tag(run))
                renewed = time.monotonic()
            report.update(description)
            answered = time.monotonic()
        except Unavailable:
            if time.monotonic() > answered + MAX_OFFLINE_SECONDS:
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
    """Reports what is new about a job: log lines after the first phase Training, and before the phases that follow."""

    log: "_LogStreams"
    observer: JobObserver
    phases: int = 0
    """How many status changes have been reported."""

    def update(self, description: "JobDescription") -> None:
        """Report what is new, except for the last phases of a job that is over."""
        trained = _phases_until_training(description)
        self._report_phases(description, trained)
        if trained:
            self._report_lines()
        if description["TrainingJobStatus"] not in FINAL_STATUSES:
            self._report_phases(description)

    def finish(self, description: "JobDescription") -> None:
        """Report the rest of the log, as soon as CloudWatch has it, and the last phases."""
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
    """How many status changes led to the first Training, itself included; 0 for a job that has no log yet."""
    phases: list[str] = [new["Status"] for new in description.get("SecondaryStatusTransitions", [])]
    return phases.index("Training") + 1 if "Training" in phases else 0


def describe_job(workspace: Workspace, name: str) -> "JobDescription":
    """The DescribeTrainingJob response; raises NotFound when there is no such job."""
    try:
        with translate_errors(f"looking for training job {name}"):
            return workspace.client("sagemaker").describe_training_job(TrainingJobName=name)
    except NotFound as error:
        raise NotFound(f"There is no training job {name} in region {workspace.region}.") from error


def read_log_lines(workspace: Workspace, name: str) -> Iterator[str]:
    """The log lines of a job's first host, as all hosts log the same; none when there is no log."""
    lines = _LogStreams(workspace, name).new_lines()
    return (text for stream, text in lines if stream.startswith(f"{name}/algo-1-"))


@dataclass
class _LogStreams:
    """The job's log streams, each read from where the previous read ended."""

    workspace: Workspace
    job: str
    tokens: dict[str, str] = field(default_factory=dict)

    def new_lines(self) -> Iterator[tuple[str, str]]:
        """Stream and text of each line that is new since the previous call."""
        pages = self.workspace.client("logs").get_paginator("describe_log_streams")
        # The log group is created with the account's first job, a stream some time after its job.
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
            # CloudWatch returns the same token again when there are no more events for now.
            if page["nextForwardToken"] == self.tokens.get(stream):
                return
            self.tokens[stream] = page["nextForwardToken"]
