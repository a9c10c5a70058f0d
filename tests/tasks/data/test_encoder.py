"""The encoder gives what scikit-learn's transformers give, from whole columns as from single rows."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from linear_learner.cells import canonical
from linear_learner.errors import DataError
from linear_learner.schema import CategoryColumn, DateColumn, LabelSchema, NumberColumn, Schema
from tasks.data import value_counts
from tasks.data.column_plan import ColumnPlan
from tasks.data.encoder import compact, compact_types, expand, fit_frames, make_schema, merge
from tasks.data.value_counts import ValueCounts
from tests.tasks.data.tables import TABLES

LABEL = LabelSchema(name="y")


def plan(treatments: Mapping[str, str], formats: Mapping[str, str] | None = None) -> list[ColumnPlan]:
    found = {"y": "target", **treatments}
    rows = ({"name": name, "treatment": one, "reason": "", "date_format": None} for name, one in found.items())
    return [ColumnPlan.model_validate(row | {"date_format": (formats or {}).get(str(row["name"]))}) for row in rows]


def plan_of(frame: pl.DataFrame) -> list[ColumnPlan]:
    """Texts are categories; numbers with missing cells are filled."""
    kinds = {
        column.name: "category" if column.dtype == pl.String else "fill" if column.null_count() else "number"
        for column in frame.drop("y")
    }
    return plan(kinds)


def fit(frame: pl.DataFrame, columns: Sequence[ColumnPlan], training: Any = None, **options: Any) -> Schema:
    mask = np.ones(frame.height, np.bool_) if training is None else np.asarray(training, np.bool_)
    return make_schema(fit_frames([frame], mask, columns), columns, LABEL, **options)


def encode(frame: pl.DataFrame, schema: Schema) -> NDArray[np.float64]:
    features = expand(compact(frame, schema, {}), schema)
    return np.column_stack([np.empty((frame.height, 0)), *features])


def transform(frame: pl.DataFrame, training: NDArray[np.bool_], schema: Schema) -> dict[str, NDArray[np.float64]]:
    """The features from scikit-learn, by the names that they have in the schema."""
    columns = {
        column.name: pd.Series(
            [np.nan if cell is None else cell for cell in column], dtype=object if column.dtype == pl.String else None
        )
        for column in frame.drop("y")
    }
    table = pd.DataFrame(columns)
    steps: list[tuple[str, Any, list[str]]] = []
    for column in schema.columns:
        step: Any = "passthrough"
        if isinstance(column, CategoryColumn):
            limit = (
                len(column.categories) + column.missing + 1
            )  # scikit-learn counts its infrequent one, even without any
            step = OneHotEncoder(max_categories=limit, handle_unknown="infrequent_if_exist", sparse_output=False)
        elif isinstance(column, NumberColumn) and column.fill is not None:
            step = SimpleImputer(strategy="median", add_indicator=True)
        steps.append((column.name, step, [column.name]))
    transformer = ColumnTransformer(steps, sparse_threshold=0).fit(table[training])
    found = {}
    for name, values in zip(transformer.get_feature_names_out(), transformer.transform(table).T, strict=True):
        column, _, feature = name.partition("__")
        feature = feature.removeprefix("missingindicator_")
        found[_feature_name(column, feature, is_indicator="missingindicator" in name)] = values
    return found


def _feature_name(column: str, feature: str, *, is_indicator: bool) -> str:
    if is_indicator:
        return f"{column}=(missing)"
    names = {f"{column}_nan": "(missing)", f"{column}_infrequent_sklearn": "(other)", column: ""}
    value = names.get(feature, feature.removeprefix(f"{column}_"))
    return f"{column}={value}" if value else column


@pytest.mark.parametrize("max_categories", [3, 50])
@pytest.mark.parametrize("name", sorted(TABLES))
def test_features_equal_those_of_scikit_learn(name: str, max_categories: int) -> None:
    frame = TABLES[name](np.random.default_rng(0))
    training = np.random.default_rng(1).random(frame.height) < 0.7
    schema = fit(frame, plan_of(frame), training, max_categories=max_categories)
    expected = transform(frame, training, schema)
    assert set(schema.features) == set(expected)
    for feature, values in zip(schema.features, encode(frame, schema).T, strict=True):
        np.testing.assert_array_equal(values, expected[feature].astype(float), err_msg=feature)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_schema_depends_only_on_the_training_rows_and_not_on_chunks_files_and_order(name: str) -> None:
    frame = TABLES[name](np.random.default_rng(0))
    columns, training = plan_of(frame), np.arange(frame.height) < frame.height * 0.7
    expected = fit(frame, columns, training, max_categories=3).to_json()
    order = np.concatenate([np.arange(training.sum()), np.random.default_rng(2).permutation(np.flatnonzero(~training))])
    assert fit(frame[order], columns, training, max_categories=3).to_json() == expected
    files = []
    for rows in reversed(np.array_split(np.random.default_rng(3).permutation(frame.height), 3)):
        chunks = [frame[part] for part in np.array_split(rows, 4)]
        files.append(fit_frames(chunks, training[rows], columns))
    assert make_schema(merge(files), columns, LABEL, max_categories=3).to_json() == expected


CELLS = {
    "code": st.none() | st.integers(-3, 3) | st.sampled_from([0.5, -0.5, 1e17]),
    "text": st.none()
    | st.sampled_from(["a", "b", " b ", "01", "1", "1.0", "TRUE", "true", "é", "x=y"])
    | st.text(max_size=2),
    "complete": st.integers(-(2**20), 2**20),
    "filled": st.none() | st.floats(-1e6, 1e6) | st.integers(-5, 5),
    "day": st.none() | st.dates(date(1960, 1, 1), date(2040, 1, 1)).map(lambda day: f"{day:%d.%m.%Y} 13:05"),
    "time": st.none() | st.datetimes(),
}
ROWS = st.lists(st.fixed_dictionaries({"y": st.integers(0, 1), **CELLS}), min_size=1, max_size=12)
PLAN = plan(
    {"code": "category", "text": "category", "complete": "number", "filled": "fill", "day": "date", "time": "date"},
    {"day": "%d.%m.%Y"},
)
MISSING = ("", "NA")


def as_frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The rows in the types of the reader: texts only where a cell of the column is text, and stripped."""
    columns = []
    for name in rows[0]:
        cells = [row[name] for row in rows]
        if name in {"text", "day"}:
            stripped = pl.Series(name, [None if one is None else _encodable(one) for one in cells], pl.String)
            cells = stripped.str.strip_chars().replace(MISSING, None).to_list()
        columns.append(pl.Series(name, cells, strict=False))
    return pl.DataFrame(columns)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "ignore").decode()


