"""Whatever ends a run ends its training job, unless another run follows it: real server, real worker, the sandbox."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aws.training.leases import LEASE_TAG_PREFIX
from aws.training.stopping import running_jobs
from deployments.worker import descendants
from sandbox import client, faults

pytestmark = pytest.mark.e2e

WORKER = (sys.executable, "-m", "deployments.worker", "--pool", "training")
STOPPED_WITHIN = 10.0
"""Seconds within which a job must stop once its last follower is told to end: a promise to those who pay for it."""


class Runs:
    """Flow runs as Prefect's UI starts, cancels and shows them, and the training jobs of the sandbox's account."""

    def __init__(self, production: Any, endpoint_url: str) -> None:
        self._ask, self._until, self.deploy = production.ask, production.until, production.start
        self._workspace = client.make_workspace(endpoint_url)
        self.sagemaker = self._workspace.client("sagemaker")

    def start(self, epochs: int) -> str:
        """A run of a training that takes long; equal epochs are the same input."""
        dataset = {"source": "output/transformed_data.csv", "target": "bonus"}
        return str(self.deploy("ad-hoc", dataset=dataset, hyperparameters={"epochs": epochs}))

    def cancel(self, run: str) -> None:
        self._ask("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})

    def state(self, run: str) -> str:
        return str(self._ask("GET", f"/flow_runs/{run}")["state"]["name"])

    def ends_as(self, name: str, *runs: str) -> None:
        self._until(
            lambda: all(self.state(run) == name for run in runs), otherwise=lambda: str([*map(self.state, runs)])
        )

    def artifacts(self, run: str) -> str:
        return str(self._ask("POST", "/artifacts/filter", flow_runs={"id": {"any_": [run]}}))

    def job_of(self, *runs: str) -> str:
        """The job that all of these runs follow, once it trains."""

        def found() -> str | None:
            for name, tags in running_jobs(self._workspace):
                trains = "TrainingStartTime" in self.sagemaker.describe_training_job(TrainingJobName=name)
                if trains and all(f"{LEASE_TAG_PREFIX}{run}" in tags for run in runs):
                    return name
            return None

        return str(self._until(found, otherwise=lambda: f"{runs} are {[*map(self.state, runs)]}"))

    def status(self, job: str) -> str:
        return str(self.sagemaker.describe_training_job(TrainingJobName=job)["TrainingJobStatus"])

    def stops(self, job: str) -> None:
        self._until(lambda: self.status(job) in {"Stopping", "Stopped"}, STOPPED_WITHIN, lambda: self.status(job))

    def somebody_elses(self, job: str) -> str:
        """A new job as this one, by its name one of this project, but not by its tags."""
        like = self.sagemaker.describe_training_job(TrainingJobName=job)
        image = {key: like["AlgorithmSpecification"][key] for key in ("TrainingImage", "TrainingInputMode")}
        wanted = ("RoleArn", "HyperParameters", "InputDataConfig", "OutputDataConfig", "ResourceConfig")
        request = {key: like[key] for key in (*wanted, "StoppingCondition")} | {"AlgorithmSpecification": image}
        self.sagemaker.create_training_job(TrainingJobName="linear-learner-of-somebody-else", **request)
        return "linear-learner-of-somebody-else"


@pytest.fixture(scope="module")
def runs(production: Any) -> Iterator[Runs]:
    """Runs whose jobs train for longer than any test takes."""
    url = client.find_endpoint(production.home / ".cache" / "train-linear-learner" / "sandbox")
    assert url
    faults.inject(url, kind="slow-job", seconds=600, times=100)
    yield Runs(production, url)
    faults.clear(url)


@pytest.fixture(autouse=True)
def nothing_left_training(runs: Runs) -> Iterator[None]:
    """A test that fails must not take the others' turn to train."""
    yield
    for job in runs.sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]:
        runs.sagemaker.stop_training_job(TrainingJobName=job["TrainingJobName"])


def process_of(run: str, worker: int) -> int:
    """The process of a run among those below a worker, by a variable that Prefect gives it."""
    variable = f"PREFECT__FLOW_RUN_ID={run}"
    return next(one for one in descendants(worker) if variable in Path(f"/proc/{one}/environ").read_text())


def test_cancelling_one_of_two_runs_leaves_their_job_to_the_other_and_cancelling_both_stops_it(
    production: Any, runs: Runs
) -> None:
    first, second = runs.start(epochs=11), runs.start(epochs=11)
    with production.running(*WORKER, log="cancelled.log"):
        job = runs.job_of(first, second)
        runs.cancel(first)
        runs.ends_as("Cancelled", first)
        assert runs.status(job) == "InProgress"
        runs.cancel(second)
        runs.stops(job)
        runs.ends_as("Cancelled", second)


def test_a_terminated_run_stops_its_job_and_is_crashed(production: Any, runs: Runs) -> None:
    run = runs.start(epochs=12)
    with production.running(*WORKER, log="terminated.log") as worker:
        job = runs.job_of(run)
        os.kill(process_of(run, worker.pid), signal.SIGTERM)
        runs.stops(job)
        runs.ends_as("Crashed", run)


def test_a_terminated_worker_ends_its_runs_first_and_begins_no_others(production: Any, runs: Runs) -> None:
    run = runs.start(epochs=13)
    with production.running(*WORKER, log="worker.log") as worker:
        job = runs.job_of(run)
        beginning = runs.start(epochs=13)
        production.until(lambda: len(descendants(worker.pid)) > 2)
        below = descendants(worker.pid)
        worker.terminate()
        late = runs.start(epochs=13)
        runs.stops(job)
        assert worker.wait(30) == 0
        runs.ends_as("Crashed", run, beginning)
        assert not any(Path(f"/proc/{process}").exists() for process in below)
        assert runs.state(late) == "Scheduled"
        runs.cancel(late)


def test_the_reaper_stops_the_job_of_a_run_that_was_killed_and_no_other(production: Any, runs: Runs) -> None:
    killed = runs.start(epochs=14)
    with production.running(*WORKER, log="killed.log") as worker:
        job = runs.job_of(killed)
        for process in (worker.pid, *sorted(descendants(worker.pid))):
            os.kill(process, signal.SIGKILL)
    living = runs.start(epochs=15)
    with production.running(*WORKER, log="reaper.log"):
        followed = runs.job_of(living)
        foreign = runs.somebody_elses(followed)
        assert runs.status(job) == "InProgress"
        reaper = runs.deploy("reaper")
        runs.ends_as("Completed", reaper)
        assert runs.status(job) == "Stopped"
        assert [runs.status(other) for other in (followed, foreign)] == ["InProgress", "InProgress"]
        said = runs.artifacts(reaper)
        assert job in said
        assert followed not in said
