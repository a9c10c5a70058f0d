"""Group rows by the values of a column, to evaluate each group separately."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

MAX_DISTINCT_NUMBERS = 10
"""The most distinct numbers with a slice each; more numbers are divided into quarters."""
MAX_DISTINCT_TEXTS = 20
Slices = list[tuple[str, NDArray[np.intp]]]


def slice_by_values(values: "Sequence[str | None] | pl.Series") -> Slices:
    """Group the rows by the `values` of a column; returns each group's name and row indices. Every row is in one group.

    Numbers: one group per number, or four ranges with a quarter of the rows each if there are more than 10 distinct
    numbers. Texts: one group for each of the 20 most frequent, and `(others)`. Missing values: `(missing)`.
    """
    import polars as pl

    from tasks.data.conversion import MISSING_VALUES

    texts = pl.Series("text", values, dtype=pl.String).str.strip_chars().fill_null("")
    missing = texts.is_in(MISSING_VALUES).to_numpy()
    numbers = texts.cast(pl.Float64, strict=False).to_numpy()
    if np.isfinite(numbers[~missing]).all():
        found = [(name, (numbers >= low) & (numbers <= high)) for name, low, high in _ranges(numbers[~missing])]
    else:
        counted = texts.filter(~missing).value_counts().sort(["count", "text"], descending=[True, False])
        frequent = counted["text"].head(MAX_DISTINCT_TEXTS).to_list()
        found = [(text, (texts == text).to_numpy()) for text in frequent]
        found.append(("(others)", ~(missing | texts.is_in(frequent).to_numpy())))
    return [(name, np.flatnonzero(rows)) for name, rows in [*found, ("(missing)", missing)] if rows.any()]


def _ranges(numbers: NDArray[np.float64]) -> list[tuple[str, float, float]]:
    """The name, lowest and highest number of each range; these are numbers of the column, so ranges do not overlap."""
    lows = highs = different = np.unique(numbers)
    if len(different) > MAX_DISTINCT_NUMBERS:
        highs = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75, 1], method="lower"))
        lows = np.append(different[0], different[np.searchsorted(different, highs[:-1], "right")])
    found = []
    for low, high in zip(lows.tolist(), highs.tolist(), strict=True):
        first, last = (repr(end).removesuffix(".0") for end in (low, high))
        found.append((first if low == high else f"{first} to {last}", low, high))
    return found
