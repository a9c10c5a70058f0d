"""Write rows for a training job: target first, no header, as CSV or RecordIO-protobuf."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import polars as pl

from aws.storage import sha256_of, upload_file
from aws.workspace import Workspace
from linear_learner.formats.recordio import write_columns
from linear_learner.formats.recordio_sparse import write_sparse
from linear_learner.schema import Schema
from tasks.data.encoder import expand
from tasks.data.format_size import ChannelEncoding
from tasks.data.parallel import prefetch
from tasks.data.shuffle import Shuffle, gather
from tasks.environment.folders import write_atomically

_BLOCK_CELLS: Final = 1 << 22
"""Features that are expanded at a time."""


class PlannedFile(NamedTuple):
    """One file of a channel: its local path, its key below the workspace's prefix and the positions of its rows."""

    channel: str
    path: Path
    key: str
    starts: tuple[int, ...]
    """The first positions of the shuffle's buckets with the rows, and the end of the last bucket."""


def write_rows(
    frames: Iterable[pl.DataFrame], schema: Schema, path: Path, file_format: ChannelEncoding
) -> tuple[int, str]:
    """Write frames in the compact form of the schema, one after another; returns the size in bytes and the SHA-256.

    `path` is never an incomplete file. A simultaneous run with the same input may replace or remove it at any time.

    CSV is the same as from pandas' to_csv, except for numbers below 1e-4, which pandas writes with an exponent.
    """
    with write_atomically(path) as temporary:
        with temporary.open("wb") as file:
            for frame in frames:
                for rows in frame.iter_slices(max(1, _BLOCK_CELLS // max(1, len(schema.features)))):
                    _WRITERS[file_format](file, rows, schema)
        return temporary.stat().st_size, sha256_of(temporary)


def _write_csv(file: BinaryIO, frame: pl.DataFrame, schema: Schema) -> None:
    if not schema.is_identity:
        names = iter(range(len(schema.features)))  # no column can be named like the target
        features = [pl.Series(str(next(names)), values) for values in expand(frame, schema)]
        frame = pl.DataFrame([frame[schema.label.name].alias("label"), *features])
    frame.write_csv(file, include_header=False)


def _write_recordio(file: BinaryIO, frame: pl.DataFrame, schema: Schema) -> None:
    label, *features = (column.to_numpy() for column in frame)
    write_columns(file, label, features if schema.is_identity else expand(frame, schema))


def _write_sparse(file: BinaryIO, frame: pl.DataFrame, schema: Schema) -> None:
    label, *columns = (column.to_numpy() for column in frame)
    write_sparse(file, label, *schema.expand_sparse(columns), len(schema.features))


_WRITERS = {"csv": _write_csv, "recordio": _write_recordio, "sparse recordio": _write_sparse}


def gather_file(workspace: Workspace, output: PlannedFile, shuffle: Shuffle) -> tuple[int, str]:
    """Write one file of a channel from its buckets; returns its size in bytes and its SHA-256."""
    path = output.path
    frames = (
        gather(shuffle.read_bucket(workspace, edges[0]), edges, shuffle.types) for edges in pairwise(output.starts)
    )
    size, sha256 = write_rows(prefetch(frames, f"writing {path.name}"), shuffle.schema, path, shuffle.file_format)
    if shuffle.shared:
        upload_file(workspace, path, workspace.uri(output.key), sha256)
        path.unlink()
    return size, sha256
