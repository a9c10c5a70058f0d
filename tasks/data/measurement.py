"""One pass over each file of a table: what its columns hold, and the narrowest types that hold them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from aws.storage import StoredObject
from aws.workspace import Workspace
from tasks.data.parallel import log_progress, prefetch
from tasks.data.profile import ProfileAccumulator
from tasks.data.reader import (
    INTEGER_BYTES,
    Chunk,
    check_column_exists,
    read_chunks,
    read_column_names,
    select_columns,
    spill_chunks,
    spill_folder,
)
from tasks.data.source import make_local_copy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tasks.data.profile import Profile
    from tasks.data.statistics import ColumnKind

_NUMPY_TYPES: dict[pl.DataType, str] = {
    pl.Boolean(): "<i1",
    **{kind: f"<i{size}" for kind, size in INTEGER_BYTES.items()},
    pl.Float64(): "<f8",
}


def measure_chunks(chunks: Iterable[Chunk], wanted: Sequence[str], target: str) -> ProfileAccumulator:
    """What the `wanted` columns of a file's chunks hold, mergeable with what other files hold."""
    accumulator = ProfileAccumulator(wanted, target)
    for frame, texts in chunks:
        accumulator.add(to_matrix(frame), [_column_kind(column, column.name in texts) for column in frame], texts)
    return accumulator


def to_matrix(frame: pl.DataFrame) -> "NDArray[np.float64]":
    """The columns as rows of float64, NaN where a value is missing."""
    values = np.empty((frame.width, frame.height))
    for row, column in zip(values, frame, strict=True):
        row[:] = column.to_numpy() if column.dtype.is_numeric() else column.cast(pl.Float64).to_numpy()
    return values


def storage_types(profile: "Profile") -> dict[str, pl.DataType]:
    """The narrowest types that hold the columns without loss."""
    return {column.name: _storage_type(column.kind, column.minimum, column.maximum) for column in profile.columns}


def numpy_types(types: Mapping[str, pl.DataType]) -> dict[str, str]:
    """The same types as numpy calls them, true and false being numbers."""
    return {name: _NUMPY_TYPES[kind] for name, kind in types.items()}


def row_bytes(types: Mapping[str, pl.DataType]) -> int:
    """Bytes of a row."""
    return sum(int(_NUMPY_TYPES[kind][-1]) for kind in types.values())


def _column_kind(column: pl.Series, is_text: bool) -> "ColumnKind":
    if is_text:
        return "text"
    if column.dtype == pl.Boolean:
        return "boolean"
    return "integer" if column.dtype.is_integer() else "number"


def _storage_type(kind: "ColumnKind", minimum: float | None, maximum: float | None) -> pl.DataType:
    if kind == "boolean":
        return pl.Boolean()
    if kind != "integer" or minimum is None or maximum is None:
        return pl.Float64()
    bounds = ((candidate, 2 ** (8 * size - 1)) for candidate, size in INTEGER_BYTES.items())
    return next((candidate for candidate, bound in bounds if -bound <= minimum and maximum < bound), pl.Int64())


def select_table_columns(
    workspace: Workspace, first: StoredObject, target: str, ignore: Sequence[str]
) -> tuple[str, ...]:
    """The columns of the table's first file but the ignored ones."""
    return select_columns(make_local_copy(workspace, first), first.uri, target, ignore)


def measure_file(workspace: Workspace, part: StoredObject, wanted: Sequence[str], target: str) -> ProfileAccumulator:
    """What the file's columns hold; raises DataError when it lacks one."""
    path = make_local_copy(workspace, part)
    names = read_column_names(path, part.uri)
    for column in wanted:
        check_column_exists(names, column, "that the first file has", part.uri)
    chunks = prefetch(spill_chunks(read_chunks(path, part.uri, wanted), spill_folder(part, wanted)))
    return measure_chunks(log_progress(chunks, f"reading {part.uri}"), wanted, target)
