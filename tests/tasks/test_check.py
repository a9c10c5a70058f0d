"""The check raises all errors of the data at once, and always shows the profile in the UI."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from linear_learner.errors import DataError
from tasks.check import check
from tasks.data.column_plan import plan_columns
from tasks.data.measurement import measure_chunks
from tasks.data.profile import Profile
from tasks.data.profile_report import escape_markdown, render_profile
from tasks.data.rules.finding import Finding
from tasks.data.rules.table import error_message
from tasks.data.source import Source
from tasks.load import Table
from tasks.parameters import Dataset, PlanOptions, RequestedHyperparameters, RunParameters, Split
from tasks.split import Rows

SOURCE = "s3://bucket/table.csv"
CHANNELS = {"train": 700, "validation": 200, "test": 100}
BINARY = RequestedHyperparameters(predictor_type="binary_classifier")
NUMERIC = Dataset(features="numeric")
"""Missing cells are errors."""


def make_profile(target: str = "pay", labels: int = 5, width: int = 3, hole: bool = False, rows: int = 1000) -> Profile:
    """The profile of random numbers with `labels` classes; with `hole`, row 7 of the last column is missing."""
    random = np.random.default_rng(0)
    values = random.normal(size=(width, rows))
    values[0] = random.integers(0, labels, rows)
    if hole:
        values[-1, 6] = np.nan
    names = [target, *(f"x{index}" for index in range(1, width))]
    frame = pl.DataFrame(values.T, names).with_columns(pl.Series(target, values[0]).cast(pl.Int64))
    return measure_chunks([frame], names, target).profile()


def arguments(profile: Profile, **options: Any) -> tuple[Table, Rows, RunParameters]:
    """The arguments of the check."""
    parameters = RunParameters(**options)
    table = Table(
        source=Source(uri=SOURCE, parts=()), holdout=None, made_of={}, part_rows=(profile.rows,), profile=profile
    )
    return table, Rows(**CHANNELS, parameters=parameters.split), parameters


def profile_artifacts() -> list[str]:
    """The profile artifacts, newest first."""
    data_profile = ArtifactFilter(key=ArtifactFilterKey(any_=["data-profile"]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=data_profile, sort=ArtifactSort.CREATED_DESC)
    return [str(artifact.data) for artifact in found]


def rows_of(report: str, title: str) -> list[list[str]]:
    """The cells of the table in a section, header first."""
    section = report.split(f"## {title}")[1].split("\n## ", maxsplit=1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.usefixtures("machine")
def test_a_valid_table_passes_and_its_profile_is_shown() -> None:
    assert check(*arguments(make_profile())).findings == ()
    assert "No problems found." in profile_artifacts()[0]


@pytest.mark.usefixtures("machine")
def test_warnings_are_logged_shown_and_returned(caplog: pytest.LogCaptureFixture) -> None:
    regressor = RequestedHyperparameters(predictor_type="regressor")
    [warning] = check(*arguments(make_profile(labels=2), hyperparameters=regressor)).findings
    messages = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert str(warning) in messages
    assert f"## Findings\n\n- **warning** {escape_markdown(str(warning))}\n" in profile_artifacts()[0]


@pytest.mark.usefixtures("machine")
def test_all_errors_are_raised_and_shown_at_once() -> None:
    with pytest.raises(DataError) as caught:
        check(*arguments(make_profile(hole=True), hyperparameters=BINARY, dataset=NUMERIC))
    first, *lines = str(caught.value).splitlines()
    assert first == f"{SOURCE} cannot be trained on:"
    assert [line.startswith("- ") for line in lines] == [True, True]
    assert "column 'x2', row 7" in lines[0]
    assert "there are 5 distinct labels" in lines[1]
    assert profile_artifacts()[0].count("- **error** ") == 2


@pytest.mark.usefixtures("machine")
def test_ignored_columns_are_not_checked() -> None:
    assert check(*arguments(make_profile(hole=True), split=Split(method="time", column="x2"))).findings == ()
    assert "| x2 | not a feature |" in profile_artifacts()[0]


def test_the_check_is_not_cached(machine: Path) -> None:
    @flow(persist_result=True)
    def check_twice() -> int:
        states = [check(*arguments(make_profile()), return_state=True) for _ in range(2)]
        return [state.name for state in states].count("Completed")

    assert check_twice() == 2
    stored = [path.read_text() for path in (machine / "results").rglob("*") if path.is_file()]
    assert len(stored) == 1  # the result of the flow


@pytest.mark.filterwarnings("ignore:Artifact creation outside:FutureWarning")
def test_the_check_works_without_the_prefect_server() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), disable_run_logger():
        assert check.fn(*arguments(make_profile())).findings == ()
        with pytest.raises(DataError, match="row 7"):
            check.fn(*arguments(make_profile(hole=True), dataset=NUMERIC))


def test_only_some_of_many_errors_are_listed() -> None:
    errors = [Finding(level="error", where=f"row {row}", what="bad", remedy="Repair it.") for row in range(50)]
    lines = error_message(SOURCE, errors).splitlines()
    assert len(lines) == 22
    assert lines[1] == "- row 0: bad. Repair it."
    assert "30 more errors" in lines[-1]


def test_findings_come_first_with_errors_before_warnings() -> None:
    findings = [
        Finding(level="error", where="column 'a'", what="bad", remedy="Repair it."),
        Finding(level="warning", where="column 'b'", what="odd", remedy="Look."),
    ]
    report = render_profile(make_profile(), findings)
    order = [report.index(part) for part in ("## Findings", "**error**", "'a'", "**warning**", "'b'", "## Labels")]
    assert order == sorted(order)
    assert report.startswith("## Findings")


def test_classes_are_listed_with_their_rows() -> None:
    profile = make_profile(labels=20)
    header, *rows = rows_of(render_profile(profile, ()), "Labels")
    assert header == ["label", "rows", "share", "first row"]
    assert [row[0] for row in rows] == [str(label) for label in range(20)]
    assert sum(int(row[1]) for row in rows) == 1000
    assert sum(float(row[2].removesuffix("%")) for row in rows) == pytest.approx(100, abs=1)


@pytest.mark.parametrize("labels", [21, 10**6])
def test_the_range_of_many_labels_is_shown(labels: int) -> None:
    profile = make_profile(labels=labels)
    header, row = rows_of(render_profile(profile, ()), "Labels")
    assert header == ["minimum", "mean", "maximum", "std"]
    target = profile.columns[0]
    assert [float(cell.replace(",", "")) for cell in row] == pytest.approx(
        [target.minimum, target.mean, target.maximum, target.std], rel=1e-3
    )


def test_each_column_has_its_statistics() -> None:
    profile = make_profile(hole=True)
    header, target, other, feature = rows_of(render_profile(profile, ()), "Columns")
    assert target[:2] == ["pay", "integer"]
    assert float(dict(zip(header, other, strict=True))["correlation"]) == pytest.approx(
        profile.columns[1].correlation, rel=1e-3
    )
    cells = dict(zip(header, feature, strict=True))
    assert (cells["missing"], cells["infinite"], cells["kind"]) == ("1", "0", "number")
    for name in ("minimum", "mean", "maximum", "std"):
        assert float(cells[name]) == pytest.approx(getattr(profile.columns[2], name), rel=1e-3)


def test_what_becomes_of_each_column_is_listed() -> None:
    frame = pl.DataFrame({"pay": [1.0, 2.0], "city": ["Ulm", "Bonn"], "age": [3, None], "fee": ["$1", "$2"]})
    profile = measure_chunks([frame], frame.columns, "pay").profile()
    report = render_profile(profile, (), plan_columns(profile, PlanOptions()))
    header, *rows = rows_of(report, "Plan")
    assert header == ["column", "use", "reason"]
    uses = {"pay": "target", "city": "category", "age": "number, missing cells filled in", "fee": "refused"}
    assert {row[0]: row[1] for row in rows} == uses
    assert "2 distinct, such as 'Ulm'" in report


def test_only_some_of_many_columns_are_listed() -> None:
    report = render_profile(make_profile(width=300, rows=20), ())
    assert len(rows_of(report, "Columns")) == 201
    assert report.endswith("and 100 more columns")


def test_a_table_without_rows_has_a_report() -> None:
    assert "The target has no labels." in render_profile(make_profile(rows=0), ())


@pytest.mark.parametrize("name", ["a|b", "<script>x</script>", "a\nb", "*bold* _it_ `code` [a](b)", "a\\|b", "x" * 999])
def test_names_are_escaped_in_the_report(name: str) -> None:
    finding = Finding(level="error", where=f"column {name}", what="bad", remedy="Repair it.")
    report = render_profile(make_profile(target=name), [finding])
    assert "<script" not in report
    assert "*bold*" not in report.replace("\\*", "")
    assert [len(row) for row in rows_of(report, "Columns")] == [10, 10, 10, 10]
    assert len(report.splitlines()) == len(render_profile(make_profile(), [finding]).splitlines())


@given(st.text())
def test_escaped_text_is_one_line_without_markup(text: str) -> None:
    shown_text = escape_markdown(text)
    assert len(shown_text.splitlines()) <= 1
    assert not {"<", ">", "|"} & set(shown_text)
