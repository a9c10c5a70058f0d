"""What is wrong with the data ends the run with all its errors; either way the UI shows the data's profile."""

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
from linear_learner.hyperparameters import Hyperparameters
from tasks.check import check
from tasks.data.measurement import measure_chunks
from tasks.data.profile import Profile
from tasks.data.profile_report import escape_markdown, render_profile
from tasks.data.reader import Chunk
from tasks.data.rules.finding import Finding
from tasks.data.rules.table import error_message
from tasks.data.source import Source
from tasks.load import Table
from tasks.parameters import RunParameters, Split
from tasks.split import Rows

SOURCE = "s3://bucket/table.csv"
CHANNELS = {"train": 700, "validation": 200, "test": 100}
BINARY = Hyperparameters(predictor_type="binary_classifier")


def profiled(target: str = "pay", labels: int = 5, width: int = 3, hole: bool = False, rows: int = 1000) -> Profile:
    """Of a table of random numbers, `labels` whole ones in the target; with a hole in the last column's row 7."""
    random = np.random.default_rng(0)
    values = random.normal(size=(width, rows))
    values[0] = random.integers(0, labels, rows)
    if hole:
        values[-1, 6] = np.nan
    names = [target, *(f"x{index}" for index in range(1, width))]
    frame = pl.DataFrame(values.T, names).with_columns(pl.Series(target, values[0]).cast(pl.Int64))
    return measure_chunks([Chunk(frame, {})], names, target).profile()


def arguments(profile: Profile, **chosen: Any) -> tuple[Table, Rows, RunParameters]:
    """What the step is called with."""
    parameters = RunParameters(**chosen)
    table = Table(
        source=Source(uri=SOURCE, parts=()), holdout=None, made_of={}, part_rows=(profile.rows,), profile=profile
    )
    return table, Rows(**CHANNELS, parameters=parameters.split), parameters


