"""What one pass over a table, chunk by chunk, knows about it: enough to check it without reading it again."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from math import isfinite, nan
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from linear_learner.errors import DataError
from tasks.data.statistics import (
    ColumnChunk,
    ColumnKind,
    ColumnStatistics,
    LabelStatistics,
    Moments,
    TextCells,
    chain_digests,
    digest_block,
)

__all__ = ["ColumnKind", "ColumnProfile", "LabelCount", "Profile", "ProfileAccumulator", "TextCells", "merge_files"]

MAX_EXAMPLE_LENGTH = 60
_BLOCK_CELLS = 1 << 18
_MODEL_CONFIG = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ColumnProfile(BaseModel):
    """One column; each count of cells comes with the first row that has one, 1 being the first below the header.

    Figures are of the finite values, and None where there are none or where a float64 cannot hold the figure.
    """

    model_config = _MODEL_CONFIG

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
    """Pearson's, with the target, over the rows where both are finite."""
    counts_up: bool
    """Whether the values are 0, 1, 2, … or 1, 2, 3, …, through all files of the table or in each of them."""
    distinct: bool
    """Whether the values are whole and none comes twice within any chunk."""
    digest: str
    """Equal for columns of equal values in every row."""


class LabelCount(BaseModel):
    """How many rows have a label, and the first of them."""

    model_config = _MODEL_CONFIG

    value: float
    rows: int
    first_row: int


class Profile(BaseModel):
    """A table: its columns in file order, the target among them."""

    model_config = _MODEL_CONFIG

    rows: int
    target: str
    columns: tuple[ColumnProfile, ...]
    labels: tuple[LabelCount, ...] | None
    """The target's finite values in ascending order; None when there are more than 1000."""
    fractional_label_row: int | None
    """The first row whose label is no whole number."""


class ProfileAccumulator:
    """Adds up the chunks of one file, in order; may be pickled between two of them, to go on elsewhere.

    The same file, cut into the same chunks, comes to the same profile on every machine, bit for bit.
    """

    def __init__(self, names: Sequence[str], target: str) -> None:
        self.names, self.target = tuple(names), target
        self.rows, self.files = 0, 1
        self.columns = [ColumnStatistics() for _ in names]
        self.labels = LabelStatistics()
        self.moments = Moments.empty(len(names), self.names.index(target))
        self.digest = np.zeros(len(names), np.uint64)

    def add(self, values: NDArray[np.float64], kinds: Sequence[ColumnKind], texts: Mapping[str, TextCells]) -> None:
        """Add the next chunk: `values` (columns, rows), C-contiguous, of columns written as `kinds`.

        NaN is a missing cell or, where `texts` says so under the column's name, text. Infinities are allowed.
        """
        if not values.shape[1]:
            return
        with np.errstate(over="ignore", invalid="ignore"):  # of values that no float32 holds, and that are reported
            low, high = self._add_blocks(values)
            for index, (name, kind) in enumerate(zip(self.names, kinds, strict=True)):
                chunk = ColumnChunk(values[index], kind, texts.get(name), float(low[index]), float(high[index]))
                self.columns[index] = self.columns[index].with_chunk(chunk, self.rows)
        self.labels = self.labels.with_chunk(values[self.names.index(self.target)], self.rows)
        self.rows += values.shape[1]

    def merge(self, other: Self) -> Self:
        """What the rows of both come to, `other` having measured the files that follow; raises DataError.

        Both are left as they were.
        """
        if (self.names, self.target) != (other.names, other.target):
            raise DataError(
                f"the table's files differ in their columns: {_describe_difference(self.names, other.names)}"
            )
        both = type(self)(self.names, self.target)
        both.rows, both.files = self.rows + other.rows, self.files + other.files
        pairs = zip(self.columns, other.columns, strict=True)
        both.columns = [first.merge(second, self.rows, may_restart=True) for first, second in pairs]
        both.labels = self.labels.merge(other.labels, self.rows)
        with np.errstate(over="ignore", invalid="ignore"):
            both.moments = self.moments.merge(other.moments)
        both.digest = chain_digests(self.digest, other.digest, other.files)
        return both

    def profile(self) -> Profile:
        """What is known so far."""
        tallies = self.labels.tallies
        return Profile(
            rows=self.rows,
            target=self.target,
            columns=tuple(self._column_profiles()),
            labels=None
            if tallies is None
            else tuple(LabelCount(value=v, rows=n, first_row=row) for v, (n, row) in sorted(tallies.items())),
            fractional_label_row=self.labels.fractional_row,
        )

    def _add_blocks(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Add moments and digest, in blocks that stay in the processor's cache; returns each column's low and high."""
        step = max(1024, _BLOCK_CELLS // len(values))
        extremes = []
        for start in range(0, values.shape[1], step):
            block = values[:, start : start + step]
            low, high = block.min(axis=1), block.max(axis=1)
            extremes.append((low, high))
            self.moments = self.moments.with_block(block, np.isfinite(low) & np.isfinite(high))
            self.digest += digest_block(block, self.rows + start)
        lows, highs = np.array(extremes).swapaxes(0, 1)
        return lows.min(axis=0), highs.max(axis=0)

    def _column_profiles(self) -> Iterator[ColumnProfile]:
        label = self.columns[self.names.index(self.target)]
        figures = (of.tolist() for of in (*self.moments.mean_std_correlation(), self.digest))
        for name, column, mean, std, correlation, digest in zip(self.names, self.columns, *figures, strict=True):
            constant = column.low == column.high
            yield ColumnProfile(
                name=name,
                kind=column.kind,
                missing=column.missing.number,
                missing_row=column.missing.row,
                infinite=column.infinite.number,
                infinite_row=column.infinite.row,
                text=column.text.number,
                text_row=column.text.row,
                text_example=column.example and column.example[:MAX_EXAMPLE_LENGTH],
                too_large=column.too_large.number,
                too_large_row=column.too_large.row,
                minimum=_finite_or_none(column.low),
                maximum=_finite_or_none(column.high),
                mean=_finite_or_none(column.low if constant else mean),
                std=_finite_or_none(0.0 if constant else std),
                correlation=_finite_or_none(nan if constant or label.low == label.high else correlation),
                counts_up=column.counts_up,
                distinct=column.distinct and column.first is not None,
                digest=f"{digest:016x}",
            )


def merge_files(first: ProfileAccumulator, *others: ProfileAccumulator) -> ProfileAccumulator:
    """What the files of one table come to, each measured by itself, in their order; raises DataError.

    This is what the profile of several files is: it does not matter which machine measured which.
    """
    return reduce(ProfileAccumulator.merge, others, first)


def _describe_difference(first: Sequence[str], second: Sequence[str]) -> str:
    if len(first) != len(second):
        return f"one has {len(first)}, another {len(second)}"
    pairs = enumerate(zip(first, second, strict=True), start=1)
    found = [f"column {place} is {one!r} in one and {two!r} in another" for place, (one, two) in pairs if one != two]
    return found[0] if found else "they have different targets"


def _finite_or_none(figure: float) -> float | None:
    return figure if isfinite(figure) else None
