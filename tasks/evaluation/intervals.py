"""Bootstrap intervals: the same metrics on up to a thousand samples, drawn with replacement from the test set's rows.

Every candidate is evaluated on the same samples, so differences between two of them do not depend on which rows were
drawn.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np

from tasks.evaluation.metrics import (
    AREA_METRICS,
    ActualLabels,
    CandidatePredictions,
    Counts,
    Floats,
    compute_sample_metrics,
)
from tasks.evaluation.results import MetricName

BootstrapValues = dict[MetricName, Floats]
MIN_SAMPLES: Final = 100
"""For very large test sets."""
MAX_SAMPLES: Final = 1000
MAX_SAMPLED_ROWS: Final = 200_000_000
"""Rows times samples above which fewer samples are drawn."""
SEED: Final = 20_240_229
_WORKERS: Final = 2


class Candidate(NamedTuple):
    """Predictions, and the metrics to compute for them."""

    predictions: CandidatePredictions
    metric_names: Sequence[MetricName]


def count_samples(rows: int, classes: int = 1) -> int:
    """How many bootstrap samples are drawn; fewer for areas of a multiclass, whose classes are sorted one by one."""
    return int(np.clip(MAX_SAMPLED_ROWS // (rows * classes), MIN_SAMPLES, MAX_SAMPLES))


def draw_samples(rows: int, samples: int) -> Counts:
    """(samples, rows) how often each sample holds each row: `rows` draws with replacement, the same ones every time."""
    counts = np.empty((samples, rows), np.uint8)

    def draw(index: int) -> None:
        chosen = np.random.default_rng([SEED, index]).integers(0, rows, rows)
        # That a row is drawn more than 255 times happens once in 10^500 samples.
        counts[index] = np.bincount(chosen, minlength=rows)

    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(draw, range(samples)))
    return counts


def resample(actual: ActualLabels, candidates: Sequence[Candidate], counts: Counts) -> list[BootstrapValues]:
    """Per candidate the value of each metric in each sample, NaN where it is not defined.

    Areas of a multiclass are of the first samples only, as many as `count_samples` says, so that work stays bounded.
    """
    classes = actual.num_classes if actual.num_classes > 2 else 1
    first = counts[: count_samples(len(actual.labels), classes)]

    def compute(candidate: Candidate) -> BootstrapValues:
        predictions, names = candidate
        areas = [name for name in names if name in AREA_METRICS]
        others = [name for name in names if name not in AREA_METRICS]
        found = compute_sample_metrics(actual, predictions, others, counts).values
        return found | compute_sample_metrics(actual, predictions, areas, first).values

    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(compute, candidates))


def percentile_interval(values: Floats, confidence: float) -> tuple[float, float] | tuple[None, None]:
    """The percentile interval of the values that are defined; none where fewer than half of them are."""
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < len(values) or not len(defined):
        return None, None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
