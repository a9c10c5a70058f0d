"""The channels do not depend on the file format, the compression and the number of files of a table."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import polars as pl
import pytest
from backports import zstd

from aws.errors import NotFound
from aws.storage import list_objects
from aws.workspace import Workspace
from linear_learner.errors import DataError
from linear_learner.formats.recordio import read_records
from tasks import format as formatting
from tasks.caching import work_folder
from tasks.data import parquet_file, text_stream
from tasks.data.row_assignment import count_rows
from tasks.data.source import find_table, make_local_copy
from tasks.format import Formatted, format_channels
from tasks.load import Table, find, load
from tasks.parameters import Dataset, Split
from tasks.split import Rows, split_rows
from tests.tasks.encodings import encoding_of

pytestmark = pytest.mark.usefixtures("machine")

PutObject = Callable[[str, bytes], str]


@pytest.fixture
def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = 300
    return pd.DataFrame(
        {
            "age": random.integers(20, 60, rows),
            "pay": random.random(rows),
            "full_time": random.random(rows) < 0.5,
            "days": random.integers(-40_000, 40_000, rows),
        }
    )


def load_table(workspace: Workspace, source: str) -> Table:
    dataset = Dataset(source=source, target="pay")
    return load.fn(workspace, find.fn(workspace, dataset), dataset)


def prepare_channels(workspace: Workspace, source: str, **more: object) -> tuple[Table, Formatted]:
    table = load_table(workspace, source)
    rows = split_rows(workspace, table, Split())
    return table, format_channels(workspace, table, rows, encoding_of(workspace, table, rows), **more)


def contents(formatted: Formatted) -> dict[str, bytes]:
    """The bytes of each channel, with its files concatenated."""
    found: dict[str, bytes] = {}
    for file in formatted.files:
        found[file.channel] = found.get(file.channel, b"") + formatted.path(file).read_bytes()
    return found


@pytest.fixture
def expected(workspace: Workspace, put_object: PutObject, frame: pd.DataFrame) -> dict[str, bytes]:
    """The channels of the table as one plain CSV file."""
    return contents(prepare_channels(workspace, put_object("plain.csv", csv(frame)))[1])


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def parquet(frame: pd.DataFrame, path: Path) -> bytes:
    pl.DataFrame(dict(frame)).write_parquet(path, row_group_size=70)
    return path.read_bytes()


def test_compression_and_parquet_are_recognised_by_content(
    workspace: Workspace, put_object: PutObject, frame: pd.DataFrame, expected: dict[str, bytes], tmp_path: Path
) -> None:
    stored = {
        "a.csv.gz": gzip.compress(csv(frame)),
        "two-members": gzip.compress(csv(frame)[:1000]) + gzip.compress(csv(frame)[1000:]),
        "b.csv.zst": zstd.compress(csv(frame)),
        "c.parquet": parquet(frame, tmp_path / "table.parquet"),
        "windows.csv": csv(frame).replace(b"\n", b"\r\n"),
        "quoted.csv": frame.to_csv(index=False, quoting=1).encode(),
        "blank-lines.csv": csv(frame).replace(b"\n", b"\n\n", 50) + b"\n \n\n",
    }
    for name, content in stored.items():
        assert contents(prepare_channels(workspace, put_object(name, content))[1]) == expected, name


def test_the_files_under_a_prefix_are_read_in_the_order_of_their_names(
    workspace: Workspace, put_object: PutObject, frame: pd.DataFrame, expected: dict[str, bytes], tmp_path: Path
) -> None:
    put_object("parts/part-0.csv", csv(frame[:100]))
    put_object("parts/part-1.parquet", parquet(frame[100:250][["days", "pay", "age", "full_time"]], tmp_path / "p"))
    put_object("parts/part-2.csv.gz", gzip.compress(csv(frame[250:])))
    put_object("parts/_SUCCESS", b"")
    put_object("parts/.part-0.csv.crc", b"crc")
    table, formatted = prepare_channels(workspace, put_object("parts/_started", b"1").removesuffix("_started"))
    assert table.part_rows == (100, 150, 50)
    assert contents(formatted) == expected


def test_a_local_file_or_folder_is_a_table(
    workspace: Workspace, frame: pd.DataFrame, expected: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "1.csv").write_bytes(csv(frame[:100]))
    (tmp_path / "parts" / "2.csv").write_bytes(csv(frame[100:]))
    (tmp_path / "table.csv").write_bytes(csv(frame))
    for source in (f"file://{tmp_path}/parts", str(tmp_path / "table.csv")):
        assert contents(prepare_channels(workspace, source)[1]) == expected
    assert (tmp_path / "table.csv").read_bytes() == csv(frame)


def test_the_channels_do_not_depend_on_the_chunk_size(
    workspace: Workspace,
    put_object: PutObject,
    frame: pd.DataFrame,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(text_stream.read_blocks, "__defaults__", (100,))
    monkeypatch.setattr(parquet_file, "PARQUET_CHUNK_ROWS", 7)
    for name, content in (("small.csv", csv(frame)), ("small.parquet", parquet(frame, tmp_path / "p"))):
        table, formatted = prepare_channels(workspace, put_object(name, content + b"\n" * name.endswith("csv")))
        assert table.rows == 300
        assert contents(formatted) == expected


def test_the_train_channel_has_one_file_per_instance(
    workspace: Workspace, put_object: PutObject, frame: pd.DataFrame, expected: dict[str, bytes]
) -> None:
    _, formatted = prepare_channels(workspace, put_object("shared.csv", csv(frame)), instances=4)
    assert [file.rows for file in formatted.files] == [52, 53, 52, 53, 60, 30]
    assert contents(formatted) == expected
    names = [file.uri.rsplit("/", 1)[1] for file in formatted.files]
    assert names == [*sorted(names[:4]), "validation.csv", "test.csv"]


def test_a_large_channel_is_divided_into_files_of_bounded_size(
    workspace: Workspace,
    put_object: PutObject,
    frame: pd.DataFrame,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(formatting, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(formatting, "BUCKET_BYTES", 300)
    _, formatted = prepare_channels(
        workspace, put_object("large.csv", csv(frame) + b"\n")
    )  # another object, the same rows
    assert len(formatted.files) > 3
    assert max(file.rows for file in formatted.files) * 12 <= 1000
    assert contents(formatted) == expected


def test_recordio_has_the_same_numbers_in_single_precision(
    workspace: Workspace, put_object: PutObject, frame: pd.DataFrame, expected: dict[str, bytes]
) -> None:
    _, formatted = prepare_channels(workspace, put_object("table.csv", csv(frame)), form="recordio")
    assert formatted.content_type == "application/x-recordio-protobuf"
    for file in formatted.files:
        rows = np.loadtxt(expected[file.channel].splitlines(), delimiter=",").astype(np.float32)
        examples = read_records(formatted.path(file))
        assert (examples.labels == rows[:, 0]).all()
        assert (examples.features == rows[:, 1:]).all()


def test_files_with_different_columns_are_rejected(workspace: Workspace, put_object: PutObject) -> None:
    put_object("odd/1.csv", b"pay,age\n1,2\n")
    uri = put_object("odd/2.csv", b"pay,days\n1,2\n")
    with pytest.raises(DataError, match=rf"{uri} has no column 'age' that the first file has"):
        load_table(workspace, uri.removesuffix("2.csv"))


def test_parts_in_a_versioned_bucket_are_read(workspace: Workspace, frame: pd.DataFrame) -> None:
    s3, name = workspace.client("s3"), f"versions-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for number in range(2):
        s3.put_object(Bucket=name, Key=f"parts/{number}.csv", Body=csv(frame[number * 100 : number * 100 + 100]))
    table, formatted = prepare_channels(workspace, f"s3://{name}/parts/")
    assert table.part_rows == (100, 100)
    assert sum(file.rows for file in formatted.files) == 200


def test_a_file_that_changes_between_two_steps_is_rejected(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"pay,age\n" + b"1,2\n3,4\n" * 20)
    table = load_table(workspace, str(path))
    shutil.rmtree(work_folder(""))
    path.write_bytes(b"pay,age\n" + b"1,2\n3,4\n" * 30)
    rows = Rows(parameters=Split(), **count_rows(table.rows, Split()))
    with pytest.raises(DataError, match="was changed or removed while it was used"):
        formatting.format_channels.fn(workspace, table, rows, encoding_of(workspace, table, rows), "csv", 1)


def test_a_missing_table_raises_not_found_with_every_place(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for source in ("absent/table.csv", "absent/"):
        places = rf"There is no object .*s3://\S+/absent.*there is no file {tmp_path}/absent\S* either"
        with pytest.raises(NotFound, match=places):
            load_table(workspace, source)
    (tmp_path / "here.csv").write_bytes(b"pay,age\n1,2\n")
    with pytest.raises(NotFound, match=rf"There is no object s3://\S+/here.csv.*Give file://{tmp_path}/here.csv for"):
        load_table(workspace, "here.csv")
    with pytest.raises(NotFound, match="There is no object under"):
        load_table(workspace, workspace.uri("nothing") + "/")
    with pytest.raises(NotFound, match="There is no file /nowhere"):
        load_table(workspace, "file:///nowhere/table.csv")


def test_a_prefix_with_more_objects_than_one_listing_is_read_completely(
    workspace: Workspace, put_object: PutObject
) -> None:
    pages: list[dict[str, Any]] = []

    def limit(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        pages.append({**params, "MaxKeys": 4})  # S3's own limit is 1000
        return pages[-1]

    for number in range(10):
        uri = put_object(f"many/{number}", b"x")
    events = workspace.client("s3").meta.events
    events.register("provide-client-params.s3.ListObjectsV2", limit)
    try:
        found = list(list_objects(workspace, uri.removesuffix("9")))
    finally:
        events.unregister("provide-client-params.s3.ListObjectsV2", limit)
    assert [one.uri[-1] for one in found] == [str(number) for number in range(10)]
    assert len(pages) == 3


@pytest.mark.parametrize("name", ["Tabelle (1).csv", "Größe.csv", "100%.csv", "a%20b.csv", "a#b?c.csv"])
def test_a_local_table_is_found_by_encoded_and_literal_uri(tmp_path: Path, workspace: Workspace, name: str) -> None:
    path = tmp_path / name
    path.write_text("a,b\n1,2\n")
    encoded = path.as_uri()
    for uri in (encoded, encoded.replace("file://", "FILE://localhost"), f"file://{path}", str(path)):
        found = find_table(workspace, uri)
        assert found.uri == f"file://{path}"
        assert make_local_copy(workspace, found.parts[0]) == path
        assert find_table(workspace, found.uri) == found


@pytest.mark.parametrize("uri", ["file://server/share/table.csv", "file://table.csv", "file://~/table.csv"])
def test_a_file_of_another_machine_is_refused(workspace: Workspace, uri: str) -> None:
    with pytest.raises(DataError, match="names a file on the machine") as caught:
        find_table(workspace, uri)
    assert uri in str(caught.value)
    assert "file:///path" in str(caught.value)
