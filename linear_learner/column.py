"""What is known of a column, piece by piece and file by file: its cells, its range, whether it numbers the rows."""

from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Final, Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["boolean", "integer", "number", "text"]
"""What the cells of a column are written as, the narrowest first."""
LARGEST: Final = float(np.finfo(np.float32).max)
"""The largest number the algorithm can hold, about 3.4e38."""
_SAMPLE = 256
_SPARSE = 8


class TextCells(NamedTuple):
    """The cells of a piece's column that are no numbers: their rows, from 0 and ascending, and the first such cell."""

    rows: NDArray[np.intp]
    example: str


class Cells(NamedTuple):
    """How many cells of a kind there are, and the first row with one, counted from 1."""

    number: int = 0
    row: int | None = None

    def then(self, other: Self, rows_before: int) -> "Cells":
        """With the cells of rows that follow `rows_before` others."""
        later = None if other.row is None else rows_before + other.row
        return Cells(self.number + other.number, later if self.row is None else self.row)


_NO_CELLS = Cells()


@dataclass(frozen=True)
class Column:
    """What is known beside the moments. As it stands, of no rows."""

    kind: Kind = "boolean"
    missing: Cells = _NO_CELLS
    infinite: Cells = _NO_CELLS
    text: Cells = _NO_CELLS
    too_large: Cells = _NO_CELLS
    example: str | None = None
    low: float = inf
    high: float = -inf
    first: float | None = None
    last: float | None = None
    rises: bool = True
    """By one from row to row, as an index does."""
    distinct: bool = True
    """Whole numbers, none twice in a piece."""

    @property
    def counts_up(self) -> bool:
        """Whether it is an index, from 0 or 1."""
        return self.rises and self.first in {0, 1}

    def then(self, other: Self, rows_before: int, *, may_restart: bool = False) -> Self:
        """With what follows after `rows_before` rows; an index may start again where another file does."""
        if self.first is None or other.first is None:
            return self if other.first is None else other
        goes_on = other.first == (self.last or 0.0) + 1 or (may_restart and other.counts_up)
        return replace(
            self,
            kind=max(self.kind, other.kind, key=get_args(Kind).index),
            missing=self.missing.then(other.missing, rows_before),
            infinite=self.infinite.then(other.infinite, rows_before),
            text=self.text.then(other.text, rows_before),
            too_large=self.too_large.then(other.too_large, rows_before),
            example=other.example if self.example is None else self.example,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            last=other.last,
            rises=self.rises and goes_on and other.rises,
            distinct=self.distinct and other.distinct,
        )

    def and_piece(self, piece: "Piece", rows_before: int) -> Self:
        """With a piece that follows `rows_before` rows; what an earlier piece ruled out is not looked for again."""
        return self.then(
            type(self)(
                **piece.cells(),
                kind=piece.kind,
                example=piece.text and piece.text.example,
                low=piece.low,
                high=piece.high,
                first=float(piece.values[0]),
                last=float(piece.values[-1]),
                rises=self.rises and piece.rises(),
                distinct=self.distinct and piece.is_distinct(),
            ),
            rows_before,
        )


class Piece:
    """Some rows of a column: `values` (rows,), not empty, and their `low` and `high`, which may be NaN or infinite."""

    def __init__(
        self, values: NDArray[np.float64], kind: Kind, text: TextCells | None, low: float, high: float
    ) -> None:
        self.values, self.kind, self.text = values, kind, text
        self.finite = isfinite(low) and isfinite(high)
        if not self.finite:
            some = values[np.isfinite(values)]
            low, high = (float(some.min()), float(some.max())) if len(some) else (inf, -inf)
        self.low, self.high = low, high

    def cells(self) -> dict[str, Cells]:
        """Those that cannot be trained on, by what is wrong with them."""
        found = {}
        if not self.finite:
            missing = np.isnan(self.values)
            if self.text and len(self.text.rows):
                found["text"] = Cells(len(self.text.rows), int(self.text.rows[0]) + 1)
                missing[self.text.rows] = False
            found |= {"missing": _cells(missing), "infinite": _cells(np.isinf(self.values))}
        if max(self.high, -self.low) > LARGEST:
            found["too_large"] = _cells(np.isfinite(self.values) & (np.abs(self.values) > LARGEST))
        return found

    def rises(self) -> bool:
        """Whether each value is the one before plus one."""
        steps = self.high - self.low == self.values[-1] - self.values[0] == len(self.values) - 1
        return bool(self.finite and steps and (np.diff(self.values) == 1).all())

    def is_distinct(self) -> bool:
        """Whether all values are whole and none comes twice."""
        return self.finite and _distinct(self.values[:_SAMPLE]) and _distinct(self.values)


def _cells(chosen: NDArray[np.bool_]) -> Cells:
    return Cells(int(chosen.sum()), int(chosen.argmax()) + 1) if chosen.any() else _NO_CELLS


def _distinct(values: NDArray[np.float64]) -> bool:
    if (np.floor(values) != values).any():
        return False
    low, high = float(values.min()), float(values.max())
    if high - low < _SPARSE * len(values):  # ticking off what occurred is much faster than sorting
        occurs = np.zeros(int(high - low) + 1, np.bool_)
        occurs[(values - low).astype(np.intp)] = True
        return int(occurs.sum()) == len(values)
    ordered = np.sort(values)
    return bool((ordered[1:] != ordered[:-1]).all())
