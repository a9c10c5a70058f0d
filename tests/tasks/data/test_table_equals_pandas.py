"""Files that spreadsheets and pandas write are read correctly; any other file raises a DataError."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linear_learner.errors import DataError
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.schema import LabelSchema
from sandbox.client import make_workspace
from tasks import format as formatting
from tasks.data import text_stream
from tasks.data.column_plan import plan_columns
from tasks.data.profile import Profile
from tasks.data.row_assignment import assign_rows
from tasks.data.rules.table import find_problems
from tasks.data.writer import write_rows
from tasks.load import Table, find, load
from tasks.parameters import Dataset, PlanOptions, Split
from tasks.split import Rows
from tests.tasks.encodings import encoding_of, numeric_schema

pytestmark = pytest.mark.usefixtures("machine")

ANY_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
UNREACHABLE = make_workspace("http://127.0.0.1:9")
"""The workspace of these tests, which sends no requests: the tables are files of this machine."""
GOOD = {
    "plain": b"bonus,age\n1,2\n3,4.5\n",
    "no line end at the end": b"bonus,age\n1,2\n3,4.5",
    "lines end as on Windows": b"bonus,age\r\n1,2\r\n3,4.5\r\n",
    "a byte order mark": b"\xef\xbb\xbfbonus,age\n1,2\n3,4.5\n",
    "a byte order mark and quotes": b'\xef\xbb\xbf"bonus","age"\n1,2\n3,4.5\n',
    "quoted": b'"bonus","age"\n"1","2"\n"3","4.5"\n',
    "a line end in a name": b'bonus,"age\nin years"\n1,2\n3,4.5\n',
    "spaces around numbers": b"bonus,age\n 1,2 \n3 , 4.5\n",
    "the target last": b"age,bonus\n2,1\n4.5,3\n",
    "blank lines": b"bonus,age\n\n1,2\n \t\n\r\n3,4.5\n\n",
    "a line of blanks after text": b"bonus,age\n1,2.0\n3,4.5\n  \n",
    "exponents": b"bonus,age\n1e0,0.2E1\n+3,45e-1\n",
}


def read(folder: Path, content: bytes | None, name: str = "table.csv", **options: object) -> Table:
    if content is not None:
        (folder / name).write_bytes(content)
    dataset = Dataset.model_validate({"source": str(folder / name), "target": "bonus", **options})
    return load.fn(UNREACHABLE, find.fn(UNREACHABLE, dataset), dataset)


def write_channels(table: Table, split: Split | None = None) -> dict[str, bytes]:
    split = split or Split()
    counts = {channel: len(rows) for channel, rows in assign_rows(table.rows, split).items()}
    rows = Rows(parameters=split, **counts)
    encoding = encoding_of(UNREACHABLE, table, rows)
    formatted = formatting.format_channels.fn(UNREACHABLE, table, rows, encoding, "csv", 1)
    return {file.channel: formatted.path(file).read_bytes() for file in formatted.files}


def statistics(profile: Profile) -> list[tuple[float | None, ...]]:
    columns = sorted(profile.columns, key=lambda column: column.name != "bonus")
    return [(column.minimum, column.maximum, column.mean) for column in columns]


@pytest.mark.parametrize("case", GOOD)
def test_files_of_spreadsheets_and_pandas_are_read(case: str, tmp_path: Path) -> None:
    table = read(tmp_path, GOOD[case])
    assert table.rows == 2
    assert statistics(table.profile) == [(1, 3, 2), (2, 4.5, 3.25)]
    assert not any(column.missing or column.text or column.infinite for column in table.profile.columns)


@pytest.mark.parametrize("flags", ["true,false", "True,False", "TRUE,FALSE", " True , False ", '"true","False"'])
def test_true_and_false_are_one_and_zero(flags: str, tmp_path: Path) -> None:
    back = ",".join(reversed(flags.split(",")))
    table = read(tmp_path, f"bonus,age\n{flags}\n{back}\n{flags}\n{back}\n".encode())
    assert [column.kind for column in table.profile.columns] == ["boolean", "boolean"]
    assert set(b"".join(write_channels(table).values()).split()) == {b"1,0", b"0,1"}


def test_fractions_in_a_late_block_are_preserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_stream.read_blocks, "__defaults__", (1000,))
    table = read(tmp_path, b"bonus,age\n" + b"1,2\n" * 3000 + b"1,2.5\n")
    assert [column.kind for column in table.profile.columns] == ["integer", "number"]
    assert sorted(set(b"".join(write_channels(table).values()).split())) == [b"1,2.0", b"1,2.5"]


def test_row_numbers_count_from_the_first_row_below_the_header_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_stream.read_blocks, "__defaults__", (1000,))
    table = read(tmp_path, b"bonus,age\n" + b"1,2\n" * 30_000 + b"1,x\n" + b"1,2\n" * 10)
    assert (table.profile.columns[1].text_row, table.profile.columns[1].text_example) == (30_001, "x")
    with pytest.raises(DataError, match="row 30002: 3 values, but the header has 2"):
        read(tmp_path, b"bonus,age\n" + b"1,2\n" * 30_001 + b"1,2,3\n" + b"1,2\n" * 10)


def test_an_ignored_column_may_contain_any_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_stream.read_blocks, "__defaults__", (30,))
    lines = "".join(f'{number},"wrote ""{number}"",\n\nand left",{number * 2}\n' for number in range(40))
    table = read(tmp_path, f"bonus,comment,age\n{lines}".encode(), ignore=["comment"])
    assert (table.rows, table.columns) == (40, ("bonus", "age"))
    assert all(int(b) == 2 * int(a) for a, b in (row.split(b",") for row in write_channels(table)["train"].split()))


def test_a_column_of_dates_in_parquet_has_its_own_kind(tmp_path: Path) -> None:
    pl.DataFrame({"bonus": [1.0, 2.0], "age": ["3", "4"], "day": ["2026-01-01", None]}).with_columns(
        pl.col("day").str.to_date()
    ).write_parquet(tmp_path / "dates")
    table = read(tmp_path, None, "dates")
    assert [column.kind for column in table.profile.columns] == ["number", "integer", "date"]
    day = table.profile.columns[2]
    assert (day.text, day.missing, day.missing_row) == (0, 1, 2)


@ANY_FOLDER
@given(st.binary(max_size=60))
def test_random_bytes_raise_only_data_errors(tmp_path: Path, content: bytes) -> None:
    for start in (b"", b"bonus,age\n1,2\n", b"bonus,age,", b"bonus,age\n1," + b"x" * 200_000):
        check_rejected_or_written(tmp_path, start + content)


@ANY_FOLDER
@given(st.text("ab1e0.-+,;\"'\n\r \t\0é#nNif", max_size=30))
def test_malformed_csv_raises_only_data_errors(tmp_path: Path, text: str) -> None:
    for start in ("", "bonus,age\n1,2\n", "bonus,age", "bonus,age\n" + "1,2\n3,4.5\n" * 10):
        check_rejected_or_written(tmp_path, (start + text).encode())


@ANY_FOLDER
@given(
    st.sampled_from(["gzip", "zstd", "parquet"]),
    st.integers(0, 10_000),
    st.binary(max_size=4),
    st.one_of(st.none(), st.integers(0, 10_000)),
)
def test_damaged_files_raise_only_data_errors(
    tmp_path: Path, kind: str, position: int, change: bytes, cut: int | None
) -> None:
    csv = b"bonus,age\n" + b"".join(b"%d,%d\n" % (number, number * number % 97) for number in range(200))
    if kind == "parquet":
        pl.read_csv(csv).write_parquet(tmp_path / "whole")
    content = {"gzip": gzip.compress, "zstd": zstd.compress}.get(kind, lambda _: (tmp_path / "whole").read_bytes())(csv)
    position %= len(content)
    damaged = content[:position] + change + content[position + len(change) :]
    check_rejected_or_written(tmp_path, damaged if cut is None else damaged[: cut % len(damaged)])


def check_rejected_or_written(folder: Path, content: bytes) -> None:
    """Assert that the content is rejected, or else written as rows of finite numbers."""
    try:
        table = read(folder, content)
        rows = {channel: len(rows) for channel, rows in assign_rows(table.rows, Split()).items()}
    except DataError:
        return
    try:
        plan = plan_columns(table.profile, PlanOptions())
        findings = find_problems(table.profile, plan, rows, Hyperparameters())
    except DataError:
        return
    if any(finding.level == "error" for finding in findings):
        return
    lines = b"".join(write_channels(table).values()).splitlines()
    assert len(lines) == table.rows
    assert np.isfinite([[float(cell) for cell in line.split(b",")] for line in lines]).all()


@ANY_FOLDER
@given(
    st.lists(
        st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2, st.integers(-(2**63), 2**63 - 1)),
        min_size=5,
    ),
)
def test_any_numbers_are_written_without_loss(tmp_path: Path, values: list[tuple[float, float, int]]) -> None:
    # Bytes differ from pandas' for small numbers (1e-05 in pandas, 0.00001 here); the values are always equal.
    frame = pd.DataFrame(values, columns=["one", "bonus", "three"])
    table = read(tmp_path, frame.to_csv(index=False).encode())
    for channel, rows in assign_rows(table.rows, Split()).items():
        path = tmp_path / f"{channel}.csv"
        path.write_bytes(write_channels(table)[channel])
        actual = pd.read_csv(path, header=None, names=["bonus", "one", "three"])
        expected = frame.iloc[rows][["bonus", "one", "three"]].reset_index(drop=True)
        pd.testing.assert_frame_equal(actual, expected, check_exact=True, check_dtype=False)


def test_a_file_is_complete_or_missing(tmp_path: Path) -> None:
    frame = pl.DataFrame({"bonus": [1.0], "age": [2.0]})
    write_rows([frame], numeric_schema("bonus", ["age"]), tmp_path / "new" / "train.csv", "csv")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["train.csv"]
    schema = numeric_schema("bonus", ["age"]).model_copy(update={"label": LabelSchema(name="bonus", classes=("x",))})
    with pytest.raises(pl.exceptions.PolarsError):
        write_rows([frame.drop("bonus")], schema, tmp_path / "new" / "test.csv", "csv")
    assert not (tmp_path / "new" / "test.csv").exists()
