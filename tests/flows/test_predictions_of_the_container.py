"""The predictions of a file are those of the algorithm's container for the same rows, in every format of a request."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from flows.predict import predict_batch
from linear_learner.container import run
from linear_learner.formats.artifact import pack_model, read_model
from linear_learner.formats.channels import CSV, RECORDIO
from linear_learner.formats.inference import JSON, parse_request, render_response
from linear_learner.model import LinearModel
from linear_learner.schema import CategoryColumn, DateColumn, LabelSchema, NumberColumn, Schema
from tasks.parameters import Prediction
from tests.linear_learner.formats.files import records

COLUMNS = (
    NumberColumn(name="age", fill=40, indicator=True),
    NumberColumn(name="size"),
    CategoryColumn(name="city", categories=("Bonn", "Ulm"), other=True, missing=True),
    DateColumn(name="day", format="%Y-%m-%d", parts=("month",), origin=0, fill=0),
)
ROWS = 120
CLASSES = {"regressor": (), "binary_classifier": ("no", "yes"), "multiclass_classifier": ("a", "b", "c")}


def make_rows() -> pl.DataFrame:
    numbers = np.random.default_rng(0)
    ages = numbers.integers(18, 80, ROWS)
    return pl.DataFrame(
        {
            "age": [None if number % 9 == 0 else int(age) for number, age in enumerate(ages)],
            "size": numbers.normal(size=ROWS).round(4),
            "city": numbers.choice(np.array(["Bonn", "Ulm", "Rom", None], object), ROWS).tolist(),
            "day": [f"2024-{month:02}-03" for month in numbers.integers(1, 13, ROWS)],
        }
    )


def train(base: Path, kind: str, features: NDArray[np.float32]) -> LinearModel:
    """Train as a job does, and write `model.tar.gz` into the folder."""
    score = features[:, 2] + features[:, 3]
    labels = (
        score if not CLASSES[kind] else np.digitize(score, np.quantile(score, [0.4, 0.7][: len(CLASSES[kind]) - 1]))
    )
    config, channel = base / "input" / "config", base / "input" / "data" / "train"
    config.mkdir(parents=True)
    channel.mkdir(parents=True)
    classes = {"num_classes": str(len(CLASSES[kind]))} if kind.startswith("multi") else {}
    hyperparameters = {"predictor_type": kind, "mini_batch_size": "20", "epochs": "3", "num_models": "2", **classes}
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    (config / "inputdataconfig.json").write_text(json.dumps({"train": {"ContentType": RECORDIO}}))
    (channel / "rows").write_bytes(records(features, labels.astype(np.float32)))
    log = io.StringIO()
    assert run(base, log) == 0, log.getvalue()
    pack_model((base / "model" / "model_algo-1").read_bytes(), base / "model.tar.gz")
    return read_model(base / "model.tar.gz")


def requests(features: NDArray[np.float32]) -> dict[str, bytes]:
    """The body of a request with these rows in each format."""
    rows = [[float(str(value)) for value in row] for row in features]
    return {
        CSV: "\n".join(",".join(map(repr, row)) for row in rows).encode(),
        JSON: json.dumps({"instances": [{"features": row} for row in rows]}).encode(),
        RECORDIO: records(features),
    }


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.usefixtures("workspace")
def test_the_predictions_of_a_file_are_those_of_the_container(kind: str, machine: Path) -> None:
    schema = Schema(label=LabelSchema(name="y", classes=CLASSES[kind]), columns=COLUMNS)
    rows = make_rows()
    features = schema.encode_columns(rows)
    model = train(machine, kind, features)
    (machine / "schema.json").write_text(schema.to_json())
    rows.write_csv(machine / "rows.csv")
    options = Prediction(
        model=str(machine), data=f"file://{machine}/rows.csv", output=f"file://{machine}/predictions.csv"
    )
    predict_batch(options, "flows")
    written = pl.read_csv(machine / "predictions.csv")
    for content_type, body in requests(features).items():
        answer = json.loads(render_response(model.predict(parse_request(body, content_type)), JSON))["predictions"]
        assert_equal(written, answer, CLASSES[kind])


def assert_equal(written: pl.DataFrame, answer: list[dict[str, Any]], classes: tuple[str, ...]) -> None:
    scores = np.array([row["score"] for row in answer])
    assert len(scores) == written.height == ROWS
    if not classes:
        np.testing.assert_allclose(written["prediction"], scores, rtol=1e-5, atol=1e-5)
        return
    assert written["prediction"].to_list() == [classes[row["predicted_label"]] for row in answer]
    assert written["prediction"].n_unique() == len(classes)
    scores = scores if scores.ndim == 2 else np.column_stack([1 - scores, scores])
    np.testing.assert_allclose(written.drop("prediction").to_numpy(), scores, rtol=1e-5, atol=1e-5)
