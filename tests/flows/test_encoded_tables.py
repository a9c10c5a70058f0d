"""A table with text, dates, missing cells and named classes is encoded, and its schema goes with the model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from prefect.client.schemas.objects import State

from aws.storage import read_object
from aws.workspace import Workspace
from flows.train import train_linear_learner
from linear_learner.predictor import Predictor
from linear_learner.schema import Schema
from tasks.data.row_assignment import assign_rows
from tasks.parameters import Dataset, RequestedHyperparameters, Split
from tasks.report import TrainingRun

ROWS = 400
QUICK = RequestedHyperparameters(epochs=4, num_models=4)
PutObject = Callable[[str, bytes], str]


def customers(classes: list[str]) -> pl.DataFrame:
    """Random customers whose label depends on a number, a category and a date, each with missing cells."""
    random = np.random.default_rng(3)
    days = np.datetime64("2024-01-01") + random.integers(0, 700, ROWS)
    ages, gaps = random.integers(18, 80, ROWS).astype(float), random.random(ROWS) < 0.1
    cities = random.choice(["Bonn", "Ulm", "Köln", "NA"], ROWS, p=[0.5, 0.3, 0.15, 0.05])
    frame = pl.DataFrame(
        {
            "": range(ROWS),
            "city": cities.tolist(),
            "age": pl.Series(np.where(gaps, np.nan, ages)).fill_nan(None),
            "since": days.astype(str).tolist(),
            "phone": [f"+49 {number}" for number in random.integers(10**6, 10**7, ROWS)],
        }
    )
    score = np.where(gaps, 40, ages) / 20 + 2 * (cities == "Bonn") + random.normal(0, 0.3, ROWS)
    edges = np.quantile(score, np.linspace(0, 1, len(classes) + 1)[1:-1])
    return frame.with_columns(label=pl.Series([classes[index] for index in np.digitize(score, edges)]))


def run_flow(dataset: Dataset, model_dir: Path) -> TrainingRun:
    state: State[Any] = train_linear_learner(
        dataset, "flows", hyperparameters=QUICK, model_dir=str(model_dir), return_state=True
    )
    return state.result()  # type: ignore[no-any-return] # of any state


@pytest.mark.parametrize("classes", [["stays", "leaves"], ["gold", "silver", "bronze"]])
def test_predictions_by_column_name_equal_those_of_the_evaluation(
    workspace: Workspace, machine: Path, put_object: PutObject, classes: list[str]
) -> None:
    frame = customers(classes)
    uri = put_object(f"customers-{len(classes)}.csv", frame.write_csv().encode())
    run = run_flow(Dataset(source=uri, target="label"), machine / "models")
    assert run.evaluation.class_names == tuple(sorted(classes))
    folder = run.model.path.parent
    content, _ = read_object(workspace, run.recorded.schema_uri)
    assert (folder / "schema.json").read_bytes() == content
    recorded = json.loads((folder / "run.json").read_text())["table_schema"]
    assert recorded == {"uri": run.recorded.schema_uri, "sha256": run.recorded.schema_sha256}
    schema = Schema.parse(content, "schema.json")
    assert [column.name for column in schema.left_out] == ["Unnamed: 0", "phone"]
    assert {"city=Bonn", "city=(missing)", "age", "age=(missing)", "since.year"} <= set(schema.features)
    test = frame[assign_rows(ROWS, Split())["test"]].select(reversed(frame.columns))
    predicted = run.predict(test)
    assert list(predicted) == ["prediction", *(f"probability.{name}" for name in sorted(classes))]
    labels = test["label"].to_numpy()
    correct = predicted["prediction"].to_numpy() == labels
    assert correct.mean() == pytest.approx(run.evaluation.value("accuracy"), abs=1e-6)
    by_name = Predictor.read(folder).predict(test.to_dicts())
    assert by_name["prediction"].tolist() == predicted["prediction"].tolist()
    estimator = run.estimator()
    assert estimator.classes_.tolist() == sorted(classes)
    table = pd.DataFrame(test.to_dict(as_series=False))
    assert estimator.score(table, labels) == pytest.approx(run.evaluation.value("accuracy"), abs=1e-6)
    report = (folder / "report.html").read_text()
    assert all(name in report for name in classes)
    assert "Use of each column" in report


def test_rows_without_a_label_are_left_out_on_request(machine: Path, put_object: PutObject) -> None:
    frame = customers(["stays", "leaves"]).with_columns(
        pl.when(pl.int_range(ROWS) % 10 == 0).then(None).otherwise(pl.col("label")).alias("label")
    )
    uri = put_object("unlabelled.csv", frame.write_csv().encode())
    run = run_flow(Dataset(source=uri, target="label", drop_unlabelled=True), machine / "models")
    assert sum(run.rows.by_channel.values()) == ROWS * 9 // 10
    assert run.rows.unlabelled == ROWS // 10
    assert sum(channel.rows for channel in run.uploaded.channels) == ROWS * 9 // 10
