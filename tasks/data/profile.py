"""The profile of a table: statistics that are enough to check it without reading it again."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

ColumnKind = Literal["boolean", "integer", "number", "text"]
"""The type of a column's cells, in ascending order of generality."""
COLUMN_KINDS: tuple[ColumnKind, ...] = get_args(ColumnKind)
MAX_LABELS = 1000
"""The most distinct labels that a profile lists."""


class TextCells(NamedTuple):
    """The non-numeric cells of a chunk's column: their row numbers, from 0 and ascending, and the first such cell."""

    rows: NDArray[np.intp]
    example: str


class ColumnProfile(BaseModel, frozen=True):
    """One column; for each count of cells, the first such row is given (1 is the first row below the header).

    Statistics are of the finite values. They are None if there are none, or if a float64 cannot represent the result.
    """

    name: str
    kind: ColumnKind
    missing: int
    missing_row: int | None
    infinite: int
    infinite_row: int | None
    text: int
    text_row: int | None
    text_example: str | None
    too_large: int
    """Finite cells beyond the range of float32."""
    too_large_row: int | None
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    """Population standard deviation (ddof 0)."""
    correlation: float | None
    """Pearson's correlation with the target; None if a cell of either column is not finite."""
    distinct: bool
    """Whether all cells are integers, none is missing, and none is repeated within a chunk."""
    digest: str
    """A hash that is equal for columns of this table with equal values in every row."""


class LabelCount(BaseModel, frozen=True):
    """A label, its number of rows and its first row."""

    value: float
    rows: int
    first_row: int


class Profile(BaseModel, frozen=True):
    """The profile of a table: its columns in file order, including the target."""

    rows: int
    target: str
    columns: tuple[ColumnProfile, ...]
    labels: tuple[LabelCount, ...] | None
    """The target's finite values in ascending order; None for more than MAX_LABELS."""
    fractional_label_row: int | None
    """The first row whose label is not a whole number."""
