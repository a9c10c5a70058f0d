"""Parquet types become numbers, texts and dates; partition folders become columns."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from aws.workspace import Workspace
from linear_learner.errors import DataError
from sandbox.client import make_workspace
from tasks.data.reader import TableFile
from tasks.data.row_assignment import read_cells
from tasks.data.source import Source, TablePart, find_table, parse_partition
from tasks.load import Table, find, load
from tasks.parameters import Dataset, Reading

pytestmark = pytest.mark.usefixtures("machine")

UNREACHABLE = make_workspace("http://127.0.0.1:9")
"""The workspace of the tests that read files of this machine."""
BERLIN = pl.Series([datetime(2020, 7, 1, 12), None]).dt.replace_time_zone("Europe/Berlin")  # noqa: DTZ001


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pl.Series([5, None], dtype=pl.Int128), pl.Series([5, None], dtype=pl.Int8)),
        (pl.Series([2**70, None], dtype=pl.Int128), pl.Series([2.0**70, None])),
        (pl.Series([2**64 - 1, None], dtype=pl.UInt64), pl.Series([2.0**64, None])),
        (pl.Series([7, None], dtype=pl.UInt64), pl.Series([7, None], dtype=pl.Int8)),
        (pl.Series([0.5, float("nan")], dtype=pl.Float32), pl.Series([0.5, None])),
        (pl.Series([Decimal("1.25"), None]), pl.Series([1.25, None])),
        (pl.Series([timedelta(minutes=1.5), None]), pl.Series([90.0, None])),
        (pl.Series([time(0, 1, 0, 500_000), None]), pl.Series([60.5, None])),
        (pl.Series(["a ", None], dtype=pl.Categorical), pl.Series(["a", None])),
        (pl.Series(["a", None], dtype=pl.Enum(["a"])), pl.Series(["a", None])),
        (pl.Series(["1", "NA"]), pl.Series([1, None], dtype=pl.Int8)),
        (pl.Series([True, None]), pl.Series([True, None])),
        (pl.Series([None, None], dtype=pl.Null), pl.Series([None, None], dtype=pl.Float64)),
        (pl.Series([date(2020, 1, 2), None]), pl.Series([date(2020, 1, 2), None])),
        (BERLIN, pl.Series([datetime(2020, 7, 1, 10), None])),  # noqa: DTZ001
        (pl.Series([datetime(2020, 7, 1, tzinfo=UTC), None]), pl.Series([datetime(2020, 7, 1), None])),  # noqa: DTZ001
    ],
)  # fmt: skip
def test_types_of_parquet_become_simple_types(column: pl.Series, expected: pl.Series, tmp_path: Path) -> None:
    column.to_frame("x").write_parquet(tmp_path / "t")
    file = TableFile(tmp_path / "t", "t.parquet")
    assert_frame_equal(pl.concat(file.chunks(["x"])), expected.to_frame("x"))
    assert len(file.text_column("x")) == 2


@pytest.mark.parametrize(
    ("cells", "kind"), [([[1, 2]], r"List\(Int64\)"), ([{"a": 1}], "Struct"), ([b"\xff"], "Binary")]
)
def test_other_types_are_refused_by_name_unless_ignored(cells: list[object], kind: str, tmp_path: Path) -> None:
    pl.DataFrame({"odd": cells, "y": [1]}).write_parquet(tmp_path / "t")
    file = TableFile(tmp_path / "t", "t.parquet")
    with pytest.raises(DataError, match=f"t.parquet: the column 'odd' has the type {kind}.*Ignore the column"):
        list(file.chunks(["odd", "y"]))
    with pytest.raises(DataError, match="the column 'odd' has the type"):
        file.text_column("odd")
    assert [chunk.rows() for chunk in file.chunks(["y"])] == [[(1,)]]


def test_parquet_files_have_names_already(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "t")
    with pytest.raises(DataError, match=r"is a Parquet file, which names its columns.*Leave dataset.columns empty"):
        TableFile(tmp_path / "t", "t", Reading(columns=("a",))).names  # noqa: B018 - raises


@pytest.mark.parametrize(
    ("path", "partition"),
    [
        ("part.csv", ()),
        ("year=2020/month=01/part.csv", (("year", "2020"), ("month", "01"))),
        ("city=S%C3%A3o%20Paulo/a%3Db=c=d/x=y.csv", (("city", "São Paulo"), ("a=b", "c=d"))),
        ("b=__HIVE_DEFAULT_PARTITION__/other/=x/p", (("b", None),)),
    ],
)
def test_partition_folders_are_parsed(path: str, partition: tuple[tuple[str, str | None], ...]) -> None:
    assert parse_partition(path) == partition


def write_partitions(put: Callable[[str, bytes], object]) -> None:
    put("b=0/city=S%C3%A3o/1.csv", b"y,b\n1,77\n2,77\n")
    put("b=1/city=__HIVE_DEFAULT_PARTITION__/1.csv", b"y,b\n1,77\n2,77\n")  # the content of the first part
    put("_c=1/1.csv", b"y,b,city\n5,8,Ulm\n")
    put("_temporary/1.csv", b"x\n")


def check_partitions(workspace: Workspace, source: str) -> None:
    found = find_table(workspace, source)
    parts = {part.uri.removeprefix(found.uri).strip("/").split("/")[0]: part for part in found.parts}
    assert sorted(parts) == ["_c=1", "b=0", "b=1"]
    files = {name: TableFile.of(workspace, part, Reading()) for name, part in parts.items()}
    assert files["b=0"].names == ("y", "b", "city")
    assert files["_c=1"].names == ("y", "b", "city", "_c")
    chunks = {name: next(file.chunks(["city", "b", "y"])) for name, file in files.items()}
    assert chunks["b=0"].rows() == [("São", 0, 1), ("São", 0, 2)]
    assert chunks["b=1"].rows() == [(None, 1, 1), (None, 1, 2)]
    assert chunks["_c=1"].rows() == [("Ulm", 8, 5)]
    assert read_cells(workspace, parts["b=1"], "b", "to split by", Reading()).to_list() == ["1", "1"]
    assert next(files["b=0"].chunks(["b"]))["b"].to_list() == [0, 0]


def test_partition_folders_of_this_machine_are_columns(tmp_path: Path) -> None:
    def put(name: str, content: bytes) -> None:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(content)

    write_partitions(put)
    check_partitions(UNREACHABLE, str(tmp_path))


@pytest.mark.sandbox
def test_partition_prefixes_in_s3_are_columns(workspace: Workspace, put_object: Callable[[str, bytes], str]) -> None:
    write_partitions(lambda name, content: put_object(f"t/{name}", content))
    check_partitions(workspace, put_object("t/_SUCCESS", b"").removesuffix("_SUCCESS"))


def test_the_partition_is_a_part_of_the_identity() -> None:
    sources = [
        Source(uri="s3://b/t/", parts=(TablePart(uri=f"s3://b/t/{name}/1", size=1, etag="e", partition=partition),))
        for name, partition in (("x=1", (("x", "1"),)), ("x=2", (("x", "2"),)), ("y", ()), ("z", ()))
    ]
    assert len({source.identity for source in sources}) == 3


def load_table(source: Path | str, target: str, **options: object) -> Table:
    dataset = Dataset.model_validate({"source": str(source), "target": target, **options})
    return load.fn(UNREACHABLE, find.fn(UNREACHABLE, dataset), dataset)


def test_the_options_of_reading_are_facts_of_the_result(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,2\n-9,4\n5,7\n")
    table = load_table(tmp_path / "t.csv", "b", columns=["a", "b"], missing=["-9"], encoding="latin-1")
    assert (table.rows, table.columns, table.profile.columns[0].missing) == (3, ("a", "b"), 1)
    other = load_table(tmp_path / "t.csv", "b", columns=["a", "b"], missing=["-8"])
    changed = {name for name, value in table.made_of.items() if other.made_of[name] != value}
    assert changed == {"dataset.missing", "dataset.encoding"}
