"""Fixtures for the flow in the sandbox: a saved workspace, a table for one test, and the jobs of the test."""

import random
import time
import uuid
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import Task

from aws.storage import write_object
from aws.workspace import Workspace
from flows.train import train_linear_learner
from sandbox import client
from tasks.parameters import Dataset, RequestedHyperparameters
from tasks.report import TrainingRun
from tests.conftest import use_machine

HYPERPARAMETERS = RequestedHyperparameters(mini_batch_size=10, epochs=20, num_models=16, learning_rate=0.1)


def linear_table(seed: str) -> bytes:
    numbers = random.Random(seed)  # noqa: S311 - a table, not a secret
    lines = ["age,pay,score"]
    for _ in range(300):
        age, score = numbers.randint(20, 60), numbers.random()
        lines.append(f"{age},{3 * age + 10 * score + numbers.gauss(0, 0.1):.4f},{score:.4f}")
    return "\n".join(lines).encode()


@pytest.fixture(autouse=True)
def _short_retry_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the delays of the retries of Prefect and botocore, as the sandbox recovers at once."""
    for step in ("check", "load", "split", "format", "upload", "fit", "monitor", "download", "evaluate", "register"):
        for task in vars(import_module(f"tasks.{step}")).values():
            if isinstance(task, Task) and task.retries:
                monkeypatch.setattr(task, "retry_delay_seconds", [0.1] * task.retries)
    fast_time = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 20))
    monkeypatch.setattr("botocore.endpoint.time", fast_time)


@pytest.fixture(autouse=True)
def _coarse_plots(coarse_plots: None) -> None:
    """No test of the flow looks at the plots."""


@pytest.fixture(scope="session")
def workspace(sandbox_url: str, prefect_server: None) -> Workspace:
    """The workspace of the sandbox, saved as `flows`; shared by all tests here, as saving takes seconds."""
    del prefect_server
    saved_workspace = client.make_workspace(sandbox_url)
    saved_workspace.prefix = "tests/flows"
    saved_workspace.save("flows")
    return saved_workspace


@pytest.fixture(scope="module")
def run(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A recorded run, which the tests of a module share."""
    machine, source = tmp_path_factory.mktemp("machine"), workspace.uri(f"{uuid.uuid4().hex}.csv")
    write_object(workspace, source, linear_table(source))
    dataset, model_dir = Dataset(source=source, target="pay"), str(machine / "models")
    with use_machine(machine):
        run = train_linear_learner(dataset, hyperparameters=HYPERPARAMETERS, workspace="flows", model_dir=model_dir)
    assert isinstance(run, TrainingRun)
    return run


@pytest.fixture
def parameters(machine: Path, put_object: Callable[[str, bytes], str]) -> dict[str, Any]:
    """Parameters of the flow, with a table that no other test uses."""
    name = uuid.uuid4().hex
    dataset = Dataset(source=put_object(f"{name}.csv", linear_table(name)), target="pay")
    model_dir = str(machine / "models")
    return {"dataset": dataset, "hyperparameters": HYPERPARAMETERS, "workspace": "flows", "model_dir": model_dir}


@pytest.fixture
def jobs(workspace: Workspace) -> Callable[[], list[str]]:
    """A function that returns the names of the training jobs created since the start of the test."""

    def all_jobs() -> list[str]:
        pages = workspace.client("sagemaker").get_paginator("list_training_jobs").paginate(MaxResults=100)
        return [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]

    before = all_jobs()
    return lambda: [name for name in all_jobs() if name not in before]
