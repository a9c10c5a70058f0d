"""Following a job reports each phase and log line once and in order, even when calls to AWS fail."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aws.errors import NotFound, Unavailable
from aws.resource_tags import add_tags, read_tags
from aws.training import following
from aws.training.compute import Compute
from aws.training.following import describe_job, follow
from aws.training.job_log import LOG_GROUP
from aws.training.leases import LEASE_TAG_PREFIX, active_leases
from aws.training.request import TrainingJobSpec
from aws.training.stopping import stop_job
from aws.training.submission import Submission, start_or_adopt
from aws.workspace import Workspace
from linear_learner.logs.reader import LogReader
from sandbox import faults

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

Inject = Callable[..., None]
MakeSpec = Callable[..., TrainingJobSpec]
Calls = Callable[[], Counter[str]]
WaitForEnd = Callable[[str], "DescribeTrainingJobResponseTypeDef"]
RUN = "my-run"
PHASES = ["Starting", "Downloading", "Training", "Uploading", "Completed"]


class RecordingObserver:
    """An observer that records its events; it calls `at_line` at each log line and `at_wait` at each wait."""

    def __init__(self, at_line: Callable[[], None] | None = None, at_wait: Callable[[], object] | None = None) -> None:
        self.events: list[tuple[str, str] | str] = []
        self.warnings: list[str] = []
        self.stop_reason: str | None = None
        self.waits: list[float] = []
        self._reader = LogReader()
        self._at_line, self._at_wait = at_line, at_wait

    def on_phase(self, phase: str, message: str) -> None:
        self.events.append((phase, message))

    def on_line(self, text: str) -> None:
        self.events.append(text)
        self._reader.feed(text)
        if self._at_line:
            self._at_line()

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)

    def has_complete_log(self) -> bool:
        return self._reader.is_complete

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if self._at_wait:
            self._at_wait()
        time.sleep(min(seconds, 0.02))

    @property
    def phases(self) -> list[str]:
        return [event[0] for event in self.events if isinstance(event, tuple)]

    @property
    def lines(self) -> list[str]:
        return [event for event in self.events if isinstance(event, str)]


class StopFollowing(Exception):
    """Raised by an observer's `wait` to end following, as a cancellation is."""


