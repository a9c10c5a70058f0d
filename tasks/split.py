"""Split: divide the rows into training, validation and test set."""

from typing import TYPE_CHECKING

from prefect import task

from aws.workspace import Workspace
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

    @property
    def by_channel(self) -> dict[str, int]:
        return {channel: getattr(self, channel) for channel in CHANNELS}

    def row_numbers(self, workspace: Workspace, table: Table) -> "dict[str, RowIndices]":
        """Return the row numbers of each channel, in the order of its rows."""
        return _channel_rows(workspace, table, self.parameters)

    def __str__(self) -> str:
        return f"split, {self.train} rows to train, {self.validation} to validate, {self.test} to test"


def _facts(inputs: Inputs) -> dict[str, Fact]:
    return {**inputs["table"].made_of, **flatten({"split": inputs["split"]}), "version.split": VERSION}


@task(name="split", task_run_name="split {table.rows} rows", **cached("split", _facts), **RETRIES)
def split_rows(workspace: Workspace, table: Table, split: Split) -> Rows:
    """Return the number of rows of each channel; raises DataError when a channel would be empty."""
    from tasks.data.row_assignment import count_rows  # polars

    if split.method == "random" and not table.holdout_rows:
        return Rows(parameters=split, **count_rows(table.rows, split))
    chosen = _channel_rows(workspace, table, split)
    return Rows(parameters=split, **{channel: len(rows) for channel, rows in chosen.items()})


def _channel_rows(workspace: Workspace, table: Table, split: Split) -> "dict[str, RowIndices]":
    """Return the row numbers of each channel; those that depend on a column are stored on this machine."""
    import numpy as np

    from tasks.data.row_assignment import assign_rows, read_split_keys

    if split.method == "random":
        return assign_rows(table.rows, split, holdout_rows=table.holdout_rows)
    path = work_folder(fingerprint(_facts({"table": table, "split": split}))) / "rows.npz"
    if path.exists():
        with np.load(path) as stored:
            return dict(stored)
    keys = read_split_keys(workspace, table.parts, table.target, split)
    chosen = assign_rows(table.rows, split, keys, table.holdout_rows)
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **chosen)
    return chosen
