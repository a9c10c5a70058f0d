"""Follow a training job to its end: status changes and log lines, in order, each once; and stop one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from aws.errors import NotFound, TrainingFailed, Unavailable, answer, translated
from aws.submission import describe
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
OVER = frozenset({"Completed", "Failed", "Stopped"})
UNTIL_TRAINING = frozenset(
    {
        "Starting",
        "LaunchingMLInstances",
        "PreparingTrainingStack",
        "Downloading",
        "DownloadingTrainingImage",
        "Training",
    }
)
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.2, 10.0, 1.4
"""Seconds between two looks: short at first, since a small job is over soon, then never more often than needed."""


@dataclass(frozen=True)
class Status:
    """The job entered a new phase."""

    phase: str
    message: str


@dataclass(frozen=True)
class LogLine:
    """One line of the container's log."""

    text: str


def follow(
    workspace: Workspace, name: str, tell: Callable[[Status | LogLine], None]
) -> "DescribeTrainingJobResponseTypeDef":
    """Tell what happens until the job is over; return its last description, whatever the outcome."""
    log = _Log(workspace, name)
    seen = 0
    pause = FIRST_PAUSE
    while True:
        description = described(workspace, name)
        transitions = description.get("SecondaryStatusTransitions", [])
        phases = [Status(new["Status"], new.get("StatusMessage", "")) for new in transitions[seen:]]
        seen = len(transitions)
        # What the container says belongs after the phases that lead to its training and before those that follow.
        events: list[Status | LogLine] = [phase for phase in phases if phase.phase in UNTIL_TRAINING]
        events += log.new_lines()
        events += [phase for phase in phases if phase.phase not in UNTIL_TRAINING]
        for event in events:
            tell(event)
        if description["TrainingJobStatus"] in OVER:
            return description
        time.sleep(pause)
        pause = min(pause * GROWTH, LONGEST_PAUSE)


def described(workspace: Workspace, name: str) -> "DescribeTrainingJobResponseTypeDef":
    """DescribeTrainingJob's answer; raises NotFound when there is no such job."""
    description = describe(workspace, name)
    if description is None:
        raise NotFound(f"There is no training job {name} in region {workspace.region}.")
    return description


def stop(workspace: Workspace, name: str, patience: float = 60.0) -> str:
    """Stop the job and wait until it is over; returns its final status. A job that is over already stays as it is."""
    with translated(f"stopping training job {name}"):
        try:
            workspace.client("sagemaker").stop_training_job(TrainingJobName=name)
        except ClientError as error:
            if answer(error)[0] != "ValidationException":
                raise
    end = time.monotonic() + patience
    while (status := described(workspace, name)["TrainingJobStatus"]) not in OVER:
        if time.monotonic() > end:
            raise Unavailable(f"Training job {name} is still {status} {patience:.0f} s after it was told to stop.")
        time.sleep(FIRST_PAUSE)
    return status


@contextmanager
def stopped_if_abandoned(workspace: Workspace, name: str) -> Iterator[None]:
    """Stop the job when the block is left by any error but the job's own, be it Ctrl-C: nobody would follow it."""
    try:
        yield
    except TrainingFailed:
        raise
    except BaseException:
        stop(workspace, name)
        raise


@dataclass
class _Log:
    """The job's log streams, each read on from where the last look ended."""

    workspace: Workspace
    job: str
    tokens: dict[str, str] = field(default_factory=dict)

    def new_lines(self) -> Iterator[LogLine]:
        with translated(f"reading the log of {self.job}"):
            try:
                for stream in self._streams():
                    yield from self._read(stream)
            except ClientError as error:
                # The log group comes with the account's first job, the stream some time after the job.
                if answer(error)[0] != "ResourceNotFoundException":
                    raise

    def _streams(self) -> list[str]:
        found = self.workspace.client("logs").describe_log_streams(
            logGroupName=LOG_GROUP, logStreamNamePrefix=f"{self.job}/"
        )
        return sorted(stream["logStreamName"] for stream in found["logStreams"])

    def _read(self, stream: str) -> Iterator[LogLine]:
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
                yield LogLine(event["message"])
            # CloudWatch says "no more for now" by giving the same token back.
            if page["nextForwardToken"] == self.tokens.get(stream):
                return
            self.tokens[stream] = page["nextForwardToken"]
