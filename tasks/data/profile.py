"""The profile of a table: statistics that are enough to check it without reading it again."""

from typing import Literal

from pydantic import BaseModel

from linear_learner.cells import DateFormat

ColumnKind = Literal["boolean", "integer", "number", "date", "text"]
"""The type of a column's cells; text if any cell is text, or if the cells are of different types.

`date` is the type of columns that the file declares as dates; dates that are written as text are text.
"""
TextKind = Literal[
    "thousands separator",
    "ambiguous comma",
    "decimal comma",
    "percent",
    "currency",
    "missing marker",
    "boolean",
    "date",
    "other",
]
"""What a text cell is. An ambiguous comma is that of 1,234, which may be 1234 or 1.234."""
MAX_LABELS = 1000
"""The most distinct labels that a profile lists."""


class TextCount(BaseModel, frozen=True):
    """The text cells of one kind: their number, and the first of them."""

    kind: TextKind
    count: int
    row: int
    example: str


class TextProfile(BaseModel, frozen=True):
    """The text cells of a column; in a column with text, booleans and declared dates count as text."""

    text: int
    numbers: int
    """Number of cells that are numbers."""
    distinct: int
    """Distinct values of the column: exact for up to MAX_LABELS distinct texts, else estimated to about 2 %.

    Of the numbers, those in the sample of rows are counted, and extrapolated if nearly all of them differ.
    """
    date_formats: tuple[DateFormat, ...]
    """The formats by which every cell is a date."""
    kinds: tuple[TextCount, ...]
    """The most frequent first."""
    values: tuple[str, ...]
    """All distinct texts, the most frequent first, if they are few and short; else none."""
    mean_length: float
    max_length: int


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
    """A hash that is equal for columns of this table with equal numbers in every row."""
    counts_rows: bool
    """Whether each cell is an integer and one more than the cell before, from 0 or 1 in every file."""
    text_profile: TextProfile | None
    """None for a column without text."""


class LabelCount(BaseModel, frozen=True):
    """A label, its number of rows and its first row.

    It is a float for a target of numbers. For a target of text it is the canonical text of the class, which for a
    number is the shortest one without a trailing .0; for a target of booleans it is `false` or `true`.
    """

    value: float | str
    rows: int
    first_row: int


class Profile(BaseModel, frozen=True):
    """The profile of a table: its columns in file order, including the target."""

    rows: int
    target: str
    columns: tuple[ColumnProfile, ...]
    labels: tuple[LabelCount, ...] | None
    """The target's distinct values in ascending order, without missing and infinite ones; None for over MAX_LABELS."""
    fractional_label_row: int | None
    """The first row whose label is not a whole number."""
    duplicates: float
    """Share of the rows that repeat another row; exact for a few distinct rows, else estimated from a sketch."""
    determining: tuple[str, ...]
    """A few columns whose linear combination is the target, as least squares on a sample of the rows shows."""
