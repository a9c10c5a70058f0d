"""What is recorded about scored rows: missing cells, unseen categories and the distribution of the predictions.

The statistics of parts of a table can be merged, in any grouping, into those of the table, and written as JSON.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel

FIRST_ROWS = 10
MAX_BINS = 1024
"""The most bins of a histogram of predictions."""
MAX_UNSEEN = 1000
"""The most unseen categories of a column that are counted; of more, a sample of the categories is."""
MAX_CATEGORY_CHARACTERS = 100
_HASH_SEED = 20
_KEY_BITS = 32
_SIGN = np.uint32(1 << 31)


class _Model(BaseModel, frozen=True, ser_json_inf_nan="strings"):
    pass


class NumberDistribution(_Model):
    """The distribution of finite float32 numbers: `counts` in the `bins`.

    Bins are integers in the order of the numbers, without their lowest `level` bits: as few as possible so that there
    are at most MAX_BINS of them. They do not depend on the order and the parts in which the numbers are counted.
    """

    count: int
    minimum: float
    maximum: float
    total: float
    level: int
    bins: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def measure(cls, values: NDArray[np.float32]) -> Self | None:
        """The distribution of the finite ones of the values; None if there are none."""
        finite = values[np.isfinite(values)]
        if not finite.size:
            return None
        keys = np.sort(_to_keys(finite)).astype(np.int64)
        low, high, total = float(finite.min()), float(finite.max()), float(finite.sum(dtype=np.float64))
        bins = _coarsen(keys, np.ones(len(keys), np.int64), 0)
        return cls._of_bins((finite.size, low, high, total), *bins)

    @classmethod
    def merge(cls, parts: Sequence["NumberDistribution"]) -> Self | None:
        if not parts:
            return None
        level = max(part.level for part in parts)
        keys = np.concatenate([np.array(part.bins, np.int64) >> (level - part.level) for part in parts])
        counts = np.concatenate([np.array(part.counts, np.int64) for part in parts])
        order = np.argsort(keys)
        low, high = min(part.minimum for part in parts), max(part.maximum for part in parts)
        figures = (sum(part.count for part in parts), low, high, sum(part.total for part in parts))
        return cls._of_bins(figures, *_coarsen(keys[order], counts[order], level))

    @classmethod
    def _of_bins(
        cls, figures: tuple[int, float, float, float], level: int, keys: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> Self:
        count, low, high, total = figures
        return cls(
            count=count, minimum=low, maximum=high, total=total,
            level=level, bins=tuple(keys.tolist()), counts=tuple(counts.tolist()),
        )  # fmt: skip

    @property
    def mean(self) -> float:
        return self.total / self.count

    def quantile(self, share: float) -> float:
        """The number that `share` of the numbers do not exceed, accurate to the width of a bin."""
        position = np.searchsorted(np.cumsum(self.counts), share * self.count)
        key = self.bins[min(int(position), len(self.bins) - 1)]
        middle = _to_number((key << self.level) + ((1 << self.level) >> 1))
        return min(max(middle, self.minimum), self.maximum)


def _coarsen(
    keys: NDArray[np.int64], counts: NDArray[np.int64], level: int
) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """The lowest level with at most MAX_BINS different keys, these keys and the sums of their counts.

    `keys` are in ascending order and may be repeated.
    """
    different_bits = np.frexp((keys[1:] ^ keys[:-1]).astype(np.float64))[1]  # of each key and the next one
    different_keys = len(keys) - np.cumsum(np.bincount(different_bits, minlength=_KEY_BITS + 1))
    shift = int(np.argmax(different_keys <= MAX_BINS))
    starts = np.flatnonzero(np.concatenate([[True], different_bits > shift]))
    return level + shift, keys[starts] >> shift, np.add.reduceat(counts, starts)


def _to_keys(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Integers in the order of the floats."""
    bits = (values + np.float32(0)).view(np.int32)  # -0.0 is 0.0
    return _flip(bits).view(np.uint32) ^ _SIGN


def _to_number(key: int) -> float:
    keys = np.array([key], np.uint32) ^ _SIGN
    return float(_flip(keys.view(np.int32)).view(np.float32)[0])


def _flip(bits: NDArray[np.int32]) -> NDArray[np.int32]:
    """Reverse the order of negative floats' bits."""
    return bits ^ ((bits >> 31) & np.int32((1 << 31) - 1))


class UnseenCategories(_Model):
    """Categories of a column that are none of the model's, and the number of `cells` with one of them.

    `counts` has the cells of each category, if there are at most MAX_UNSEEN. Of more categories it has MAX_UNSEEN, each
    with all its cells, chosen by a hash, so that they do not depend on the order and the parts of the rows. Of long
    texts it has the start.
    """

    cells: int
    counts: dict[str, int]

    @classmethod
    def of(cls, texts: Sequence[str], rows: Sequence[int]) -> Self:
        """The categories `texts` with their numbers of rows."""
        counts: Counter[str] = Counter()
        for text, count in zip(texts, rows, strict=True):
            counts[text[:MAX_CATEGORY_CHARACTERS]] += count
        return cls(cells=sum(rows), counts=_sample(counts))

    @classmethod
    def merge(cls, parts: Sequence["UnseenCategories"]) -> Self:
        return cls(cells=sum(part.cells for part in parts), counts=_sample(add_counts(part.counts for part in parts)))

    def most_frequent(self, limit: int = 5) -> dict[str, int]:
        """The most frequent of the counted categories, with their cells."""
        return dict(sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:limit])


def _sample(counts: dict[str, int]) -> dict[str, int]:
    """The counts of at most MAX_UNSEEN texts, those with the lowest hashes."""
    if len(counts) <= MAX_UNSEEN:
        return counts
    texts = pl.Series("text", list(counts))
    chosen = pl.DataFrame([texts, texts.hash(_HASH_SEED).alias("hash")]).sort("hash", "text").head(MAX_UNSEEN)
    return {text: counts[text] for text in chosen["text"]}


class ScoringStatistics(_Model):
    """What is recorded about scored rows."""

    rows: int = 0
    missing: dict[str, int] = {}
    """Missing cells of each of the model's columns that has any."""
    unseen: dict[str, UnseenCategories] = {}
    """Cells of each category column that has any whose category is none of the model's."""
    classes: dict[str, int] = {}
    """A classifier's rows by predicted class."""
    predictions: NumberDistribution | None = None
    """A regressor's predictions."""
    first_rows: tuple[dict[str, Any], ...] = ()
    """The first rows of the output: numbers, texts, booleans or null by column name."""

    @classmethod
    def merge(cls, parts: Sequence["ScoringStatistics"]) -> Self:
        """The statistics of all parts, which are in the order of their rows."""
        unseen = {name: None for part in parts for name in part.unseen}
        return cls(
            rows=sum(part.rows for part in parts),
            missing=add_counts(part.missing for part in parts),
            unseen={
                name: UnseenCategories.merge([part.unseen[name] for part in parts if name in part.unseen])
                for name in unseen
            },
            classes=add_counts(part.classes for part in parts),
            predictions=NumberDistribution.merge([part.predictions for part in parts if part.predictions]),
            first_rows=tuple(row for part in parts for row in part.first_rows)[:FIRST_ROWS],
        )


def add_counts(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)