def shown() -> list[str]:
    """The data's artifacts, newest first."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["data-profile"]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC)
    return [str(artifact.data) for artifact in found]


def rows_of(report: str, title: str) -> list[list[str]]:
    """The cells of the table under a heading, its header first."""
    section = report.split(f"## {title}")[1].split("\n## ", maxsplit=1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.usefixtures("machine")
def test_a_table_that_is_fine_passes_and_is_shown() -> None:
    assert check(*arguments(profiled())) == ()
    assert "Nothing to object to." in shown()[0]


@pytest.mark.usefixtures("machine")
def test_warnings_are_logged_shown_and_returned(caplog: pytest.LogCaptureFixture) -> None:
    [warning] = check(*arguments(profiled(labels=2)))
    messages = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert str(warning) in messages
    assert f"## Findings\n\n- **warning** {escape_markdown(str(warning))}\n" in shown()[0]


@pytest.mark.usefixtures("machine")
def test_all_errors_are_raised_at_once_and_shown() -> None:
    with pytest.raises(DataError) as caught:
        check(*arguments(profiled(hole=True), hyperparameters=BINARY))
    first, *lines = str(caught.value).splitlines()
    assert first == f"{SOURCE} cannot be trained on:"
    assert [line.startswith("- ") for line in lines] == [True, True]
    assert "column 'x2', row 7" in lines[0]
    assert "Fill it in" in lines[0]
    assert "wants 0 or 1" in lines[1]
    assert shown()[0].count("- **error** ") == 2


@pytest.mark.usefixtures("machine")
def test_ignored_columns_are_not_judged() -> None:
    assert check(*arguments(profiled(hole=True), split=Split(method="time", column="x2"))) == ()
    assert "| x2 | ignored |" in shown()[0]


def test_the_data_is_judged_anew_in_every_run_and_nothing_of_it_retained(machine: Path) -> None:
    @flow(persist_result=True)
    def judging() -> int:
        states = [check(*arguments(profiled()), return_state=True) for _ in range(2)]
        return [state.name for state in states].count("Completed")

    assert judging() == 2
    retained = [path.read_text() for path in (machine / "results").rglob("*") if path.is_file()]
    assert len(retained) == 1  # the flow's own


@pytest.mark.filterwarnings("ignore:Artifact creation outside:FutureWarning")
def test_the_data_is_judged_while_prefect_is_away() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), disable_run_logger():
        assert check.fn(*arguments(profiled())) == ()
        with pytest.raises(DataError, match="row 7"):
            check.fn(*arguments(profiled(hole=True)))


def test_of_very_many_errors_some_are_listed() -> None:
    errors = [Finding(level="error", where=f"row {row}", what="bad", remedy="Mend it.") for row in range(50)]
    lines = error_message(SOURCE, errors).splitlines()
    assert len(lines) == 22
    assert lines[1] == "- row 0: bad. Mend it."
    assert "30 more" in lines[-1]


def test_findings_stand_first_errors_before_warnings() -> None:
    findings = [
        Finding(level="error", where="column 'a'", what="bad", remedy="Mend it."),
        Finding(level="warning", where="column 'b'", what="odd", remedy="Look."),
    ]
    report = render_profile(profiled(), findings)
    order = [report.index(part) for part in ("## Findings", "**error**", "'a'", "**warning**", "'b'", "## Labels")]
    assert order == sorted(order)
    assert report.startswith("## Findings")


def test_classes_are_listed_with_their_rows() -> None:
    profile = profiled(labels=20)
    header, *rows = rows_of(render_profile(profile, ()), "Labels")
    assert header == ["label", "rows", "share", "first row"]
    assert [row[0] for row in rows] == [str(label) for label in range(20)]
    assert sum(int(row[1]) for row in rows) == 1000
    assert sum(float(row[2].removesuffix("%")) for row in rows) == pytest.approx(100, abs=1)


@pytest.mark.parametrize("labels", [21, 10**6])
def test_of_many_labels_the_range_is_shown(labels: int) -> None:
    profile = profiled(labels=labels)
    header, row = rows_of(render_profile(profile, ()), "Labels")
    assert header == ["minimum", "mean", "maximum", "std"]
    target = profile.columns[0]
    assert [float(cell) for cell in row] == pytest.approx(
        [target.minimum, target.mean, target.maximum, target.std], rel=1e-5
    )


def test_each_column_has_its_figures() -> None:
    profile = profiled(hole=True)
    header, target, feature, holed = rows_of(render_profile(profile, (), ["x1"]), "Columns")
    assert target[:3] == ["pay", "target", "integer"]
    assert feature[:3] == ["x1", "ignored", "number"]
    assert float(feature[-1]) == pytest.approx(profile.columns[1].correlation, rel=1e-5)
    shown_figures = dict(zip(header, holed, strict=True))
    assert (shown_figures["missing"], shown_figures["infinite"], shown_figures["role"]) == ("1", "0", "feature")
    for figure in ("minimum", "mean", "maximum", "std"):
        assert float(shown_figures[figure]) == pytest.approx(getattr(profile.columns[2], figure), rel=1e-5)


def test_of_very_many_columns_some_are_shown() -> None:
    report = render_profile(profiled(width=300, rows=20), ())
    assert len(rows_of(report, "Columns")) == 201
    assert report.endswith("and 100 more")


def test_a_table_without_rows_has_a_report() -> None:
    assert "No numbers." in render_profile(profiled(rows=0), ())


@pytest.mark.parametrize("name", ["a|b", "<script>x</script>", "a\nb", "*bold* _it_ `code` [a](b)", "a\\|b", "x" * 999])
def test_a_name_cannot_break_the_report(name: str) -> None:
    finding = Finding(level="error", where=f"column {name}", what="bad", remedy="Mend it.")
    report = render_profile(profiled(target=name), [finding])
    assert "<script" not in report
    assert "*bold*" not in report.replace("\\*", "")
    assert [len(row) for row in rows_of(report, "Columns")] == [10, 10, 10, 10]
    assert len(report.splitlines()) == len(render_profile(profiled(), [finding]).splitlines())


@given(st.text())
def test_escaped_text_is_one_line_without_markup(text: str) -> None:
    shown_text = escape_markdown(text)
    assert len(shown_text.splitlines()) <= 1
    assert not {"<", ">", "|"} & set(shown_text)
