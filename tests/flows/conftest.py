"""The flow in the sandbox: a saved workspace, a table that no other test has, and the jobs that a test came to."""

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

from aws.workspace import Workspace
from linear_learner.hyperparameters import Hyperparameters
from sandbox import client
from tasks.parameters import Dataset

HYPERPARAMETERS = Hyperparameters(mini_batch_size=10, epochs=20, num_models=16, learning_rate=0.1)


def linear_table(seed: str) -> bytes:
    numbers = random.Random(seed)  # noqa: S311 - a table, not a secret
    lines = ["age,pay,score"]
    for _ in range(300):
        age, score = numbers.randint(20, 60), numbers.random()
        lines.append(f"{age},{3 * age + 10 * score + numbers.gauss(0, 0.1):.4f},{score:.4f}")
    return "\n".join(lines).encode()


@pytest.fixture(autouse=True)
def _short_retry_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox recovers at once: neither Prefect nor botocore has to wait as long as for AWS."""
    for step in ("check", "load", "split", "format", "upload", "fit", "monitor", "download", "evaluate", "register"):
        for task in vars(import_module(f"tasks.{step}")).values():
            if isinstance(task, Task) and task.retries:
                monkeypatch.setattr(task, "retry_delay_seconds", [0.1] * task.retries)
    quick = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 20))
    monkeypatch.setattr("botocore.endpoint.time", quick)


@pytest.fixture(scope="session")
def workspace(sandbox_url: str, prefect_server: None) -> Workspace:
    """The sandbox's block, saved as `flows`; saving takes seconds, so all tests here share it."""
    del prefect_server
    own = client.make_workspace(sandbox_url)
    own.prefix = "tests/flows"
    own.save("flows")
    return own


@pytest.fixture
def parameters(machine: Path, put_object: Callable[[str, bytes], str]) -> dict[str, Any]:
    """What the flow is run with, on a table that no other test has."""
    name = uuid.uuid4().hex
    dataset = Dataset(source=put_object(f"{name}.csv", linear_table(name)), target="pay")
    model_dir = str(machine / "models")
    return {"dataset": dataset, "hyperparameters": HYPERPARAMETERS, "workspace": "flows", "model_dir": model_dir}


@pytest.fixture
def jobs(workspace: Workspace) -> Callable[[], list[str]]:
    """Names the training jobs that there are since the test began."""

    def every() -> list[str]:
        pages = workspace.client("sagemaker").get_paginator("list_training_jobs").paginate(MaxResults=100)
        return [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]

    before = every()
    return lambda: [name for name in every() if name not in before]
