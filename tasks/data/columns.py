"""What is known of one column: its cells, its range, and how often each label occurs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Final, Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray

ColumnKind = Literal["boolean", "integer", "number", "text"]
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

    kind: ColumnKind = "boolean"
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
            kind=max(self.kind, other.kind, key=get_args(ColumnKind).index),
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

    def and_piece(self, piece: "ColumnChunk", rows_before: int) -> Self:
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


class ColumnChunk:
    """Some rows of a column: `values` (rows,), not empty, and their `low` and `high`, which may be NaN or infinite."""

    def __init__(
        self, values: NDArray[np.float64], kind: ColumnKind, text: TextCells | None, low: float, high: float
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


MAX_LABELS: Final = 1000
"""A target of more different values has no classes, or more than can be listed."""
_ROWS_AT_ONCE = 65_536


class LabelTally(NamedTuple):
    """In how many rows a label is, and the first of them, counted from 1."""

    rows: int
    first_row: int


@dataclass(frozen=True)
class Labels:
    """What a target holds; infinite and missing labels are passed over. As it stands, of no rows."""

    tallies: Mapping[float, LabelTally] | None = field(default_factory=dict)
    """By value; None once there are more than MOST_LABELS."""
    fractional_row: int | None = None
    """The first row whose label is no whole number."""

    def and_piece(self, values: NDArray[np.float64], rows_before: int) -> Self:
        """With labels (rows,) that follow `rows_before` others."""
        so_far = self
        for start in range(0, len(values), _ROWS_AT_ONCE):
            so_far = so_far.then(so_far._of(values[start : start + _ROWS_AT_ONCE]), rows_before + start)
        return so_far

    def then(self, other: Self, rows_before: int) -> Self:
        """With others that follow after `rows_before` rows."""
        later = None if other.fractional_row is None else rows_before + other.fractional_row
        fractional_row = later if self.fractional_row is None else self.fractional_row
        if self.tallies is None or other.tallies is None:
            return type(self)(None, fractional_row)
        tallies = dict(self.tallies)
        for value, (rows, first_row) in other.tallies.items():
            before = tallies.get(value, LabelTally(0, rows_before + first_row))
            tallies[value] = LabelTally(before.rows + rows, before.first_row)
        return type(self)(tallies if len(tallies) <= MAX_LABELS else None, fractional_row)

    def _of(self, values: NDArray[np.float64]) -> Self:
        """These values alone; what is settled already is not looked for, nor the first rows of labels already known."""
        finite = values[np.isfinite(values)]
        fractional = np.floor(finite) != finite
        row = int((values == finite[fractional.argmax()]).argmax()) + 1 if fractional.any() else None
        if self.tallies is None:
            return type(self)(None, row)
        found, counts = _occurring(finite, whole=row is None)
        if len(found) > MAX_LABELS:
            return type(self)(None, row)
        tallies = {}
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            tallies[value] = LabelTally(count, 0 if value in self.tallies else int((values == value).argmax()) + 1)
        return type(self)(tallies, row)


def _occurring(values: NDArray[np.float64], *, whole: bool) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The different values and how often each occurs."""
    if whole and len(values) and values.min() >= 0 and values.max() < len(values):
        counts = np.bincount(values.astype(np.intp))  # much faster than sorting
        found = np.flatnonzero(counts)
        return found.astype(np.float64), counts[found]
    return np.unique(values + 0.0, return_counts=True)  # 0 makes -0 a 0, which it equals
