"""Shuffle the rows of many files with little memory: scatter them to buckets, then gather them bucket by bucket."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from uuid import uuid4

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aws.storage import delete_objects, list_objects, read_object, write_file
from aws.workspace import Workspace
from linear_learner.errors import DataError
from linear_learner.schema import Schema
from tasks.data.encoder import compact
from tasks.data.format_size import ChannelEncoding
from tasks.data.measurement import numpy_type
from tasks.data.parallel import prefetch
from tasks.data.reader import ColumnTypes, TableFile, spill_folder, take_spilled_chunks
from tasks.data.source import TablePart, remove_local_copies
from tasks.environment.folders import explain_disk_errors
from tasks.parameters import Reading

Positions = NDArray[np.uint32]
MAX_ROWS = int(np.iinfo(np.uint32).max)
_BLOCK_ROWS = 1 << 20


@dataclass(frozen=True)
class Shuffle:
    """What a worker needs to put a table's rows into the order of the concatenated channels."""

    columns: tuple[str, ...]
    """The columns that were read when the table was measured."""
    reading: Reading
    schema: Schema
    storage: ColumnTypes
    """The types that store the table's columns without loss."""
    types: ColumnTypes
    """The types of the columns in the compact form of the schema, the target first."""
    starts: tuple[int, ...]
    """The first position of each bucket, which is its name, and the end of the last bucket."""
    file_format: ChannelEncoding
    folder: str
    """Where the buckets are: a path on this machine, or with `shared` a key in the workspace's S3 bucket."""
    shared: bool

    def read_bucket(self, workspace: Workspace, bucket: int) -> bytes:
        """Read the records of a bucket; a bucket on this machine is deleted."""
        if self.shared:
            files = list_objects(workspace, workspace.uri(self.folder, str(bucket)) + "/")
            return b"".join(read_object(workspace, file.uri)[0] for file in files)
        path = Path(self.folder, str(bucket))
        records = path.read_bytes()
        path.unlink()  # makes room for the file that is written next
        return records

    def remove(self, workspace: Workspace) -> None:
        if self.shared:
            delete_objects(workspace, workspace.uri(self.folder) + "/")
        else:
            rmtree(self.folder, ignore_errors=True)


def assign_positions(channels: Iterable[NDArray[np.signedinteger]], rows: int) -> Positions:
    """The position of each table row, shape (rows,), in the concatenated channels; MAX_ROWS for a row in no channel."""
    if rows > MAX_ROWS:
        raise DataError(f"{rows} rows are more than the {MAX_ROWS} that can be shuffled. Train on a sample.")
    positions, start = np.full(rows, MAX_ROWS, np.uint32), 0
    for row_numbers in channels:
        for block in np.split(row_numbers, range(_BLOCK_ROWS, len(row_numbers), _BLOCK_ROWS)):
            positions[block] = np.arange(start, start + len(block), dtype=np.uint32)
            start += len(block)
    return positions


def scatter_file(workspace: Workspace, part: TablePart, positions: Positions, shuffle: Shuffle) -> None:
    """Write the rows of one file to the buckets that contain their `positions`, shape (rows,)."""
    types = shuffle.types
    found = take_spilled_chunks(spill_folder(part, shuffle.columns, shuffle.reading))
    found = found or TableFile.of(workspace, part, shuffle.reading).chunks(shuffle.schema.table_columns)
    if (positions == MAX_ROWS).any():
        found = (_fill_labels(frame, shuffle.schema) for frame in found)
    frames = prefetch(_compact_frames(found, shuffle, part.uri), f"shuffling {part.uri}")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary if shuffle.shared else shuffle.folder)
        with explain_disk_errors(folder, shuffle.starts[-1] * _record_type(types).itemsize):
            try:
                scatter(frames, positions, shuffle.starts, types, folder)
            except Exception:  # first make room: the error tells how much space is free
                rmtree(folder, ignore_errors=True)
                remove_local_copies([part])
                raise
        if shuffle.shared:
            name = uuid4().hex  # a retry writes records with the same positions again, which is harmless
            for bucket in folder.iterdir():
                write_file(workspace, bucket, workspace.uri(shuffle.folder, bucket.name, name))
            remove_local_copies([part])  # no later step removes it from this worker


def _compact_frames(frames: Iterable[pl.DataFrame], shuffle: Shuffle, name: str) -> Iterator[pl.DataFrame]:
    """Yield the frames of the file `name` in the compact form."""
    row = 1
    for frame in frames:
        try:
            if shuffle.schema.is_identity:
                yield frame.select(list(shuffle.types)).cast(shuffle.types)  # type: ignore[arg-type] # by name
            else:
                yield compact(frame, shuffle.schema, shuffle.storage, row)
        except DataError as error:
            raise DataError(f"{name}, {error}") from error
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{name} has changed since it was checked. Run again to use the new content.") from error
        row += frame.height


def _fill_labels(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Give rows without a label, which are in no channel, any valid one, so that they can be converted."""
    label, classes = frame[schema.label.name], schema.label.classes
    filled = label.cast(pl.String).fill_null(classes[0]) if classes else label.cast(pl.Float64).fill_null(0.0)
    return frame.with_columns(filled)


def scatter(
    frames: Iterable[pl.DataFrame], positions: Positions, starts: Sequence[int], types: ColumnTypes, folder: Path
) -> None:
    """Append each row, as a record of its position and its columns, to the file of its bucket in `folder`.

    `starts` are the first positions of the buckets, which name their files, and the end of the last bucket.
    """
    record, row = _record_type(types), 0
    folder.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        current = positions[row : row + frame.height]
        row += frame.height
        records = np.empty(frame.height, record)
        columns = (column.to_numpy() for column in frame)
        for field, values in zip(record.fields or (), (current, *columns), strict=True):
            records[field] = values
        order = np.argsort(current)
        ordered = records.take(order)
        edges = pairwise(np.searchsorted(current, np.asarray(starts, np.uint32), sorter=order).tolist())
        for start, (first, end) in zip(starts[:-1], edges, strict=True):
            if end > first:
                with (folder / str(start)).open("ab") as file:
                    file.write(ordered[first:end].data)


def gather(content: bytes, edges: tuple[int, int], types: ColumnTypes) -> pl.DataFrame:
    """The rows of a bucket, in the order of their positions; `edges` are its first position and its end."""
    start, end = edges
    record = _record_type(types)
    records, ordered = np.frombuffer(content, record), np.empty(end - start, record)
    as_bytes = f"V{record.itemsize}"  # ten times as fast as copying field by field
    ordered.view(as_bytes)[records["position"] - np.uint32(start)] = records.view(as_bytes)
    columns = [ordered[field] for field in record.names or ()]
    return pl.DataFrame(dict(zip(types, columns[1:], strict=True)))


def _record_type(types: ColumnTypes) -> np.dtype[np.void]:
    """The type of a record; its fields are numbered, as a column may have any name."""
    columns = [(f"column {number}", numpy_type(kind)) for number, kind in enumerate(types.values())]
    return np.dtype([("position", "<u4"), *columns])
