"""What nobody follows any more is stopped; what another follows, or what is over, is left alone."""

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

from aws.errors import AccessDenied, NotFound, TrainingFailed, Unavailable
from aws.training.following import describe_job
from aws.training.leases import LEASE_TAG_PREFIX, active_leases, add_tags, job_tags, lease_tag
from aws.training.request import FINGERPRINT_TAG, TrainingJobSpec, build_request
from aws.training.stopping import running_jobs, stop_job, stop_unless_followed, stop_when_interrupted
from aws.training.submission import start_or_adopt
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

Inject = Callable[..., None]
MakeSpec = Callable[..., TrainingJobSpec]
Calls = Callable[[], Counter[str]]
Over = Callable[[str], "DescribeTrainingJobResponseTypeDef"]
MINE, THEIRS = "my-run", "their-run"
INTERRUPTIONS = [KeyboardInterrupt, SystemExit, CancelledRun]


@pytest.fixture
def job(workspace: Workspace, make_spec: MakeSpec) -> str:
    """A job that runs and that this run follows."""
    return start_or_adopt(workspace, make_spec(held=True), MINE, {}).name


def status(workspace: Workspace, name: str) -> str:
    return describe_job(workspace, name)["TrainingJobStatus"]


def follow_too(workspace: Workspace, name: str, run: str = THEIRS) -> None:
    add_tags(workspace, describe_job(workspace, name)["TrainingJobArn"], lease_tag(run))


def following(workspace: Workspace, name: str) -> set[str]:
    return set(active_leases(job_tags(workspace, describe_job(workspace, name)["TrainingJobArn"])))


def test_a_job_in_training_is_stopped_and_stopping_it_again_is_fine(
    workspace: Workspace, make_spec: MakeSpec, over: Over
) -> None:
    name = start_or_adopt(workspace, make_spec(endless=True), MINE, {}).name
    assert stop_job(workspace, name) in {"Stopping", "Stopped"}
    assert over(name)["SecondaryStatus"] == "Stopped"
    assert stop_job(workspace, name) == "Stopped"


def test_stopping_a_completed_job_leaves_it_completed(workspace: Workspace, make_spec: MakeSpec, over: Over) -> None:
    name = start_or_adopt(workspace, make_spec(), MINE, {}).name
    over(name)
    assert stop_job(workspace, name) == "Completed"


