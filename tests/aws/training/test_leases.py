"""Leases in a job's tags: which runs follow the job, and whether a run that leaves is the last."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from socket import gethostname
from threading import Barrier

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aws.errors import AccessDenied, Unavailable
from aws.resource_tags import add_tags, read_tags
from aws.tags import MAX_TAGS
from aws.training.leases import (
    LEASE_DURATION,
    LEASE_TAG_PREFIX,
    active_leases,
    lease_tag,
    release_lease,
    renew_lease,
)
from aws.training.request import TrainingJobSpec
from aws.training.submission import start_or_adopt
from aws.workspace import Workspace

Inject = Callable[..., None]
MakeSpec = Callable[..., TrainingJobSpec]
THIS_HOST, OTHER_HOST = lease_tag("run")[f"{LEASE_TAG_PREFIX}run"].split(" ")[1], "another-host.example"
SOON, LONG_AGO = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(seconds=1)


@pytest.fixture
def job(workspace: Workspace, make_spec: MakeSpec) -> str:
    """The ARN of a job that no run follows."""
    arn = start_or_adopt(workspace, make_spec(held=True), "dead", {}).arn
    assert release_lease(workspace, arn, "dead")
    return arn


def value(until: datetime = SOON, host: str = THIS_HOST, process: int | None = None) -> str:
    return f"{until.isoformat(timespec='seconds')} {host} {process or os.getpid()}"


def is_active(text: str) -> bool:
    return bool(active_leases({f"{LEASE_TAG_PREFIX}run": text}))


def test_a_lease_tag_has_run_expiry_host_and_process(workspace: Workspace, job: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    for run in ("first", "second"):
        add_tags(workspace, job, lease_tag(run))
    tags = read_tags(workspace, job)
    assert sorted(active_leases(tags)) == ["first", "second"]
    until, host, process = tags[f"{LEASE_TAG_PREFIX}first"].split(" ")
    assert (host, int(process)) == (THIS_HOST, os.getpid())
    assert before + LEASE_DURATION <= datetime.fromisoformat(until) <= datetime.now(UTC) + LEASE_DURATION


def test_a_renewed_lease_replaces_the_previous_one(workspace: Workspace, job: str) -> None:
    add_tags(workspace, job, {f"{LEASE_TAG_PREFIX}run": value(LONG_AGO)})
    assert active_leases(read_tags(workspace, job)) == []
    add_tags(workspace, job, lease_tag("run"))
    assert active_leases(read_tags(workspace, job)) == ["run"]


def test_a_lease_is_a_valid_tag() -> None:
    # The patterns and maximum lengths of Tag.Key and Tag.Value in SageMaker's API reference; run ids are UUIDs.
    [(key, text)] = lease_tag("0c3cf2b4-3c5f-4a0c-8a0e-6b1f6f6f2a35").items()
    assert re.fullmatch(r"[\w .:/=+\-@]{1,128}", key)
    assert re.fullmatch(r"[\w .:/=+\-@]{1,256}", text)


def test_other_tags_are_not_leases() -> None:
    assert active_leases({"run": value(), "cost": "7", "linear-learner:fingerprint": value()}) == []


def test_an_expired_lease_is_not_active() -> None:
    assert is_active(value(SOON))
    assert not is_active(value(LONG_AGO))
    assert not is_active(value(LONG_AGO, OTHER_HOST))


def test_a_lease_of_this_host_is_active_while_its_process_runs() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert is_active(value(process=other.pid))
        assert other.stdin
        other.stdin.close()
        other.wait()
    assert not is_active(value(process=other.pid))
    assert is_active(value(process=os.getpid()))
    assert is_active(value(process=1))


def test_a_lease_of_another_host_is_active_until_it_expires() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    assert is_active(value(host=OTHER_HOST, process=dead.pid))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems identify a host by its name only")
def test_a_container_with_the_name_of_its_host_is_another_host() -> None:
    assert THIS_HOST.startswith(f"{gethostname()}/")
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    assert not is_active(value(process=dead.pid))
    in_a_container = f"{THIS_HOST.rsplit('/', 1)[0]}/1"
    assert is_active(value(host=in_a_container, process=dead.pid))


@given(st.text())
@example("")
@example("2999-01-01T00:00:00+00:00 host")
@example("2999-01-01T00:00:00+00:00 host one")
@example("2999-01-01T00:00:00 host 1")
@example("9999-12-31T23:59:59-23:59 host 1 2")
@example("for ever host 1")
def test_a_malformed_value_is_not_an_active_lease(text: str) -> None:
    assert not is_active(text)


@pytest.mark.parametrize("process", [0, -1, 10**30])
def test_an_invalid_process_id_raises_no_error(process: int) -> None:
    until = SOON.isoformat(timespec="seconds")
    assert is_active(f"{until} {OTHER_HOST} {process}")
    assert is_active(f"{until} {THIS_HOST} {process}") in {True, False}


def test_releasing_a_lease_returns_whether_no_other_is_active(workspace: Workspace, job: str) -> None:
    for run in ("first", "second"):
        add_tags(workspace, job, lease_tag(run))
    assert not release_lease(workspace, job, "first")
    assert active_leases(read_tags(workspace, job)) == ["second"]
    assert release_lease(workspace, job, "second")
    assert active_leases(read_tags(workspace, job)) == []
    assert release_lease(workspace, job, "second")


def test_of_two_concurrent_releases_at_least_one_returns_true(workspace: Workspace, job: str) -> None:
    barrier = Barrier(2)

    def release(run: str) -> bool:
        barrier.wait()
        return release_lease(workspace, job, run)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            for run in ("first", "second"):
                add_tags(workspace, job, lease_tag(run))
            assert any(pool.map(release, ("first", "second")))
            assert active_leases(read_tags(workspace, job)) == []


@pytest.mark.parametrize("action", ["ListTags", "DeleteTags"])
def test_releasing_returns_true_if_tags_cannot_be_read_or_written(
    workspace: Workspace, job: str, inject: Inject, action: str
) -> None:
    add_tags(workspace, job, lease_tag("another"))
    inject(kind="access-denied", action=action)
    assert release_lease(workspace, job, "run")
    assert not release_lease(workspace, job, "run")


def lease_key(run: str) -> str:
    return f"{LEASE_TAG_PREFIX}{run}"


def fill_with_leases(workspace: Workspace, job: str, until: datetime, room: int = 0) -> int:
    """Add leases of other hosts until the job has room for `room` more tags; returns their number."""
    count = MAX_TAGS - room - len(read_tags(workspace, job))
    add_tags(workspace, job, {lease_key(f"other-{n}"): value(until, OTHER_HOST) for n in range(count)})
    return count


def test_a_lease_is_added_and_renewed(workspace: Workspace, job: str) -> None:
    add_tags(workspace, job, {lease_key("run"): value(LONG_AGO)})
    assert [renew_lease(workspace, job, "run"), renew_lease(workspace, job, "run")] == [True, True]
    assert active_leases(read_tags(workspace, job)) == ["run"]


@pytest.mark.parametrize("room", [0, 1])
def test_expired_leases_make_room_for_a_new_one(workspace: Workspace, job: str, room: int) -> None:
    add_tags(workspace, job, {lease_key("active"): value(SOON, OTHER_HOST), "expired": value(LONG_AGO)})
    fill_with_leases(workspace, job, LONG_AGO, room)
    assert renew_lease(workspace, job, "run")
    tags = read_tags(workspace, job)
    assert {key for key in tags if key.startswith(LEASE_TAG_PREFIX)} == {lease_key("active"), lease_key("run")}
    assert "expired" in tags


def test_expired_leases_are_stored_while_there_is_room(workspace: Workspace, job: str) -> None:
    fill_with_leases(workspace, job, LONG_AGO, room=2)
    assert renew_lease(workspace, job, "run")
    assert len(read_tags(workspace, job)) == MAX_TAGS - 1


@pytest.mark.parametrize("room", [0, 1])
def test_without_room_no_lease_is_added_and_one_place_is_left(workspace: Workspace, job: str, room: int) -> None:
    count = fill_with_leases(workspace, job, SOON, room)
    assert not renew_lease(workspace, job, "run")
    assert len(active_leases(read_tags(workspace, job))) == count
    assert renew_lease(workspace, job, "other-0")


def test_a_lease_for_which_another_run_took_the_room_is_not_added(workspace: Workspace, job: str) -> None:
    tags = read_tags(workspace, job)
    fill_with_leases(workspace, job, SOON)
    assert not renew_lease(workspace, job, "run", tags)


@pytest.mark.parametrize(("kind", "expected"), [("access-denied", AccessDenied), ("throttling", Unavailable)])
@pytest.mark.parametrize("action", ["AddTags", "ListTags"])
def test_other_failures_of_a_renewal_are_raised(
    hasty: Workspace, job: str, inject: Inject, kind: str, expected: type[Exception], action: str
) -> None:
    inject(kind=kind, action=action, times=1)
    with pytest.raises(expected):
        renew_lease(hasty, job, "run")


def test_twenty_runs_follow_one_job_of_a_workspace_with_many_tags(workspace: Workspace, make_spec: MakeSpec) -> None:
    workspace.tags = {f"tag {n}": "" for n in range(40)}
    spec = make_spec(held=True)
    submissions = [start_or_adopt(workspace, spec, f"run-{n}", {"prefect:deployment": "d"}) for n in range(20)]
    assert len({one.arn for one in submissions}) == 1
    tags = read_tags(workspace, submissions[0].arn)
    followed = [bool(one.lease_problem) for one in submissions]
    assert sorted(followed) == followed, "the first runs get leases"
    assert len(active_leases(tags)) == followed.count(False) == 6
    add_tags(workspace, submissions[0].arn, {"linear-learner:diverged": "its loss is inf"})
    assert len(read_tags(workspace, submissions[0].arn)) == MAX_TAGS


def test_a_job_is_followed_when_its_tags_may_not_be_changed(
    workspace: Workspace, make_spec: MakeSpec, inject: Inject
) -> None:
    spec = make_spec(held=True)
    start_or_adopt(workspace, spec, "first", {})
    inject(kind="access-denied", action="AddTags")
    followed = start_or_adopt(workspace, spec, "second", {})
    assert followed.how == "followed"
    assert "sagemaker:AddTags" in followed.lease_problem