def as_request(row: Mapping[str, Any], *, texts: bool) -> dict[str, Any]:
    """The row as a client sends it: as it is, or with numbers as texts."""
    sent = dict(row)
    for name in ("code", "complete", "filled") if texts else ():
        sent[name] = "NA" if row[name] is None else repr(row[name])
    return {name: _encodable(cell) if isinstance(cell, str) else cell for name, cell in sent.items()}


@given(ROWS, st.integers(0, 11), st.integers(1, 4), st.booleans())
def test_rows_are_encoded_like_columns(rows: list[dict[str, Any]], trained: int, limit: int, texts: bool) -> None:
    training = np.arange(len(rows)) <= trained
    frames = [as_frame(rows[start : start + 3]) for start in range(0, len(rows), 3)]
    schema = make_schema(fit_frames(frames, training, PLAN), PLAN, LABEL, max_categories=limit, missing_values=MISSING)
    columnar = np.concatenate([encode(frame, schema) for frame in frames])
    encoded = Schema.parse(schema.to_json(), "here").encode([as_request(row, texts=texts) for row in rows])
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, columnar.astype(np.float32))
    for frame in frames:
        values, keys = schema.expand_sparse([column.to_numpy() for column in compact(frame, schema, {}).drop("y")])
        dense = np.zeros((frame.height, len(schema.features)), np.float32)
        row, stored = np.nonzero(keys >= 0)
        dense[row, keys[row, stored]] = values[row, stored]
        np.testing.assert_array_equal(dense, encode(frame, schema).astype(np.float32))