def after(times: int, action: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls `action` once, when it is called for the n-th time."""
    count = iter(range(1, 1 << 30))

    def call() -> None:
        if next(count) == times:
            action()

    return call


def stop_following() -> None:
    raise StopFollowing


def submit(workspace: Workspace, spec: TrainingJobSpec) -> Submission:
    return start_or_adopt(workspace, spec, RUN, {})


def cloudwatch(workspace: Workspace, name: str) -> list[str]:
    """Return the whole log of a job that has ended, in one response."""
    logs = workspace.client("logs")
    [stream] = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
    response = logs.get_log_events(
        logGroupName=LOG_GROUP, logStreamName=stream["logStreamName"], startFromHead=True, limit=10_000
    )
    return [event["message"] for event in response["events"]]


def test_every_phase_and_every_log_line_is_reported_once_and_in_order(
    workspace: Workspace, make_spec: MakeSpec
) -> None:
    name = submit(workspace, make_spec(epochs="40")).name
    observer, second = RecordingObserver(), RecordingObserver()
    job = follow(workspace, name, RUN, observer)
    assert job["TrainingJobStatus"] == "Completed"
    lines = cloudwatch(workspace, name)
    assert sum("#progress_metric" in line for line in lines) >= 4
    assert observer.events == [
        ("Starting", "Starting the training job"),
        ("Downloading", "Downloading input data"),
        ("Training", "Training image download completed. Training in progress."),
        *lines,
        ("Uploading", "Uploading generated training model"),
        ("Completed", "Training job completed"),
    ]
    follow(workspace, name, RUN, second)
    assert second.events == observer.events


def test_following_a_failed_job_returns_its_failure_reason(workspace: Workspace, make_spec: MakeSpec) -> None:
    name = submit(workspace, make_spec(epochs="none")).name
    observer = RecordingObserver()
    job = follow(workspace, name, RUN, observer)
    assert "epochs" in job["FailureReason"]
    assert observer.events[-1] == ("Failed", "Training job failed")
    assert any("Customer Error" in line for line in observer.lines)


def test_a_missing_job_is_not_found(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match=r"no training job missing-job in region us-east-1"):
        follow(workspace, "missing-job", RUN, RecordingObserver())


def test_a_spot_interruption_and_the_log_after_it_are_reported(
    workspace: Workspace, make_spec: MakeSpec, inject: Inject
) -> None:
    inject(kind="spot-interruption")
    name = submit(workspace, make_spec(compute=Compute(spot=True))).name
    observer = RecordingObserver()
    assert follow(workspace, name, RUN, observer)["TrainingJobStatus"] == "Completed"
    assert observer.phases == [*PHASES[:3], "Interrupted", *PHASES]
    assert observer.lines == cloudwatch(workspace, name)
    assert sum("Reading default configuration" in line for line in observer.lines) == 2


def test_following_waits_for_a_log_that_appears_after_the_end_of_the_job(
    workspace: Workspace, make_spec: MakeSpec, inject: Inject
) -> None:
    spec = make_spec()
    follow(workspace, submit(workspace, make_spec()).name, RUN, RecordingObserver())
    workspace.client("logs").delete_log_group(logGroupName=LOG_GROUP)
    inject(kind="late-log", seconds=0.3)
    name = submit(workspace, spec).name
    observer = RecordingObserver()
    follow(workspace, name, RUN, observer)
    assert observer.lines == cloudwatch(workspace, name) != []
    assert observer.phases == PHASES
    assert observer.events[-1] == ("Completed", "Training job completed")


def test_following_stops_waiting_for_a_log_that_never_appears(
    workspace: Workspace, make_spec: MakeSpec, inject: Inject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LATE_LOG_SECONDS", 0.2)
    inject(kind="missing-log")
    observer = RecordingObserver()
    job = follow(workspace, submit(workspace, make_spec()).name, RUN, observer)
    assert job["TrainingJobStatus"] == "Completed"
    assert (observer.phases, observer.lines) == (PHASES, [])


@pytest.mark.parametrize(("data", "phases"), [("train", ["Starting"]), ("nowhere", ["Starting", "Downloading"])])
def test_the_log_of_a_job_that_never_trained_is_not_requested(
    workspace: Workspace,
    make_spec: MakeSpec,
    inject: Inject,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    data: str,
    phases: list[str],
) -> None:
    monkeypatch.setattr(following, "LATE_LOG_SECONDS", 1e9)
    if data == "train":
        inject(kind="no-capacity")
    spec = make_spec()
    channel = spec.channels[0].model_copy(update={"uri": workspace.uri(data) + "/"})
    name = submit(workspace, spec.model_copy(update={"channels": (channel,)})).name
    observer, before = RecordingObserver(), calls()
    follow(workspace, name, RUN, observer)
    assert (observer.phases, observer.lines) == ([*phases, "Failed"], [])
    assert set(calls() - before) == {"sagemaker:DescribeTrainingJob"}


def test_the_log_of_every_host_is_reported_even_if_a_page_fails(
    hasty: Workspace, make_spec: MakeSpec, inject: Inject, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LATE_LOG_SECONDS", 0.0)
    name = submit(hasty, make_spec(held=True)).name
    written = {
        "algo-2": [f"algo-2 line {number}" for number in range(12_000)],  # CloudWatch returns 10 000 events per page
        "algo-3": [f"algo-3 line {number}" for number in range(10)],
    }
    observer = RecordingObserver(
        at_line=after(9_000, lambda: inject(kind="service-error", action="GetLogEvents")),
        at_wait=lambda: stop_job(hasty, name) if len(observer.lines) >= 12_010 else None,
    )
    for host, lines in written.items():
        put_log(hasty, f"{name}/{host}-1700000000", lines)
    put_log(hasty, f"{name}-2/algo-1-1700000000", ["of the next attempt"])
    before = calls()
    follow(hasty, name, RUN, observer)
    assert (calls() - before)["logs:GetLogEvents"] > 4
    for host, lines in written.items():
        assert [line for line in observer.lines if line.startswith(host)] == lines
    assert "of the next attempt" not in observer.lines


def put_log(workspace: Workspace, stream: str, lines: list[str]) -> None:
    logs = workspace.client("logs")
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=LOG_GROUP)
    logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=stream)
    now = int(time.time() * 1000)
    for start in range(0, len(lines), 5_000):
        events: Any = [{"timestamp": now, "message": line} for line in lines[start : start + 5_000]]
        logs.put_log_events(logGroupName=LOG_GROUP, logStreamName=stream, logEvents=events)


def test_a_second_follower_reports_everything_from_the_first_event_on(
    workspace: Workspace, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LATE_LOG_SECONDS", 0.5)  # the log of a stopped job has no final line
    name = submit(workspace, make_spec(endless=True)).name
    first = RecordingObserver(at_wait=lambda: stop_following() if len(first.lines) > 20 else None)
    with pytest.raises(StopFollowing):
        follow(workspace, name, RUN, first)
    assert first.phases == PHASES[:3]
    second = RecordingObserver(at_wait=after(10, lambda: stop_job(workspace, name)))
    follow(workspace, name, RUN, second)
    assert second.phases == [*PHASES[:3], "Stopping", "Stopped"]
    assert second.lines[: len(first.lines)] == first.lines
    assert second.lines == cloudwatch(workspace, name)


@pytest.mark.parametrize("kind", ["throttling", "service-error", "lost-answer"])
def test_transient_faults_neither_end_following_nor_lose_or_repeat_events(
    hasty: Workspace, make_spec: MakeSpec, inject: Inject, sandbox_url: str, kind: str
) -> None:
    actions = ("DescribeTrainingJob", "DescribeLogStreams", "GetLogEvents")

    def inject_faults() -> None:
        for action in actions:
            inject(kind=kind, action=action, times=2)

    name = submit(hasty, make_spec(epochs="200")).name
    observer = RecordingObserver(at_line=after(1, inject_faults))
    assert follow(hasty, name, RUN, observer)["TrainingJobStatus"] == "Completed"
    assert observer.phases == PHASES
    faults.clear(sandbox_url)  # following needs some actions less than twice after the first line
    assert observer.lines == cloudwatch(hasty, name)


def test_following_ends_after_aws_was_unavailable_and_the_job_continues(
    hasty: Workspace, make_spec: MakeSpec, inject: Inject, sandbox_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MAX_OFFLINE_SECONDS", 1.0)
    name = submit(hasty, make_spec(held=True)).name
    observer = RecordingObserver(at_wait=after(2, lambda: inject(kind="service-error", times=100_000)))
    with pytest.raises(Unavailable) as caught:
        follow(hasty, name, RUN, observer)
    assert caught.value.retryable
    assert len(observer.waits) > 3
    faults.clear(sandbox_url)
    assert describe_job(hasty, name)["TrainingJobStatus"] == "InProgress"


def test_only_time_without_a_response_counts_as_unavailable(
    hasty: Workspace, make_spec: MakeSpec, inject: Inject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MAX_OFFLINE_SECONDS", 1.0)
    name = submit(hasty, make_spec(held=True)).name
    late = time.monotonic() + following.MAX_OFFLINE_SECONDS
    enough = after(3, stop_following)

    def inject_fault_late() -> None:
        if time.monotonic() > late:
            inject(kind="service-error", action="DescribeTrainingJob")
            enough()

    with pytest.raises(StopFollowing):
        follow(hasty, name, RUN, RecordingObserver(at_wait=inject_fault_late))


@pytest.mark.parametrize("action", ["DescribeLogStreams", "GetLogEvents"])
@pytest.mark.parametrize("kind", ["access-denied", "service-error", "throttling"])
def test_a_log_that_cannot_be_read_is_a_warning_and_the_job_is_followed_by_its_status(
    hasty: Workspace, make_spec: MakeSpec, inject: Inject, monkeypatch: pytest.MonkeyPatch, kind: str, action: str
) -> None:
    monkeypatch.setattr(following, "LATE_LOG_SECONDS", 0.2)
    name = submit(hasty, make_spec()).name
    inject(kind=kind, action=action, times=1000)
    observer = RecordingObserver()
    assert follow(hasty, name, RUN, observer)["TrainingJobStatus"] == "Completed"
    assert (observer.phases, observer.lines) == (PHASES, [])
    [warning] = observer.warnings
    assert warning.startswith(f"The log of {name} cannot be read; the job is followed by its status. AWS failed while")


def test_a_log_that_can_be_read_again_is_shown_from_its_first_line_on(
    hasty: Workspace, make_spec: MakeSpec, inject: Inject, sandbox_url: str
) -> None:
    inject(kind="access-denied", action="DescribeLogStreams", times=1000)
    inject(kind="slow-job", seconds=0.5)
    name = submit(hasty, make_spec()).name
    readable = after(1, lambda: faults.clear(sandbox_url))
    observer = RecordingObserver(at_wait=lambda: readable() if observer.warnings else None)
    follow(hasty, name, RUN, observer)
    assert len(observer.warnings) == 1
    assert observer.lines == cloudwatch(hasty, name) != []


@pytest.mark.parametrize("kind", ["access-denied", "throttling"])
def test_a_status_that_cannot_be_read_for_a_while_is_a_warning(
    hasty: Workspace, make_spec: MakeSpec, inject: Inject, kind: str
) -> None:
    name = submit(hasty, make_spec()).name
    inject(kind=kind, action="DescribeTrainingJob", times=6)
    observer = RecordingObserver()
    assert follow(hasty, name, RUN, observer)["TrainingJobStatus"] == "Completed"
    assert observer.phases == PHASES
    [warning] = observer.warnings
    assert warning.startswith(f"Training job {name} continues, but its status cannot be read. Trying again. AWS failed")


def test_a_lease_that_cannot_be_renewed_is_a_warning(
    workspace: Workspace, make_spec: MakeSpec, inject: Inject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LEASE_RENEWAL", timedelta(0))
    inject(kind="slow-job", seconds=0.3)
    name = submit(workspace, make_spec()).name
    inject(kind="access-denied", action="AddTags", times=1000)
    observer = RecordingObserver()
    assert follow(workspace, name, RUN, observer)["TrainingJobStatus"] == "Completed"
    [warning] = observer.warnings
    assert warning.startswith(f"The lease on {name} is not renewed: it expires after 15 min. AWS failed while tagging")


def test_the_lease_is_renewed_while_the_job_is_followed(
    workspace: Workspace, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LEASE_RENEWAL", timedelta(0))
    job = submit(workspace, make_spec(held=True))
    add_tags(workspace, job.arn, {f"{LEASE_TAG_PREFIX}{RUN}": "2001-01-01T00:00:00+00:00 elsewhere 1"})
    assert active_leases(read_tags(workspace, job.arn)) == []
    with pytest.raises(StopFollowing):
        follow(workspace, job.name, RUN, RecordingObserver(at_wait=after(2, stop_following)))
    assert active_leases(read_tags(workspace, job.arn)) == [RUN]


def test_a_poll_takes_three_calls_and_the_pauses_grow(workspace: Workspace, make_spec: MakeSpec, calls: Calls) -> None:
    name = submit(workspace, make_spec(held=True)).name
    observer, polls, before = RecordingObserver(at_wait=after(30, stop_following)), 30, calls()
    with pytest.raises(StopFollowing):
        follow(workspace, name, RUN, observer)
    made = calls() - before
    assert made["sagemaker:DescribeTrainingJob"] == polls
    assert made["logs:DescribeLogStreams"] <= polls
    assert made["logs:GetLogEvents"] <= polls + 1
    assert set(made) <= {"sagemaker:DescribeTrainingJob", "logs:DescribeLogStreams", "logs:GetLogEvents"}
    assert observer.waits == sorted(observer.waits)
    assert observer.waits[-1] == following.MAX_PAUSE_SECONDS


def test_a_stop_reason_ends_following_and_the_job_continues(workspace: Workspace, make_spec: MakeSpec) -> None:
    job = submit(workspace, make_spec(endless=True))

    def set_stop_reason() -> None:
        observer.stop_reason = "its loss is inf"

    observer = RecordingObserver(at_line=set_stop_reason)
    assert follow(workspace, job.name, RUN, observer)["TrainingJobStatus"] == "InProgress"
    assert observer.lines
    assert active_leases(read_tags(workspace, job.arn)) == [RUN]


def test_an_observer_that_fails_does_not_end_following(workspace: Workspace, make_spec: MakeSpec) -> None:
    class FailingObserver(RecordingObserver):
        def on_phase(self, phase: str, message: str) -> None:
            super().on_phase(phase, message)
            raise OSError(28, "No space left on device")

        def on_line(self, text: str) -> None:
            super().on_line(text)
            raise BrokenPipeError

        def on_warning(self, message: str) -> None:
            super().on_warning(message)
            raise ValueError

    name = submit(workspace, make_spec()).name
    observer = FailingObserver()
    assert follow(workspace, name, RUN, observer)["TrainingJobStatus"] == "Completed"
    assert observer.phases == PHASES
    assert observer.lines == cloudwatch(workspace, name)
    assert len(observer.warnings) == 1
