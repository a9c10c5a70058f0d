"""Leases: tags of a training job that name the flow runs following it; a job without an active lease can be stopped.

Tags are visible to every machine that uses the account. A run renews its lease while it follows the job; the lease of
a killed run expires.
"""

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aws.errors import AwsError
from aws.resource_tags import add_tags, read_tags, remove_tags
from aws.tags import MAX_TAGS, count_tags
from aws.workspace import Workspace

RUN_TAG = "prefect:flow-run-id"
"""The flow run that created the job."""
LEASE_TAG_PREFIX = "linear-learner:follower/"
"""Prefix of the key of a lease's tag; the rest of the key is the id of the flow run."""
MAX_TAGS_WITH_LEASES = MAX_TAGS - 1
"""Leases leave room for one more tag, the one of a job that is stopped because it diverged."""
DETACHED = "detached"
"""In place of the host: the lease was left by a run that failed, for the next one with the same input."""
LEASE_DURATION, LEASE_RENEWAL = timedelta(minutes=15), timedelta(minutes=5)


def lease_tag(run: str) -> dict[str, str]:
    """Return the tag of a new lease for the flow run `run`, which runs in this process."""
    return {f"{LEASE_TAG_PREFIX}{run}": f"{_expiry()} {_host_identity()} {os.getpid()}"}


def _expiry() -> str:
    return (datetime.now(UTC) + LEASE_DURATION).isoformat(timespec="seconds")


def detached_lease_tag(run: str) -> dict[str, str]:
    """Return the tag of a new lease that does not depend on a process: it protects the job until it expires."""
    return {f"{LEASE_TAG_PREFIX}{run}": f"{_expiry()} {DETACHED} 0"}


def renew_lease(workspace: Workspace, arn: str, run: str, tags: dict[str, str] | None = None) -> bool:
    """Add or renew the lease of the flow run `run`; return False when the job has no room for another tag.

    Inactive leases of other runs are removed when they take up the room. A run without a lease can still follow the
    job: without room, other runs have leases that keep it from being stopped. Raises AwsError when AWS denies the
    calls or is unavailable. `tags` are the job's tags, where the caller has just read them.

    Leases that failed runs have left for this one are removed.
    """
    lease, tags = lease_tag(run), read_tags(workspace, arn) if tags is None else tags
    if left := [key for key in tags if key.startswith(LEASE_TAG_PREFIX) and f" {DETACHED} " in tags[key]]:
        with suppress(AwsError):  # they expire
            remove_tags(workspace, arn, left)
        tags = {key: value for key, value in tags.items() if key not in left}
    if not lease.keys() <= tags.keys() and count_tags(tags) >= MAX_TAGS_WITH_LEASES:
        active = active_leases(tags)
        inactive = [key for key in tags if key.startswith(LEASE_TAG_PREFIX) and _run_of(key) not in active]
        if count_tags(tags) - len(inactive) >= MAX_TAGS_WITH_LEASES:
            return False
        remove_tags(workspace, arn, inactive)
    try:
        add_tags(workspace, arn, lease)
    except AwsError as error:
        # Other runs may have taken the room since the tags were read; the wording of that refusal is not documented.
        if error.retryable or count_tags(read_tags(workspace, arn) | lease) <= MAX_TAGS:
            raise
        return False
    return True


def active_leases(tags: dict[str, str]) -> list[str]:
    """Return the ids of the flow runs that have an active lease among a job's tags."""
    leases = {_run_of(key): tags[key] for key in tags if key.startswith(LEASE_TAG_PREFIX)}
    return [run for run, lease in leases.items() if _is_active(lease)]


def lease_expiry(lease: str) -> datetime:
    """Return when a lease expires, from the value of its tag; raises ValueError when it is not well-formed."""
    return datetime.strptime(lease.split(" ", maxsplit=1)[0], "%Y-%m-%dT%H:%M:%S%z")


def _run_of(key: str) -> str:
    return key.removeprefix(LEASE_TAG_PREFIX)


def _is_active(lease: str) -> bool:
    """Whether the lease is well-formed and not expired, and its process still runs, if it is on this host."""
    try:
        _, host, process = lease.split(" ")
        moment, process_id = lease_expiry(lease), int(process)
    except ValueError:
        return False
    return moment > datetime.now(UTC) and not (host == _host_identity() and _is_process_dead(process_id))


def release_lease(workspace: Workspace, arn: str, run: str) -> bool:
    """Remove the lease of the flow run `run`; return whether the job has no active lease now.

    When two runs release their leases at once, at least one call returns True, because each removes its lease before
    it reads the tags. Also returns True when AWS fails: a needless stop costs less than a job that no run follows.
    """
    try:
        remove_tags(workspace, arn, [f"{LEASE_TAG_PREFIX}{run}"])
        return not active_leases(read_tags(workspace, arn))
    except AwsError:
        return True


def _host_identity() -> str:
    """Return host name, boot id and PID namespace, within which process ids are unique, as text valid in a tag."""
    # The name alone is not unique: containers may use their host's name, and several hosts may have the same name.
    name = socket.gethostname()[:100] or "localhost"
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        name += f"/{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    return name


def _is_process_dead(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except (OSError, OverflowError) as error:  # a process of another user, or a number out of range
        return isinstance(error, ProcessLookupError)
    return False
