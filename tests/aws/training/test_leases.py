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
    tags = job_tags(workspace, job)
    assert sorted(active_leases(tags)) == ["first", "second"]
    until, host, process = tags[f"{LEASE_TAG_PREFIX}first"].split(" ")
    assert (host, int(process)) == (THIS_HOST, os.getpid())
    assert before + LEASE_DURATION <= datetime.fromisoformat(until) <= datetime.now(UTC) + LEASE_DURATION


def test_a_renewed_lease_replaces_the_previous_one(workspace: Workspace, job: str) -> None:
    add_tags(workspace, job, {f"{LEASE_TAG_PREFIX}run": value(LONG_AGO)})
    assert active_leases(job_tags(workspace, job)) == []
    add_tags(workspace, job, lease_tag("run"))
    assert active_leases(job_tags(workspace, job)) == ["run"]


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
    assert active_leases(job_tags(workspace, job)) == ["second"]
    assert release_lease(workspace, job, "second")
    assert active_leases(job_tags(workspace, job)) == []
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
            assert active_leases(job_tags(workspace, job)) == []


@pytest.mark.parametrize("action", ["ListTags", "DeleteTags"])
def test_releasing_returns_true_if_tags_cannot_be_read_or_written(
    workspace: Workspace, job: str, inject: Inject, action: str
) -> None:
    add_tags(workspace, job, lease_tag("another"))
    inject(kind="access-denied", action=action)
    assert release_lease(workspace, job, "run")
    assert not release_lease(workspace, job, "run")
