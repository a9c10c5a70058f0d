"""Chunks of a file as they were parsed, on disk from the pass that measures them to the pass that shuffles them.

Parsing is most of the work of either pass; columns in their narrowest types are read again twenty times as fast.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

import polars as pl

from aws.storage import StoredObject
from tasks.caching.policy import fingerprint
from tasks.data.reader import Chunk
from tasks.data.source import copy_folder


def spill(pieces: Iterable[Chunk], folder: Path) -> Iterator[Chunk]:
    """The same pieces, kept in `folder` once the last one has been asked for."""
    half = folder.with_name(f"{folder.name}.{os.getpid()}")
    rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for number, piece in enumerate(pieces):
        piece.frame.with_columns(_narrowed(column) for column in piece.frame).write_ipc_stream(half / f"{number:06d}")
        yield piece
    rmtree(folder, ignore_errors=True)
    half.rename(folder)


def take_spilled(folder: Path) -> Iterator[pl.DataFrame] | None:
    """The pieces in `folder`, which are gone from the disk as they are read; None where nothing is kept."""
    own = folder.with_name(f"{folder.name}.{uuid4().hex}")
    try:
        folder.rename(own)
    except FileNotFoundError:
        return None
    return _taken(own)


def _taken(folder: Path) -> Iterator[pl.DataFrame]:
    for file in sorted(folder.iterdir()):
        frame = pl.read_ipc_stream(file)
        file.unlink()
        yield frame
    folder.rmdir()


def _narrowed(column: pl.Series) -> pl.Series:
    return column.shrink_dtype() if column.dtype == pl.Int64 else column


def spill_folder(part: StoredObject, columns: Sequence[str]) -> Path:
    """The folder for these columns of this file."""
    return copy_folder(part) / f"chunks-{fingerprint(*columns)}"
