"""Leases in a training job's tags, which say which flow runs follow it; a job without an active lease can be stopped.

Tags are visible to every machine that uses the account. A run renews its lease while it follows the job; the lease of
a run that was killed expires.
"""

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aws.errors import AwsError, translate_errors
from aws.workspace import Workspace

RUN_TAG = "prefect:flow-run-id"
"""The flow run that created the job."""
LEASE_TAG_PREFIX = "linear-learner:follower/"
"""Prefix of the key of a lease's tag; the rest of the key is the id of the flow run."""
LEASE_DURATION, LEASE_RENEWAL = timedelta(minutes=15), timedelta(minutes=5)


def lease_tag(run: str) -> dict[str, str]:
    """The tag of a new lease of this process for a flow run."""
    until = (datetime.now(UTC) + LEASE_DURATION).isoformat(timespec="seconds")
    return {f"{LEASE_TAG_PREFIX}{run}": f"{until} {_host_identity()} {os.getpid()}"}


def active_leases(tags: dict[str, str]) -> list[str]:
    """The flow runs that have an active lease among a job's tags."""
    leases = {key.removeprefix(LEASE_TAG_PREFIX): tags[key] for key in tags if key.startswith(LEASE_TAG_PREFIX)}
    return [run for run, lease in leases.items() if _is_active(lease)]


def _is_active(lease: str) -> bool:
    """Whether it has not expired and its process, if it is one of this host, still runs; False for another format."""
    try:
        until, host, process = lease.split(" ")
        moment, process_id = datetime.strptime(until, "%Y-%m-%dT%H:%M:%S%z"), int(process)
    except ValueError:
        return False
    return moment > datetime.now(UTC) and not (host == _host_identity() and _is_process_dead(process_id))


def job_tags(workspace: Workspace, arn: str) -> dict[str, str]:
    """All tags of a job."""
    with translate_errors(f"reading the tags of {arn}"):
        pages = workspace.client("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def add_tags(workspace: Workspace, arn: str, tags: dict[str, str]) -> None:
    """Put these tags on a job, replacing those of the same keys."""
    with translate_errors(f"tagging {arn}"):
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        workspace.client("sagemaker").add_tags(ResourceArn=arn, Tags=listed)  # type: ignore[arg-type]


def release_lease(workspace: Workspace, arn: str, run: str) -> bool:
    """Remove the lease of the flow run `run`; returns whether the job has no active lease now.

    When two runs release their leases at once, at least one of them gets True, as each removes its own lease before it
    reads the tags. Also True when AWS fails: a job that is stopped needlessly costs less than one that is forgotten.
    """
    try:
        with translate_errors(f"taking a tag off {arn}"):
            workspace.client("sagemaker").delete_tags(ResourceArn=arn, TagKeys=[f"{LEASE_TAG_PREFIX}{run}"])
        return not active_leases(job_tags(workspace, arn))
    except AwsError:
        return True


def _host_identity() -> str:
    """What makes process ids comparable: host name, boot id and PID namespace, in characters that a tag may hold."""
    # Containers may share their host's name, and several hosts may have the same name.
    name = socket.gethostname()[:100] or "localhost"
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        name += f"/{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    return name


def _is_process_dead(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except (OSError, OverflowError) as error:  # of another user, or a number that no process can have
        return isinstance(error, ProcessLookupError)
    return False
