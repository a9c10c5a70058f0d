"""Bootstrap intervals, from the same samples of the test rows for every candidate."""

from concurrent.futures import ThreadPoolExecutor
from statistics import NormalDist
from typing import Final

import numpy as np

from tasks.evaluation.metrics import Counts, Floats

SEED: Final = 20_240_229
WORKERS: Final = 2


def count_samples(rows: int, classes: int = 1) -> int:
    """The number of bootstrap samples: 1000, and down to 100 for large test sets, to bound the computation.

    The areas under the curves of a multiclass model use fewer, as each of the `classes` is sorted separately.
    """
    return int(np.clip(200_000_000 // (rows * classes), 100, 1000))


def draw_samples(rows: int, samples: int) -> Counts:
    """How often each sample contains each row, (1 + samples, rows); the first is the test set itself."""
    counts = np.ones((1 + samples, rows), np.uint8)

    def draw(index: int) -> None:
        chosen = np.random.default_rng([SEED, index]).integers(0, rows, rows)
        # uint8 suffices: a row is drawn more than 255 times in one of 10^500 samples.
        counts[1 + index] = np.bincount(chosen, minlength=rows)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(draw, range(samples)))
    return counts


def percentile_interval(values: Floats, confidence: float) -> tuple[float, float] | tuple[None, None]:
    """The percentile interval of the values that are defined; (None, None) if fewer than half of them are."""
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < len(values) or not len(defined):
        return None, None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def wilson_interval(share: float, rows: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a share of `rows`; unlike that of a bootstrap, its width is never 0."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)) / (1 + z**2 / rows)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