def test_a_column_may_be_text_in_one_chunk_and_numbers_in_the_next() -> None:
    frames = [pl.DataFrame({"y": [1, 2], "c": cells}) for cells in ([1, 2], ["01", "b"], [1.0, None], [True, False])]
    schema = make_schema(
        fit_frames(frames, np.ones(8, np.bool_), plan({"c": "category"})), plan({"c": "category"}), LABEL
    )
    assert schema.columns == (CategoryColumn(name="c", categories=("1", "2", "b", "false", "true"), missing=True),)
    codes = pl.concat([compact(frame, schema, {}) for frame in frames])["c"]
    assert codes.to_list() == [0, 1, 0, 2, 0, 5, 4, 3]


def test_a_filled_number_without_missing_training_rows_has_no_indicator() -> None:
    frame = pl.DataFrame({"y": [0, 0, 0, 0], "x": [1.0, 2.0, 9.0, None]})
    schema = fit(frame, plan({"x": "fill"}), [True, True, True, False])
    assert schema.columns == (NumberColumn(name="x", fill=2.0),)
    np.testing.assert_array_equal(encode(frame, schema)[:, 0], [1, 2, 9, 2])


def test_columns_that_are_missing_in_all_training_rows_are_encoded() -> None:
    frame = pl.DataFrame({"y": [0, 0], "x": [None, 1.5], "c": [None, "a"], "d": [None, date(2024, 1, 2)]})
    schema = fit(frame, plan({"x": "fill", "c": "category", "d": "date"}), [True, False])
    assert schema.features == ("x", "x=(missing)", "c=(missing)", "d.days", "d=(missing)")
    np.testing.assert_array_equal(encode(frame, schema), [[0, 1, 1, 0, 1], [1.5, 0, 0, 19724, 0]])


def test_a_date_has_the_parts_that_vary_in_the_training_rows() -> None:
    days = [date(2024, 1, 1) + timedelta(days) for days in (1, 0, 3, 400)]
    frame = pl.DataFrame({"y": [0, 0, 0, 0, 0], "d": [*days, None]})
    schema = fit(frame, plan({"d": "date"}), [True, True, True, False, True])
    assert schema.features == ("d.weekday", "d.days", "d=(missing)")
    np.testing.assert_array_equal(encode(frame, schema), [[2, 1, 0], [1, 0, 0], [4, 3, 0], [2, 400, 0], [2, 1, 1]])
    assert isinstance(schema.columns[0], DateColumn)


def test_months_have_no_weekday() -> None:
    frame = pl.DataFrame({"y": [0, 0, 0], "d": ["2023-12", "2024-01", "2024-03"]})
    schema = fit(frame, plan({"d": "date"}, {"d": "%Y-%m"}), [True, True, True])
    assert schema.features == ("d.year", "d.month", "d.days")
    np.testing.assert_array_equal(encode(frame, schema), [[2023, 12, 0], [2024, 1, 31], [2024, 3, 91]])


def test_labels_are_the_indices_of_their_classes() -> None:
    columns = plan({"x": "number"})
    frame = pl.DataFrame({"y": ["yes", "NO", None], "x": [1, 2, 3]})
    label = LabelSchema(name="y", classes=("NO", "yes"))
    schema = make_schema(fit_frames([frame], np.ones(3, np.bool_), columns), columns, label)
    assert compact(frame[:2], schema, {"x": pl.Int8()}).to_dict(as_series=False) == {"y": [1, 0], "x": [1, 2]}
    with pytest.raises(DataError, match=r"row 12, column 'y': the cell is none of the classes"):
        compact(frame, schema, {}, first_row=10)


@pytest.mark.parametrize(
    ("treatment", "cell", "problem"),
    [
        ("number", None, "row 7, column 'x': the cell is missing"),
        ("number", "abc", "row 7, column 'x': 'abc' is not a number"),
        ("fill", "1,5", "row 7, column 'x': '1,5' is not a number"),
        ("date", "2023-02-29", "row 7, column 'x': '2023-02-29' is not a date like %Y-%m-%d"),
    ],
)
def test_a_cell_that_the_schema_excludes_is_an_error_with_its_row(treatment: str, cell: Any, problem: str) -> None:
    columns = plan({"x": treatment})
    good = pl.DataFrame({"y": [1], "x": ["2024-01-01" if treatment == "date" else "1"]})
    schema = fit(good, columns)
    bad = pl.concat([good, pl.DataFrame({"y": [1], "x": [cell]}, {"y": pl.Int64, "x": pl.String})])
    with pytest.raises(DataError, match=problem):
        compact(bad, schema, {}, first_row=6)
    if treatment in {"fill", "date"}:
        with pytest.raises(DataError, match=problem.replace("row 7", "row 4")):
            fit_frames([good, good, bad], np.array([True, False, True, True]), columns)


