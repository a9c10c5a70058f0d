"""How sure the figures are: the same metrics on a thousand test sets drawn from the rows of this one.

A draw is kept as how often it holds each row, and each metric is computed exactly from that: means as sums over rows,
areas and medians on rows that are sorted once. Every guess sees the same draws, so differences between two of them
are not blurred by which rows were drawn.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.metrics import BY_LABEL, Floats, Guess, Truth
from tasks.evaluation.results import MetricName

Counts = NDArray[np.uint8]
Rounds = dict[MetricName, Floats]
ROUNDS: Final = (100, 1000)
"""The fewest, for very large sets, and the most."""
WORK: Final = 200_000_000
"""Rows times rounds above which there are fewer rounds."""
SEED: Final = 20_240_229
_WORKERS: Final = 2
_AT_ONCE: Final = 1 << 20


class Contender(NamedTuple):
    """A guess, and the metrics that are wanted of it."""

    guess: Guess
    names: Sequence[MetricName]


def rounds_for(rows: int, classes: int = 1) -> int:
    """How many rounds so many rows get; areas of a multiclass, whose classes are sorted one by one, get fewer."""
    return int(np.clip(WORK // (rows * classes), *ROUNDS))


def draws(rows: int, rounds: int) -> Counts:
    """(rounds, rows) how often each round holds each row: `rows` draws with replacement, the same ones every time."""
    counts = np.empty((rounds, rows), np.uint8)

    def draw(index: int) -> None:
        chosen = np.random.default_rng([SEED, index]).integers(0, rows, rows)
        # That a row is drawn more than 255 times happens once in 10^500 rounds.
        counts[index] = np.bincount(chosen, minlength=rows)

    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(draw, range(rounds)))
    return counts


def resampled(truth: Truth, contenders: Sequence[Contender], counts: Counts) -> list[Rounds]:
    """Per contender the value of each metric in each round, NaN where it is not defined.

    Areas of a multiclass are of the first rounds only, as many as `rounds_for` says, so that work stays bounded.
    """
    one = partial(_of_classes if truth.classes else _of_numbers, truth, counts)
    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(one, contenders))


def interval(values: Floats, confidence: float) -> tuple[float, float] | tuple[None, None]:
    """The percentile interval of the rounds that are defined; none where fewer than half of them are."""
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < len(values) or not len(defined):
        return None, None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _of_numbers(truth: Truth, counts: Counts, contender: Contender) -> Rounds:
    guess, names = contender
    labels = truth.labels.astype(np.float64)
    errors = labels - guess.scores
    sizes = np.abs(errors)
    found: Rounds = {}
    if "rmse" in names or "r2" in names:
        squared = _means(counts, np.square(errors))
        found |= {"rmse": np.sqrt(squared), "r2": 1 - squared / _variances(counts, labels)}
    if "mae" in names:
        found["mae"] = _means(counts, sizes)
    if "median_error" in names:
        found["median_error"] = _medians(counts, sizes)
    if "pinball" in names and truth.quantile:
        found["pinball"] = _means(counts, np.maximum(truth.quantile * errors, (truth.quantile - 1) * errors))
    return {name: found[name] for name in names}


def _of_classes(truth: Truth, counts: Counts, contender: Contender) -> Rounds:
    guess, names = contender
    found: Rounds = {}
    if set(names) & set(BY_LABEL):
        found |= _by_label(truth, guess, counts)
    if "roc_auc" in names:
        found |= _areas(truth, guess, counts)
    if "log_loss" in names:
        undefined = np.full(len(counts), np.nan)
        found["log_loss"] = _means(counts, _losses(truth, guess)) if guess.probabilities else undefined
    return {name: found[name] for name in names}


def _means(counts: Counts, values: Floats) -> Floats:
    """(rounds,) means of values (rows,)."""
    found = np.empty(len(counts))
    step = max(1, _AT_ONCE // len(values))
    for start in range(0, len(counts), step):
        found[start : start + step] = _product(counts[start : start + step], values)
    return found / len(values)


def _variances(counts: Counts, labels: Floats) -> Floats:
    """(rounds,) variances of the labels; NaN where a round's labels are all equal."""
    centred = labels - labels.mean()
    squares = _means(counts, np.square(centred))
    found = squares - np.square(_means(counts, centred))
    # Where nearly nothing is left, it is rounding; two passes over the round's own labels say what it really is.
    for index in np.flatnonzero(found <= 1e-6 * squares):
        drawn = counts[index] > 0
        found[index] = np.cov(labels[drawn], fweights=counts[index][drawn], ddof=0) if np.ptp(labels[drawn]) else np.nan
    return found


