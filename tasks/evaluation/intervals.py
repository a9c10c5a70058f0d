"""How sure the figures are: the same metrics on a thousand test sets drawn from the rows of this one.

A sample is stored as how often it holds each row, and each metric is computed exactly from that: means as sums over
rows, areas and medians on rows that are sorted once. Every candidate is evaluated on the same samples, so differences
between two of them do not depend on which rows were drawn.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.metrics import LABEL_METRICS, ActualLabels, CandidatePredictions, Floats
from tasks.evaluation.results import MetricName

Counts = NDArray[np.uint8]
BootstrapValues = dict[MetricName, Floats]
MIN_SAMPLES: Final = 100
"""For very large test sets."""
MAX_SAMPLES: Final = 1000
MAX_SAMPLED_ROWS: Final = 200_000_000
"""Rows times samples above which fewer samples are drawn."""
SEED: Final = 20_240_229
_WORKERS: Final = 2
_BATCH_CELLS: Final = 1 << 20


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
    one = partial(_classification_values if actual.num_classes else _regression_values, actual, counts)
    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(one, candidates))


def percentile_interval(values: Floats, confidence: float) -> tuple[float, float] | tuple[None, None]:
    """The percentile interval of the values that are defined; none where fewer than half of them are."""
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < len(values) or not len(defined):
        return None, None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _regression_values(actual: ActualLabels, counts: Counts, candidate: Candidate) -> BootstrapValues:
    predictions, names = candidate
    labels = actual.labels.astype(np.float64)
    errors = labels - predictions.scores
    sizes = np.abs(errors)
    found: BootstrapValues = {}
    if "rmse" in names or "r2" in names:
        squared = _means(counts, np.square(errors))
        found |= {"rmse": np.sqrt(squared), "r2": 1 - squared / _variances(counts, labels)}
    if "mae" in names:
        found["mae"] = _means(counts, sizes)
    if "median_error" in names:
        found["median_error"] = _medians(counts, sizes)
    if "pinball" in names and actual.quantile:
        found["pinball"] = _means(counts, np.maximum(actual.quantile * errors, (actual.quantile - 1) * errors))
    return {name: found[name] for name in names}


def _classification_values(actual: ActualLabels, counts: Counts, candidate: Candidate) -> BootstrapValues:
    predictions, names = candidate
    found: BootstrapValues = {}
    if set(names) & set(LABEL_METRICS):
        found |= _label_values(actual, predictions, counts)
    if "roc_auc" in names:
        found |= _area_values(actual, predictions, counts)
    if "log_loss" in names:
        undefined = np.full(len(counts), np.nan)
        found["log_loss"] = _means(counts, _log_losses(actual, predictions)) if predictions.probabilities else undefined
    return {name: found[name] for name in names}


def _means(counts: Counts, values: Floats) -> Floats:
    """(samples,) means of values (rows,)."""
    found = np.empty(len(counts))
    step = max(1, _BATCH_CELLS // len(values))
    for start in range(0, len(counts), step):
        found[start : start + step] = _weighted_sum(counts[start : start + step], values)
    return found / len(values)


def _variances(counts: Counts, labels: Floats) -> Floats:
    """(samples,) variances of the labels; NaN where a sample's labels are all equal."""
    centred = labels - labels.mean()
    squares = _means(counts, np.square(centred))
    found = squares - np.square(_means(counts, centred))
    # Where nearly nothing is left, it is rounding; two passes over the sample's own labels say what it really is.
    for index in np.flatnonzero(found <= 1e-6 * squares):
        drawn = counts[index] > 0
        found[index] = np.cov(labels[drawn], fweights=counts[index][drawn], ddof=0) if np.ptp(labels[drawn]) else np.nan
    return found


