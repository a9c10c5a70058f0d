"""What is done to each file of a table, wherever it is done; small values go in and out, rows stay in files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from aws.storage import StoredObject, put, sha256_of
from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.parameters import Format
from tasks.reuse import fingerprint
from tasks.table.ahead import ahead
from tasks.table.kept import keeping, kept
from tasks.table.measure import measured, stored
from tasks.table.pieces import Types, check_known, chosen_columns, columns_of, pieces, text_column
from tasks.table.progress import told
from tasks.table.runs import Runs
from tasks.table.shuffle import Positions, gather, scatter
from tasks.table.source import copy_folder, local_copy
from tasks.table.write import write_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from linear_learner.profile import Accumulator


class Output(NamedTuple):
    """One file of a channel: its place in the bucket, its rows, and the buckets that hold them, one after another."""

    channel: str
    key: str
    rows: int
    buckets: tuple[int, ...]


def columns_to_use(workspace: Workspace, first: StoredObject, target: str, ignore: Sequence[str]) -> tuple[str, ...]:
    """The columns of the table's first file but the ignored ones."""
    return chosen_columns(local_copy(workspace, first), first.uri, target, ignore)


def measure_file(workspace: Workspace, part: StoredObject, wanted: Sequence[str], target: str) -> "Accumulator":
    """What the file's columns hold; raises DataError when it lacks one."""
    path = local_copy(workspace, part)
    names = columns_of(path, part.uri)
    for column in wanted:
        check_known(names, column, "that the first file has", part.uri)
    found = ahead(keeping(pieces(path, part.uri, wanted), _kept_in(part, wanted)))
    return measured(told(found, f"reading {part.uri}"), wanted, target)


def cells_file(workspace: Workspace, part: StoredObject, column: str, what: str) -> pl.Series:
    """The values of one column as text, null where there is none; `what` says in an error what it is for."""
    path = local_copy(workspace, part)
    check_known(columns_of(path, part.uri), column, what, part.uri)
    cells = text_column(path, part.uri, column).str.strip_chars()
    return cells.replace("", None)


def key_file(workspace: Workspace, part: StoredObject, column: str) -> pl.Series:
    """The values of a column that decides how rows are split, as text."""
    cells = cells_file(workspace, part, column, "to split by")
    missing = cells.is_null()
    if missing.any():
        row = int(missing.arg_true()[0]) + 1
        raise DataError(f"{part.uri}, row {row}, column {column!r}: the value to split by is missing. Fill it in.")
    return cells


def ranks(cells: Sequence[pl.Series]) -> "NDArray[np.uint32]":
    """Whole numbers in the order of the values: numbers by size, anything else as text, so ISO dates by time."""
    values = pl.concat(cells)
    numbers = values.cast(pl.Float64, strict=False)
    ordered = values if numbers.null_count() else numbers
    return ordered.rank("dense").cast(pl.UInt32).to_numpy()


def scatter_file(  # noqa: PLR0913, PLR0917 - what to read, and where each row goes
    workspace: Workspace,
    part: StoredObject,
    name: str,
    places: Positions,
    wanted: Sequence[str],
    types: Types,
    starts: Sequence[int],
    runs: Runs,
) -> tuple[int, ...]:
    """Write the file's rows to the buckets of the run `name`; returns the numbers of those that got any."""
    found = kept(_kept_in(part, wanted)) or (
        piece.frame for piece in pieces(local_copy(workspace, part), part.uri, list(types), types)
    )
    frames = (_narrow(frame, types, part.uri) for frame in found)
    with runs.writing(workspace, name) as folder:
        buckets = scatter(told(ahead(frames), f"shuffling {part.uri}"), places, starts, stored(types), folder)
    if runs.shared:
        rmtree(copy_folder(part), ignore_errors=True)  # nobody comes back to this worker to do it
    return buckets


def gather_file(  # noqa: PLR0913, PLR0917 - what to write, and where its rows are
    workspace: Workspace,
    output: Output,
    path: Path,
    found: Mapping[str, Sequence[int]],
    starts: Sequence[int],
    target: str,
    types: Types,
    form: Format,
    runs: Runs,
) -> tuple[int, str]:
    """Write one file of a channel from its buckets; returns its size in bytes and SHA-256."""
    frames = (
        gather(runs.reading(workspace, found, bucket), starts[bucket : bucket + 2], stored(types))
        for bucket in output.buckets
    )
    write_rows(told(ahead(frames), f"writing {path.name}"), target, path, form)
    size, sha256 = path.stat().st_size, sha256_of(path)
    if runs.shared:
        put(workspace, path, workspace.uri(output.key), sha256)
        path.unlink()
    return size, sha256


def _kept_in(part: StoredObject, wanted: Sequence[str]) -> Path:
    return copy_folder(part) / f"pieces-{fingerprint(*wanted)}"


def _narrow(frame: pl.DataFrame, types: Types, name: str) -> pl.DataFrame:
    try:
        return frame.select(list(types)).cast(types).with_columns(pl.col(pl.Boolean).cast(pl.Int8))  # type: ignore[arg-type] # by name
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{name} is not what it was when it was checked. Run again to take the new one.") from error
