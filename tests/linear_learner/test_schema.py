"""The schema of a model: its JSON, its features, and the encoding of rows by column name."""

import json
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from linear_learner.errors import ArtifactError, DataError
from linear_learner.schema import (
    SCHEMA_FORMAT,
    CategoryColumn,
    DateColumn,
    LabelSchema,
    LeftOutColumn,
    NumberColumn,
    Schema,
)

SCHEMA = Schema(
    label=LabelSchema(name="churned", classes=("no", "yes")),
    columns=(
        NumberColumn(name="tenure"),
        NumberColumn(name="age", fill=40.5, indicator=True),
        CategoryColumn(name="city", categories=("1", "Paris", "true"), other=True, missing=True),
        CategoryColumn(name="plan", categories=("a", "b")),
        DateColumn(name="since", format="%d.%m.%Y", parts=("month", "weekday"), origin=0, fill=86_400),
    ),
    left_out=(LeftOutColumn(name="id", reason="almost all values differ"),),
    missing_values=("", "NA"),
)
ROW = {"tenure": 3, "age": 20, "city": "Paris", "plan": "b", "since": "03.02.1970"}
FEATURES = (
    *("tenure", "age", "age=(missing)"),
    *("city=1", "city=Paris", "city=true", "city=(other)", "city=(missing)", "plan=a", "plan=b"),
    *("since.month", "since.weekday", "since.days"),
)


def encode(**cells: Any) -> dict[str, float]:
    """The features of ROW with other cells that are not 0."""
    (values,) = SCHEMA.encode([ROW | cells])
    return {name: float(value) for name, value in zip(SCHEMA.features, values, strict=True) if value}


def test_a_schema_is_the_same_after_it_was_written_and_read() -> None:
    text = SCHEMA.to_json()
    assert Schema.parse(text, "schema.json") == SCHEMA
    assert Schema.parse(text.encode(), "schema.json").to_json() == text


def test_features_have_readable_names_and_a_source() -> None:
    assert SCHEMA.features == FEATURES
    assert SCHEMA.sources == tuple(name.split("=")[0].split(".")[0] for name in FEATURES)


def test_feature_names_are_unique_and_columns_keep_theirs() -> None:
    columns = (CategoryColumn(name="c", categories=("(other)",), other=True), NumberColumn(name="c=(other)"))
    schema = Schema(label=LabelSchema(name="y"), columns=columns)
    assert schema.features == ("c=(other) (2)", "c=(other) (3)", "c=(other)")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": SCHEMA_FORMAT + 1}, f"only up to {SCHEMA_FORMAT}: update train-linear-learner"),
        ({"columns": [{"kind": "picture", "name": "x"}]}, "columns: 0: "),
        ({"columns": [{"kind": "number", "name": "x"}] * 2}, "a name is repeated"),
        ({"columns": [{"kind": "number", "name": "churned"}]}, "a name is repeated"),
        ({"columns": [{"kind": "category", "name": "x", "categories": ["a", "a"]}]}, "a name is repeated"),
        (
            {"columns": [{"kind": "date", "name": "x", "format": "%y", "parts": [], "origin": 0, "fill": 0}]},
            "Input should be '%Y-%m-%d'",
        ),
        ({"unknown": 1}, "unknown: "),
    ],
)
def test_an_invalid_or_newer_schema_is_refused_with_a_sentence(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ArtifactError, match=r"s3://b/schema\.json is not a valid schema\.json .*") as caught:
        Schema.parse(json.dumps(json.loads(SCHEMA.to_json()) | change), "s3://b/schema.json")
    assert problem in str(caught.value)
    with pytest.raises(ArtifactError, match="is not a valid"):
        Schema.parse(b"\xff{", "schema.json")


def test_a_fill_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValidationError, match="finite"):
        NumberColumn(name="x", fill=float("nan"))


def test_a_row_is_encoded_by_column_name() -> None:
    expected = {"tenure": 3, "age": 20, "city=Paris": 1, "plan=b": 1}
    assert encode(id="ignored") == {**expected, "since.month": 2, "since.weekday": 2, "since.days": 33}


