"""Split: divide the rows into training, validation and test set."""

from typing import TYPE_CHECKING

from prefect import task

from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.caching import work_folder
from tasks.caching.explain_rerun import Fact, flatten
from tasks.caching.policy import RETRIES, Inputs, Result, cached, fingerprint
from tasks.environment.folders import write_atomically
from tasks.load import Table
from tasks.parameters import CHANNELS, Split

if TYPE_CHECKING:
    from tasks.data.row_assignment import RowIndices

VERSION = 2
"""Part of the cache key; raised when rows are divided in another way."""


class Rows(Result):
    """The number of rows of each channel; `row_numbers` computes the rows from the table and the parameters."""

    train: int
    validation: int
    test: int
    parameters: Split
    unlabelled: int = 0
    """Number of rows without a label, which are in no channel."""

    @property
    def by_channel(self) -> dict[str, int]:
        return {channel: getattr(self, channel) for channel in CHANNELS}

    def row_numbers(self, workspace: Workspace, table: Table) -> "dict[str, RowIndices]":
        """Return the row numbers of each channel, in the order of its rows."""
        return _channel_rows(workspace, table, self.parameters, drop_unlabelled=self.unlabelled > 0)

    def __str__(self) -> str:
        return f"split, {self.train} rows to train, {self.validation} to validate, {self.test} to test"


def _facts(inputs: Inputs) -> dict[str, Fact]:
    facts = {**inputs["table"].made_of, **flatten({"split": inputs["split"]}), "version.split": VERSION}
    return facts | ({"dataset.drop_unlabelled": True} if inputs["drop_unlabelled"] else {})


@task(name="split", task_run_name="split {table.rows} rows", **cached("split", _facts), **RETRIES)
def split_rows(workspace: Workspace, table: Table, split: Split, *, drop_unlabelled: bool = False) -> Rows:
    """Return the number of rows of each channel; raises DataError when a channel would be empty."""
    from tasks.data.row_assignment import count_rows  # polars

    unlabelled = table.unlabelled if drop_unlabelled else 0
    if unlabelled == table.rows:
        raise DataError(f"Column {table.target!r} has no value in any row. Choose another column to predict.")
    if split.method == "random" and not table.holdout_rows:
        return Rows(parameters=split, unlabelled=unlabelled, **count_rows(table.rows - unlabelled, split))
    chosen = _channel_rows(workspace, table, split, drop_unlabelled=unlabelled > 0)
    counts = {channel: len(rows) for channel, rows in chosen.items()}
    return Rows(parameters=split, unlabelled=unlabelled, **counts)


def _channel_rows(
    workspace: Workspace, table: Table, split: Split, *, drop_unlabelled: bool
) -> "dict[str, RowIndices]":
    """Return the row numbers of each channel; those that depend on a column are stored on this machine."""
    import numpy as np

    from tasks.data.row_assignment import assign_labelled_rows, assign_rows, find_labelled_rows, read_split_keys

    if split.method == "random" and not drop_unlabelled:
        return assign_rows(table.rows, split, holdout_rows=table.holdout_rows)
    facts = _facts({"table": table, "split": split, "drop_unlabelled": drop_unlabelled})
    path = work_folder(fingerprint(facts)) / "rows.npz"
    if path.exists():
        with np.load(path) as stored:
            return dict(stored)
    keys = read_split_keys(workspace, table.parts, table.target, split, table.reading)
    if drop_unlabelled:
        labelled = find_labelled_rows(workspace, table.parts, table.target, table.reading)
        chosen = assign_labelled_rows(labelled, split, keys, table.holdout_rows)
    else:
        chosen = assign_rows(table.rows, split, keys, table.holdout_rows)
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **chosen)
    return chosen
