"""Assign rows to train, validation and test, with the same result as scikit-learn's splitters."""

from collections.abc import Sequence
from math import ceil

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aws.workspace import Workspace
from linear_learner.cells import DATE_FORMATS
from linear_learner.errors import DataError
from tasks.data.cells import InvalidCellError, parse_dates, to_seconds
from tasks.data.parallel import map_files
from tasks.data.reader import TableFile, check_column_exists
from tasks.data.source import TablePart
from tasks.parameters import CHANNELS, Reading, Split

RowIndices = NDArray[np.intp]
SplitKeys = NDArray[np.uint32]
"""For each row of a table, the rank of the value to split by."""
_FRACTION = r":[0-9]{2}:[0-9]{2}[.,]([0-9]{1,9})"


def count_rows(rows: int, split: Split) -> dict[str, int]:
    """The rows per channel of a random split, computed without a shuffle; scikit-learn rounds held-out rows up."""
    holdout = ceil(rows * split.holdout_size)
    test = ceil(holdout * split.test_size)
    counts = dict(zip(CHANNELS, (rows - holdout, holdout - test, test), strict=True))
    if min(counts.values()) < 1:
        counted = ", ".join(f"{count} rows to {channel}" for channel, count in counts.items())
        raise DataError(f"{rows} rows cannot be split into train, validation and test: {counted}. Add rows.")
    return counts


def assign_rows(rows: int, split: Split, keys: SplitKeys | None = None, holdout_rows: int = 0) -> dict[str, RowIndices]:
    """The row numbers of each channel, in order, as two calls of train_test_split on the whole frame choose them.

    `keys`, shape (rows,), are the classes, times or groups of the other methods. The last `holdout_rows` rows, if any,
    are the test set, and one call splits the other rows. Raises DataError when the rows cannot be split.
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
    """Split the row numbers below `rows` in two; the second part gets `share` of the rows, or of the groups."""
    from sklearn import model_selection  # the import takes a second

    if split.method == "time":
        ordered = np.argsort(keys, kind="stable")  # type: ignore[arg-type] # not None for this method
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
    features = np.broadcast_to(0, rows)  # the features do not affect a split; this array takes no memory
    first, second = next(splitter.split(features, keys, keys if split.method == "group" else None))
    return first, second


def assign_labelled_rows(
    labelled: NDArray[np.bool_], split: Split, keys: SplitKeys | None = None, holdout_rows: int = 0
) -> dict[str, RowIndices]:
    """As `assign_rows`, for the rows that are `labelled` (rows,) alone."""
    numbers = np.flatnonzero(labelled)
    held_out = int(labelled[len(labelled) - holdout_rows :].sum()) if holdout_rows else 0
    chosen = assign_rows(len(numbers), split, None if keys is None else keys[numbers], held_out)
    return {channel: numbers[rows] for channel, rows in chosen.items()}


def find_labelled_rows(
    workspace: Workspace, parts: Sequence[TablePart], target: str, reading: Reading
) -> NDArray[np.bool_]:
    """Whether each row (rows,) has a value in the target column."""
    labels = map_files(workspace, read_cells, parts, column=target, purpose="to predict", reading=reading)
    return pl.concat(labels).is_not_null().to_numpy()


def read_split_keys(
    workspace: Workspace, parts: Sequence[TablePart], target: str, split: Split, reading: Reading
) -> SplitKeys | None:
    """The rank of each row's value to split by, shape (rows,); None for a random split.

    Numbers are ranked by size, dates in a recognised format by time, and classes and groups as text. Raises DataError
    for a split by time and a text that is neither a number nor a date.
    """
    if split.method == "random":
        return None
    values = pl.concat(map_files(workspace, _read_keys, parts, column=split.column or target, reading=reading))
    numbers = values.cast(pl.Float64, strict=False)
    ordered = values if numbers.null_count() else numbers
    if ordered is values and split.method == "time":
        ordered = _order_dates(values)
    return ordered.rank("dense").cast(pl.UInt32).to_numpy()


def _order_dates(texts: pl.Series) -> pl.Series:
    """A value for each text, in the order of the times.

    The format is the first of those by which the most texts are dates, as for features.
    """
    unique = texts.unique()
    date_format = min(DATE_FORMATS, key=lambda one: parse_dates(unique, one).null_count())
    try:
        seconds = to_seconds(texts, date_format)
    except InvalidCellError as error:
        remedy = "A split by time requires numbers, or dates in one format."
        raise DataError(f"{error.with_row(error.index + 1)}. {remedy}") from error
    fractions = texts.str.extract(_FRACTION).str.pad_end(9, "0").cast(pl.Int64).fill_null(0)
    return seconds.rank("dense").cast(pl.Int64) * len(texts) + fractions.rank("dense").cast(pl.Int64) - 1


def _read_keys(workspace: Workspace, part: TablePart, column: str, reading: Reading) -> pl.Series:
    cells = read_cells(workspace, part, column, "to split by", reading)
    if cells.null_count():
        row = int(cells.is_null().arg_true()[0]) + 1
        raise DataError(f"{part.uri}, row {row}, column {column!r}: the value to split by is missing. Fill it in.")
    return cells


def read_cells(workspace: Workspace, part: TablePart, column: str, purpose: str, reading: Reading) -> pl.Series:
    """The values of one column as text, null where one is missing; errors contain `purpose` ("to split by")."""
    file = TableFile.of(workspace, part, reading)
    check_column_exists(file, column, purpose)
    return file.text_column(column)
