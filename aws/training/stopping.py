"""Stop training jobs: a given job, a job that no flow run follows, or the job of an interrupted flow run."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from prefect.exceptions import CancelledRun

from aws.errors import AwsError, Unavailable, translate_errors
from aws.resource_tags import add_tags, read_tags
from aws.training.following import FINAL_STATUSES, FIRST_PAUSE_SECONDS, describe_job
from aws.training.leases import detached_lease_tag, lease_expiry, release_lease
from aws.training.request import FINGERPRINT_TAG, NAME_PREFIX
from aws.workspace import Workspace

MAX_CONFIRMATION_SECONDS, MAX_STOPPING_SECONDS = 20.0, 5.0
"""How long to wait for the status Stopping, and how long for the job's end once it is Stopping."""


def stop_job(workspace: Workspace, name: str) -> str:
    """Stop the job, wait until it is at least Stopping, and return its status; a job that has ended is not changed.

    SageMaker gives a job two minutes to end; this function waits only `MAX_STOPPING_SECONDS`. Raises Unavailable when
    the job is still InProgress after `MAX_CONFIRMATION_SECONDS`.
    """
    try:
        with translate_errors(f"stopping training job {name}"):
            workspace.client("sagemaker").stop_training_job(TrainingJobName=name)
    except AwsError as error:
        if error.code != "ValidationException":
            raise
    started = time.monotonic()
    while (status := describe_job(workspace, name)["TrainingJobStatus"]) not in FINAL_STATUSES:
        waited = time.monotonic() - started
        if status == "Stopping" and waited > MAX_STOPPING_SECONDS:
            return status
        if waited > MAX_CONFIRMATION_SECONDS:
            raise Unavailable(f"Training job {name} is still {status} {waited:.0f} s after the request to stop it.")
        time.sleep(FIRST_PAUSE_SECONDS)
    return status


def stop_unless_followed(workspace: Workspace, name: str, run: str) -> str | None:
    """Release the lease of the flow run `run`; if no other lease is active, stop the job and return its status."""
    description = describe_job(workspace, name)
    ended = description["TrainingJobStatus"] in FINAL_STATUSES
    if ended or not release_lease(workspace, description["TrainingJobArn"], run):
        return None
    return stop_job(workspace, name)


def leave_job(workspace: Workspace, job: "RunningJob", run: str) -> str:
    """Keep a lease of the flow run `run` on the job although its process ends; return when it expires, in UTC."""
    tag = detached_lease_tag(run)
    add_tags(workspace, job.arn, tag)
    return lease_expiry(*tag.values()).strftime("%H:%M UTC")


@contextmanager
def stop_when_interrupted(workspace: Workspace, name: str, run: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Call `stop_unless_followed` when the block is interrupted by a signal or by Prefect's cancellation.

    After any other exception the job continues to run, and a retry follows it again. `warn` receives a message when
    the job cannot be stopped; the interruption is raised in any case.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) or isinstance(error, CancelledRun):
            with _ignore_signals():
                try:
                    stop_unless_followed(workspace, name, run)
                except AwsError as failure:
                    warn(f"Training job {name} was not stopped, and may continue up to its time limit. {failure}")
        raise


@contextmanager
def _ignore_signals() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM, so that a second Ctrl-C does not prevent the stop request."""
    in_main_thread = threading.current_thread() is threading.main_thread()  # only this thread may set handlers
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in numbers if in_main_thread}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class RunningJob(NamedTuple):
    """A job that is InProgress, with its tags."""

    name: str
    arn: str
    tags: dict[str, str]


def running_jobs(workspace: Workspace) -> Iterator[RunningJob]:
    """Yield every job of this project that is InProgress. Reads the tags of each: call it rarely."""
    with translate_errors("listing the running training jobs"):
        pages = workspace.client("sagemaker").get_paginator("list_training_jobs")
        found = list(
            pages.paginate(StatusEquals="InProgress", NameContains=NAME_PREFIX).search("TrainingJobSummaries[]")
        )
    for job in found:
        tags = read_tags(workspace, arn := job["TrainingJobArn"])
        if FINGERPRINT_TAG in tags:
            yield RunningJob(job["TrainingJobName"], arn, tags)
