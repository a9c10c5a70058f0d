"""The profile of columns of text: distinct values, dates, labels, and what the texts are."""

from collections.abc import Sequence
from datetime import date, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.cells import DateFormat
from tasks.data.measurement import measure_chunks, merge
from tasks.data.profile import Profile, TextKind, TextProfile

NUMBERS = ["1", "2", "2.0", "-0.5", "1e3", "inf"]
TEXTS = ["a", "Ulm", "$5", "1,234", "0,5", "7%", "-", "n.d.", "2024-01-31", "31/12/2023", "true", "FALSE", "x" * 70]
COLUMNS = st.sampled_from([NUMBERS, TEXTS, ["true", "False"], NUMBERS + TEXTS, ["2024-01-31", "2023-02-01T10:00:00Z"]])


def read_chunk(cells: Sequence[str | None]) -> pl.Series:
    """The column of a chunk as the reader gives it: numbers or booleans if all cells are, else text."""
    column = pl.Series("x", cells, pl.String)
    flags = column.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
    for parsed in (flags.cast(pl.Boolean), column.cast(pl.Int64, strict=False), column.cast(pl.Float64, strict=False)):
        if parsed.null_count() == column.null_count() < len(column):
            return parsed
    return column if column.null_count() < len(column) else column.cast(pl.Float64)


def profile_of(cells: Sequence[str | None], cuts: Sequence[int] = (), target: str = "y") -> Profile:
    """The profile of a column x of a file that is read in chunks which end at `cuts`, and of a column y of zeros."""
    chunks = [
        pl.DataFrame([read_chunk(cells[start:end]).alias("x"), pl.Series("y", [0.0] * (end - start))])
        for start, end in pairwise([0, *sorted(cuts), len(cells)])
    ]
    return measure_chunks(chunks, ["x", "y"], target).profile()


def text_of(cells: Sequence[str | None], cuts: Sequence[int] = ()) -> TextProfile:
    found = profile_of(cells, cuts).columns[0].text_profile
    assert found is not None
    return found


def kinds_of(*cells: str) -> dict[TextKind, int]:
    return {one.kind: one.count for one in text_of(cells).kinds}


def without_chunk_statistics(profile: Profile) -> dict[str, Any]:
    """The profile without hashes of chunks, and with rounded sums of squares."""
    found = profile.model_dump()
    for column in found["columns"]:
        for name in ("distinct", "digest"):
            del column[name]
        for name in ("mean", "std"):
            column[name] = column[name] and pytest.approx(column[name], rel=1e-9)
    return found


@given(st.data(), COLUMNS)
def test_the_profile_does_not_depend_on_chunks(data: st.DataObject, texts: list[str]) -> None:
    cells = data.draw(st.lists(st.sampled_from([None, *texts]), min_size=1, max_size=30))
    cuts = data.draw(st.lists(st.integers(0, len(cells)), max_size=4))
    for target in ("x", "y"):
        whole = without_chunk_statistics(profile_of(cells, (), target))
        assert without_chunk_statistics(profile_of(cells, cuts, target)) == whole


@given(st.data(), COLUMNS)
def test_counts_equal_those_of_the_cells(data: st.DataObject, texts: list[str]) -> None:
    cells = data.draw(st.lists(st.sampled_from([None, *texts]), min_size=1, max_size=30))
    profile = profile_of(cells, data.draw(st.lists(st.integers(0, len(cells)), max_size=4)), "x")
    known = [cell.lower() if cell.lower() in {"true", "false"} else cell for cell in cells if cell]
    numbers = [float(cell) for cell in known if cell in NUMBERS]
    column, text = profile.columns[0], profile.columns[0].text_profile
    assert column.missing == cells.count(None)
    assert sum(label.rows for label in profile.labels or ()) == len(known) - known.count("inf")
    if text:
        assert (text.numbers, text.text) == (len(numbers), len(known) - len(numbers))
        assert text.distinct == len({cell for cell in known if cell not in NUMBERS} | {*numbers})
        assert sum(one.count for one in text.kinds) == text.text
        assert column.text_row == min(one.row for one in text.kinds)
        lengths = [len(cell) for cell in known if cell not in NUMBERS]
        assert (text.max_length, text.mean_length) == (max(lengths), pytest.approx(np.mean(lengths)))


@pytest.mark.parametrize("distinct", [999, 1000, 1001, 3000, 40_000])
def test_distinct_texts_are_counted_or_estimated(distinct: int) -> None:
    cells = [f"customer {number % distinct}" for number in range(2 * distinct)]
    found = text_of(cells, [10, distinct // 2, distinct + 7]).distinct
    assert found == (distinct if distinct <= 1000 else pytest.approx(distinct, rel=0.06))


def test_numbers_that_all_differ_are_extrapolated_from_the_sample() -> None:
    tickets = [str(number) if number % 3 else f"A{number}" for number in range(30_000)]
    assert text_of(tickets).distinct == pytest.approx(30_000, rel=0.05)


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("thousands separator", ["1,234,567", "-1,234.5", "1.234.567", "1 234", "1'234", "1\u00a0234", "1,23,456"]),
        ("ambiguous comma", ["1,234", "-12,345", "999,000"]),
        ("decimal comma", ["0,5", "-1234,5", "1.234,5", "1 234,56", "0,123", ",5", "1,5e3"]),
        ("percent", ["7%", "7.5 %", "-1,5%", "1,234%"]),
        ("currency", ["$5", "5 €", "USD 5", "-$1,234.50", "£1.5M", "($5)", "5 EUR", "R$ 7"]),
        ("missing marker", ["-", "--", ".", "*", "n.d.", "unknown", "Missing", "#REF!", "\u2013"]),
        ("boolean", ["true", "FALSE"]),
        ("date", ["2024-01-31", "31.12.2024", "1/5/2024 10:00", "2024/01/31", "31/01/24", "Jan 5, 2024", "5-SEP-24"]),
        ("other", ["5 kg", "12 Main St", "3+", "1-2", "12-34-56", "Ulm", "A1", "$", "%", "1,23,4", "31/13/24", "May"]),
    ],
)  # fmt: skip
def test_texts_are_recognised_for_what_they_are(kind: TextKind, cells: list[str]) -> None:
    for cell in cells:
        assert kinds_of(cell, "1") == {kind: 1}, cell


