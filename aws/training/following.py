"""Follow a training job to its end: status changes and log lines, in order, each once."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from aws.errors import NotFound, Unavailable, answer, translated
from aws.training.leases import LEASE_RENEWAL, add_tags, lease_tag
from aws.training.submission import describe
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
OVER = frozenset({"Completed", "Failed", "Stopped"})
UNTIL_TRAINING = frozenset(
    {
        "Starting",
        "Pending",
        "LaunchingMLInstances",
        "PreparingTrainingStack",
        "Downloading",
        "DownloadingTrainingImage",
        "Training",
    }
)
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, GROWTH = 0.2, 10.0, 1.4
"""Seconds between two looks: short at first, since a small job is over soon, then never more often than needed."""
LATE_LOG_SECONDS = 10.0
"""How long the end of the log is waited for once the job is over; CloudWatch takes some seconds to show a line."""
OFFLINE_SECONDS = 300.0
"""How long AWS may be out of reach, or out of order, before following is given up; within the lease."""


@dataclass(frozen=True)
class Status:
    """The job entered a new phase."""

    phase: str
    message: str


@dataclass(frozen=True)
class LogLine:
    """One line of the container's log; `known` when it was told before, to a process that is gone."""

    text: str
    known: bool = False


class Position(BaseModel):
    """How much of a job was told already; with a file it outlives the process."""

    model_config = ConfigDict(extra="forbid")

    file: Annotated[Path | None, Field(exclude=True)] = None
    phases: NonNegativeInt = 0
    lines: dict[str, NonNegativeInt] = {}

    @classmethod
    def load(cls, file: Path) -> "Position":
        """The position in this file, or the beginning."""
        with suppress(OSError, ValueError):
            return cls.model_validate_json(file.read_bytes()).model_copy(update={"file": file})
        return cls(file=file)

    def save(self) -> None:
        """Write it down."""
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            partial = self.file.with_suffix(".partial")
            partial.write_text(self.model_dump_json())
            partial.replace(self.file)

    def delete(self) -> None:
        """Remove the file: the job is over and told."""
        if self.file:
            self.file.unlink(missing_ok=True)


class Listener(Protocol):
    """Whom the job's news are for; an error of its own ends the following."""

    def tell(self, event: Status | LogLine) -> None:
        """One piece of news."""

    def has_whole_log(self) -> bool:
        """Whether the lines told so far end as a log ends."""

    def wait(self, seconds: float) -> None:
        """Nothing happens for so long."""


def follow(
    workspace: Workspace, name: str, run: str, listener: Listener, position: Position
) -> "DescribeTrainingJobResponseTypeDef":
    """Tell what happens until the job is over, for the flow run `run`; return its last description, whatever it is.

    What `position` knows is not told again, save that the log's lines come as `LogLine`s that are `known`. A job is
    followed through minutes without an answer of AWS. When it is over the rest of its log is waited for, some seconds.
    """
    job = _Followed(workspace, name, run, listener, position)
    answered, pause = time.monotonic(), FIRST_PAUSE_SECONDS
    while True:
        try:
            description = job.look()
            answered = time.monotonic()
        except Unavailable:
            if time.monotonic() > answered + OFFLINE_SECONDS:
                raise
        else:
            if description["TrainingJobStatus"] in OVER:
                break
        listener.wait(pause)
        pause = min(pause * GROWTH, MAX_PAUSE_SECONDS)
    job.conclude(description)
    return description


class _Followed:
    """A job as this process sees it: how far it was read, and until when it is known to be followed."""

    def __init__(self, workspace: Workspace, name: str, run: str, listener: Listener, position: Position) -> None:
        self._workspace, self._name, self._run = workspace, name, run
        self._listener, self._position = listener, position
        self._log = _Log(workspace, name)
        self._renew_at = time.monotonic() + LEASE_RENEWAL.total_seconds()

    def look(self) -> "DescribeTrainingJobResponseTypeDef":
        """Ask for news, and tell all but a job's last."""
        description = described(self._workspace, self._name)
        if time.monotonic() > self._renew_at:
            add_tags(self._workspace, description["TrainingJobArn"], lease_tag(self._run))
            self._renew_at = time.monotonic() + LEASE_RENEWAL.total_seconds()
        # What the container says belongs after the phases that lead to its training and before those that follow.
        self._tell_phases(description, lambda phase: phase in UNTIL_TRAINING)
        if _has_log(description):
            self._tell_lines()
        if description["TrainingJobStatus"] not in OVER:
            self._tell_phases(description, lambda _phase: True)
        return description

    def conclude(self, description: "DescribeTrainingJobResponseTypeDef") -> None:
        """Tell the rest of the log as CloudWatch gets it, and what the job came to."""
        end = time.monotonic() + LATE_LOG_SECONDS
        while _has_log(description) and not self._listener.has_whole_log() and time.monotonic() < end:
            self._listener.wait(FIRST_PAUSE_SECONDS)
            with suppress(Unavailable):
                self._tell_lines()
        self._tell_phases(description, lambda _phase: True)
        self._position.delete()

    def _tell_phases(self, description: "DescribeTrainingJobResponseTypeDef", wanted: Callable[[str], bool]) -> None:
        for new in description.get("SecondaryStatusTransitions", [])[self._position.phases :]:
            if not wanted(new["Status"]):
                return
            self._listener.tell(Status(new["Status"], new.get("StatusMessage", "")))
            self._position.phases += 1
        self._position.save()

    def _tell_lines(self) -> None:
        counts = self._position.lines
        for stream, number, text in self._log.new_lines():
            self._listener.tell(LogLine(text, known=number <= counts.get(stream, 0)))
            counts[stream] = max(number, counts.get(stream, 0))
        self._position.save()


def _has_log(description: "DescribeTrainingJobResponseTypeDef") -> bool:
    # Not by TrainingStartTime, which comes with the download: the container might speak before its phase is told.
    return any(new["Status"] == "Training" for new in description.get("SecondaryStatusTransitions", []))


def described(workspace: Workspace, name: str) -> "DescribeTrainingJobResponseTypeDef":
    """DescribeTrainingJob's answer; raises NotFound when there is no such job."""
    description = describe(workspace, name)
    if description is None:
        raise NotFound(f"There is no training job {name} in region {workspace.region}.")
    return description


def log_of(workspace: Workspace, name: str) -> Iterator[str]:
    """The lines of a job's first host, of which every host's log tells the same; none when there is no log."""
    return (text for stream, _, text in _Log(workspace, name).new_lines() if stream.startswith(f"{name}/algo-1-"))


@dataclass
class _Log:
    """The job's log streams, each read on from where the last look ended."""

    workspace: Workspace
    job: str
    tokens: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def new_lines(self) -> Iterator[tuple[str, int, str]]:
        """Stream, number within it from 1, and text of each line that came since the last look."""
        with translated(f"reading the log of {self.job}"):
            try:
                for stream in self._streams():
                    for text in self._read(stream):
                        self.counts[stream] = self.counts.get(stream, 0) + 1
                        yield stream, self.counts[stream], text
            except ClientError as error:
                # The log group comes with the account's first job, the stream some time after the job.
                if answer(error)[0] != "ResourceNotFoundException":
                    raise

    def _streams(self) -> list[str]:
        pages = self.workspace.client("logs").get_paginator("describe_log_streams")
        found = pages.paginate(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{self.job}/")
        return sorted(stream["logStreamName"] for page in found for stream in page["logStreams"])

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
            # CloudWatch says "no more for now" by giving the same token back.
            if page["nextForwardToken"] == self.tokens.get(stream):
                return
            self.tokens[stream] = page["nextForwardToken"]
