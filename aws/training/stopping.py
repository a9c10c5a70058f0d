"""Stop a training job that nobody follows any more."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from prefect.exceptions import CancelledRun

from aws.errors import Unavailable, answer, translated
from aws.training.following import FIRST_PAUSE_SECONDS, OVER, described
from aws.training.leases import release_lease, tags_of
from aws.training.request import FINGERPRINT_TAG, NAME_PREFIX
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import TrainingJobSummaryTypeDef

CONFIRMATION_SECONDS, PATIENCE_SECONDS = 20.0, 5.0
"""How long a stop may take to be confirmed, and, once it is, how long the end is waited for."""


def stop(workspace: Workspace, name: str) -> str:
    """Stop the job and see that it is stopping; returns its status. A job that is over already stays as it is.

    The service gives a job two minutes to end; after some seconds it is trusted to end it.
    """
    with translated(f"stopping training job {name}"):
        try:
            workspace.client("sagemaker").stop_training_job(TrainingJobName=name)
        except ClientError as error:
            if answer(error)[0] != "ValidationException":
                raise
    begun = time.monotonic()
    while (status := described(workspace, name)["TrainingJobStatus"]) not in OVER:
        waited = time.monotonic() - begun
        if status == "Stopping" and waited > PATIENCE_SECONDS:
            return status
        if waited > CONFIRMATION_SECONDS:
            raise Unavailable(f"Training job {name} is still {status} {waited:.0f} s after it was told to stop.")
        time.sleep(FIRST_PAUSE_SECONDS)
    return status


def stop_unless_followed(workspace: Workspace, name: str, run: str) -> str | None:
    """Have the flow run `run` follow the job no longer; stop it unless another does, and return its status if so."""
    description = described(workspace, name)
    if description["TrainingJobStatus"] in OVER:
        return None
    if not release_lease(workspace, description["TrainingJobArn"], run):
        return None
    return stop(workspace, name)


@contextmanager
def stop_when_interrupted(workspace: Workspace, name: str, run: str) -> Iterator[None]:
    """Abandon the job when the block is interrupted, by a signal or a cancellation: nobody would follow it.

    Not when it fails: whoever retries follows the job again.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) or isinstance(error, CancelledRun):
            with _uninterrupted():
                stop_unless_followed(workspace, name, run)
        raise


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore further signals: an impatient second one must not keep the job running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def running_jobs(workspace: Workspace) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and tags of every job of this project that runs now. Lists: not for anything that happens often."""
    with translated("listing the running training jobs"):
        pages = workspace.client("sagemaker").get_paginator("list_training_jobs")
        found: list[TrainingJobSummaryTypeDef] = [
            job
            for page in pages.paginate(StatusEquals="InProgress", NameContains=NAME_PREFIX)
            for job in page["TrainingJobSummaries"]
        ]
    for job in found:
        tags = tags_of(workspace, job["TrainingJobArn"])
        if FINGERPRINT_TAG in tags:
            yield job["TrainingJobName"], tags
