"""Statistics of columns, added up block by block: means, spreads, correlations, digests of the values."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_CHAIN = 0xD1342543DE82EF95


def row_keys(first: int, rows: int) -> Words:
    """An odd pseudo-random number for each row from `first` on: splitmix64 of the row's number."""
    words = np.arange(first, first + rows, dtype=np.uint64) * _GOLDEN
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return (words ^ (words >> np.uint64(31))) | np.uint64(1)


def block_digest(values: NDArray[np.float64], first: int) -> Words:
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


def chained(first: Words, second: Words, files: int) -> Words:
    """Of the rows of two sets of files, the second of which are `files` in number."""
    return first * np.uint64(pow(_CHAIN, files, 2**64)) + second


Floats = NDArray[np.float64]


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
    def of_nothing(cls, columns: int, target: int) -> Self:
        """Of no rows."""
        return cls(target, np.full(columns, np.nan), np.zeros((6, 2, columns)))

    def and_block(self, values: Floats, clean: NDArray[np.bool_]) -> Self:
        """With a block (columns, rows); `clean` (columns,) says which of its columns hold finite values only."""
        shift = self.shift
        if (unknown := np.isnan(shift)).any():
            shift = np.where(unknown, _first_finite(values), shift)
        block = _sums(values - shift[:, None], self.target, clean)
        return type(self)(self.target, shift, _together(self.sums, block))

    def then(self, other: Self) -> Self:
        """With those of other rows."""
        shift = np.where(np.isnan(self.shift), other.shift, self.shift)
        offset = np.nan_to_num(other.shift - shift)
        sums = other.sums.copy()
        sums[1:3] += np.stack([offset, np.full_like(offset, offset[self.target])])[:, None]
        return type(self)(self.target, shift, _together(self.sums, sums))

    def spreads(self) -> tuple[Floats, Floats, Floats]:
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


def _together(first: Floats, second: Floats) -> Floats:
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
        return _of_finite(values, label)
    clean = clean & clean[target]  # where the target is not finite, every column has rows to leave out
    sums = np.empty((6, 2, len(values)))
    sums[..., clean] = _of_finite(values[clean], label)
    sums[..., ~clean] = _of_some(values[~clean], label)
    return sums


def _of_finite(values: Floats, label: Floats) -> Floats:
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


def _of_some(values: Floats, label: Floats) -> Floats:
    own, labelled = np.isfinite(values), np.isfinite(label)
    label = np.where(labelled, label, 0)
    return np.stack([_of_chosen(values, label, rows) for rows in (own, own & labelled)], axis=1)


def _of_chosen(values: Floats, label: Floats, chosen: NDArray[np.bool_]) -> Floats:
    rows = chosen.sum(axis=1)
    mean, label_mean = (np.where(chosen, of, 0).sum(axis=1) / np.maximum(rows, 1) for of in (values, label))
    x, t = (np.where(chosen, of - at[:, None], 0) for of, at in ((values, mean), (label, label_mean)))
    return np.stack([rows, mean, label_mean, (x * x).sum(axis=1), (t * t).sum(axis=1), (x * t).sum(axis=1)])
