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

RowIndices = NDArray[np.intp]
SplitKeys = NDArray[np.uint32]
"""For each row of a table the rank of the value that decides about it."""


def count_rows(rows: int, split: Split) -> dict[str, int]:
    """Rows per channel of a random split, which need no shuffle to be counted: scikit-learn rounds held out rows up."""
    holdout = ceil(rows * split.holdout_size)
    test = ceil(holdout * split.test_size)
    counts = dict(zip(CHANNELS, (rows - holdout, holdout - test, test), strict=True))
    if min(counts.values()) < 1:
        counted = ", ".join(f"{count} rows to {channel}" for channel, count in counts.items())
        raise DataError(f"{rows} rows cannot be split into train, validation and test: {counted}. Give the table more.")
    return counts


def assign_rows(rows: int, split: Split, keys: SplitKeys | None = None, holdout_rows: int = 0) -> dict[str, RowIndices]:
    """Row numbers per channel, in order: what two calls of train_test_split on the whole frame would choose.

    `keys`, shape (rows,), are the classes, times or groups of the other methods. The last `holdout_rows` rows, when
    there are any, are the test set as they stand, and one call splits the others.
    """
    last = rows - holdout_rows
    try:
        train, validation = _split_once(last, split.holdout_size, split, None if keys is None else keys[:last])
        test: RowIndices = np.arange(last, rows)
        if not holdout_rows:
            held, others = validation, None if keys is None else keys[validation]
            validation, test = (held[part] for part in _split_once(len(held), split.test_size, split, others))
    except ValueError as error:
        raise DataError(f"{rows} rows cannot be split into train, validation and test: {error}") from error
    return dict(zip(CHANNELS, (train, validation, test), strict=True))


def _split_once(rows: int, share: float, split: Split, keys: SplitKeys | None) -> tuple[RowIndices, RowIndices]:
    """Two parts of the numbers below `rows`, the second with `share` of them, or of the groups."""
    from sklearn import model_selection  # takes a second

    if split.method == "time":
        ordered = np.argsort(keys, kind="stable")  # type: ignore[arg-type] # the method has keys
        last = rows - ceil(share * rows)
        if not 0 < last < rows:
            raise ValueError(f"with a share of {share:g} of {rows} rows one part is empty")
        return ordered[:last], ordered[last:]
    splitters = {
        "random": model_selection.ShuffleSplit,
        "stratified": model_selection.StratifiedShuffleSplit,
        "group": model_selection.GroupShuffleSplit,
    }
    splitter = splitters[split.method](n_splits=1, test_size=share, random_state=split.random_state)
    nothing = np.broadcast_to(0, rows)  # what is in the rows decides nothing; takes no memory
    first, second = next(splitter.split(nothing, keys, keys if split.method == "group" else None))
    return first, second


def read_split_keys(workspace: Workspace, parts: Sequence[StoredObject], target: str, split: Split) -> SplitKeys | None:
    """For each row of the table in `parts` the rank of what decides about it, (rows,); None where chance alone does.

    Numbers are ranked by size, anything else as text, so ISO dates by time.
    """
    if split.method == "random":
        return None
    values = pl.concat(map_files(workspace, _read_keys, parts, column=split.column or target))
    numbers = values.cast(pl.Float64, strict=False)
    ordered = values if numbers.null_count() else numbers
    return ordered.rank("dense").cast(pl.UInt32).to_numpy()


def _read_keys(workspace: Workspace, part: StoredObject, column: str) -> pl.Series:
    cells = read_cells(workspace, part, column, "to split by")
    if cells.null_count():
        row = int(cells.is_null().arg_true()[0]) + 1
        raise DataError(f"{part.uri}, row {row}, column {column!r}: the value to split by is missing. Fill it in.")
    return cells


def read_cells(workspace: Workspace, part: StoredObject, column: str, what: str) -> pl.Series:
    """The values of one column as text, null where there is none; `what` says in an error what it is for."""
    path = make_local_copy(workspace, part)
    check_column_exists(read_column_names(path, part.uri), column, what, part.uri)
    cells = read_text_column(path, part.uri, column).str.strip_chars()
    return cells.replace("", None)