def test_a_job_that_is_stopping_is_trusted_to_end(
    workspace: Workspace,
    make_spec: MakeSpec,
    stopping: Callable[[str], Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aws.training.stopping.MAX_STOPPING_SECONDS", 0.05)
    name = start_or_adopt(workspace, make_spec(endless=True), MINE, {}).name
    let_it_end = stopping(name)
    assert stop_job(workspace, name) == "Stopping"
    let_it_end()


def test_a_job_that_does_not_exist_is_not_found(workspace: Workspace) -> None:
    for ask in (describe_job, stop_job):
        with pytest.raises(NotFound, match=r"no training job nobodys in region us-east-1"):
            ask(workspace, "nobodys")
    with pytest.raises(NotFound, match=r"no training job nobodys in region us-east-1"):
        stop_unless_followed(workspace, "nobodys", MINE)


def test_a_job_that_is_abandoned_by_the_last_who_followed_it_is_stopped(workspace: Workspace, job: str) -> None:
    assert stop_unless_followed(workspace, job, MINE) in {"Stopping", "Stopped"}
    assert following(workspace, job) == set()


def test_a_job_that_another_run_follows_goes_on(workspace: Workspace, job: str) -> None:
    follow_too(workspace, job)
    assert stop_unless_followed(workspace, job, MINE) is None
    assert (status(workspace, job), following(workspace, job)) == ("InProgress", {THEIRS})
    assert stop_unless_followed(workspace, job, THEIRS) in {"Stopping", "Stopped"}


def test_of_those_that_abandon_a_job_at_once_one_stops_it(workspace: Workspace, job: str) -> None:
    follow_too(workspace, job)
    together = threading.Barrier(2)

    def go(run: str) -> str | None:
        together.wait()
        return stop_unless_followed(workspace, job, run)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(go, (MINE, THEIRS)))
    assert status(workspace, job) in {"Stopping", "Stopped"}


def test_a_job_that_is_over_is_not_touched(workspace: Workspace, make_spec: MakeSpec, over: Over, calls: Calls) -> None:
    name = start_or_adopt(workspace, make_spec(), MINE, {}).name
    over(name)
    before = calls()
    assert stop_unless_followed(workspace, name, MINE) is None
    assert calls() - before == {"sagemaker:DescribeTrainingJob": 1}
    assert f"{LEASE_TAG_PREFIX}{MINE}" in job_tags(workspace, describe_job(workspace, name)["TrainingJobArn"])


def test_where_tags_cannot_be_read_a_job_is_stopped_rather_than_forgotten(
    workspace: Workspace, job: str, inject: Inject
) -> None:
    follow_too(workspace, job)
    inject(kind="access-denied", action="ListTags")
    assert stop_unless_followed(workspace, job, MINE) in {"Stopping", "Stopped"}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_a_job_is_stopped_when_whoever_follows_it_is_interrupted(
    workspace: Workspace, job: str, interruption: type[BaseException]
) -> None:
    with pytest.raises(interruption), stop_when_interrupted(workspace, job, MINE):
        raise interruption
    assert status(workspace, job) in {"Stopping", "Stopped"}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_an_interruption_leaves_the_job_to_others_who_follow_it(
    workspace: Workspace, job: str, interruption: type[BaseException]
) -> None:
    follow_too(workspace, job)
    with pytest.raises(interruption), stop_when_interrupted(workspace, job, MINE):
        raise interruption
    assert (status(workspace, job), following(workspace, job)) == ("InProgress", {THEIRS})


@pytest.mark.parametrize("error", [RuntimeError, TrainingFailed, Unavailable])
def test_a_job_goes_on_when_its_follower_fails_since_whoever_retries_follows_it_again(
    workspace: Workspace, job: str, error: type[Exception]
) -> None:
    with pytest.raises(error), stop_when_interrupted(workspace, job, MINE):
        raise error
    assert (status(workspace, job), following(workspace, job)) == ("InProgress", {MINE})


def test_a_job_goes_on_when_its_follower_ends_well(workspace: Workspace, job: str) -> None:
    with stop_when_interrupted(workspace, job, MINE):
        pass
    assert (status(workspace, job), following(workspace, job)) == ("InProgress", {MINE})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_keep_the_job_running(
    workspace: Workspace, job: str, inject: Inject, calls: Calls, number: signal.Signals
) -> None:
    inject(kind="slow-answer", action="DeleteTags", seconds=1)
    before, heard = calls(), list[int]()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    def interrupt_again() -> None:
        while not (calls() - before)["sagemaker:DeleteTags"]:
            assert time.monotonic() < give_up
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    def be_interrupted() -> None:
        with stop_when_interrupted(workspace, job, MINE):
            os.kill(os.getpid(), number)
            time.sleep(30)

    give_up, standing = time.monotonic() + 30, signal.signal(number, interrupt)
    try:
        with ThreadPoolExecutor(1) as pool:
            retry = pool.submit(interrupt_again)
            with pytest.raises(KeyboardInterrupt):
                be_interrupted()
            retry.result()
        assert heard == [number]
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, standing)
    assert status(workspace, job) in {"Stopping", "Stopped"}


def test_a_follower_in_a_thread_may_be_interrupted_too(workspace: Workspace, job: str) -> None:
    def be_cancelled() -> None:
        with stop_when_interrupted(workspace, job, MINE):
            raise CancelledRun

    with ThreadPoolExecutor(1) as pool, pytest.raises(CancelledRun):
        pool.submit(be_cancelled).result()
    assert status(workspace, job) in {"Stopping", "Stopped"}


def test_what_prevents_the_stop_is_said_since_the_job_goes_on_costing(
    workspace: Workspace, job: str, inject: Inject
) -> None:
    inject(kind="access-denied", action="StopTrainingJob")
    with (
        pytest.raises(AccessDenied, match=f"stopping training job {job}.*StopTrainingJob") as caught,
        stop_when_interrupted(workspace, job, MINE),
    ):
        raise KeyboardInterrupt
    assert isinstance(caught.value.__context__, BaseException)


def test_the_running_jobs_are_those_of_this_project_all_of_them(
    workspace: Workspace, make_spec: MakeSpec, over: Over
) -> None:
    specs = [make_spec(held=True) for _ in range(12)]  # more than a page
    arns = {start_or_adopt(workspace, spec, MINE, {"cost": "7"}).arn for spec in specs}
    client = workspace.client("sagemaker")
    foreign = [f"linear-learner-{workspace.prefix[-32:]}", f"others-{workspace.prefix[-32:]}"]
    for name in foreign:
        asked = build_request(workspace, specs[0], name, {})
        asked["Tags"] = [tag for tag in asked["Tags"] if tag["Key"] != FINGERPRINT_TAG or name.startswith("others")]
        client.create_training_job(**asked)
    done = specs.pop()
    stop_job(workspace, done.name(1))
    over(done.name(1))
    found = dict(running_jobs(workspace))
    assert set(found) == {spec.name(1) for spec in specs}
    assert len(arns) == len(found) + 1
    for spec in specs:
        tags = found[spec.name(1)]
        assert (tags["cost"], tags[FINGERPRINT_TAG]) == ("7", spec.fingerprint)
        assert active_leases(tags) == [MINE]
    for name in foreign:
        client.stop_training_job(TrainingJobName=name)
        over(name)
