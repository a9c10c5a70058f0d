"""Tables to prepare, an evaluation, and flow runs for single steps."""

import random
from collections.abc import Callable
from typing import TypeVar

import pytest
from prefect import flow

from aws.workspace import Workspace
from tasks.caching.result_storage import bucket_results
from tasks.evaluation.results import Evaluation, Metric
from tasks.parameters import Dataset

EVALUATION = Evaluation(
    predictor_type="regressor",
    rows=4,
    metrics=(
        Metric(name="rmse", value=1.25, low=1.0, high=1.5, baseline=4.0, champion=0.5),
        Metric(name="r2", value=None, low=None, high=None, baseline=0.0),
    ),
    gate_metric="rmse",
    over_baseline=None,
    over_champion=None,
    champion_objection=None,
    confidence=0.95,
    rounds=1000,
    classes=(),
    slices=(),
)
"""Of a model that is better than the baseline and worse than the champion; one metric is not defined."""
MakeTable = Callable[..., Dataset]
T = TypeVar("T")


def in_flow(workspace: Workspace, function: Callable[[], T]) -> T:
    """Call `function` in a flow run whose steps store their results in the workspace's bucket, and return its value."""
    results: list[T] = []

    @flow(persist_result=False)
    def running() -> None:
        with bucket_results(workspace, Dataset()):
            results.append(function())

    running()
    return results[0]


def make_csv(seed: str) -> bytes:
    """A table of 40 rows; `seed` selects its values."""
    numbers = random.Random(seed)  # noqa: S311 - a table, not a secret
    rows = ((numbers.random(), numbers.randint(20, 60), numbers.random()) for _ in range(40))
    lines = "".join(f"{pay:.3f},{age},{score:.3f}\n" for pay, age, score in rows)
    return f"pay,age,score\n{lines}".encode()


@pytest.fixture
def make_table(put_object: Callable[[str, bytes], str]) -> MakeTable:
    """A function that stores a table of 40 rows under the prefix of the test; `seed` selects its values."""

    def make(seed: int = 0) -> Dataset:
        content = make_csv(f"{put_object('', b'')}{seed}")
        return Dataset(source=put_object("table.csv", content), target="pay")

    return make
