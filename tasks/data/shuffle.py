"""Rows of many files into the order of a split, with little memory: scattered to buckets, gathered bucket by bucket."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from uuid import uuid4

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aws.storage import StoredObject, delete_objects, list_objects, read_object, write_file
from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.data.measurement import numpy_type
from tasks.data.parallel import prefetch
from tasks.data.reader import ColumnTypes, read_chunks, spill_folder, take_spilled_chunks
from tasks.data.source import local_copy_folder, make_local_copy
from tasks.parameters import Format

Positions = NDArray[np.uint32]
MAX_ROWS = int(np.iinfo(np.uint32).max)
_BLOCK_ROWS = 1 << 20


@dataclass(frozen=True)
class Shuffle:
    """What every worker has to know to bring a table's rows into the order of the channels laid end to end."""

    columns: tuple[str, ...]
    """Those that were read when the table was measured."""
    types: ColumnTypes
    """The columns to write, the target among them."""
    starts: tuple[int, ...]
    """The buckets' first positions, which name the buckets, and the end of the last."""
    target: str
    file_format: Format
    folder: str
    """For the buckets: a path on this machine; with `shared` a key in the workspace's bucket."""
    shared: bool

    def read_bucket(self, workspace: Workspace, bucket: int) -> bytes:
        """The records of a bucket, which are removed from this machine."""
        if self.shared:
            files = list_objects(workspace, workspace.uri(self.folder, str(bucket)) + "/")
            return b"".join(read_object(workspace, file.uri)[0] for file in files)
        path = Path(self.folder, str(bucket))
        records = path.read_bytes()
        path.unlink()  # what is written instead needs as much room
        return records

    def remove(self, workspace: Workspace) -> None:
        """Remove all buckets."""
        if self.shared:
            delete_objects(workspace, workspace.uri(self.folder) + "/")
        else:
            rmtree(self.folder, ignore_errors=True)


def assign_positions(channels: Iterable[NDArray[np.signedinteger]], rows: int) -> Positions:
    """For each row of the table its place in the channels laid end to end."""
    if rows > MAX_ROWS:
        raise DataError(f"{rows} rows are more than the {MAX_ROWS} that can be shuffled. Train on a sample of them.")
    positions, start = np.empty(rows, np.uint32), 0
    for chosen in channels:
        for block in np.split(chosen, range(_BLOCK_ROWS, len(chosen), _BLOCK_ROWS)):
            positions[block] = np.arange(start, start + len(block), dtype=np.uint32)
            start += len(block)
    return positions


def scatter_file(workspace: Workspace, part: StoredObject, positions: Positions, shuffle: Shuffle) -> None:
    """Write the rows of a file of the table to the buckets of their `positions`."""
    types = shuffle.types
    found = take_spilled_chunks(spill_folder(part, shuffle.columns)) or (
        chunk.frame for chunk in read_chunks(make_local_copy(workspace, part), part.uri, list(types))
    )
    frames = prefetch((_cast_frame(frame, types, part.uri) for frame in found), f"shuffling {part.uri}")
    with TemporaryDirectory() as own:
        folder = Path(own if shuffle.shared else shuffle.folder)
        scatter(frames, positions, shuffle.starts, types, folder)
        if shuffle.shared:
            name = uuid4().hex  # what a second try writes once more has the same positions
            for bucket in folder.iterdir():
                write_file(workspace, bucket, workspace.uri(shuffle.folder, bucket.name, name))
            rmtree(local_copy_folder(part), ignore_errors=True)  # nobody comes back to this worker to do it


def _cast_frame(frame: pl.DataFrame, types: ColumnTypes, name: str) -> pl.DataFrame:
    try:
        return frame.select(list(types)).cast(types)  # type: ignore[arg-type] # by name
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{name} is not what it was when it was checked. Run again to take the new one.") from error


def scatter(
    frames: Iterable[pl.DataFrame], positions: Positions, starts: Sequence[int], types: ColumnTypes, folder: Path
) -> None:
    """Append each row, a record of its position and its columns, to its bucket's file in `folder`.

    `starts` are the buckets' first positions, which name their files, and the end of the last.
    """
    record, row = _record_type(types), 0
    folder.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        here = positions[row : row + frame.height]
        row += frame.height
        records = np.empty(frame.height, record)
        for field, values in zip(record.fields or (), (here, *(column.to_numpy() for column in frame)), strict=True):
            records[field] = values
        order = np.argsort(here)
        ordered = records.take(order)
        edges = pairwise(np.searchsorted(here, np.asarray(starts, np.uint32), sorter=order).tolist())
        for start, (first, end) in zip(starts[:-1], edges, strict=True):
            if end > first:
                with (folder / str(start)).open("ab") as file:
                    file.write(ordered[first:end].data)


def gather(content: bytes, edges: tuple[int, int], types: ColumnTypes) -> pl.DataFrame:
    """The rows of a bucket, from one position to another, in their order, from all records that were written of it."""
    start, end = edges
    record = _record_type(types)
    records, ordered = np.frombuffer(content, record), np.empty(end - start, record)
    as_bytes = f"V{record.itemsize}"  # a record copied as bytes takes a tenth of the time of its fields
    ordered.view(as_bytes)[records["position"] - np.uint32(start)] = records.view(as_bytes)
    columns = [ordered[field] for field in record.names or ()]
    return pl.DataFrame(dict(zip(types, columns[1:], strict=True)))


def _record_type(types: ColumnTypes) -> np.dtype[np.void]:
    """Fields are numbered, as a column may have any name."""
    columns = [(f"column {number}", numpy_type(kind)) for number, kind in enumerate(types.values())]
    return np.dtype([("position", "<u4"), *columns])
