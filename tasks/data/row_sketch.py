"""A sample of a table's rows and an estimate of its duplicate rows, both computed in one pass and mergeable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
SAMPLE_ROWS: Final = 2000
SAMPLE_CELLS: Final = 1 << 18
"""Of wide tables, fewer rows are sampled."""
SKETCH_SIZE: Final = 4096
DISTINCT_ROWS: Final = 1024
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio: multiples are spread evenly
_MAX_HASH = np.uint64(2**64 - 1)


def mix(words: Hashes) -> Hashes:
    """A hash of each word whose high bits depend on all bits of the word."""
    mixed = words >> np.uint64(32)
    mixed ^= words
    mixed *= _ODD
    return mixed


def smallest(hashes: Hashes, size: int = SKETCH_SIZE) -> Hashes:
    """The `size` smallest distinct hashes, ascending: a sketch from which the number of distinct ones is estimated.

    No hash occurs more than twice, as the hashes are those of distinct values or of two sketches.
    """
    some = np.partition(hashes, 2 * size)[: 2 * size] if len(hashes) > 2 * size else hashes
    ordered = np.sort(some)
    distinct: Hashes = ordered[np.diff(ordered, prepend=ordered[:1] + np.uint64(1)) != 0]
    return distinct[:size]


def estimate_distinct(sketch: Hashes) -> int:
    """The number of distinct hashes of which the sketch has the smallest; exact for fewer than SKETCH_SIZE."""
    if len(sketch) < SKETCH_SIZE:
        return len(sketch)
    return round((len(sketch) - 1) / (float(sketch[-1]) / 2**64))


@dataclass(frozen=True)
class DistinctRows:
    """The distinct rows with the smallest hashes, ascending, and how many rows of the table equal each of them."""

    hashes: Hashes
    counts: NDArray[np.int64]

    @property
    def bound(self) -> np.uint64:
        """Rows with larger hashes do not change the sketch."""
        return self.hashes[-1] if len(self.hashes) == DISTINCT_ROWS else _MAX_HASH

    @property
    def duplicates(self) -> float:
        """The share of the rows that repeat another row."""
        rows = int(self.counts.sum())
        return 1 - len(self.counts) / rows if rows else 0.0


def count_distinct_rows(digests: Hashes, bound: np.uint64 = _MAX_HASH) -> DistinctRows:
    hashes = mix(digests)
    found, counts = np.unique(hashes[hashes <= bound], return_counts=True)
    return DistinctRows(found[:DISTINCT_ROWS], counts[:DISTINCT_ROWS])


def merge_distinct_rows(parts: Sequence[DistinctRows]) -> DistinctRows:
    hashes, positions = np.unique(np.concatenate([part.hashes for part in parts]), return_inverse=True)
    counts = np.zeros(len(hashes), np.int64)
    np.add.at(counts, positions, np.concatenate([part.counts for part in parts]))
    return DistinctRows(hashes[:DISTINCT_ROWS], counts[:DISTINCT_ROWS])


@dataclass(frozen=True)
class RowSample:
    """Rows chosen by their number in the file, so that neither chunks nor values decide which."""

    keys: Hashes
    """Ascending."""
    values: NDArray[np.float64]
    """Shape (rows, columns); NaN for text."""
    size: int
    """The most rows."""

    @property
    def bound(self) -> np.uint64:
        """Rows with larger keys are not in the sample."""
        return self.keys[-1] if len(self.keys) == self.size else _MAX_HASH


def sample_size(columns: int) -> int:
    return min(SAMPLE_ROWS, max(100, SAMPLE_CELLS // columns))


def sample_rows(values: NDArray[Any], start: int, bound: np.uint64 = _MAX_HASH) -> RowSample:
    """Sample rows of `values` (columns, rows), the first of which is row `start` of the file, from 0."""
    columns, rows = values.shape
    keys = np.arange(start, start + rows, dtype=np.uint64) * _ODD
    chosen, size = np.flatnonzero(keys <= bound), sample_size(columns)
    if len(chosen) > size:
        chosen = chosen[np.argpartition(keys[chosen], size)[:size]]
    return _take(keys[chosen], values[:, chosen].T, size)


def merge_samples(parts: Sequence[RowSample]) -> RowSample:
    keys, values = (np.concatenate(found) for found in zip(*((one.keys, one.values) for one in parts), strict=True))
    return _take(keys, values, parts[0].size)


def _take(keys: Hashes, values: NDArray[np.float64], size: int) -> RowSample:
    order = np.argsort(keys, kind="stable")[:size]
    return RowSample(keys[order], values[order], size)
