"""Statistics of columns of numbers, which can be merged for consecutive rows."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.data.row_sketch import Hashes

MAX_FLOAT32 = float(np.finfo(np.float32).max)  # the algorithm computes with float32
_BLOCK_CELLS = 1 << 18  # measured at once; they fit into the processor's cache

Floats = NDArray[np.float64]
Facts = dict[str, NDArray[Any]]
"""Arrays (columns,). `…_row` is the first row with such a cell, from 1, infinite if there is none; `known` counts the
finite cells; `square` is the sum of their squared deviations from the mean, and `product` the sum of their deviations
times those of the target."""


def measure_values(values: Floats, label: int) -> tuple[Facts, Hashes]:
    """Facts about values (columns, rows), and a hash of each row; `values[label]` is the target."""
    columns, rows = values.shape
    step = max(1024, _BLOCK_CELLS // columns)
    with np.errstate(over="ignore", invalid="ignore"):  # values beyond float32 are reported later
        found = [_measure_block(values[:, at : at + step], label) for at in range(0, max(rows, 1), step)]
        return merge_facts([facts for facts, _ in found], label), np.concatenate([digests for _, digests in found])


def _measure_block(values: Floats, label: int) -> tuple[Facts, Hashes]:
    columns, rows = values.shape
    low, high = values.min(axis=1, initial=np.inf), values.max(axis=1, initial=-np.inf)
    sound = bool(((low >= -MAX_FLOAT32) & (high <= MAX_FLOAT32)).all())  # false for NaN as well
    unsound = values[:, :0] if sound else values
    finite, known, cells = values, np.full(columns, rows), np.isfinite(unsound)
    if not sound:
        finite, known = np.where(cells, values, 0), cells.sum(axis=1)
        low = values.min(axis=1, initial=np.inf, where=cells)
        high = values.max(axis=1, initial=-np.inf, where=cells)
    mean = finite.sum(axis=1) / np.maximum(known, 1)
    deviations = finite - mean[:, None]
    if not sound:
        deviations *= cells
    fraction_row = np.full(columns, np.inf)
    fraction_row[label] = count(finite[label] != np.floor(finite[label]))[1]
    words = _fold((values + 0.0).view(np.uint64))  # + 0.0 turns -0 into 0, which it equals
    facts = {
        "rows": np.full(columns, rows),
        "digest": _digest(words),
        "fraction_row": fraction_row,
        "minimum": low,
        "maximum": high,
        "known": known,
        "mean": mean,
        "square": np.einsum("ij,ij->i", deviations, deviations),
        "product": np.einsum("ij,j->i", deviations, deviations[label]),
        **_count_problems(unsound),
    }
    return facts, np.einsum("ij,i->j", words, column_keys(columns))


def _count_problems(values: Floats) -> Facts:
    problems = {
        "missing": np.isnan(values),
        "infinite": np.isinf(values),
        "too_large": np.isfinite(values) & (np.abs(values) > MAX_FLOAT32),
    }
    facts: Facts = {}
    for problem, mask in problems.items():
        facts[problem], facts[f"{problem}_row"] = count(mask)
    return facts


def count(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats]:
    """The number of true cells along the last axis, and the position of the first, from 1."""
    rows = np.where(mask, np.arange(1, mask.shape[-1] + 1), np.inf)
    return mask.sum(axis=-1), rows.min(axis=-1, initial=np.inf)


def _fold(words: Hashes) -> Hashes:
    """Fold the upper half of each word into the lower.

    As a float64, a whole number ends in zero bits, and so would its product with a key.
    """
    folded = words >> np.uint64(32)
    folded ^= words
    return folded


def _digest(folded: Hashes) -> Hashes:
    """A hash of each row of words that depends on their order; different rows very probably have different hashes."""
    digest: Hashes = np.einsum("ij,j->i", folded, _keys(folded.shape[1], 0))
    return digest


@lru_cache(maxsize=4)
def _keys(count: int, seed: int) -> Hashes:
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64) | np.uint64(1)


def column_keys(count: int) -> Hashes:
    """The factors of the columns in the hash of a row."""
    return _keys(count, 1)


_REDUCTIONS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    **dict.fromkeys(("rows", "known", "missing", "infinite", "too_large"), partial(np.sum, axis=0)),
    **dict.fromkeys(("minimum", "distinct", "counts_from_0", "counts_from_1"), partial(np.min, axis=0)),
    **dict.fromkeys(("maximum", "real"), partial(np.max, axis=0)),
    "digest": lambda parts: _digest(_fold(parts.T)),
}


def merge_facts(parts: Sequence[Facts], label: int) -> Facts:
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    merged = {name: _REDUCTIONS[name](of) for name, of in stacked.items() if name in _REDUCTIONS}
    start = np.cumsum(stacked["rows"], axis=0) - stacked["rows"]
    merged |= {name: (of + start).min(axis=0) for name, of in stacked.items() if name.endswith("_row")}
    distance, known = stacked["mean"] - stacked["mean"][0], stacked["known"]
    shift = (known * distance).sum(axis=0) / np.maximum(merged["known"], 1)
    distance -= shift
    merged["mean"] = stacked["mean"][0] + shift
    # Sums of products after Chan, Golub and LeVeque (1979).
    merged["square"] = (stacked["square"] + known * distance * distance).sum(axis=0)
    merged["product"] = (stacked["product"] + known * distance * distance[:, [label]]).sum(axis=0)
    return merged
