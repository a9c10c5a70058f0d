"""Split: decide which rows train, which validate, which test."""

from typing import TYPE_CHECKING

from prefect import task

from linear_learner.errors import DataError
from tasks.load import Table
from tasks.parameters import Split
from tasks.reuse import KEPT, Inputs, Result, WhileItExists

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 1
"""Of the rule that decides the rows."""
CHANNELS = ("train", "validation", "test")


class Rows(Result):
    """How many rows each channel gets; which ones follows from the table's length and the parameters."""

    train: int
    validation: int
    test: int
    parameters: Split

    def __str__(self) -> str:
        return f"split, {self.train} rows to train, {self.validation} to validate, {self.test} to test"


def _identity(inputs: Inputs) -> tuple[object, ...]:
    return inputs["table"].rows, inputs["split"], VERSION


@task(
    name="split",
    task_run_name="split {table.rows} rows",
    cache_policy=WhileItExists(step="split", identity=_identity, exists=lambda _inputs, _rows: True),
    **KEPT,
)
def split_rows(table: Table, split: Split) -> Rows:
    """Count the rows of each channel; raises DataError when one would be empty."""
    chosen = indices(table.rows, split)
    return Rows(parameters=split, **{channel: len(rows) for channel, rows in chosen.items()})


def indices(rows: int, split: Split) -> dict[str, "NDArray[np.intp]"]:
    """Row numbers per channel, in order: what two calls of train_test_split on the whole frame would choose."""
    import numpy as np  # not needed when the result is reused
    from sklearn.model_selection import train_test_split  # takes a second

    try:
        train, holdout = train_test_split(
            np.arange(rows), test_size=split.holdout_size, random_state=split.random_state
        )
        validation, test = train_test_split(holdout, test_size=split.test_size, random_state=split.random_state)
    except ValueError as error:
        raise DataError(f"{rows} rows are too few to split into train, validation and test: {error}") from error
    return dict(zip(CHANNELS, (train, validation, test), strict=True))
