"""What a table holds: enough to check it without reading it again."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

ColumnKind = Literal["boolean", "integer", "number", "text"]
"""What the cells of a column are written as, the narrowest first."""
COLUMN_KINDS: tuple[ColumnKind, ...] = get_args(ColumnKind)
MAX_LABELS = 1000
"""A target of more different values has no classes, or more than can be listed."""


class TextCells(NamedTuple):
    """The cells of a chunk's column that are no numbers: their rows, from 0 and ascending, and the first such cell."""

    rows: NDArray[np.intp]
    example: str


class ColumnProfile(BaseModel, frozen=True):
    """One column; each count of cells comes with the first row that has one, 1 being the first below the header.

    Figures are of the finite values, and None where there are none or where a float64 cannot hold the figure.
    """

    name: str
    kind: ColumnKind
    missing: int
    missing_row: int | None
    infinite: int
    infinite_row: int | None
    text: int
    """Cells that are no number."""
    text_row: int | None
    text_example: str | None
    too_large: int
    """Finite cells beyond what a float32 holds."""
    too_large_row: int | None
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    """With ddof 0."""
    correlation: float | None
    """Pearson's, with the target; None where a cell of either is not finite."""
    distinct: bool
    """Whether the column is of integers none of which is missing, or comes twice within any chunk."""
    digest: str
    """Equal for columns of this table of equal values in every row."""


class LabelCount(BaseModel, frozen=True):
    """How many rows have a label, and the first of them."""

    value: float
    rows: int
    first_row: int


class Profile(BaseModel, frozen=True):
    """A table: its columns in file order, the target among them."""

    rows: int
    target: str
    columns: tuple[ColumnProfile, ...]
    labels: tuple[LabelCount, ...] | None
    """The target's finite values in ascending order; None when there are more than 1000."""
    fractional_label_row: int | None
    """The first row whose label is no whole number."""
