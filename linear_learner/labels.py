"""How often each label occurs, and where first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

MOST_LABELS: Final = 1000
"""A target of more different values has no classes, or more than can be listed."""
_ROWS_AT_ONCE = 65_536


class Tally(NamedTuple):
    """In how many rows a label is, and the first of them, counted from 1."""

    rows: int
    first_row: int


@dataclass(frozen=True)
class Labels:
    """What a target holds; infinite and missing labels are passed over. As it stands, of no rows."""

    tallies: Mapping[float, Tally] | None = field(default_factory=dict)
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
            before = tallies.get(value, Tally(0, rows_before + first_row))
            tallies[value] = Tally(before.rows + rows, before.first_row)
        return type(self)(tallies if len(tallies) <= MOST_LABELS else None, fractional_row)

    def _of(self, values: NDArray[np.float64]) -> Self:
        """These values alone; what is settled already is not looked for, nor the first rows of labels already known."""
        finite = values[np.isfinite(values)]
        fractional = np.floor(finite) != finite
        row = int((values == finite[fractional.argmax()]).argmax()) + 1 if fractional.any() else None
        if self.tallies is None:
            return type(self)(None, row)
        found, counts = _occurring(finite, whole=row is None)
        if len(found) > MOST_LABELS:
            return type(self)(None, row)
        tallies = {}
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            tallies[value] = Tally(count, 0 if value in self.tallies else int((values == value).argmax()) + 1)
        return type(self)(tallies, row)


def _occurring(values: NDArray[np.float64], *, whole: bool) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The different values and how often each occurs."""
    if whole and len(values) and values.min() >= 0 and values.max() < len(values):
        counts = np.bincount(values.astype(np.intp))  # much faster than sorting
        found = np.flatnonzero(counts)
        return found.astype(np.float64), counts[found]
    return np.unique(values + 0.0, return_counts=True)  # 0 makes -0 a 0, which it equals
