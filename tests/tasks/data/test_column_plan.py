"""What becomes of each column follows from its profile and the dataset's options."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.cli.arguments import parse_arguments
from tasks.data.column_plan import ColumnPlan, plan_columns
from tasks.data.measurement import measure_chunks
from tasks.data.reader import TableFile
from tasks.data.rules.finding import option
from tasks.parameters import PlanOptions

ROWS = 200


def plan_of(cells: Sequence[Any], name: str = "x", **options: Any) -> ColumnPlan:
    """The plan of the first column, beside a target y."""
    frame = pl.DataFrame({name: pl.Series(cells), "y": [float(row) for row in range(len(cells))]})
    return plan_columns(measure_chunks([frame], frame.columns, "y").profile(), PlanOptions(**options))[0]


def repeat(*cells: Any, rows: int = ROWS) -> list[Any]:
    return [cells[row % len(cells)] for row in range(rows)]


@pytest.mark.parametrize(
    ("cells", "treatment", "reason"),
    [
        (repeat(1, 2, 5), "number", "Every cell is a number."),
        (repeat(1.5), "number", "Every cell is a number."),
        (repeat(True, False), "number", "1 or 0"),
        (repeat(1, 2, None), "fill", "66 cells are missing, the first in row 3"),
        (repeat(True, None), "fill", "100 cells are missing"),
        (repeat(None), "leave out", "no value"),
        (repeat("a", "b", None), "category", "2 different values; 66 cells are missing"),
        (repeat("a"), "leave out", "Every cell is 'a'"),
        (repeat("a", None), "category", "Text with 1 value; 100 cells"),
        ([f"Person {row}" for row in range(ROWS)], "leave out", "an identifier: 200 different values"),
        ([f"{row}: it was a dark and stormy night" for row in range(ROWS)], "leave out", "free text"),
        ([f"A{row // 2}" for row in range(ROWS)], "category", "100 different values, of which the 50 most frequent"),
        (repeat("2024-01-31", "2023-12-01"), "date", "%Y-%m-%d"),
        (repeat("1", "2", "a", "b", "c"), "category", "5 different values"),
        (repeat(*"123456789", "3+"), "refuse", "text among other values ('3+' in row 10"),
        (repeat("1", "-", "-"), "refuse", "seems to mark missing values ('-' in row 2 and 132 more)"),
        (repeat("1", "2", "pending"), "refuse", "seems to mark missing values ('pending' in row 3"),
        (repeat("$5", "$6"), "refuse", "amounts with a currency sign"),
        (repeat("1,234", "1,235"), "refuse", "a comma that is a thousands separator or a decimal comma"),
        (repeat("1,234", "12,345,678"), "refuse", "numbers with a thousands separator"),
        (repeat("1,234", "0,5"), "refuse", "numbers with a decimal comma"),
        (repeat("7%", "8%", "-"), "refuse", "percentages ('7%' in row 1 and 133 more) and a text that seems to mark"),
        (repeat("1", "2", "3", "4", "true"), "refuse", "true or false among other values"),
        (repeat("2024-01-31", "31.01.2024"), "refuse", "dates among other values, or in different forms"),
        (repeat("5 kg", "6 kg", "7 kg"), "category", "3 different values"),
        (repeat("-", "unknown"), "category", "2 different values"),
    ],
)  # fmt: skip
def test_the_kind_of_a_column_decides(cells: list[Any], treatment: str, reason: str) -> None:
    plan = plan_of(cells)
    assert (plan.name, plan.treatment) == ("x", treatment), plan
    assert reason in plan.reason
    assert plan.reason.endswith(".")


@pytest.mark.parametrize(
    "cells", [repeat(1, 2, 5), repeat("1", "2", "3", "4", "5", "3+"), repeat("$5", "$6"), repeat(True, False)]
)
def test_columns_can_be_named_as_categories(cells: list[Any]) -> None:
    assert plan_of(cells, categorical=("x",)).treatment == "category"


@pytest.mark.parametrize(
    ("rows", "treatment"), [(6, "category"), (19, "category"), (20, "leave out"), (60, "leave out")]
)
def test_a_small_table_may_have_categories_that_all_differ(rows: int, treatment: str) -> None:
    assert plan_of([f"city {row}" for row in range(rows)]).treatment == treatment


def test_a_few_repeats_do_not_make_an_identifier_a_category() -> None:
    names = [f"Person {max(row, 10)}" for row in range(ROWS)]
    assert plan_of(names).treatment == "leave out"
    assert plan_of(names, max_categories=500).treatment == "category"


@pytest.mark.parametrize("start", [0, 1])
def test_an_unnamed_first_column_that_counts_rows_is_left_out(start: int) -> None:
    numbers = list(range(start, start + 12))
    for features in ("auto", "numeric"):
        assert plan_of(numbers, "Unnamed: 0", features=features).treatment == "leave out"
    assert plan_of(numbers, "row").treatment == "number"
    assert plan_of(numbers[::-1], "Unnamed: 0").treatment == "number"
    assert plan_of(numbers, "Unnamed: 0", categorical=("Unnamed: 0",)).treatment == "category"


@pytest.mark.parametrize(
    ("cells", "date_format"),
    [
        (["01/31/2024", "02/01/2024"], "%m/%d/%Y"),
        (["31/01/2024", "01/02/2024"], "%d/%m/%Y"),
        (["01/02/2024", "03/04/2024"], "%m/%d/%Y"),
        (["01/02/24", "03/04/24"], "%m/%d/%y"),
        (["2024-01-31T10:00:00Z"], "%Y-%m-%d"),
    ],
)
def test_the_format_of_dates_is_named(cells: list[str], date_format: str) -> None:
    plan = plan_of(repeat(*cells))
    assert (plan.treatment, plan.date_format) == ("date", date_format)
    assert ("taken to come first" in plan.reason) == cells[0].startswith("01/02/")


def test_the_target_and_the_column_of_the_split_are_no_features() -> None:
    frame = pl.DataFrame({"y": ["$5"], "x": ["$5"], "z": [1]})
    profile = measure_chunks([frame], frame.columns, "y").profile()
    assert [one.treatment for one in plan_columns(profile, PlanOptions(), ["x"])] == ["target", "ignored", "number"]


@pytest.mark.parametrize(
    ("cells", "treatment"),
    [
        (repeat(1, 2), "number"),
        (repeat(True, False), "number"),
        (repeat(1, None), "refuse"),
        (repeat("a", "b"), "refuse"),
        (repeat("a"), "refuse"),
        (repeat("2024-01-31"), "refuse"),
        (repeat(None), "refuse"),
        (repeat("1", "-"), "refuse"),
    ],
)
def test_numeric_features_accept_complete_numbers_only(cells: list[Any], treatment: str) -> None:
    assert plan_of(cells, features="numeric").treatment == treatment


def test_columns_of_a_file_with_numbers_in_many_notations(tmp_path: Path) -> None:
    lines = ["thousands,euro,money,percent,date,dash,y"]
    lines += [
        f'"1,{row:03}","{row},5",$5,7%,2021-01-{row % 28 + 1:02},{row if row % 3 == 0 else "-"},{row}'
        for row in range(40)
    ]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines))
    file = TableFile(path, "t.csv")
    profile = measure_chunks(file.chunks(file.names), file.names, "y").profile()
    plan = {one.name: one for one in plan_columns(profile, PlanOptions())}
    words = {"thousands": "thousands separator", "euro": "decimal comma", "money": "currency", "percent": "percentages"}
    for name, word in {**words, "dash": "mark missing values"}.items():
        assert plan[name].treatment == "refuse"
        assert word in plan[name].reason
    assert plan["date"].treatment == "date"


NAMES = st.text(st.characters(exclude_characters='"\\', exclude_categories=["C", "Z"]) | st.just(" "), min_size=1).map(
    str.strip
)


@given(
    st.lists(
        NAMES.filter(bool) | st.sampled_from(["null", "true", "-x", "a,b", "[a]", "1", "'", "$x"]),
        min_size=1,
        max_size=4,
    )
)
def test_an_option_can_be_pasted(names: list[str]) -> None:
    line = shlex.split(option("dataset.ignore", names))
    assert parse_arguments(line)["dataset"]["ignore"] == names