@pytest.mark.parametrize(
    ("cells", "formats"),
    [
        (["2024-01-31", "2023-12-01T10:00", "2024-02-29 23:59:59.123456Z", "2024-01-01T00:00:00+01:00"], ["%Y-%m-%d"]),
        (["2024/01/31", "2024/1/5 7:05"], ["%Y/%m/%d"]),
        (["31.01.2024", "1.2.2024 10:00:00"], ["%d.%m.%Y"]),
        (["01/31/2024", "2/28/2023"], ["%m/%d/%Y"]),
        (["31/01/2024"], ["%d/%m/%Y"]),
        (["01/02/2024", "12/12/2024"], ["%m/%d/%Y", "%d/%m/%Y"]),
        (["01/02/24", "12/31/99"], ["%m/%d/%y"]),
        (["Jan 5 2024", "December 31, 2023", "mar. 1 2024 10:30"], ["%b %d %Y"]),
        (["5-Jan-2024", "31 December 2023"], ["%d %b %Y"]),
        (["2024-01", "2023-12"], ["%Y-%m"]),
        (["01/2024", "12/2023"], ["%m/%Y"]),
        (["Jan-24", "DEC-23"], ["%b %y"]),
        (["2024Q1", "2023-Q4", "2023 Q3"], ["%YQ%q"]),
        (["Feb 30 2024"], []),
        (["Mai 2024"], []),
        (["01/31/2024", "31/01/2024"], []),
        (["2024-01-31", "31.01.2024"], []),
        (["2023-02-29"], []),
        (["2024-13-01"], []),
        (["2024-01-31 25:00"], []),
        (["2024-01-31", "unknown"], []),
        (["2024-01-31", "2024"], []),
    ],
)
def test_a_date_format_applies_only_if_every_cell_is_such_a_date(cells: list[str], formats: list[DateFormat]) -> None:
    for cuts in ((), range(len(cells))):
        assert text_of([*cells, None], cuts).date_formats == tuple(formats)


def test_whole_numbers_like_20240131_are_numbers() -> None:
    assert profile_of(["20240131", "20240201"]).columns[0].kind == "integer"


def test_declared_dates_are_dates() -> None:
    for cells in ([date(2024, 1, 31), None], [datetime(2024, 1, 31, 10, 5), None]):  # noqa: DTZ001 - as in a file
        frame = pl.DataFrame({"y": [0.0, 1.0], "x": cells})
        one = measure_chunks([frame], ["y", "x"], "y").profile().columns[1]
        assert (one.kind, one.missing, one.missing_row, one.text, one.minimum) == ("date", 1, 2, 0, None)
    zoned = pl.DataFrame({"y": [0.0], "x": pl.Series([datetime(2024, 1, 31)]).dt.replace_time_zone("Europe/Berlin")})  # noqa: DTZ001
    assert measure_chunks([zoned, pl.DataFrame({"y": [0.0], "x": ["2024-02-01"]})], ["y", "x"], "y").profile().columns[
        1
    ].text_profile == text_of(["2024-01-30 23:00:00.000000", "2024-02-01"])


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["M", "B", "M"], [("B", 1, 2), ("M", 2, 1)]),
        (["-1", "1", "-1"], [(-1.0, 2, 1), (1.0, 1, 2)]),
        (["True", "FALSE", "true"], [("false", 1, 2), ("true", 2, 1)]),
        (["1", "2.0", "3+"], [("1", 1, 1), ("2", 1, 2), ("3+", 1, 3)]),
    ],
)
def test_labels_are_listed_as_canonical_values(cells: list[str], labels: list[tuple[float | str, int, int]]) -> None:
    for cuts in ((), (1,), (1, 2)):
        found = profile_of(cells, cuts, "x").labels
        assert [(one.value, one.rows, one.first_row) for one in found or ()] == labels


def test_more_than_1000_classes_are_not_listed() -> None:
    cells = [f"class {number}" for number in range(1001)]
    assert len(profile_of(cells[:1000], [300], "x").labels or ()) == 1000
    assert profile_of(cells, [300], "x").labels is None


@given(st.lists(st.text(max_size=8), max_size=12), st.lists(st.text(max_size=8), max_size=12))
def test_any_text_can_be_measured_and_merged(one: list[str], other: list[str]) -> None:
    files = [
        measure_chunks(
            [pl.DataFrame({"x": cells, "y": [0.0] * len(cells)}, {"x": pl.String, "y": pl.Float64})], ["x", "y"], "y"
        )
        for cells in (one, other)
    ]
    whole = measure_chunks(
        [pl.DataFrame({"x": one + other, "y": 0.0}, {"x": pl.String, "y": pl.Float64})] if one + other else [],
        ["x", "y"],
        "y",
    )
    assert without_chunk_statistics(merge(files).profile()) == without_chunk_statistics(whole.profile())
