"""One pass over each file of a table: what its columns hold, and the narrowest types that hold them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from aws.storage import StoredObject
from aws.workspace import Workspace
from tasks.data.profile import Accumulator
from tasks.data.reader import INTEGERS, Chunk, check_known, chosen_columns, columns_of, pieces
from tasks.data.source import local_copy
from tasks.data.spill import spill, spill_folder
from tasks.data.streams import log_progress, prefetch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tasks.data.columns import ColumnKind
    from tasks.data.profile import Profile

_NUMPY: dict[pl.DataType, str] = {
    pl.Boolean(): "<i1",
    **{kind: f"<i{size}" for kind, size in INTEGERS.items()},
    pl.Float64(): "<f8",
}


def measured(found: Iterable[Chunk], wanted: Sequence[str], target: str) -> Accumulator:
    """What the `wanted` columns of a file's pieces hold, mergeable with what other files hold."""
    accumulator = Accumulator(wanted, target)
    for frame, texts in found:
        accumulator.add(matrix(frame), [_kind(column, column.name in texts) for column in frame], texts)
    return accumulator


def matrix(frame: pl.DataFrame) -> "NDArray[np.float64]":
    """The columns as rows of float64, NaN where a value is missing."""
    values = np.empty((frame.width, frame.height))
    for row, column in zip(values, frame, strict=True):
        row[:] = column.to_numpy() if column.dtype.is_numeric() else column.cast(pl.Float64).to_numpy()
    return values


def storage_types(profile: "Profile") -> dict[str, pl.DataType]:
    """The narrowest types that hold the columns without loss."""
    return {column.name: _storage(column.kind, column.minimum, column.maximum) for column in profile.columns}


def stored(types: Mapping[str, pl.DataType]) -> dict[str, str]:
    """The same types as numpy calls them, true and false being numbers."""
    return {name: _NUMPY[kind] for name, kind in types.items()}


def width(types: Mapping[str, pl.DataType]) -> int:
    """Bytes of a row."""
    return sum(int(_NUMPY[kind][-1]) for kind in types.values())


def _kind(column: pl.Series, is_text: bool) -> "ColumnKind":
    if is_text:
        return "text"
    if column.dtype == pl.Boolean:
        return "boolean"
    return "integer" if column.dtype.is_integer() else "number"


def _storage(kind: "ColumnKind", minimum: float | None, maximum: float | None) -> pl.DataType:
    if kind == "boolean":
        return pl.Boolean()
    if kind != "integer" or minimum is None or maximum is None:
        return pl.Float64()
    bounds = ((candidate, 2 ** (8 * size - 1)) for candidate, size in INTEGERS.items())
    return next((candidate for candidate, bound in bounds if -bound <= minimum and maximum < bound), pl.Int64())


def columns_to_use(workspace: Workspace, first: StoredObject, target: str, ignore: Sequence[str]) -> tuple[str, ...]:
    """The columns of the table's first file but the ignored ones."""
    return chosen_columns(local_copy(workspace, first), first.uri, target, ignore)


def measure_file(workspace: Workspace, part: StoredObject, wanted: Sequence[str], target: str) -> Accumulator:
    """What the file's columns hold; raises DataError when it lacks one."""
    path = local_copy(workspace, part)
    names = columns_of(path, part.uri)
    for column in wanted:
        check_known(names, column, "that the first file has", part.uri)
    found = prefetch(spill(pieces(path, part.uri, wanted), spill_folder(part, wanted)))
    return measured(log_progress(found, f"reading {part.uri}"), wanted, target)
