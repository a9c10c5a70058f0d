"""Rows as a training job reads them: target first, no header, as CSV or RecordIO-protobuf."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from aws.storage import sha256_of, upload_file
from aws.workspace import Workspace
from linear_learner.formats.recordio import write_columns
from tasks.data.measurement import numpy_types
from tasks.data.parallel import log_progress, prefetch
from tasks.data.reader import ColumnTypes
from tasks.data.shuffle import ShuffleFiles, gather
from tasks.parameters import Format


def write_rows(frames: Iterable[pl.DataFrame], target: str, path: Path, file_format: Format) -> None:
    """Write the frames one after another; nothing half-written keeps the name.

    CSV is what pandas' to_csv writes but for numbers below 1e-4, which it would give an exponent.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}")  # another run may be writing the same
    temporary.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open("wb") as file:
        for frame in frames:
            ordered = frame.select(target, pl.exclude(target))
            if file_format == "csv":
                ordered.write_csv(file, include_header=False)
            else:
                label, *features = (column.to_numpy() for column in ordered)
                write_columns(file, label, features)
    temporary.replace(path)


class PlannedFile(NamedTuple):
    """One file of a channel: its place in the bucket, its rows, and the buckets that hold them, one after another."""

    channel: str
    key: str
    rows: int
    buckets: tuple[int, ...]


def gather_file(  # noqa: PLR0913, PLR0917 - what to write, and where its rows are
    workspace: Workspace,
    output: PlannedFile,
    path: Path,
    buckets_by_file: Mapping[str, Sequence[int]],
    starts: Sequence[int],
    target: str,
    types: ColumnTypes,
    file_format: Format,
    shuffle_files: ShuffleFiles,
) -> tuple[int, str]:
    """Write one file of a channel from its buckets; returns its size in bytes and SHA-256."""
    frames = (
        gather(
            shuffle_files.read_bucket(workspace, buckets_by_file, bucket),
            starts[bucket : bucket + 2],
            numpy_types(types),
        )
        for bucket in output.buckets
    )
    write_rows(log_progress(prefetch(frames), f"writing {path.name}"), target, path, file_format)
    size, sha256 = path.stat().st_size, sha256_of(path)
    if shuffle_files.shared:
        upload_file(workspace, path, workspace.uri(output.key), sha256)
        path.unlink()
    return size, sha256
