"""Bootstrap intervals: metrics of samples of the test set's rows, the same samples for every candidate."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from tasks.evaluation.metrics import Counts, Floats

SEED: Final = 20_240_229
WORKERS: Final = 2


def count_samples(rows: int, classes: int = 1) -> int:
    """How many bootstrap samples are drawn: 1000, of large test sets as few as 100, so that work stays bounded.

    Fewer are used for areas of a multiclass, whose `classes` are sorted one by one.
    """
    return int(np.clip(200_000_000 // (rows * classes), 100, 1000))


def draw_samples(rows: int, samples: int) -> Counts:
    """(1 + samples, rows) how often each sample holds each row; the first is the rows themselves.

    The others are `rows` draws with replacement, the same ones every time.
    """
    counts = np.ones((1 + samples, rows), np.uint8)

    def draw(index: int) -> None:
        chosen = np.random.default_rng([SEED, index]).integers(0, rows, rows)
        # That a row is drawn more than 255 times happens once in 10^500 samples.
        counts[1 + index] = np.bincount(chosen, minlength=rows)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(draw, range(samples)))
    return counts


def percentile_interval(values: Floats, confidence: float) -> tuple[float, float] | tuple[None, None]:
    """The percentile interval of the values that are defined; none where fewer than half of them are."""
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < len(values) or not len(defined):
        return None, None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
