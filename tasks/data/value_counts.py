"""Counts of distinct values with bounded memory, mergeable over the chunks and files of a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

MAX_DISTINCT = 1 << 20
"""The most distinct values of a column that are counted exactly."""


@dataclass(frozen=True)
class ValueCounts:
    """The distinct values of a column, texts or integers, and the number of rows of each.

    Of more than MAX_DISTINCT texts, the least frequent ones are dropped. More than MAX_DISTINCT integers lose their
    lowest bits, as few as possible: each then stands for a range of 2 ** `level` integers. This does not depend on the
    order of the rows; what is dropped of the texts does.
    """

    frame: pl.DataFrame
    """Columns `value` and `rows`; integers are shifted right by `level`."""
    level: int = 0

    @property
    def distinct(self) -> int:
        return self.frame.height

    @classmethod
    def count(cls, values: pl.Series) -> "ValueCounts":
        """Count values without missing ones."""
        return cls(values.alias("value").value_counts(name="rows").with_columns(pl.col("rows").cast(pl.UInt64)))

    @classmethod
    def merge(cls, parts: Sequence["ValueCounts"]) -> "ValueCounts":
        level = max(part.level for part in parts)
        counted = _sum(pl.concat([_shift(part, level).frame for part in parts]))
        if counted.height <= MAX_DISTINCT:
            return cls(counted, level)
        if counted["value"].dtype == pl.String:
            return cls(_most_frequent(counted, MAX_DISTINCT // 2))
        return _coarsen(cls(counted, level))

    def most_frequent(self, limit: int) -> pl.DataFrame:
        """The most frequent values with their rows; of equally frequent ones the first in the order of texts."""
        return _most_frequent(self.frame, limit)

    def middle(self) -> tuple[int, int]:
        """The two integers in the middle of all rows; the same one twice for an odd number of rows."""
        frame = self.frame.sort("value")
        ends, values = frame["rows"].cum_sum().to_numpy(), frame["value"].to_numpy()
        total = int(ends[-1])
        low, high = np.searchsorted(ends, [(total - 1) // 2, total // 2], side="right").tolist()
        half = (1 << self.level) >> 1
        return (int(values[low]) << self.level) + half, (int(values[high]) << self.level) + half


def _shift(counts: ValueCounts, level: int) -> ValueCounts:
    """The counts without as many of the lowest bits of their integers as the level asks for."""
    if level == counts.level:
        return counts
    values = pl.Series("value", counts.frame["value"].to_numpy() >> (level - counts.level))
    return ValueCounts(counts.frame.with_columns(values), level)


def _coarsen(counts: ValueCounts) -> ValueCounts:
    """The counts at the lowest level with at most MAX_DISTINCT values."""
    values: NDArray[np.int64] = counts.frame["value"].sort().to_numpy()
    shift = 0
    while 1 + np.count_nonzero(np.diff(values >> shift)) > MAX_DISTINCT:
        shift += 1
    shifted = _shift(counts, counts.level + shift)
    return ValueCounts(_sum(shifted.frame), shifted.level)


def _sum(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("value").agg(pl.col("rows").sum())


def _most_frequent(frame: pl.DataFrame, limit: int) -> pl.DataFrame:
    return frame.sort(["rows", "value"], descending=[True, False]).head(limit)


def float_keys(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Integers in the order of the floats, none of them NaN."""
    return _flip((values + 0.0).view(np.int64))  # -0.0 is 0.0


def key_float(key: int) -> float:
    """The float of an integer from `float_keys`."""
    return float(_flip(np.array([key])).view(np.float64)[0])


def _flip(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Reverse the order of negative floats' bits."""
    return bits ^ ((bits >> 63) & np.int64((1 << 63) - 1))
