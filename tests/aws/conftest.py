"""Training jobs to submit and to follow, and the sandbox on its bad days."""

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
OVER = {"Completed", "Failed", "Stopped"}

Inject = Callable[..., None]
MakeSpec = Callable[..., TrainingJobSpec]
Calls = Callable[[], Counter[str]]
Over = Callable[[str], "DescribeTrainingJobResponseTypeDef"]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox's jobs take less than the pauses that suit AWS."""
    for pause in ("following.FIRST_PAUSE_SECONDS", "stopping.FIRST_PAUSE_SECONDS", "submission.STOPPING_PAUSE_SECONDS"):
        monkeypatch.setattr(f"aws.training.{pause}", 0.02)


@pytest.fixture
def calls(sandbox_url: str) -> Calls:
    """Tells how often each API call has been made so far; the difference of two answers is what came between."""

    def count() -> Counter[str]:
        connection = http.client.HTTPConnection(urlsplit(sandbox_url).netloc, timeout=10)
        try:
            connection.request("GET", "/_sandbox")
            return Counter(json.loads(connection.getresponse().read())["calls"])
        finally:
            connection.close()

    return count


@pytest.fixture
def over(workspace: Workspace) -> Over:
    """Waits until a job is over; returns its description."""

    def wait(name: str) -> "DescribeTrainingJobResponseTypeDef":
        give_up = time.monotonic() + PATIENCE
        while True:
            job = workspace.client("sagemaker").describe_training_job(TrainingJobName=name)
            if job["TrainingJobStatus"] in OVER:
                return job
            assert time.monotonic() < give_up, job
            time.sleep(0.02)

    return wait


@pytest.fixture
def make_spec(
    workspace: Workspace, put_object: Callable[[str, bytes], str], inject: Inject, over: Over
) -> Iterator[MakeSpec]:
    """Makes jobs that no other test has, two epochs long; whatever still runs is stopped afterwards.

    Those that are `held` wait in Training, without a process, until they are stopped; `endless` ones train for ever.
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
            over(job["TrainingJobName"])


@pytest.fixture
def stopping(workspace: Workspace) -> Iterator[Callable[[str], Callable[[], None]]]:
    """Stops an endless job in such a way that it is Stopping until what is returned is called."""
    frozen: list[int] = []

    def thaw() -> None:
        while frozen:
            os.kill(frozen.pop(), signal.SIGCONT)

    def stop(name: str) -> Callable[[], None]:
        give_up = time.monotonic() + PATIENCE
        while not (found := _containers(name)):
            assert time.monotonic() < give_up, "the job has no container"
            time.sleep(0.02)
        for process in found:
            os.kill(process, signal.SIGSTOP)
            frozen.append(process)
            # Of two signals that wait for a process it takes SIGTERM first, and would die of it.
            while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "T":
                time.sleep(0.005)
        workspace.client("sagemaker").stop_training_job(TrainingJobName=name)
        return thaw

    yield stop
    thaw()


def _containers(job: str) -> list[int]:
    """The processes that train a job of this test, by the folder it has in the sandbox."""
    table = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in table.splitlines() if f"/{job}/container-" in line]
