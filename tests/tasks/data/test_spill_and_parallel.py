"""Files are read in chunks of bounded size, prefetched, and spilled to disk between two passes."""

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import flow

from linear_learner.errors import DataError
from tasks.caching import MAX_AGE_SECONDS, remove_old_work_folders, work_folder
from tasks.data import parallel, text_stream
from tasks.data.parallel import prefetch
from tasks.data.reader import TableFile, spill_chunks, take_spilled_chunks
from tasks.data.text_stream import read_blocks


@given(st.lists(st.text("ab1,", max_size=6), max_size=40), st.integers(1, 40))
def test_blocks_are_complete_lines_without_loss(lines: list[str], size: int) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    found = list(read_blocks(io.BytesIO(content), max(size, 8)))
    assert b"".join(found) == content
    assert all(block.endswith(b"\n") for block in found)


def test_a_block_does_not_end_at_a_line_end_within_quotes() -> None:
    row = b'1,"a\nb\n\nc",2\n'
    found = list(read_blocks(io.BytesIO(row * 20), 20))
    assert b"".join(found) == row * 20
    assert all(block == row * block.count(b"1,") for block in found)
    assert len(found) == 10


def test_an_unclosed_quote_does_not_load_the_rest_of_the_file_into_memory() -> None:
    stream = io.BytesIO(b'1,"2\n' + b"3,4\n" * 100_000)
    assert len(next(read_blocks(stream, 100))) <= 300


def test_an_error_while_prefetching_is_raised_where_the_item_is_used() -> None:
    def frames() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"a": [1]})
        raise DataError("two is missing")

    found = prefetch(frames(), "reading t.csv")
    assert next(found)["a"].item() == 1
    with pytest.raises(DataError, match="two is missing"):
        next(found)


def test_chunks_are_spilled_completely_or_not_at_all(tmp_path: Path) -> None:
    chunks = [pl.DataFrame({"a": [number, 300], "b": [0.5, None], "c": ["x", None]}) for number in range(3)]
    folder = tmp_path / "spilled"
    reading = spill_chunks(chunks, folder)
    next(reading)
    assert take_spilled_chunks(folder) is None
    assert [chunk.equals(other) for chunk, other in zip(spill_chunks(chunks, folder), chunks, strict=True)] == [
        True
    ] * 3
    found = take_spilled_chunks(folder)
    assert found is not None
    for frame, chunk in zip(found, chunks, strict=True):
        assert frame.equals(chunk)
    assert take_spilled_chunks(folder) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [7, text_stream.BLOCK_BYTES])
def test_the_type_of_a_column_is_widened_as_needed(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_stream.read_blocks, "__defaults__", (size,))
    rows = ["1,true,5", "2,false,6"] * 5 + ["2.5,true,x", "3,7,8"]
    (tmp_path / "t.csv").write_text("a,b,c\n" + "\n".join(rows))
    found = list(TableFile(tmp_path / "t.csv", "t.csv").chunks(["a", "b", "c"]))
    assert sum(chunk.height for chunk in found) == 12
    assert pl.concat([chunk["a"].cast(pl.Float64) for chunk in found])[-2:].to_list() == [2.5, 3.0]
    assert "x" in pl.concat([chunk["c"].cast(pl.String) for chunk in found])


@pytest.mark.usefixtures("machine")
def test_old_work_folders_are_removed() -> None:
    old, new = work_folder("old"), work_folder("new")
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(b"1,2")
    long_ago = time.time() - MAX_AGE_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    remove_old_work_folders()
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.usefixtures("machine")
def test_progress_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(parallel, "LOG_INTERVAL_SECONDS", 0.0)
    frames = [pl.DataFrame({"a": range(rows)}) for rows in (1500, 2)]

    @flow
    def read() -> bool:
        return list(prefetch(iter(frames), "reading t.csv")) == frames

    assert read()
    messages = [message for message in caplog.messages if message.startswith("reading")]
    assert messages == ["reading t.csv: 1,500 rows so far", "reading t.csv: 1,502 rows so far"]
