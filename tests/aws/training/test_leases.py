"""Leases in a job's tags: who follows it, and whether whoever leaves is the last."""

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

from aws.training.leases import (
    LEASE_DURATION,
    LEASE_TAG_PREFIX,
    active_leases,
    add_tags,
    job_tags,
    lease_tag,
    release_lease,
)
from aws.training.request import TrainingJobSpec
from aws.training.submission import start_or_adopt
from aws.workspace import Workspace

Inject = Callable[..., None]
MakeSpec = Callable[..., TrainingJobSpec]
HERE, ELSEWHERE = lease_tag("run")[f"{LEASE_TAG_PREFIX}run"].split(" ")[1], "another-host.example"
SOON, LONG_AGO = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(seconds=1)


@pytest.fixture
def job(workspace: Workspace, make_spec: MakeSpec) -> str:
    """The ARN of a job that nobody follows."""
    arn = start_or_adopt(workspace, make_spec(held=True), "dead", {}).arn
    assert release_lease(workspace, arn, "dead")
    return arn


def value(until: datetime = SOON, host: str = HERE, process: int | None = None) -> str:
    return f"{until.isoformat(timespec='seconds')} {host} {process or os.getpid()}"


def is_active(text: str) -> bool:
    return bool(active_leases({f"{LEASE_TAG_PREFIX}run": text}))


def test_a_lease_says_by_the_jobs_tags_who_follows_until_when_and_from_where(workspace: Workspace, job: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    for run in ("first", "second"):
        add_tags(workspace, job, lease_tag(run))
    tags = job_tags(workspace, job)
    assert sorted(active_leases(tags)) == ["first", "second"]
    until, host, process = tags[f"{LEASE_TAG_PREFIX}first"].split(" ")
    assert (host, int(process)) == (HERE, os.getpid())
    assert before + LEASE_DURATION <= datetime.fromisoformat(until) <= datetime.now(UTC) + LEASE_DURATION


def test_a_renewed_lease_replaces_the_one_before(workspace: Workspace, job: str) -> None:
    add_tags(workspace, job, {f"{LEASE_TAG_PREFIX}run": value(LONG_AGO)})
    assert active_leases(job_tags(workspace, job)) == []
    add_tags(workspace, job, lease_tag("run"))
    assert active_leases(job_tags(workspace, job)) == ["run"]


def test_a_lease_is_made_of_what_tags_may_hold() -> None:
    # The pattern of Tag.Key and Tag.Value, and their longest, in SageMaker's API reference; a flow run's id is a UUID.
    [(key, text)] = lease_tag("0c3cf2b4-3c5f-4a0c-8a0e-6b1f6f6f2a35").items()
    assert re.fullmatch(r"[\w .:/=+\-@]{1,128}", key)
    assert re.fullmatch(r"[\w .:/=+\-@]{1,256}", text)


def test_other_tags_are_nobodys_lease() -> None:
    assert active_leases({"run": value(), "cost": "7", "linear-learner:fingerprint": value()}) == []


def test_a_lease_that_ran_out_is_no_followers() -> None:
    assert is_active(value(SOON))
    assert not is_active(value(LONG_AGO))
    assert not is_active(value(LONG_AGO, ELSEWHERE))


def test_a_process_that_is_missing_from_this_host_follows_no_longer_and_one_that_is_there_does() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert is_active(value(process=other.pid))
        assert other.stdin
        other.stdin.close()
        other.wait()
    assert not is_active(value(process=other.pid))
    assert is_active(value(process=os.getpid()))
    assert is_active(value(process=1))


def test_whether_a_process_of_another_host_is_there_cannot_be_informed_its_lease_counts() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    assert is_active(value(host=ELSEWHERE, process=dead.pid))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a host is known by its name alone")
def test_a_container_with_its_hosts_name_is_another_host() -> None:
    assert HERE.startswith(f"{gethostname()}/")
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    assert not is_active(value(process=dead.pid))
    in_a_container = f"{HERE.rsplit('/', 1)[0]}/1"
    assert is_active(value(host=in_a_container, process=dead.pid))


@given(st.text())
@example("")
@example("2999-01-01T00:00:00+00:00 host")
@example("2999-01-01T00:00:00+00:00 host one")
@example("2999-01-01T00:00:00 host 1")
@example("9999-12-31T23:59:59-23:59 host 1 2")
@example("for ever host 1")
def test_a_value_that_is_not_ours_is_nobodys_lease(text: str) -> None:
    assert not is_active(text)


@pytest.mark.parametrize("process", [0, -1, 10**30])
def test_a_process_number_that_no_process_has_does_no_harm(process: int) -> None:
    until = SOON.isoformat(timespec="seconds")
    assert is_active(f"{until} {ELSEWHERE} {process}")
    assert is_active(f"{until} {HERE} {process}") in {True, False}


def test_whoever_leaves_learns_whether_another_stays(workspace: Workspace, job: str) -> None:
    for run in ("first", "second"):
        add_tags(workspace, job, lease_tag(run))
    assert not release_lease(workspace, job, "first")
    assert active_leases(job_tags(workspace, job)) == ["second"]
    assert release_lease(workspace, job, "second")
    assert active_leases(job_tags(workspace, job)) == []
    assert release_lease(workspace, job, "second")


def test_of_two_that_leave_at_once_at_least_one_is_reported_to_be_the_last(workspace: Workspace, job: str) -> None:
    together = Barrier(2)

    def go(run: str) -> bool:
        together.wait()
        return release_lease(workspace, job, run)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            for run in ("first", "second"):
                add_tags(workspace, job, lease_tag(run))
            assert any(pool.map(go, ("first", "second")))
            assert active_leases(job_tags(workspace, job)) == []


@pytest.mark.parametrize("action", ["ListTags", "DeleteTags"])
def test_where_tags_cannot_be_read_or_written_nobody_is_known_to_follow(
    workspace: Workspace, job: str, inject: Inject, action: str
) -> None:
    add_tags(workspace, job, lease_tag("another"))
    inject(kind="access-denied", action=action)
    assert release_lease(workspace, job, "run")
    assert not release_lease(workspace, job, "run")