def test_complete_numbers_are_stored_in_the_given_types() -> None:
    frame = pl.DataFrame(
        {"y": [1.5], "x": [7], "big": [2**53 + 1], "f": [None]},
        {"f": pl.Float64, "y": pl.Float64, "x": pl.Int64, "big": pl.Int64},
    )
    schema = fit(frame, plan({"x": "number", "big": "number", "f": "fill"}))
    types = {"y": pl.Float64(), "x": pl.Int8(), "big": pl.Int64()}
    wanted = {"y": pl.Float64(), "x": pl.Int8(), "big": pl.Int64(), "f": pl.Float64(), "f=(missing)": pl.UInt8()}
    assert compact_types(schema, types) == wanted
    stored = compact(frame, schema, types)
    assert dict(stored.schema) == wanted
    assert stored["big"].to_list() == [2**53 + 1]


def test_compact_columns_have_different_names() -> None:
    frame = pl.DataFrame({"y": [0, 0], "x": [1.0, None], "x=(missing)": [1, 2]})
    schema = fit(frame, plan({"x": "fill", "x=(missing)": "number"}))
    assert len(set(schema.features)) == 3
    np.testing.assert_array_equal(encode(frame, schema), [[1, 0, 1], [1, 1, 2]])
    assert schema.features == ("x", "x=(missing) (2)", "x=(missing)")
    assert list(compact_types(schema, {})) == ["y", *schema.features]


@given(st.lists(st.integers(0, 200), min_size=1), st.integers(1, 5))
def test_many_texts_are_reduced_to_the_most_frequent(values: list[int], limit: int) -> None:
    texts = pl.Series([str(value) for value in values for _ in range(value % 5 + 1)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(value_counts, "MAX_DISTINCT", 2 * limit)
        merged = ValueCounts.merge([ValueCounts.count(texts)])
    assert merged.distinct <= 2 * limit
    counts = pd.Series(texts.to_list()).value_counts()
    assert merged.most_frequent(1)["rows"].item(0) == counts.max()


@given(st.lists(st.lists(st.floats(-1e30, 1e30), min_size=1), min_size=1, max_size=4))
def test_the_median_of_few_values_is_exact_and_that_of_many_is_close(parts: list[list[float]]) -> None:
    columns, values = plan({"x": "fill"}), [value for part in parts for value in part]
    frames = [pl.DataFrame({"y": 0, "x": pl.Series(part, dtype=pl.Float64)}) for part in parts]
    exact = make_schema(fit_frames(frames, np.ones(len(values), np.bool_), columns), columns, LABEL).columns[0]
    assert isinstance(exact, NumberColumn)
    assert exact.fill == np.median(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(value_counts, "MAX_DISTINCT", 3)
        one = merge([fit_frames([frame], np.ones(frame.height, np.bool_), columns) for frame in frames])
        other = merge([fit_frames([frame], np.ones(frame.height, np.bool_), columns) for frame in reversed(frames)])
    assert make_schema(one, columns, LABEL) == make_schema(other, columns, LABEL)
    assert one.columns["x"].counts.distinct <= 3


def test_the_median_of_more_values_than_are_counted_is_nearly_exact() -> None:
    values = np.random.default_rng(0).normal(50, 10, 50_000)
    columns, frame = plan({"x": "fill"}), pl.DataFrame({"y": 0, "x": values})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(value_counts, "MAX_DISTINCT", 10_000)
        found = fit(frame, columns).columns[0]
    assert isinstance(found, NumberColumn)
    assert found.fill == pytest.approx(np.median(values), rel=1e-3)


def test_canonical_texts_name_the_features() -> None:
    frame = pl.DataFrame({"y": [0, 0], "c": ["1.50", "a"]})
    assert fit(frame, plan({"c": "category"})).features == (f"c={canonical('1.50')}", "c=a")
