"""Write rows for a training job: target first, no header, as CSV or RecordIO-protobuf."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import polars as pl

from aws.storage import sha256_of, upload_file
from aws.workspace import Workspace
from linear_learner.formats.recordio import write_columns
from tasks.data.parallel import prefetch
from tasks.data.shuffle import Shuffle, gather
from tasks.environment.folders import write_atomically
from tasks.parameters import Format


class PlannedFile(NamedTuple):
    """One file of a channel: its local path, its key below the workspace's prefix and the positions of its rows."""

    channel: str
    path: Path
    key: str
    starts: tuple[int, ...]
    """The first positions of the shuffle's buckets with the rows, and the end of the last bucket."""


def write_rows(frames: Iterable[pl.DataFrame], target: str, path: Path, file_format: Format) -> None:
    """Write the frames one after another; `path` is never an incomplete file.

    CSV is the same as from pandas' to_csv, except for numbers below 1e-4, which pandas writes with an exponent.
    """
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        for frame in frames:
            ordered = frame.select(target, pl.exclude(target))
            if file_format == "csv":
                ordered.write_csv(file, include_header=False)
            else:
                label, *features = (column.to_numpy() for column in ordered)
                write_columns(file, label, features)


def gather_file(workspace: Workspace, output: PlannedFile, shuffle: Shuffle) -> tuple[int, str]:
    """Write one file of a channel from its buckets; returns its size in bytes and its SHA-256."""
    path = output.path
    frames = (
        gather(shuffle.read_bucket(workspace, edges[0]), edges, shuffle.types) for edges in pairwise(output.starts)
    )
    write_rows(prefetch(frames, f"writing {path.name}"), shuffle.target, path, shuffle.file_format)
    size, sha256 = path.stat().st_size, sha256_of(path)
    if shuffle.shared:
        upload_file(workspace, path, workspace.uri(output.key), sha256)
        path.unlink()
    return size, sha256