def _medians(counts: Counts, values: Floats) -> Floats:
    """(samples,) medians of values (rows,): of an even number of rows the mean of the two in the middle."""
    rows = len(values)
    order = np.argsort(values)
    ranked, found = values[order], np.empty(len(counts))
    for index, up_to in enumerate(_cumulative_counts(counts, order)):
        # The first row by which as many are drawn as there are up to the middle.
        lower, upper = np.searchsorted(up_to[1:], [(rows + 1) // 2, rows // 2 + 1])
        found[index] = (ranked[lower] + ranked[upper]) / 2
    return found


def _cumulative_counts(counts: Counts, order: NDArray[np.intp]) -> Iterator[NDArray[np.int32]]:
    """Per sample (rows + 1,) how many rows are drawn before each one in that order; one array, used again."""
    up_to = np.zeros(len(order) + 1, np.int32)
    drawn = np.empty(len(order), np.uint8)
    for sample in counts:
        np.take(sample, order, out=drawn)
        np.cumsum(drawn, out=up_to[1:])
        yield up_to


def _label_values(actual: ActualLabels, predictions: CandidatePredictions, counts: Counts) -> BootstrapValues:
    """Accuracy to F1, from how often each pair of actual and predicted class is drawn."""
    classes, predicted_labels = actual.num_classes, np.asarray(predictions.labels)
    pairs, place = np.unique(actual.labels.astype(np.intp) * classes + predicted_labels, return_inverse=True)
    of_actual, of_predicted = np.divmod(pairs, classes)
    right = of_actual == of_predicted
    values = np.empty((len(LABEL_METRICS), len(counts)))
    for index, sample in enumerate(counts):
        drawn = np.bincount(place, sample, len(pairs))
        actual_rows, predicted_rows = (np.bincount(of, drawn, classes) for of in (of_actual, of_predicted))
        hits = np.bincount(of_actual[right], drawn[right], classes)
        recall = hits / np.maximum(actual_rows, 1)
        shown = slice(1, 2) if classes == 2 else actual_rows + predicted_rows > 0
        by_class = (
            hits / np.maximum(predicted_rows, 1),
            recall,
            2 * hits / np.maximum(actual_rows + predicted_rows, 1),
        )
        values[0, index] = hits.sum() / len(place)
        values[1, index] = recall[actual_rows > 0].mean()
        values[2:, index] = [of_class[shown].mean() for of_class in by_class]
    return dict(zip(LABEL_METRICS, values, strict=True))


def _area_values(actual: ActualLabels, predictions: CandidatePredictions, counts: Counts) -> BootstrapValues:
    """Means over the classes that a sample has rows of both kinds of."""
    some = counts if actual.num_classes == 2 else counts[: count_samples(len(actual.labels), actual.num_classes)]
    total, defined = np.zeros((2, len(some))), np.zeros(len(some), np.intp)
    by_class = (
        _constant_areas(actual, some)
        if predictions.constant
        else (_ranked_areas(actual, predictions, c, some) for c in actual.curve_classes)
    )
    for found in by_class:
        known = ~np.isnan(found[0])
        total[:, known] += found[:, known]
        defined += known
    roc, precision_recall = np.where(defined, total / np.maximum(defined, 1), np.nan)
    return {"roc_auc": roc, "pr_auc": precision_recall}


def _constant_areas(actual: ActualLabels, counts: Counts) -> Iterator[Floats]:
    """Per class (2, samples) areas of scores that are all equal: one half, and the share of the positive rows."""
    rows = np.array([np.bincount(actual.labels, drawn, actual.num_classes) for drawn in counts])
    for shares in rows.T[actual.curve_classes] / len(actual.labels):
        yield np.where((shares > 0) & (shares < 1), [np.full(len(shares), 0.5), shares], np.nan)


def _ranked_areas(actual: ActualLabels, predictions: CandidatePredictions, label: int, counts: Counts) -> Floats:
    """(2, samples) areas of one class, from the ranks of its own rows; ties count half, and are one step of a curve."""
    positive, scores = actual.labels == label, predictions.class_scores(label)
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.flatnonzero(positive[order])
    of_hits = order[hits]
    steps = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    step = np.searchsorted(steps, hits, "right")
    first, beyond = steps[step - 1], np.append(steps, len(ranked))[step]
    hits_beyond = np.searchsorted(hits, beyond)
    found = np.full((2, len(counts)), np.nan)
    hits_up_to = np.zeros(len(hits) + 1, np.int32)
    for index, up_to in enumerate(_cumulative_counts(counts, order)):
        drawn = counts[index].take(of_hits)
        np.cumsum(drawn, out=hits_up_to[1:])
        positives, through = float(hits_up_to[-1]), up_to.take(beyond)
        if 0 < positives < len(order):
            # Rows above a positive one, ties half; without the positive ones among them, which make half a square.
            above = _weighted_sum(drawn, up_to.take(first) + through) / 2 - positives**2 / 2
            found[0, index] = 1 - above / (positives * (len(order) - positives))
            precision = hits_up_to.take(hits_beyond) / np.maximum(through, 1)
            found[1, index] = _weighted_sum(drawn, precision) / positives
    return found


def _weighted_sum(counts: NDArray[np.integer], values: NDArray[Any]) -> Any:
    """(…, rows) times (rows,), by one thread: those of BLAS would wait for each other, and for ours."""
    return np.einsum("...i,i", counts, values, dtype=np.float64)


def _log_losses(actual: ActualLabels, predictions: CandidatePredictions) -> Floats:
    """(rows,) log losses, the probabilities clipped at the precision they have."""
    labels, scores = actual.labels.astype(np.intp), predictions.scores
    if actual.num_classes == 2:
        given = np.where(labels == 1, scores, 1 - scores)
    else:
        given = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    precision = np.finfo(scores.dtype).eps
    return -np.log(np.clip(given, precision, 1 - precision).astype(np.float64))
