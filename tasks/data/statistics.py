"""Statistics of a table's columns, added up chunk by chunk: cells, ranges, labels, moments, digests of the values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Final, Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

_GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
_CHAIN_FACTOR = 0xD1342543DE82EF95


def row_keys(first: int, rows: int) -> Words:
    """An odd pseudo-random number for each row from `first` on: splitmix64 of the row's number."""
    words = np.arange(first, first + rows, dtype=np.uint64) * _GOLDEN_RATIO
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return (words ^ (words >> np.uint64(31))) | np.uint64(1)


def digest_block(values: NDArray[np.float64], first: int) -> Words:
    """Of a block (columns, rows) whose rows are numbered from `first`: add those of a file's blocks, modulo 2^64.

    The sum of each value's bits times its row's key. In whole numbers, so that neither the order of adding nor the
    processor matters, as they would to a sum of floating-point products.
    """
    bits = (values + 0.0).view(np.uint64)  # 0 makes -0 a 0, which it equals
    # The upper half folded into the lower: a whole number's last bits are zeros, and so would be its product's.
    folded = np.right_shift(bits, np.uint64(32))
    folded ^= bits
    folded *= row_keys(first, values.shape[1])
    digest: Words = folded.sum(axis=1, dtype=np.uint64)
    return digest


def chain_digests(first: Words, second: Words, files: int) -> Words:
    """Of the rows of two sets of files, the second of which are `files` in number."""
    return first * np.uint64(pow(_CHAIN_FACTOR, files, 2**64)) + second


@dataclass(frozen=True)
class Moments:
    """Of columns x beside the target t, each less its first finite value, so that a large mean costs no digits.

    `sums` (6, 2, columns): rows, mean of x, mean of t, and the sums of (x - mean)², (t - mean)² and their product;
    [:, 0] over the rows where x is finite, [:, 1] over those where t is finite too.
    """

    target: int
    shift: Floats
    """What is subtracted, (columns,); NaN as long as a column has no finite value."""
    sums: Floats

    @classmethod
    def empty(cls, columns: int, target: int) -> Self:
        """Of no rows."""
        return cls(target, np.full(columns, np.nan), np.zeros((6, 2, columns)))

    def with_block(self, values: Floats, clean: NDArray[np.bool_]) -> Self:
        """With a block (columns, rows); `clean` (columns,) says which of its columns hold finite values only."""
        shift = self.shift
        if (unknown := np.isnan(shift)).any():
            shift = np.where(unknown, _first_finite(values), shift)
        block = _sums(values - shift[:, None], self.target, clean)
        return type(self)(self.target, shift, _merge_sums(self.sums, block))

    def merge(self, other: Self) -> Self:
        """With those of other rows."""
        shift = np.where(np.isnan(self.shift), other.shift, self.shift)
        offset = np.nan_to_num(other.shift - shift)
        sums = other.sums.copy()
        sums[1:3] += np.stack([offset, np.full_like(offset, offset[self.target])])[:, None]
        return type(self)(self.target, shift, _merge_sums(self.sums, sums))

    def mean_std_correlation(self) -> tuple[Floats, Floats, Floats]:
        """Mean, standard deviation (ddof 0) and correlation with the target, each (columns,); NaN where undefined."""
        rows, x, _, xx, tt, xt = self.sums
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            deviation = np.sqrt(xx[0] / rows[0])
            correlation = xt[1] / (np.sqrt(xx[1]) * np.sqrt(tt[1]))
            return self.shift + x[0], deviation, np.clip(correlation, -1, 1)


def _first_finite(values: Floats) -> Floats:
    finite = np.isfinite(values)
    found = values[np.arange(len(values)), finite.argmax(axis=1)]
    return np.where(finite.any(axis=1), found, np.nan)


def _merge_sums(first: Floats, second: Floats) -> Floats:
    """After Chan, Golub and LeVeque (1979)."""
    rows, difference = first[0] + second[0], second[1:3] - first[1:3]
    share = second[0] / np.maximum(rows, 1)
    x, t = difference
    products = np.stack([x * x, t * t, x * t])
    means = first[1:3] + difference * share
    return np.concatenate([rows[None], means, first[3:] + second[3:] + products * (first[0] * share)])


def _sums(values: Floats, target: int, clean: NDArray[np.bool_]) -> Floats:
    label = values[target]
    if clean.all():
        return _sums_of_finite(values, label)
    clean = clean & clean[target]  # where the target is not finite, every column has rows to leave out
    sums = np.empty((6, 2, len(values)))
    sums[..., clean] = _sums_of_finite(values[clean], label)
    sums[..., ~clean] = _sums_with_gaps(values[~clean], label)
    return sums


