"""Split: decide which rows train, which validate, which test."""

from prefect import task

from aws.workspace import Workspace
from tasks.caching.explain_rerun import Fact, flatten
from tasks.caching.policy import RETRIES, Inputs, Result, cached
from tasks.load import Table
from tasks.parameters import CHANNELS, Split

VERSION = 2
"""Of the rule that decides the rows."""


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


def _facts(inputs: Inputs) -> dict[str, Fact]:
    return {**inputs["table"].made_of, **flatten({"split": inputs["split"]}), "version.split": VERSION}


@task(name="split", task_run_name="split {table.rows} rows", **cached("split", _facts), **RETRIES)
def split_rows(workspace: Workspace, table: Table, split: Split) -> Rows:
    """Count the rows of each channel; raises DataError when one would be empty."""
    from tasks.data.row_assignment import assign_rows, count_rows, read_split_keys  # polars

    if split.method == "random" and not table.holdout_rows:
        return Rows(parameters=split, **count_rows(table.rows, split))
    chosen = assign_rows(
        table.rows, split, read_split_keys(workspace, table.parts, table.target, split), table.holdout_rows
    )
    return Rows(parameters=split, **{channel: len(rows) for channel, rows in chosen.items()})
