"""A job is stopped when no run follows it any more; a job that another run follows, or that has ended, is not."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from prefect.exceptions import CancelledRun

from aws.errors import NotFound, TrainingFailed, Unavailable
from aws.resource_tags import add_tags, read_tags
from aws.training.following import describe_job
from aws.training.leases import LEASE_TAG_PREFIX, active_leases, lease_expiry, lease_tag
from aws.training.request import FINGERPRINT_TAG, TrainingJobSpec, build_request
from aws.training.stopping import leave_job, running_jobs, stop_job, stop_unless_followed, stop_when_interrupted
from aws.training.submission import start_or_adopt
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

Inject = Callable[..., None]
MakeSpec = Callable[..., TrainingJobSpec]
Calls = Callable[[], Counter[str]]
WaitForEnd = Callable[[str], "DescribeTrainingJobResponseTypeDef"]
MINE, THEIRS = "my-run", "their-run"
INTERRUPTIONS = [KeyboardInterrupt, SystemExit, CancelledRun]


@pytest.fixture
def job(workspace: Workspace, make_spec: MakeSpec) -> str:
    """A running job that this run follows."""
    return start_or_adopt(workspace, make_spec(held=True), MINE, {}).name


def status(workspace: Workspace, name: str) -> str:
    return describe_job(workspace, name)["TrainingJobStatus"]


def follow_too(workspace: Workspace, name: str, run: str = THEIRS) -> None:
    add_tags(workspace, describe_job(workspace, name)["TrainingJobArn"], lease_tag(run))


def following(workspace: Workspace, name: str) -> set[str]:
    return set(active_leases(read_tags(workspace, describe_job(workspace, name)["TrainingJobArn"])))


def test_stopping_a_job_twice_raises_no_error(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd
) -> None:
    name = start_or_adopt(workspace, make_spec(endless=True), MINE, {}).name
    assert stop_job(workspace, name) in {"Stopping", "Stopped"}
    assert wait_for_end(name)["SecondaryStatus"] == "Stopped"
    assert stop_job(workspace, name) == "Stopped"


def test_stopping_a_completed_job_leaves_it_completed(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd
) -> None:
    name = start_or_adopt(workspace, make_spec(), MINE, {}).name
    wait_for_end(name)
    assert stop_job(workspace, name) == "Completed"


def test_the_end_of_a_job_that_is_stopping_is_not_awaited(
    workspace: Workspace,
    make_spec: MakeSpec,
    stopping: Callable[[str], Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aws.training.stopping.MAX_STOPPING_SECONDS", 0.05)
    name = start_or_adopt(workspace, make_spec(endless=True), MINE, {}).name
    resume = stopping(name)
    assert stop_job(workspace, name) == "Stopping"
    resume()


def test_a_missing_job_is_not_found(workspace: Workspace) -> None:
    for ask in (describe_job, stop_job):
        with pytest.raises(NotFound, match=r"no training job missing-job in region us-east-1"):
            ask(workspace, "missing-job")
    with pytest.raises(NotFound, match=r"no training job missing-job in region us-east-1"):
        stop_unless_followed(workspace, "missing-job", MINE)


def test_a_job_is_stopped_when_its_last_follower_leaves(workspace: Workspace, job: str) -> None:
    assert stop_unless_followed(workspace, job, MINE) in {"Stopping", "Stopped"}
    assert following(workspace, job) == set()


def test_a_job_that_another_run_follows_continues(workspace: Workspace, job: str) -> None:
    follow_too(workspace, job)
    assert stop_unless_followed(workspace, job, MINE) is None
    assert (status(workspace, job), following(workspace, job)) == ("InProgress", {THEIRS})
    assert stop_unless_followed(workspace, job, THEIRS) in {"Stopping", "Stopped"}


def test_a_job_is_stopped_when_all_followers_leave_concurrently(workspace: Workspace, job: str) -> None:
    follow_too(workspace, job)
    barrier = threading.Barrier(2)

    def leave(run: str) -> str | None:
        barrier.wait()
        return stop_unless_followed(workspace, job, run)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(leave, (MINE, THEIRS)))
    assert status(workspace, job) in {"Stopping", "Stopped"}


def test_a_job_that_has_ended_is_not_changed(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd, calls: Calls
) -> None:
    name = start_or_adopt(workspace, make_spec(), MINE, {}).name
    wait_for_end(name)
    before = calls()
    assert stop_unless_followed(workspace, name, MINE) is None
    assert calls() - before == {"sagemaker:DescribeTrainingJob": 1}
    assert f"{LEASE_TAG_PREFIX}{MINE}" in read_tags(workspace, describe_job(workspace, name)["TrainingJobArn"])


def test_a_job_whose_tags_cannot_be_read_is_stopped(workspace: Workspace, job: str, inject: Inject) -> None:
    follow_too(workspace, job)
    inject(kind="access-denied", action="ListTags")
    assert stop_unless_followed(workspace, job, MINE) in {"Stopping", "Stopped"}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_a_job_is_stopped_when_its_follower_is_interrupted(
    workspace: Workspace, job: str, interruption: type[BaseException]
) -> None:
    with pytest.raises(interruption), stop_when_interrupted(workspace, job, MINE, print):
        raise interruption
    assert status(workspace, job) in {"Stopping", "Stopped"}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_an_interruption_does_not_stop_a_job_with_another_follower(
    workspace: Workspace, job: str, interruption: type[BaseException]
) -> None:
    follow_too(workspace, job)
    with pytest.raises(interruption), stop_when_interrupted(workspace, job, MINE, print):
        raise interruption
    assert (status(workspace, job), following(workspace, job)) == ("InProgress", {THEIRS})


def test_an_interruption_is_raised_with_a_warning_when_the_job_cannot_be_stopped(
    workspace: Workspace, job: str, inject: Inject
) -> None:
    inject(kind="access-denied", action="StopTrainingJob")
    warnings: list[str] = []
    with pytest.raises(KeyboardInterrupt), stop_when_interrupted(workspace, job, MINE, warnings.append):
        raise KeyboardInterrupt
    [warning] = warnings
    assert warning.startswith(f"Training job {job} was not stopped, and may continue up to its time limit. AWS failed")


def test_a_job_that_is_left_keeps_a_lease_that_does_not_depend_on_a_process(workspace: Workspace, job: str) -> None:
    [running] = [one for one in running_jobs(workspace) if one.name == job]
    until = leave_job(workspace, running, MINE)
    lease = read_tags(workspace, running.arn)[f"{LEASE_TAG_PREFIX}{MINE}"]
    assert following(workspace, job) == {MINE}
    assert until == lease_expiry(lease).strftime("%H:%M UTC")
    assert str(os.getpid()) not in lease.split()


def test_a_job_that_was_left_and_adopted_is_stopped_with_the_run_that_adopted_it(
    workspace: Workspace, make_spec: MakeSpec
) -> None:
    spec = make_spec(held=True)
    name = start_or_adopt(workspace, spec, MINE, {}).name
    [running] = [one for one in running_jobs(workspace) if one.name == name]
    leave_job(workspace, running, MINE)
    assert start_or_adopt(workspace, spec, THEIRS, {}).how == "followed"
    assert following(workspace, name) == {THEIRS}
    assert stop_unless_followed(workspace, name, THEIRS) in {"Stopping", "Stopped"}


@pytest.mark.parametrize("error", [RuntimeError, TrainingFailed, Unavailable])
def test_a_job_continues_when_its_follower_fails(workspace: Workspace, job: str, error: type[Exception]) -> None:
    with pytest.raises(error), stop_when_interrupted(workspace, job, MINE, print):
        raise error
    assert (status(workspace, job), following(workspace, job)) == ("InProgress", {MINE})


def test_a_job_continues_when_its_follower_ends_normally(workspace: Workspace, job: str) -> None:
    with stop_when_interrupted(workspace, job, MINE, print):
        pass
    assert (status(workspace, job), following(workspace, job)) == ("InProgress", {MINE})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_prevent_the_stop(
    workspace: Workspace, job: str, inject: Inject, calls: Calls, number: signal.Signals
) -> None:
    inject(kind="slow-answer", action="DeleteTags", seconds=1)
    before, received = calls(), list[int]()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    def interrupt_again() -> None:
        while not (calls() - before)["sagemaker:DeleteTags"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    def be_interrupted() -> None:
        with stop_when_interrupted(workspace, job, MINE, print):
            os.kill(os.getpid(), number)
            time.sleep(30)

    deadline, previous = time.monotonic() + 30, signal.signal(number, interrupt)
    try:
        with ThreadPoolExecutor(1) as pool:
            interruption = pool.submit(interrupt_again)
            with pytest.raises(KeyboardInterrupt):
                be_interrupted()
            interruption.result()
        assert received == [number]
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, previous)
    assert status(workspace, job) in {"Stopping", "Stopped"}


def test_a_job_is_stopped_when_a_follower_in_a_thread_is_interrupted(workspace: Workspace, job: str) -> None:
    def be_cancelled() -> None:
        with stop_when_interrupted(workspace, job, MINE, print):
            raise CancelledRun

    with ThreadPoolExecutor(1) as pool, pytest.raises(CancelledRun):
        pool.submit(be_cancelled).result()
    assert status(workspace, job) in {"Stopping", "Stopped"}


def test_running_jobs_yields_all_jobs_of_this_project(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd
) -> None:
    specs = [make_spec(held=True) for _ in range(12)]  # more than a page
    arns = {start_or_adopt(workspace, spec, MINE, {"cost": "7"}).arn for spec in specs}
    client = workspace.client("sagemaker")
    foreign = [f"linear-learner-{workspace.prefix[-32:]}", f"others-{workspace.prefix[-32:]}"]
    for name in foreign:
        request = build_request(workspace, specs[0], name, {})
        request["Tags"] = [tag for tag in request["Tags"] if tag["Key"] != FINGERPRINT_TAG or name.startswith("others")]
        client.create_training_job(**request)
    done = specs.pop()
    stop_job(workspace, done.name(1))
    wait_for_end(done.name(1))
    found = {job.name: job.tags for job in running_jobs(workspace)}
    assert set(found) == {spec.name(1) for spec in specs}
    assert len(arns) == len(found) + 1
    for spec in specs:
        tags = found[spec.name(1)]
        assert (tags["cost"], tags[FINGERPRINT_TAG]) == ("7", spec.fingerprint)
        assert active_leases(tags) == [MINE]
    for name in foreign:
        client.stop_training_job(TrainingJobName=name)
        wait_for_end(name)
