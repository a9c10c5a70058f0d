"""A column's values as a few groups of rows, to look at a model's figures one by one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

MAX_DISTINCT_NUMBERS = 10
"""Different numbers that are shown one by one; of more, the quarters."""
MAX_DISTINCT_TEXTS = 20
MISSING_SLICE = "(missing)"
OTHERS_SLICE = "(others)"
Slices = list[tuple[str, NDArray[np.intp]]]


def slice_by_values(values: "Sequence[str | None] | pl.Series") -> Slices:
    """Groups of rows by the cells of a column as text, each with its row indices, in order; every row is in one.

    Numbers: each, in their order, or with more than 10 different ones four ranges with a quarter of the rows each.
    Texts: the 20 most frequent, the rest as `(others)`. What stands for a missing value is `(missing)`.
    """
    import polars as pl

    from tasks.data.reader import MISSING_VALUES

    texts = pl.Series("text", values, dtype=pl.String).str.strip_chars()
    missing = (texts.is_null() | texts.is_in(MISSING_VALUES)).to_numpy()
    numbers = texts.cast(pl.Float64, strict=False).to_numpy()
    if np.isfinite(numbers).sum() == len(texts) - missing.sum() > 0:
        found = _slice_numbers(np.where(missing, np.nan, numbers))
    else:
        found = _slice_texts(texts, missing)
    return [*found, (MISSING_SLICE, np.flatnonzero(missing))] if missing.any() else found


def _slice_numbers(numbers: NDArray[np.float64]) -> Slices:
    """NaN is in none of them; ranges begin and end at numbers of the column, so that none is in two names."""
    present = numbers[~np.isnan(numbers)]
    starts = ends = different = np.unique(present)
    if len(different) > MAX_DISTINCT_NUMBERS:
        ends = np.unique(np.quantile(present, [0.25, 0.5, 0.75, 1], method="lower"))
        starts = np.append(different[0], different[np.searchsorted(different, ends[:-1], "right")])
    named = _name_ranges(starts, ends)
    return [
        (name, np.flatnonzero((numbers >= start) & (numbers <= end)))
        for name, start, end in zip(named, starts, ends, strict=True)
    ]


def _name_ranges(starts: NDArray[np.float64], ends: NDArray[np.float64]) -> list[str]:
    """As few digits as tell them apart."""
    shown: dict[float, str] = {}
    for digits in (6, 9, 17):
        shown = {end: f"{end:.{digits}g}" for end in [*starts.tolist(), *ends.tolist()]}
        if len(set(shown.values())) == len(shown):
            break
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    return [shown[start] if start == end else f"{shown[start]} to {shown[end]}" for start, end in pairs]


def _slice_texts(texts: "pl.Series", missing: NDArray[np.bool_]) -> Slices:
    """The most frequent first; of those that are as frequent, in the alphabet's order."""
    counted = texts.filter(~missing).value_counts().sort(["count", texts.name], descending=[True, False])
    frequent = counted[texts.name].head(MAX_DISTINCT_TEXTS)
    found = [(text, np.flatnonzero((texts == text).fill_null(value=False).to_numpy())) for text in frequent]
    others = ~(missing | texts.is_in(frequent.implode()).fill_null(value=False).to_numpy())
    return [*found, (OTHERS_SLICE, np.flatnonzero(others))] if others.any() else found
