"""Rows are grouped by the values of a column."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluation.slices import slice_by_values


def as_lists(values: list[str | None]) -> dict[str, list[int]]:
    return {name: rows.tolist() for name, rows in slice_by_values(values)}


def test_few_numbers_have_one_slice_each_independent_of_notation() -> None:
    assert as_lists(["10", "2", " 2.0", "1e1", None]) == {"2": [1, 2], "10": [0, 3], "(missing)": [4]}


def test_many_numbers_become_quarters_that_do_not_overlap() -> None:
    found = as_lists([str(number / 2) for number in range(12)])
    assert found == {"0 to 1": [0, 1, 2], "1.5 to 2.5": [3, 4, 5], "3 to 4": [6, 7, 8], "4.5 to 5.5": [9, 10, 11]}


def test_a_number_that_covers_several_quarters_is_one_range() -> None:
    found = as_lists(["0"] * 60 + [str(number) for number in range(1, 41)])
    assert list(found) == ["0", "1 to 15", "16 to 40"]


def test_numbers_that_differ_in_late_digits_have_different_names() -> None:
    assert list(as_lists(["1.0000001", "1.0000002"])) == ["1.0000001", "1.0000002"]


def test_texts_are_the_most_frequent_ones_and_others() -> None:
    names = [f"city {index:02d}" for index in range(22)]
    found = as_lists([*names, *names[:21], "city 21", "city 21", "NA", ""])
    assert list(found)[:2] == ["city 21", "city 00"]
    assert found["(others)"] == [19, 20, 41, 42]
    assert found["(missing)"] == [45, 46]
    assert len(found) == 22


def test_numbers_are_texts_if_one_value_is_a_text() -> None:
    assert list(as_lists(["1", "2", "two"])) == ["1", "2", "two"]
    assert list(as_lists(["1", "inf"])) == ["1", "inf"]


def test_an_empty_column_is_missing() -> None:
    assert as_lists([None, "?"]) == {"(missing)": [0, 1]}
    assert as_lists([]) == {}


@given(st.lists(st.none() | st.floats().map(str) | st.text(max_size=2)) | st.lists(st.floats(-9, 9).map(str)))
def test_every_row_is_in_one_slice(values: list[str | None]) -> None:
    found = slice_by_values(values)
    rows = np.concatenate([np.empty(0, np.intp), *(rows for _, rows in found)])
    assert sorted(rows.tolist()) == list(range(len(values)))
    assert all(len(rows) for _, rows in found)
