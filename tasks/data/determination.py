"""Find a few columns that together determine the target, such as the summands of a sum."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.data.profile import ColumnProfile

MIN_R2: Final = 0.999
MAX_COLUMNS: Final = 6
MIN_ROWS: Final = 30
"""Fewer rows may be fitted by chance."""
Floats = NDArray[np.float64]


def find_determining_columns(sample: Floats, target: int, columns: Sequence[ColumnProfile]) -> tuple[str, ...]:
    """The fewest columns found whose linear combination explains over MIN_R2 of the target's variance; else none.

    `sample` has the shape (rows, columns). Only columns without missing or infinite numbers are tried, and no
    first column that counts the rows.
    """
    tried = [
        index
        for index, column in enumerate(columns)
        if index != target
        and column.kind in {"boolean", "integer", "number"}
        and not (index == 0 and column.counts_rows)
        and np.isfinite(sample[:, index]).all()
    ]
    sample = sample[np.isfinite(sample[:, target])]
    if len(sample) < MIN_ROWS or columns[target].kind == "text":
        return ()
    values, labels = _standardise(sample[:, tried]), _standardise(sample[:, [target]])[:, 0]
    chosen = _select_forward(values, labels) if labels.any() else []
    for column in tuple(chosen):
        others = [one for one in chosen if one != column]
        if others and _explained(values[:, others], labels) > MIN_R2:
            chosen = others
    return tuple(columns[tried[one]].name for one in sorted(chosen))


def _select_forward(values: Floats, labels: Floats) -> list[int]:
    """Add the column that is closest to the residual until MIN_R2 is reached; empty if it is not."""
    chosen: list[int] = []
    residual = labels
    while len(chosen) < min(MAX_COLUMNS, values.shape[1]):
        closeness = np.abs(values.T @ residual)
        closeness[chosen] = -1
        chosen.append(int(closeness.argmax()))
        residual = _residual(values[:, chosen], labels)
        if 1 - residual @ residual / (labels @ labels) > MIN_R2:
            return chosen
    return []


def _explained(values: Floats, labels: Floats) -> float:
    residual = _residual(values, labels)
    return float(1 - residual @ residual / (labels @ labels))


def _residual(values: Floats, labels: Floats) -> Floats:
    residual: Floats = labels - values @ np.linalg.lstsq(values, labels)[0]
    return residual


def _standardise(values: Floats) -> Floats:
    """Columns with mean 0 and length 1; of a constant, zeros."""
    with np.errstate(all="ignore"):
        scaled = values / np.maximum(np.abs(values).max(axis=0, initial=0), np.finfo(float).tiny)
        centred = scaled - scaled.mean(axis=0)
        length = np.sqrt(np.square(centred).sum(axis=0))
        standard: Floats = np.where(length > 1e-12 * np.sqrt(len(values)), centred / length, 0.0)
    return standard
