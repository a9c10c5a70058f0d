"""A run that ends stops its training job, unless another run follows it: real server, real worker, sandbox.

The tests depend on their order.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aws.training.leases import LEASE_TAG_PREFIX
from aws.training.stopping import running_jobs
from deployments.worker import descendants
from sandbox import client, faults
from sandbox.account import BUCKET
from tests.deployments.conftest import DEPLOYMENTS

pytestmark = pytest.mark.e2e

WORKER = (sys.executable, "-m", "deployments.worker", "--pool", "training")
PATIENT = "import sys; from deployments import worker; worker.GRACE_SECONDS = 100.0; sys.exit(worker.main())"
PATIENT_WORKER = (sys.executable, "-c", PATIENT, "--pool", "training")
"""The worker with more time for its runs: on a busy machine a run may need half a minute until it catches SIGTERM."""
TABLE = "rooms,area,price\n" + "".join(f"{i % 5 + 1},{40 + i},{1000 * (40 + i) + 500 * (i % 5)}\n" for i in range(300))


class Runs:
    """Starts, cancels and reads flow runs as Prefect's UI does, and reads the training jobs of the sandbox."""

    def __init__(self, production: Any, endpoint_url: str) -> None:
        self._call_api, self._wait_until = production.call_api, production.wait_until
        self.deploy = production.start
        self._workspace = client.make_workspace(endpoint_url)
        self.sagemaker = self._workspace.client("sagemaker")
        self._workspace.client("s3").put_object(Bucket=BUCKET, Key="houses.csv", Body=TABLE.encode())

    def start(self, epochs: int) -> str:
        """Start a long training run; runs with equal epochs have the same input."""
        dataset = {"source": "houses.csv", "target": "price"}
        hyperparameters = {"epochs": epochs, "mini_batch_size": 10}
        return str(self.deploy("ad-hoc", dataset=dataset, hyperparameters=hyperparameters))

    def cancel(self, run: str) -> None:
        self._call_api("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})

    def state(self, run: str) -> str:
        return str(self._call_api("GET", f"/flow_runs/{run}")["state"]["name"])

    def wait_for_state(self, name: str, *runs: str) -> None:
        self._wait_until(
            lambda: all(self.state(run) == name for run in runs), message=lambda: str([*map(self.state, runs)])
        )

    def artifacts(self, run: str) -> str:
        return str(self._call_api("POST", "/artifacts/filter", flow_runs={"id": {"any_": [run]}}))

    def job_of(self, *runs: str) -> str:
        """Wait for the training job that all of these runs follow; returns its name."""

        def training_job() -> str | None:
            for name, _, tags in running_jobs(self._workspace):
                is_training = "TrainingStartTime" in self.sagemaker.describe_training_job(TrainingJobName=name)
                if is_training and all(f"{LEASE_TAG_PREFIX}{run}" in tags for run in runs):
                    return name
            return None

        return str(self._wait_until(training_job, message=lambda: f"{runs} are {[*map(self.state, runs)]}"))

    def status(self, job: str) -> str:
        return str(self.sagemaker.describe_training_job(TrainingJobName=job)["TrainingJobStatus"])

    def wait_until_stopping(self, job: str) -> None:
        self._wait_until(lambda: self.status(job) in {"Stopping", "Stopped"}, message=lambda: self.status(job))

    def start_foreign_job(self, job: str) -> str:
        """Start a copy of this job with a name like those of this project, but without its tags."""
        original = self.sagemaker.describe_training_job(TrainingJobName=job)
        image = {key: original["AlgorithmSpecification"][key] for key in ("TrainingImage", "TrainingInputMode")}
        copied = ("RoleArn", "HyperParameters", "InputDataConfig", "OutputDataConfig", "ResourceConfig")
        request = {key: original[key] for key in (*copied, "StoppingCondition")} | {"AlgorithmSpecification": image}
        self.sagemaker.create_training_job(TrainingJobName="linear-learner-foreign", **request)
        return "linear-learner-foreign"


@pytest.fixture(scope="module")
def runs(production: Any) -> Iterator[Runs]:
    """Runs whose jobs train for longer than the tests."""
    url = client.find_endpoint(production.home / ".cache" / "train-linear-learner" / "sandbox")
    assert url
    faults.inject(url, kind="slow-job", seconds=600, times=100)
    yield Runs(production, url)
    faults.clear(url)


@pytest.fixture(autouse=True)
def stop_running_jobs(runs: Runs) -> Iterator[None]:
    """Jobs of a failed test must not delay the jobs of other tests."""
    yield
    for job in runs.sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]:
        runs.sagemaker.stop_training_job(TrainingJobName=job["TrainingJobName"])