def _sums_of_finite(values: Floats, label: Floats) -> Floats:
    """Of values that are not needed any more."""
    rows = values.shape[1]
    label_mean = label.sum() / rows
    label_deviations = label - label_mean
    label_square = np.square(label_deviations).sum()
    mean = values.sum(axis=1) / rows
    values -= mean[:, None]
    product = (values * label_deviations).sum(axis=1)
    square = np.square(values, out=values).sum(axis=1)
    once = np.stack(np.broadcast_arrays(float(rows), mean, label_mean, square, label_square, product))
    return np.broadcast_to(once[:, None], (6, 2, len(values)))


def _sums_with_gaps(values: Floats, label: Floats) -> Floats:
    own, labelled = np.isfinite(values), np.isfinite(label)
    label = np.where(labelled, label, 0)
    return np.stack([_sums_of_rows(values, label, rows) for rows in (own, own & labelled)], axis=1)


def _sums_of_rows(values: Floats, label: Floats, chosen: NDArray[np.bool_]) -> Floats:
    rows = chosen.sum(axis=1)
    mean, label_mean = (np.where(chosen, of, 0).sum(axis=1) / np.maximum(rows, 1) for of in (values, label))
    x, t = (np.where(chosen, of - at[:, None], 0) for of, at in ((values, mean), (label, label_mean)))
    return np.stack([rows, mean, label_mean, (x * x).sum(axis=1), (t * t).sum(axis=1), (x * t).sum(axis=1)])


ColumnKind = Literal["boolean", "integer", "number", "text"]
"""What the cells of a column are written as, the narrowest first."""
MAX_FLOAT32: Final = float(np.finfo(np.float32).max)
"""The largest number the algorithm can hold, about 3.4e38."""
_SAMPLE_ROWS = 256
_MAX_RANGE_PER_ROW = 8


class TextCells(NamedTuple):
    """The cells of a chunk's column that are no numbers: their rows, from 0 and ascending, and the first such cell."""

    rows: NDArray[np.intp]
    example: str


class CellCount(NamedTuple):
    """How many cells of a kind there are, and the first row with one, counted from 1."""

    number: int = 0
    row: int | None = None

    def merge(self, other: Self, rows_before: int) -> "CellCount":
        """With the cells of rows that follow `rows_before` others."""
        later = None if other.row is None else rows_before + other.row
        return CellCount(self.number + other.number, later if self.row is None else self.row)


_NO_CELLS = CellCount()


