"""Split: decide which rows train, which validate, which test."""

from math import ceil
from typing import TYPE_CHECKING

from prefect import task

from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.engine import each
from tasks.load import Table
from tasks.parameters import Split
from tasks.reuse import KEPT, RETRIES, Inputs, Result, WhileItExists

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Indices = NDArray[np.signedinteger]

VERSION = 2
"""Of the rule that decides the rows."""
CHANNELS = ("train", "validation", "test")


class Rows(Result):
    """How many rows each channel gets; which ones follows from the table and the parameters."""

    train: int
    validation: int
    test: int
    parameters: Split

    @property
    def by_channel(self) -> dict[str, int]:
        return {channel: getattr(self, channel) for channel in CHANNELS}

    def __str__(self) -> str:
        return f"split, {self.train} rows to train, {self.validation} to validate, {self.test} to test"


def _identity(inputs: Inputs) -> tuple[object, ...]:
    table: Table = inputs["table"]
    return table.identity, table.target, inputs["split"], VERSION


@task(
    name="split",
    task_run_name="split {table.rows} rows",
    cache_policy=WhileItExists(step="split", identity=_identity),
    **KEPT,
    **RETRIES,
)
def split_rows(workspace: Workspace, table: Table, split: Split) -> Rows:
    """Count the rows of each channel; raises DataError when one would be empty."""
    if split.method == "random" and not table.holdout_rows:
        return Rows(parameters=split, **sizes(table.rows, split))
    chosen = indices(table.rows, split, split_keys(workspace, table, split), table.holdout_rows)
    return Rows(parameters=split, **{channel: len(rows) for channel, rows in chosen.items()})


def sizes(rows: int, split: Split) -> dict[str, int]:
    """Rows per channel of a random split, which need no shuffle to be counted: scikit-learn rounds held out rows up."""
    holdout = ceil(rows * split.holdout_size)
    test = ceil(holdout * split.test_size)
    counts = dict(zip(CHANNELS, (rows - holdout, holdout - test, test), strict=True))
    if min(counts.values()) < 1:
        said = ", ".join(f"{count} rows to {channel}" for channel, count in counts.items())
        raise DataError(f"{rows} rows cannot be split into train, validation and test: {said}. Give the table more.")
    return counts


def split_keys(workspace: Workspace, table: Table, split: Split) -> "NDArray[np.uint32] | None":
    """For each row the rank of what decides about it, shape (rows,); None where chance alone does."""
    if split.method == "random":
        return None
    from tasks.table.steps import key_file, ranks  # polars

    return ranks(each(workspace, key_file, table.parts, column=split.column or table.target))


def indices(
    rows: int, split: Split, keys: "NDArray[np.uint32] | None" = None, holdout_rows: int = 0
) -> dict[str, "Indices"]:
    """Row numbers per channel, in order: what two calls of train_test_split on the whole frame would choose.

    `keys`, shape (rows,), are the classes, times or groups of the other methods. The last `holdout_rows` rows, when
    there are any, are the test set as they stand, and one call splits the others.
    """
    import numpy as np  # not needed when the result is reused

    everything: Indices = np.arange(rows, dtype=np.int32 if rows < 2**31 else np.int64)
    try:
        if holdout_rows:
            train, validation = _divide(everything[:-holdout_rows], split.holdout_size, split, keys)
            test = everything[-holdout_rows:]
        else:
            train, holdout = _divide(everything, split.holdout_size, split, keys)
            validation, test = _divide(holdout, split.test_size, split, keys)
    except ValueError as error:
        raise DataError(f"{rows} rows cannot be split into train, validation and test: {error}") from error
    return dict(zip(CHANNELS, (train, validation, test), strict=True))


def _divide(
    rows: "Indices", share: float, split: Split, keys: "NDArray[np.uint32] | None"
) -> "tuple[Indices, Indices]":
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
