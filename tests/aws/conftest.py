"""Fixtures for training jobs in the sandbox: specifications, counts of API calls, and the end of a job."""

import http.client
import json
import os
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from aws.training.compute import Compute
from aws.training.request import Channel, TrainingJobSpec, build_spec
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

QUICK = {"predictor_type": "regressor", "mini_batch_size": "10", "epochs": "2", "num_models": "2"}
ENDLESS = QUICK | {"epochs": "1000000", "early_stopping_patience": "1000000"}
ROWS = "".join(f"{3 * i + 1},{i},{i % 7}\n" for i in range(40)).encode()
PATIENCE = 30.0
FINAL_STATUSES = {"Completed", "Failed", "Stopped"}

Inject = Callable[..., None]
MakeSpec = Callable[..., TrainingJobSpec]
Calls = Callable[[], Counter[str]]
WaitForEnd = Callable[[str], "DescribeTrainingJobResponseTypeDef"]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between polls and attempts, as jobs in the sandbox take less time than on AWS."""
    for pause in ("following.FIRST_PAUSE_SECONDS", "stopping.FIRST_PAUSE_SECONDS", "submission.STOPPING_PAUSE_SECONDS"):
        monkeypatch.setattr(f"aws.training.{pause}", 0.02)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 100)))


@pytest.fixture
def calls(sandbox_url: str) -> Calls:
    """Counts the API calls made so far, by action; subtract two counts for the calls made in between."""

    def count() -> Counter[str]:
        connection = http.client.HTTPConnection(urlsplit(sandbox_url).netloc, timeout=10)
        try:
            connection.request("GET", "/_sandbox")
            return Counter(json.loads(connection.getresponse().read())["calls"])
        finally:
            connection.close()

    return count


@pytest.fixture
def wait_for_end(workspace: Workspace) -> WaitForEnd:
    """Waits until a job has ended; returns its description."""

    def wait(name: str) -> "DescribeTrainingJobResponseTypeDef":
        deadline = time.monotonic() + PATIENCE
        while True:
            job = workspace.client("sagemaker").describe_training_job(TrainingJobName=name)
            if job["TrainingJobStatus"] in FINAL_STATUSES:
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.02)

    return wait


@pytest.fixture
def make_spec(
    workspace: Workspace, put_object: Callable[[str, bytes], str], inject: Inject, wait_for_end: WaitForEnd
) -> Iterator[MakeSpec]:
    """Makes specifications of jobs with two epochs that no other test uses; stops running jobs after the test.

    `held` jobs wait in Training, without a process, until they are stopped; `endless` jobs train until then.
    """
    made: list[TrainingJobSpec] = []

    def make(
        *, held: bool = False, endless: bool = False, compute: Compute | None = None, **changes: str
    ) -> TrainingJobSpec:
        if held:
            inject(kind="slow-job", seconds=3600, times=1000)
        put_object("train/rows.csv", ROWS * (500 if endless else 1))
        channel = Channel(name="train", uri=workspace.uri("train") + "/", rows=40, sha256=uuid.uuid4().hex)
        spec = build_spec(workspace, {**(ENDLESS if endless else QUICK), **changes}, (channel,), compute or Compute())
        made.append(spec)
        return spec

    yield make
    client = workspace.client("sagemaker")
    for spec in made:
        running = client.list_training_jobs(NameContains=spec.name(1), StatusEquals="InProgress")
        for job in running["TrainingJobSummaries"]:
            client.stop_training_job(TrainingJobName=job["TrainingJobName"])
            wait_for_end(job["TrainingJobName"])


@pytest.fixture
def stopping(workspace: Workspace) -> Iterator[Callable[[str], Callable[[], None]]]:
    """Stops an endless job that remains Stopping until the returned function is called."""
    frozen: list[int] = []

    def thaw() -> None:
        while frozen:
            os.kill(frozen.pop(), signal.SIGCONT)

    def stop(name: str) -> Callable[[], None]:
        deadline = time.monotonic() + PATIENCE
        while not (found := _containers(name)):
            assert time.monotonic() < deadline, "the job has no container"
            time.sleep(0.02)
        for process in found:
            os.kill(process, signal.SIGSTOP)
            frozen.append(process)
            # A process with both signals pending would receive SIGTERM first and end.
            while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "T":
                time.sleep(0.005)
        workspace.client("sagemaker").stop_training_job(TrainingJobName=name)
        return thaw

    yield stop
    thaw()


def _containers(job: str) -> list[int]:
    """Return the ids of the processes that train a job, found by the job's folder in the sandbox."""
    table = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in table.splitlines() if f"/{job}/container-" in line]