@pytest.mark.parametrize(
    ("cells", "features"),
    [
        ({"tenure": " 3.50 "}, {"tenure": 3.5}),
        ({"tenure": "TRUE"}, {"tenure": 1}),
        ({"tenure": np.int32(7)}, {"tenure": 7}),
        ({"age": None}, {"age": 40.5, "age=(missing)": 1}),
        ({"age": "NA"}, {"age": 40.5, "age=(missing)": 1}),
        ({"age": float("nan")}, {"age": 40.5, "age=(missing)": 1}),
        ({"city": 1.0}, {"city=1": 1}),
        ({"city": True}, {"city=true": 1}),
        ({"city": "Rome"}, {"city=(other)": 1}),
        ({"city": " "}, {"city=(missing)": 1}),
        ({"since": None}, {"since.month": 1, "since.days": 1}),
        ({"since": date(1970, 2, 3)}, {"since.days": 33}),
        ({"since": datetime(1970, 2, 3, 12, tzinfo=UTC)}, {"since.days": 33.5}),
    ],
)
def test_cells_are_read_whatever_their_type_is(cells: dict[str, Any], features: dict[str, float]) -> None:
    encoded = encode(**cells)
    assert {name: encoded.get(name, 0) for name in features} == features


def test_a_category_that_no_training_row_had_is_zero_everywhere_without_others() -> None:
    for cell in ("c", None):
        assert not {"plan=a", "plan=b"} & set(encode(plan=cell))


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"tenure": None}, "row 2, column 'tenure': the cell is missing"),
        ({"tenure": "three"}, "row 2, column 'tenure': 'three' is not a number"),
        ({"tenure": [3]}, "row 2, column 'tenure': a list is not a number"),
        ({"tenure": float("inf")}, "row 2, column 'tenure': inf is not a finite 32-bit float"),
        ({"age": "1e39"}, "row 2, column 'age': '1e39' is not a finite 32-bit float"),
        ({"since": "1970-02-03"}, "row 2, column 'since': '1970-02-03' is not a date like %d.%m.%Y"),
        ({"since": 5}, "row 2, column 'since': 5 is not a date like"),
    ],
)
def test_an_invalid_cell_is_an_error_with_row_and_column(cells: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        SCHEMA.encode([ROW, ROW | cells])


def test_a_row_without_a_column_is_an_error_that_names_it() -> None:
    with pytest.raises(DataError, match="row 1 has no column 'age'"):
        SCHEMA.encode([{name: cell for name, cell in ROW.items() if name != "age"}])


def test_no_rows_have_the_features_of_no_rows() -> None:
    assert SCHEMA.encode([]).shape == (0, len(FEATURES))


def test_labels_have_the_indices_of_their_classes() -> None:
    assert [SCHEMA.label_index(value) for value in (" no", "yes")] == [0, 1]
    assert [SCHEMA.class_name(index) for index in (0, 1)] == ["no", "yes"]
    with pytest.raises(DataError, match="'maybe' is none of the classes of 'churned'"):
        SCHEMA.label_index("maybe")
    regressor = Schema(label=LabelSchema(name="y"), columns=())
    assert regressor.label_index("2.5") == 2.5


@pytest.mark.parametrize(
    ("classes", "columns", "identity"),
    [
        ((), [NumberColumn(name="a")], True),
        (("0", "1"), [NumberColumn(name="a")], True),
        (("no", "yes"), [NumberColumn(name="a")], False),
        ((), [NumberColumn(name="a", fill=1.0)], False),
        ((), [NumberColumn(name="a"), CategoryColumn(name="c", categories=())], False),
    ],
)
def test_only_complete_numbers_are_encoded_as_they_are(classes: Any, columns: Any, identity: bool) -> None:
    assert Schema(label=LabelSchema(name="y", classes=classes), columns=tuple(columns)).is_identity is identity
