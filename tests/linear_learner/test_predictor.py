"""Predictions by column name have named columns, and a schema is used for its own model only."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from linear_learner.errors import ArtifactError, DataError
from linear_learner.formats.artifact import write_model
from linear_learner.predictor import Predictor
from linear_learner.schema import LabelSchema, NumberColumn, Schema
from tests.linear_learner.formats.files import write_archive
from tests.linear_learner.tables import ROWS, model, random_frame, schema

BINARY, THREE = model("binary_classifier", "logistic"), model("multiclass_classifier", "softmax_loss", 3)
HINGE = model("binary_classifier", "hinge_loss")


@pytest.mark.parametrize(
    ("trained", "classes", "names"),
    [
        (model(), (), ["prediction"]),
        (BINARY, ("stays", "leaves"), ["prediction", "probability.stays", "probability.leaves"]),
        (BINARY, (), ["prediction", "probability.0", "probability.1"]),
        (HINGE, ("no", "yes"), ["prediction", "score"]),
        (THREE, ("c", "a", "b"), ["prediction", "probability.c", "probability.a", "probability.b"]),
    ],
)
def test_outputs_are_named_columns_with_the_models_scores(trained: Any, classes: Any, names: list[str]) -> None:
    frame, predictor = random_frame(), Predictor(trained, schema(*classes))
    outputs = predictor.predict_columns(frame)
    expected = trained.predict(schema().encode_columns(frame))
    assert list(outputs) == names
    last = np.asarray(expected.scores).reshape(len(frame), -1)[:, -1]
    np.testing.assert_array_equal(outputs[names[-1]], last)
    if expected.labels is not None:
        labels = classes or ("0", "1")
        assert outputs["prediction"].tolist() == [labels[int(label)] for label in expected.labels]
        assert set(outputs["prediction"]) == set(labels)
    if any(name.startswith("probability.") for name in names):
        np.testing.assert_allclose(np.sum([outputs[name] for name in names[1:]], axis=0), 1, rtol=1e-6)


def test_rows_and_columns_in_any_order_and_type_have_the_same_predictions() -> None:
    predictor = Predictor(BINARY, schema("no", "yes"))
    frame = random_frame()
    expected = pd.DataFrame(predictor.predict_columns(frame))
    changed = frame[frame.columns[::-1]].assign(city=frame["city"].astype("category"), age=frame["age"].astype("Int64"))
    changed.insert(1, "id", "x")
    texts = changed.assign(rooms=frame["rooms"].astype(int).astype(str), since=pd.to_datetime(frame["since"]))
    for table in (changed, texts, pl.DataFrame(frame.to_dict("list"), nan_to_null=True), frame.to_dict("list")):
        pd.testing.assert_frame_equal(pd.DataFrame(predictor.predict_columns(table)), expected)
    pd.testing.assert_frame_equal(pd.DataFrame(predictor.predict(frame.to_dict("records"))), expected)


def test_errors_have_the_numbers_of_the_table() -> None:
    predictor = Predictor(model(), schema())
    with pytest.raises(DataError, match="row 101, column 'rooms'"):
        predictor.predict([*ROWS[:1], ROWS[1] | {"rooms": "many"}], first_row=100)
    with pytest.raises(DataError, match=r"row 100 has no column 'city' \(did you mean 'City'\?\)"):
        predictor.predict([{"City" if name == "city" else name: cell for name, cell in ROWS[0].items()}], first_row=100)
    with pytest.raises(DataError, match="row 100, column 'rooms'"):
        predictor.predict_columns({name: [cell] for name, cell in ROWS[0].items()} | {"rooms": [""]}, 100)


def test_without_a_schema_only_features_are_predicted() -> None:
    predictor = Predictor(THREE, None)
    features = schema().encode(ROWS)
    assert list(predictor.predict_features(features)) == ["prediction", *(f"probability.{n}" for n in range(3))]
    with pytest.raises(DataError, match="the model has no schema"):
        predictor.predict(ROWS)


@pytest.mark.parametrize("place", ["archive", "folder", "extracted"])
def test_a_model_is_read_with_the_schema_beside_it(tmp_path: Path, place: str) -> None:
    if place == "extracted":
        write_model(BINARY, tmp_path)
    else:
        write_archive(BINARY, tmp_path / "model.tar.gz")
    (tmp_path / "schema.json").write_text(schema("no", "yes").to_json())
    read = Predictor.read(tmp_path / "model.tar.gz" if place == "archive" else str(tmp_path))
    expected = Predictor(BINARY, schema("no", "yes")).predict(ROWS)
    assert {name: column.tolist() for name, column in read.predict(ROWS).items()} == {
        name: column.tolist() for name, column in expected.items()
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no schema.json beside .*model.tar.gz, so columns cannot be matched by name"),
        ("{", "schema.json is not a valid schema.json"),
        (
            schema("a", "b", "c").to_json(),
            "has 3 classes, and the model, a binary_classifier, 2: it belongs to another",
        ),
        (
            Schema(label=LabelSchema(name="pay"), columns=(NumberColumn(name="age"),)).to_json(),
            "schema.json: the schema has 1 features, and the model 9: it belongs to another model",
        ),
    ],
)
def test_a_missing_schema_or_that_of_another_model_is_refused(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    write_archive(BINARY, tmp_path / "model.tar.gz")
    if content is not None:
        (tmp_path / "schema.json").write_text(content)
    with pytest.raises(ArtifactError, match=problem):
        Predictor.read(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"contains no model\.tar\.gz"):
        Predictor.read(tmp_path)
