"""Means, spreads and correlations of columns, added up block by block, to the same bits on every machine.

Sums are numpy's own, never BLAS's: those differ in the last bits from one processor to the next.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

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