def _medians(counts: Counts, values: Floats) -> Floats:
    """(rounds,) medians of values (rows,): of an even number of rows the mean of the two in the middle."""
    rows = len(values)
    order = np.argsort(values)
    ranked, found = values[order], np.empty(len(counts))
    for index, up_to in enumerate(_cumulated(counts, order)):
        # The first row by which as many are drawn as there are up to the middle.
        lower, upper = np.searchsorted(up_to[1:], [(rows + 1) // 2, rows // 2 + 1])
        found[index] = (ranked[lower] + ranked[upper]) / 2
    return found


def _cumulated(counts: Counts, order: NDArray[np.intp]) -> Iterator[NDArray[np.int32]]:
    """Per round (rows + 1,) how many rows are drawn before each one in that order; one array, used again."""
    up_to = np.zeros(len(order) + 1, np.int32)
    drawn = np.empty(len(order), np.uint8)
    for of_round in counts:
        np.take(of_round, order, out=drawn)
        np.cumsum(drawn, out=up_to[1:])
        yield up_to


def _by_label(truth: Truth, guess: Guess, counts: Counts) -> Rounds:
    """Accuracy to F1, from how often each pair of actual and predicted class is drawn."""
    classes, said = truth.classes, np.asarray(guess.labels)
    pairs, place = np.unique(truth.labels.astype(np.intp) * classes + said, return_inverse=True)
    of_actual, of_said = np.divmod(pairs, classes)
    right = of_actual == of_said
    values = np.empty((len(BY_LABEL), len(counts)))
    for index, of_round in enumerate(counts):
        drawn = np.bincount(place, of_round, len(pairs))
        actual, predicted = (np.bincount(of, drawn, classes) for of in (of_actual, of_said))
        hits = np.bincount(of_actual[right], drawn[right], classes)
        recall = hits / np.maximum(actual, 1)
        shown = slice(1, 2) if classes == 2 else actual + predicted > 0
        by_class = (hits / np.maximum(predicted, 1), recall, 2 * hits / np.maximum(actual + predicted, 1))
        values[0, index] = hits.sum() / len(place)
        values[1, index] = recall[actual > 0].mean()
        values[2:, index] = [of_class[shown].mean() for of_class in by_class]
    return dict(zip(BY_LABEL, values, strict=True))


def _areas(truth: Truth, guess: Guess, counts: Counts) -> Rounds:
    """Means over the classes that a round has rows of both kinds of."""
    some = counts if truth.classes == 2 else counts[: rounds_for(len(truth.labels), truth.classes)]
    total, defined = np.zeros((2, len(some))), np.zeros(len(some), np.intp)
    by_class = _tied(truth, some) if guess.constant else (_ranked(truth, guess, c, some) for c in truth.by_class)
    for found in by_class:
        known = ~np.isnan(found[0])
        total[:, known] += found[:, known]
        defined += known
    roc, precision_recall = np.where(defined, total / np.maximum(defined, 1), np.nan)
    return {"roc_auc": roc, "pr_auc": precision_recall}


def _tied(truth: Truth, counts: Counts) -> Iterator[Floats]:
    """Per class (2, rounds) areas of scores that are all equal: one half, and the share of the positive rows."""
    rows = np.array([np.bincount(truth.labels, drawn, truth.classes) for drawn in counts])
    for shares in rows.T[truth.by_class] / len(truth.labels):
        yield np.where((shares > 0) & (shares < 1), [np.full(len(shares), 0.5), shares], np.nan)


def _ranked(truth: Truth, guess: Guess, label: int, counts: Counts) -> Floats:
    """(2, rounds) areas of one class, from the ranks of its own rows; ties count half, and are one step of a curve."""
    positive, scores = truth.labels == label, guess.of_class(label)
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.flatnonzero(positive[order])
    of_hits = order[hits]
    steps = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    step = np.searchsorted(steps, hits, "right")
    first, beyond = steps[step - 1], np.append(steps, len(ranked))[step]
    hits_beyond = np.searchsorted(hits, beyond)
    found = np.full((2, len(counts)), np.nan)
    hits_up_to = np.zeros(len(hits) + 1, np.int32)
    for index, up_to in enumerate(_cumulated(counts, order)):
        drawn = counts[index].take(of_hits)
        np.cumsum(drawn, out=hits_up_to[1:])
        positives, through = float(hits_up_to[-1]), up_to.take(beyond)
        if 0 < positives < len(order):
            # Rows above a positive one, ties half; without the positive ones among them, which make half a square.
            above = _product(drawn, up_to.take(first) + through) / 2 - positives**2 / 2
            found[0, index] = 1 - above / (positives * (len(order) - positives))
            precision = hits_up_to.take(hits_beyond) / np.maximum(through, 1)
            found[1, index] = _product(drawn, precision) / positives
    return found


def _product(counts: NDArray[np.integer], values: NDArray[Any]) -> Any:
    """(…, rows) times (rows,), by one thread: those of BLAS would wait for each other, and for ours."""
    return np.einsum("...i,i", counts, values, dtype=np.float64)


def _losses(truth: Truth, guess: Guess) -> Floats:
    """(rows,) log losses, the probabilities clipped at the precision they have."""
    labels, scores = truth.labels.astype(np.intp), guess.scores
    if truth.classes == 2:
        given = np.where(labels == 1, scores, 1 - scores)
    else:
        given = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    precision = np.finfo(scores.dtype).eps
    return -np.log(np.clip(given, precision, 1 - precision).astype(np.float64))
