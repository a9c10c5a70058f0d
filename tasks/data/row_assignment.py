"""Which rows train, which validate and which test: what scikit-learn's train_test_split would choose."""

from collections.abc import Sequence
from math import ceil

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aws.storage import StoredObject
from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.data.parallel import map_files
from tasks.data.reader import check_column_exists, read_column_names, read_text_column
from tasks.data.source import make_local_copy
from tasks.parameters import CHANNELS, Split

RowIndices = NDArray[np.signedinteger]


def count_rows(rows: int, split: Split) -> dict[str, int]:
    """Rows per channel of a random split, which need no shuffle to be counted: scikit-learn rounds held out rows up."""
    holdout = ceil(rows * split.holdout_size)
    test = ceil(holdout * split.test_size)
    counts = dict(zip(CHANNELS, (rows - holdout, holdout - test, test), strict=True))
    if min(counts.values()) < 1:
        counted = ", ".join(f"{count} rows to {channel}" for channel, count in counts.items())
        raise DataError(f"{rows} rows cannot be split into train, validation and test: {counted}. Give the table more.")
    return counts


def read_split_keys(
    workspace: Workspace, parts: Sequence[StoredObject], target: str, split: Split
) -> NDArray[np.uint32] | None:
    """For each row of the table in `parts` the rank of what decides about it, (rows,); None where chance alone does."""
    if split.method == "random":
        return None
    return rank_keys(map_files(workspace, read_keys, parts, column=split.column or target))


def assign_rows(
    rows: int, split: Split, keys: NDArray[np.uint32] | None = None, holdout_rows: int = 0
) -> dict[str, RowIndices]:
    """Row numbers per channel, in order: what two calls of train_test_split on the whole frame would choose.

    `keys`, shape (rows,), are the classes, times or groups of the other methods. The last `holdout_rows` rows, when
    there are any, are the test set as they stand, and one call splits the others.
    """
    everything: RowIndices = np.arange(rows, dtype=np.int32 if rows < 2**31 else np.int64)
    try:
        if holdout_rows:
            train, validation = _split_once(everything[:-holdout_rows], split.holdout_size, split, keys)
            test = everything[-holdout_rows:]
        else:
            train, holdout = _split_once(everything, split.holdout_size, split, keys)
            validation, test = _split_once(holdout, split.test_size, split, keys)
    except ValueError as error:
        raise DataError(f"{rows} rows cannot be split into train, validation and test: {error}") from error
    return dict(zip(CHANNELS, (train, validation, test), strict=True))


def _split_once(
    rows: RowIndices, share: float, split: Split, keys: NDArray[np.uint32] | None
) -> tuple[RowIndices, RowIndices]:
    """Two parts of `rows`, the second with `share` of them, or of the groups."""
    from sklearn.model_selection import GroupShuffleSplit, train_test_split  # takes a second

    chosen = None if keys is None else keys[rows]
    if split.method == "time":
        ordered = rows[chosen.argsort(kind="stable")]  # type: ignore[union-attr] # the method has keys
        last = len(rows) - ceil(share * len(rows))
        if not 0 < last < len(rows):
            raise ValueError(f"with a share of {share:g} of {len(rows)} rows one part is empty")
        return ordered[:last], ordered[last:]
    if split.method == "group":
        shuffle = GroupShuffleSplit(n_splits=1, test_size=share, random_state=split.random_state)
        first, second = next(shuffle.split(rows, groups=chosen))
        return rows[first], rows[second]
    first, second = train_test_split(rows, test_size=share, random_state=split.random_state, stratify=chosen)
    return first, second


def read_cells(workspace: Workspace, part: StoredObject, column: str, what: str) -> pl.Series:
    """The values of one column as text, null where there is none; `what` says in an error what it is for."""
    path = make_local_copy(workspace, part)
    check_column_exists(read_column_names(path, part.uri), column, what, part.uri)
    cells = read_text_column(path, part.uri, column).str.strip_chars()
    return cells.replace("", None)


def read_keys(workspace: Workspace, part: StoredObject, column: str) -> pl.Series:
    """The values of a column that decides how rows are split, as text."""
    cells = read_cells(workspace, part, column, "to split by")
    missing = cells.is_null()
    if missing.any():
        row = int(missing.arg_true()[0]) + 1
        raise DataError(f"{part.uri}, row {row}, column {column!r}: the value to split by is missing. Fill it in.")
    return cells


def rank_keys(cells: Sequence[pl.Series]) -> NDArray[np.uint32]:
    """Whole numbers in the order of the values: numbers by size, anything else as text, so ISO dates by time."""
    values = pl.concat(cells)
    numbers = values.cast(pl.Float64, strict=False)
    ordered = values if numbers.null_count() else numbers
    return ordered.rank("dense").cast(pl.UInt32).to_numpy()
