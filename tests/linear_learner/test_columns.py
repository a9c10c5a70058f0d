"""Columns are encoded like the rows that they consist of, whatever holds their cells."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.columns import find_distinct
from linear_learner.errors import DataError
from linear_learner.schema import CategoryColumn, DateColumn, LabelSchema, NumberColumn, Schema

SCHEMA = Schema(
    label=LabelSchema(name="y"),
    columns=(
        NumberColumn(name="complete"),
        NumberColumn(name="filled", fill=2.5, indicator=True),
        CategoryColumn(name="category", categories=("1", "2", "a", "true", "2024-01-05"), other=True, missing=True),
        DateColumn(name="day", format=None, parts=("month", "hour"), origin=0, fill=86_400, indicator=True),
    ),
    missing_values=("NA", "-999"),
)
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -999, -999.0, 2**63 - 1, 10**30, 3.4e38]) | st.booleans()
NUMPY_NUMBERS = st.sampled_from([np.int8(1), np.uint64(2), np.float32(0.1), np.float64(-999), np.bool_(True)])
TEXT_NUMBERS = st.sampled_from(["1", "01", " 2.0 ", "1e3", "TRUE", "-999.00"])
MISSING = st.sampled_from([None, float("nan"), np.nan, np.datetime64("NaT"), pd.NA, pd.NaT, "", " NA "])
DATES = st.dates(date(1970, 1, 1), date(2100, 1, 1)) | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001
TIMES = DATES | st.sampled_from(
    [
        *("2024-01-05", "2024-01-05 13:00", pd.Timestamp("2024-01-05"), np.datetime64("2024-01-05T01", "ns")),
        *(datetime(2024, 1, 5, tzinfo=UTC), np.datetime64("2024-01-05")),
    ]
)
INVALID = st.sampled_from(["three", float("inf"), 1e39, [3], 10**400, "2024-13-01", 1j])
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "complete": NUMBERS | NUMPY_NUMBERS | TEXT_NUMBERS,
    "filled": NUMBERS | NUMPY_NUMBERS | TEXT_NUMBERS | MISSING,
    "category": NUMBERS | NUMPY_NUMBERS | TEXT_NUMBERS | MISSING | TIMES | st.sampled_from(["a", " a", "b", [1], 1.0]),
    "day": TIMES | MISSING,
}


def rows_of(cells: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.fixed_dictionaries(dict(cells)), min_size=1, max_size=20)


def as_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in CELLS}


def as_objects(cells: list[Any]) -> Any:
    return np.fromiter(cells, object, len(cells))


def schema_of(*names: str) -> Schema:
    columns = tuple(column for column in SCHEMA.columns if column.name in names)
    return Schema(label=SCHEMA.label, columns=columns, missing_values=SCHEMA.missing_values)


def outcome(encode: Callable[[], Any]) -> Any:
    try:
        return encode().tolist()
    except DataError as error:
        return str(error)


@given(rows_of(CELLS) | rows_of({name: cells | INVALID for name, cells in CELLS.items()}))
def test_columns_are_encoded_like_rows_with_the_same_errors(rows: list[dict[str, Any]]) -> None:
    columns = as_columns(rows)
    expected = outcome(lambda: SCHEMA.encode(rows))
    if not isinstance(expected, str):
        assert expected == [SCHEMA.encode([row])[0].tolist() for row in rows]
    objects = {name: as_objects(cells) for name, cells in columns.items()}
    assert outcome(lambda: SCHEMA.encode_columns(columns)) == expected
    assert outcome(lambda: SCHEMA.encode_columns(objects)) == expected
    assert outcome(lambda: SCHEMA.encode_columns(pd.DataFrame(objects, dtype=object))) == expected


PLAIN = st.integers() | st.floats() | st.sampled_from([-999, -999.0, 2**63, 3.4e38])


@given(st.lists(PLAIN, min_size=8, max_size=20), st.sampled_from(["complete", "filled"]))
def test_many_numbers_of_python_are_encoded_like_each_of_them(cells: list[float], column: str) -> None:
    schema = schema_of(column)
    singles = [outcome(partial(schema.encode, [{column: cell}], row)) for row, cell in enumerate(cells, 1)]
    problem = next((single for single in singles if isinstance(single, str)), None)
    found = outcome(lambda: schema.encode([{column: cell} for cell in cells]))
    assert found == (problem or [single[0] for single in singles])


ARRAYS = st.one_of(
    st.lists(st.integers(-3, 3) | st.just(-999), min_size=1).map(np.array),
    st.lists(st.integers(0, 2**64 - 1), min_size=1).map(lambda cells: np.array(cells, np.uint64)),
    st.lists(st.floats(width=32) | st.just(-999.0), min_size=1).map(lambda cells: np.array(cells, np.float32)),
    st.lists(st.floats() | st.sampled_from([0.5, float("nan"), -999.0]), min_size=1).map(np.array),
    st.lists(st.booleans(), min_size=1).map(np.array),
    st.lists(TEXT_NUMBERS | st.just("b"), min_size=1).map(np.array),
    st.lists(st.dates() | st.none(), min_size=1).map(lambda cells: np.array(cells, "M8[D]")),
    st.lists(st.datetimes(), min_size=1).map(lambda cells: np.array(cells, "M8[us]")),
    st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)) | st.none(), min_size=1).map(  # noqa: DTZ001
        lambda cells: np.array(cells, "M8[ns]")
    ),
    st.lists(st.timedeltas(timedelta(0), timedelta(9)), min_size=1).map(lambda cells: np.array(cells, "m8[ns]")),
)


@given(ARRAYS)
def test_typed_arrays_are_encoded_like_their_cells(array: Any) -> None:
    for name in CELLS:
        schema = schema_of(name)
        expected = outcome(partial(schema.encode, [{name: cell} for cell in array]))
        assert outcome(partial(schema.encode_columns, {name: array})) == expected


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("category", pd.Series(["a", None, "z"], dtype="category")),
        ("category", pd.Series(["a", None, "z"], dtype="string")),
        ("category", pl.Series(["a", None, "z"], dtype=pl.Categorical)),
        ("category", ("a", "NA", "z")),
        ("filled", pd.array([1, None, 3], dtype="Int64")),
        ("filled", pd.Series([1, -999, 3], dtype="category")),
        ("filled", pl.Series([1, None, 3])),
        ("filled", np.ma.array([1, 2, 3], mask=[False, True, False])),
        ("filled", [Decimal("1.0"), None, "3"]),
        ("filled", [timedelta(seconds=1), pd.NaT, time_of_day(0, 0, 3)]),
        ("filled", np.array([1, "NaT", 3], "m8[s]").astype("m8[ns]")),
        ("day", pd.Series(["1970-01-01", None, "1970-01-03"], dtype="datetime64[ns]")),
        ("day", pd.Series(["1970-01-01", None, "1970-01-03"], dtype="datetime64[ns, UTC]")),
        ("day", pl.Series([date(1970, 1, 1), None, date(1970, 1, 3)])),
        ("day", np.array(["1970-01-01", "NaT", "1970-01-03"], "M8[ns]")),
    ],
)
def test_series_of_other_libraries_are_columns(column: str, values: Any) -> None:
    expected = {
        "category": [[0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1, 0]],
        "filled": [[1, 0], [2.5, 1], [3, 0]],
        "day": [[1, 0, 0, 0], [1, 0, 1, 1], [1, 0, 2, 0]],
    }
    assert schema_of(column).encode_columns({column: values}).tolist() == expected[column]


def test_errors_name_the_first_row_of_an_invalid_cell_in_a_long_column() -> None:
    schema = Schema(label=LabelSchema(name="y"), columns=(NumberColumn(name="a", fill=0.0), NumberColumn(name="b")))
    numbers, texts = np.arange(100.0), ["1", "x"] * 50
    with pytest.raises(DataError, match="row 2, column 'b': 'x' is not a number"):
        schema.encode_columns({"a": numbers, "b": texts})
    numbers[[70, 90]] = np.inf, -np.inf
    numbers[:50] = np.nan
    with pytest.raises(DataError, match="row 1071, column 'a': inf is not a finite"):
        schema.encode_columns({"a": numbers, "b": numbers}, first_row=1001)
    with pytest.raises(DataError, match="row 1, column 'b': the cell is missing"):
        schema.encode_columns({"a": np.zeros(100), "b": numbers})


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"Complete": [1]}, "the table has no columns 'complete' (did you mean 'Complete'?), 'filled', which"),
        ({"complete": [1]}, "the table has no column 'filled', which the model needs; give it, or null if unknown"),
        ({"complete": [1, 2], "filled": [1]}, "column 'filled' has 1 rows, but column 'complete' has 2"),
        ({"complete": [1], "filled": 3}, "column 'filled' is a int; give a sequence with one value for each row"),
        ({"complete": "123", "filled": [3]}, "column 'complete' is a str; give a sequence"),
        ({"complete": np.ones((2, 2)), "filled": [3]}, "column 'complete' has 2 dimensions"),
        (pd.DataFrame([[1, 2, 3]], columns=["complete", "filled", "filled"]), "column 'filled' has 2 dimensions"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(columns: Any, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        schema_of("complete", "filled").encode_columns(columns)
    assert problem in str(caught.value)


def test_a_table_without_rows_has_the_features_of_no_rows() -> None:
    assert SCHEMA.encode_columns(pd.DataFrame(columns=list(CELLS))).shape == (0, len(SCHEMA.features))


def test_distinct_cells_differ_in_value_or_type() -> None:
    cells = [1, True, "1", 1.0, None, 1, "1", None, True, 1.0]
    values, indices = find_distinct(cells)
    assert [repr(value) for value in values] == ["1", "True", "'1'", "1.0", "None"]
    assert indices is not None
    assert indices.tolist() == [0, 1, 2, 3, 4, 0, 2, 4, 1, 3]
    values, indices = find_distinct(np.array([3, 1, 3, 2, 1, 3, 3, 3]))
    assert values == [3, 1, 2]
    assert indices is not None
    assert indices.tolist() == [0, 1, 0, 2, 1, 0, 0, 0]