@dataclass(frozen=True)
class ColumnStatistics:
    """What is known beside the moments. As it stands, of no rows."""

    kind: ColumnKind = "boolean"
    missing: CellCount = _NO_CELLS
    infinite: CellCount = _NO_CELLS
    text: CellCount = _NO_CELLS
    too_large: CellCount = _NO_CELLS
    example: str | None = None
    low: float = inf
    high: float = -inf
    first: float | None = None
    last: float | None = None
    is_consecutive: bool = True
    """By one from row to row, as an index does."""
    distinct: bool = True
    """Whole numbers, none twice in a chunk."""

    @property
    def counts_up(self) -> bool:
        """Whether it is an index, from 0 or 1."""
        return self.is_consecutive and self.first in {0, 1}

    def merge(self, other: Self, rows_before: int, *, may_restart: bool = False) -> Self:
        """With what follows after `rows_before` rows; an index may start again where another file does."""
        if self.first is None or other.first is None:
            return self if other.first is None else other
        goes_on = other.first == (self.last or 0.0) + 1 or (may_restart and other.counts_up)
        return replace(
            self,
            kind=max(self.kind, other.kind, key=get_args(ColumnKind).index),
            missing=self.missing.merge(other.missing, rows_before),
            infinite=self.infinite.merge(other.infinite, rows_before),
            text=self.text.merge(other.text, rows_before),
            too_large=self.too_large.merge(other.too_large, rows_before),
            example=other.example if self.example is None else self.example,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            last=other.last,
            is_consecutive=self.is_consecutive and goes_on and other.is_consecutive,
            distinct=self.distinct and other.distinct,
        )

    def with_chunk(self, chunk: "ColumnChunk", rows_before: int) -> Self:
        """With a chunk that follows `rows_before` rows; what an earlier chunk ruled out is not looked for again."""
        return self.merge(
            type(self)(
                **chunk.cells(),
                kind=chunk.kind,
                example=chunk.text and chunk.text.example,
                low=chunk.low,
                high=chunk.high,
                first=float(chunk.values[0]),
                last=float(chunk.values[-1]),
                is_consecutive=self.is_consecutive and chunk.is_consecutive(),
                distinct=self.distinct and chunk.is_distinct(),
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

    def cells(self) -> dict[str, CellCount]:
        """Those that cannot be trained on, by what is wrong with them."""
        found = {}
        if not self.finite:
            missing = np.isnan(self.values)
            if self.text and len(self.text.rows):
                found["text"] = CellCount(len(self.text.rows), int(self.text.rows[0]) + 1)
                missing[self.text.rows] = False
            found |= {"missing": _count_cells(missing), "infinite": _count_cells(np.isinf(self.values))}
        if max(self.high, -self.low) > MAX_FLOAT32:
            found["too_large"] = _count_cells(np.isfinite(self.values) & (np.abs(self.values) > MAX_FLOAT32))
        return found

    def is_consecutive(self) -> bool:
        """Whether each value is the one before plus one."""
        steps = self.high - self.low == self.values[-1] - self.values[0] == len(self.values) - 1
        return bool(self.finite and steps and (np.diff(self.values) == 1).all())

    def is_distinct(self) -> bool:
        """Whether all values are whole and none comes twice."""
        return self.finite and _are_distinct(self.values[:_SAMPLE_ROWS]) and _are_distinct(self.values)


def _count_cells(chosen: NDArray[np.bool_]) -> CellCount:
    return CellCount(int(chosen.sum()), int(chosen.argmax()) + 1) if chosen.any() else _NO_CELLS


def _are_distinct(values: NDArray[np.float64]) -> bool:
    if (np.floor(values) != values).any():
        return False
    low, high = float(values.min()), float(values.max())
    if high - low < _MAX_RANGE_PER_ROW * len(values):  # ticking off what occurred is much faster than sorting
        occurs = np.zeros(int(high - low) + 1, np.bool_)
        occurs[(values - low).astype(np.intp)] = True
        return int(occurs.sum()) == len(values)
    ordered = np.sort(values)
    return bool((ordered[1:] != ordered[:-1]).all())


MAX_LABELS: Final = 1000
"""A target of more different values has no classes, or more than can be listed."""
_BATCH_ROWS = 65_536


class LabelTally(NamedTuple):
    """In how many rows a label is, and the first of them, counted from 1."""

    rows: int
    first_row: int


@dataclass(frozen=True)
class LabelStatistics:
    """What a target holds; infinite and missing labels are passed over. As it stands, of no rows."""

    tallies: Mapping[float, LabelTally] | None = field(default_factory=dict)
    """By value; None once there are more than MAX_LABELS."""
    fractional_row: int | None = None
    """The first row whose label is no whole number."""

    def with_chunk(self, values: NDArray[np.float64], rows_before: int) -> Self:
        """With labels (rows,) that follow `rows_before` others."""
        statistics = self
        for start in range(0, len(values), _BATCH_ROWS):
            statistics = statistics.merge(
                statistics._count_labels(values[start : start + _BATCH_ROWS]), rows_before + start
            )
        return statistics

    def merge(self, other: Self, rows_before: int) -> Self:
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

    def _count_labels(self, values: NDArray[np.float64]) -> Self:
        """These values alone; what is settled already is not looked for, nor the first rows of labels already known."""
        finite = values[np.isfinite(values)]
        fractional = np.floor(finite) != finite
        row = int((values == finite[fractional.argmax()]).argmax()) + 1 if fractional.any() else None
        if self.tallies is None:
            return type(self)(None, row)
        found, counts = _count_values(finite, whole=row is None)
        if len(found) > MAX_LABELS:
            return type(self)(None, row)
        tallies = {}
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            tallies[value] = LabelTally(count, 0 if value in self.tallies else int((values == value).argmax()) + 1)
        return type(self)(tallies, row)


def _count_values(values: NDArray[np.float64], *, whole: bool) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The different values and how often each occurs."""
    if whole and len(values) and values.min() >= 0 and values.max() < len(values):
        counts = np.bincount(values.astype(np.intp))  # much faster than sorting
        found = np.flatnonzero(counts)
        return found.astype(np.float64), counts[found]
    return np.unique(values + 0.0, return_counts=True)  # 0 makes -0 a 0, which it equals
