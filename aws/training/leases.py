"""Who follows a training job, written as leases into the job's own tags: what nobody follows is stopped.

Tags are where every machine and every Prefect server sees them. A follower renews its lease while it follows; one that
was killed cannot say so, and its lease runs out.
"""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aws.errors import AwsError, translated
from aws.workspace import Workspace

RUN_TAG = "prefect:flow-run-id"
"""The flow run that created the job."""
LEASE_TAG_PREFIX = "linear-learner:follower/"
"""Prefix of one tag per follower; the rest of the key is the id of its flow run."""
LEASE_DURATION, LEASE_RENEWAL = timedelta(minutes=15), timedelta(minutes=5)


@dataclass(frozen=True)
class Lease:
    """A flow run that follows the job, in this process of this host, at least until then if it does not die."""

    run: str
    until: datetime
    host: str
    process: int

    @classmethod
    def parse(cls, key: str, value: str) -> "Lease":
        """From a tag; a value that is not ours counts as a lease that ran out."""
        try:
            until, host, process = value.split(" ")
            moment = datetime.strptime(until, "%Y-%m-%dT%H:%M:%S%z")
            return cls(key.removeprefix(LEASE_TAG_PREFIX), moment, host, int(process))
        except ValueError:
            return cls(key.removeprefix(LEASE_TAG_PREFIX), datetime.min.replace(tzinfo=UTC), "", 0)

    @property
    def is_active(self) -> bool:
        """Whether the lease runs and, where this can be told, the process is still there."""
        return self.until > datetime.now(UTC) and not (self.host == _host() and _is_dead(self.process))


def lease_tag(run: str) -> dict[str, str]:
    """The tag by which this process says, for a flow run, that it follows a job from now on."""
    until = (datetime.now(UTC) + LEASE_DURATION).isoformat(timespec="seconds")
    return {f"{LEASE_TAG_PREFIX}{run}": f"{until} {_host()} {os.getpid()}"}


def active_leases(tags: dict[str, str]) -> list[Lease]:
    """Everybody who follows, by the job's tags."""
    every = (Lease.parse(key, value) for key, value in tags.items() if key.startswith(LEASE_TAG_PREFIX))
    return [follower for follower in every if follower.is_active]


def tags_of(workspace: Workspace, arn: str) -> dict[str, str]:
    """All tags of a job."""
    with translated(f"reading the tags of {arn}"):
        pages = workspace.client("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def add_tags(workspace: Workspace, arn: str, tags: dict[str, str]) -> None:
    """Put these tags on a job, replacing those of the same keys."""
    with translated(f"tagging {arn}"):
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        workspace.client("sagemaker").add_tags(ResourceArn=arn, Tags=listed)  # type: ignore[arg-type]


def release_lease(workspace: Workspace, arn: str, run: str) -> bool:
    """Follow no longer; whether nobody else follows either.

    Of two who leave at once at least one is told so, since each takes its lease back before it looks for others'.
    Where the tags cannot be read nobody is known to follow: stopped in vain costs less than forgotten.
    """
    try:
        with translated(f"taking a tag off {arn}"):
            workspace.client("sagemaker").delete_tags(ResourceArn=arn, TagKeys=[f"{LEASE_TAG_PREFIX}{run}"])
        return not active_leases(tags_of(workspace, arn))
    except AwsError:
        return True


def _host() -> str:
    """Where a process's number stands for that process: this boot of this host and, in a container, its own numbers."""
    # Containers may share their host's name, and hosts a name. A tag's value allows few characters, these among them.
    name = socket.gethostname()[:100] or "localhost"
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        name += f"/{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    return name


def _is_dead(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