def process_of(run: str, worker: int) -> int | None:
    """The process of a run among the descendants of a worker, found by an environment variable of Prefect."""
    variable = f"PREFECT__FLOW_RUN_ID={run}"
    for process in descendants(worker):
        with suppress(OSError):  # it has exited
            if variable in Path(f"/proc/{process}/environ").read_text():
                return process
    return None


def test_single_deployments_are_deployed_by_name(production: Any) -> None:
    assert "could not be found" not in production.deployed
    assert production.deployed.count("successfully created") == len(DEPLOYMENTS)
    assert {production.deployments()[name.split("/")[1]]["entrypoint"] for name in DEPLOYMENTS} == {
        "flows.train:train_linear_learner",
        "flows.predict:predict_batch",
        "flows.reap:reap_training_jobs",
    }


@pytest.fixture(scope="module")
def worker(production: Any) -> "Iterator[subprocess.Popen[bytes]]":
    """The worker of the first two tests, the second of which ends it."""
    with production.running(*PATIENT_WORKER, log="worker.log") as worker:
        yield worker


def test_a_shared_job_continues_after_the_first_run_is_cancelled_and_stops_when_the_last_is_terminated(
    runs: Runs, worker: "subprocess.Popen[bytes]"
) -> None:
    first, second = runs.start(epochs=11), runs.start(epochs=11)
    job = runs.job_of(first, second)
    runs.cancel(first)
    runs.wait_for_state("Cancelled", first)
    assert runs.status(job) == "InProgress"
    process = process_of(second, worker.pid)
    assert process
    os.kill(process, signal.SIGTERM)
    runs.wait_until_stopping(job)
    runs.wait_for_state("Crashed", second)


def test_a_terminated_worker_ends_its_runs_first_and_starts_no_others(
    production: Any, runs: Runs, worker: "subprocess.Popen[bytes]"
) -> None:
    run = runs.start(epochs=12)
    job = runs.job_of(run)
    starting = runs.start(epochs=12)
    production.wait_until(lambda: process_of(starting, worker.pid))
    processes = descendants(worker.pid)
    worker.terminate()
    late = runs.start(epochs=12)
    runs.wait_until_stopping(job)
    assert worker.wait(120) == 0
    runs.wait_for_state("Crashed", run, starting)
    assert not any(Path(f"/proc/{process}").exists() for process in processes)
    assert runs.state(late) == "Scheduled"
    runs.cancel(late)


def test_the_reaper_stops_only_the_job_of_a_killed_run(production: Any, runs: Runs) -> None:
    killed = runs.start(epochs=13)
    with production.running(*WORKER, log="killed.log") as worker:
        job = runs.job_of(killed)
        for process in (worker.pid, *sorted(descendants(worker.pid))):
            os.kill(process, signal.SIGKILL)
    running = runs.start(epochs=14)
    with production.running(*WORKER, log="reaper.log"):
        followed = runs.job_of(running)
        foreign = runs.start_foreign_job(followed)
        assert runs.status(job) == "InProgress"
        reaper = runs.deploy("reaper")
        runs.wait_for_state("Completed", reaper)
        assert runs.status(job) == "Stopped"
        assert [runs.status(other) for other in (followed, foreign)] == ["InProgress", "InProgress"]
        artifacts = runs.artifacts(reaper)
        assert job in artifacts
        assert followed not in artifacts
