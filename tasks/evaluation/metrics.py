"""The metrics of a model on labelled rows, and on samples of these, and those of the best constant prediction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import DataError
from linear_learner.model import LinearModel, Predictions
from tasks.evaluation.results import ClassMetrics, MetricName

Floats = NDArray[np.float64]
Counts = NDArray[np.uint8]
MetricValues = dict[MetricName, float | None]
REGRESSION_METRICS: tuple[MetricName, ...] = ("rmse", "mae", "median_error", "r2")
RATES: tuple[MetricName, ...] = ("precision", "recall", "f1")
LABEL_METRICS: tuple[MetricName, ...] = ("accuracy", "balanced_accuracy", *RATES)
AREA_METRICS: tuple[MetricName, ...] = ("roc_auc", "pr_auc")
CLASSIFICATION_METRICS: tuple[MetricName, ...] = (*LABEL_METRICS, *AREA_METRICS, "log_loss")


@dataclass(frozen=True)
class ActualLabels:
    """The labels (rows,) of the test set: float64, or classes from 0, and the quantile that was to be predicted."""

    labels: NDArray[np.float64] | NDArray[np.intp]
    num_classes: int = 0
    """0 for a regressor."""
    quantile: float | None = None

    @classmethod
    def of(cls, model: LinearModel, labels: NDArray[np.floating]) -> Self:
        """The labels as `model` means them; raises DataError, with the row, for what it cannot have been asked for."""
        if not len(labels):
            raise DataError("The test set has no rows: give the test set a larger share, or a larger table.")
        wrong = np.flatnonzero(~np.isfinite(labels))
        classes = {"regressor": 0, "binary_classifier": 2}.get(model.predictor_type, len(model.bias))
        if classes and not len(wrong):
            wrong = np.flatnonzero((labels < 0) | (labels >= classes) | (labels != np.floor(labels)))
        if len(wrong):
            wanted = f"one of the classes 0 to {classes - 1}" if classes else "a finite number"
            found = f"the label of row {wrong[0] + 1} of the test set is {labels[wrong[0]]:g}"
            raise DataError(f"{found}, which is not {wanted}: correct it, or drop the row.")
        if classes:
            return cls(labels.astype(np.intp), classes)
        quantile = float(model.metrics_params.get("quantile") or 0.5) if model.loss == "quantile_loss" else None
        return cls(labels.astype(np.float64), quantile=quantile)

    @property
    def metric_names(self) -> tuple[MetricName, ...]:
        """The metrics that are reported, in the report's order."""
        if self.num_classes:
            return CLASSIFICATION_METRICS
        return (*REGRESSION_METRICS, "pinball") if self.quantile else REGRESSION_METRICS

    @property
    def curve_classes(self) -> range:
        """The classes that have curves of their own: of two, the second says it all."""
        return range(1, 2) if self.num_classes == 2 else range(self.num_classes)

    def select_rows(self, rows: NDArray[np.intp]) -> Self:
        """The same for some rows."""
        return replace(self, labels=self.labels[rows])


@dataclass(frozen=True)
class CandidatePredictions:
    """What a model, the champion or a constant predicts: `scores` (rows,) or (rows, classes), and labels (rows,)."""

    scores: NDArray[np.floating]
    labels: NDArray[np.intp] | None = None
    probabilities: bool = False

    @classmethod
    def of(cls, predictions: Predictions, actual: ActualLabels, *, probabilities: bool) -> Self:
        """A model's predictions; raises DataError where they are not finite, or not of the same rows."""
        if len(predictions.scores) != len(actual.labels):
            raise DataError(
                f"{len(predictions.scores)} predictions for {len(actual.labels)} labels: score every row once."
            )
        wrong = np.flatnonzero(~np.isfinite(predictions.scores.reshape(len(actual.labels), -1)).all(axis=1))
        if len(wrong):
            found = f"the prediction for row {wrong[0] + 1} of the test set is not finite"
            raise DataError(f"{found}: its features are beyond what the model can hold; correct them, or drop the row.")
        if not actual.num_classes or predictions.labels is None:
            return cls(predictions.scores.astype(np.float64))
        return cls(predictions.scores, predictions.labels.astype(np.intp), probabilities)

    def select_rows(self, rows: NDArray[np.intp]) -> Self:
        """The same for some rows."""
        return replace(self, scores=self.scores[rows], labels=None if self.labels is None else self.labels[rows])

    def class_scores(self, label: int) -> NDArray[np.floating]:
        """(rows,) scores of one class."""
        return self.scores if self.scores.ndim == 1 else self.scores[:, label]


class SampleMetrics(NamedTuple):
    """The metrics of one candidate in each sample, NaN where a sample does not define them."""

    values: dict[MetricName, Floats]
    """(samples,)"""
    by_class: dict[MetricName, Floats]
    """(samples, classes) of those that each class has; (samples, 1) of the areas when there are two classes."""


def compute_metrics(actual: ActualLabels, predictions: CandidatePredictions) -> MetricValues:
    """Every metric of one candidate; None where these rows, or scores that are no probabilities, do not define it."""
    return compute_metrics_by_class(actual, predictions)[0]


def compute_metrics_by_class(
    actual: ActualLabels, predictions: CandidatePredictions
) -> tuple[MetricValues, tuple[ClassMetrics, ...]]:
    """Every metric of one candidate's predictions, and its classes one by one."""
    every_row_once = np.ones((1, len(actual.labels)), np.uint8)
    values, by_class = compute_sample_metrics(actual, predictions, actual.metric_names, every_row_once)
    found = {name: _value_or_none(of_sample[0]) for name, of_sample in values.items()}
    if not actual.num_classes:
        return found, ()
    rows = np.bincount(actual.labels.astype(np.intp), minlength=actual.num_classes)
    areas = np.broadcast_to(by_class["roc_auc"][0], actual.num_classes)  # of two classes, both have the same
    precision, recall, f1 = (by_class[name][0] for name in RATES)
    return found, tuple(
        ClassMetrics(
            label=label,
            rows=int(rows[label]),
            precision=float(precision[label]),
            recall=float(recall[label]),
            f1=float(f1[label]),
            roc_auc=_value_or_none(areas[label]),
        )
        for label in range(actual.num_classes)
    )


def compute_sample_metrics(
    actual: ActualLabels, predictions: CandidatePredictions, names: Sequence[MetricName], counts: Counts
) -> SampleMetrics:
    """The metrics called `names` in samples that hold each row as often as `counts` (samples, rows) says.

    They are scikit-learn's, computed for all samples at once. Precision, recall and F1 are of class 1 where there are
    two classes; else means over the classes that are actual or predicted, an undefined one counting 0. Areas are means
    over the classes that have rows of both kinds. Probabilities are clipped at their precision before a log loss.
    """
    if not actual.num_classes:
        return SampleMetrics(_regression_values(actual, predictions, names, counts), {})
    values: dict[MetricName, Floats] = {}
    by_class: dict[MetricName, Floats] = {}
    if set(names) & set(LABEL_METRICS):
        rows, predicted_rows, hits = _count_classes(actual, predictions, counts)
        by_class["precision"] = hits / np.maximum(predicted_rows, 1)
        by_class["recall"] = hits / np.maximum(rows, 1)
        by_class["f1"] = 2 * hits / np.maximum(rows + predicted_rows, 1)
        averaged = np.array([False, True]) if actual.num_classes == 2 else rows + predicted_rows > 0
        values |= {name: np.average(by_class[name], axis=1, weights=averaged) for name in RATES}
        values["accuracy"] = hits.sum(axis=1) / len(actual.labels)
        values["balanced_accuracy"] = np.average(by_class["recall"], axis=1, weights=rows > 0)
    if set(names) & set(AREA_METRICS):
        for name, areas in zip(AREA_METRICS, _class_areas(actual, predictions, counts), strict=True):
            by_class[name] = areas
            values[name] = np.ma.masked_invalid(areas).mean(axis=1).filled(np.nan)
    if "log_loss" in names:
        values["log_loss"] = _means(counts, _log_losses(actual, predictions))
    return SampleMetrics({name: values[name] for name in names}, by_class)


def best_constants(actual: ActualLabels) -> dict[MetricName, CandidatePredictions]:
    """The best constant prediction for each metric, in hindsight: chosen for these very rows.

    No constant does better on them, so a model that beats it shows more than one that beats a constant learnt from
    the training rows, and those are not needed. It is the mean (RMSE, R²), the median (MAE, and median absolute error,
    where it is customary rather than best), the quantile (pinball loss), the largest class, or the shares of the
    classes as probabilities. Precision, recall and F1 of two classes are best when every row is called a 1.
    """
    rows, labels = len(actual.labels), actual.labels
    if actual.num_classes:
        shares = np.bincount(labels.astype(np.intp), minlength=actual.num_classes) / rows
        scores = np.broadcast_to(
            shares if actual.num_classes > 2 else shares[1], (rows, *shares.shape[: actual.num_classes > 2])
        )
        largest = CandidatePredictions(scores, np.full(rows, shares.argmax()), probabilities=True)
        ones = replace(largest, labels=np.ones(rows, np.intp)) if actual.num_classes == 2 else largest
        return {name: ones if name in {"precision", "recall", "f1"} else largest for name in actual.metric_names}
    mean, median = (CandidatePredictions(np.full(rows, of(labels))) for of in (np.mean, np.median))
    found: dict[MetricName, CandidatePredictions] = {"rmse": mean, "mae": median, "median_error": median, "r2": mean}
    if actual.quantile:
        # A label itself: between two of them, where quantiles are often put, the loss can be higher.
        quantile = np.quantile(labels, actual.quantile, method="inverted_cdf")
        found["pinball"] = CandidatePredictions(np.full(rows, quantile))
    return found


def group_by_predictions(
    chosen: Mapping[MetricName, CandidatePredictions],
) -> Sequence[tuple[CandidatePredictions, tuple[MetricName, ...]]]:
    """Each of the predictions once, with the metrics it is chosen for."""
    different = {id(predictions): predictions for predictions in chosen.values()}
    return [
        (one, tuple(name for name, predictions in chosen.items() if predictions is one)) for one in different.values()
    ]


def baseline_metrics(actual: ActualLabels, chosen: Mapping[MetricName, CandidatePredictions]) -> MetricValues:
    """Each metric of the constant that was chosen for it."""
    found = [(names, compute_metrics(actual, predictions)) for predictions, names in group_by_predictions(chosen)]
    return {name: of_guess[name] for names, of_guess in found for name in names}


def _value_or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _regression_values(
    actual: ActualLabels, predictions: CandidatePredictions, names: Sequence[MetricName], counts: Counts
) -> dict[MetricName, Floats]:
    labels = actual.labels.astype(np.float64)
    errors = labels - predictions.scores
    quantile = actual.quantile or 0.5
    compute: dict[MetricName, Callable[[], Floats]] = {
        "rmse": lambda: np.sqrt(_means(counts, np.square(errors))),
        "mae": lambda: _means(counts, np.abs(errors)),
        "median_error": lambda: _medians(counts, np.abs(errors)),
        "r2": lambda: 1 - _means(counts, np.square(errors)) / _variances(counts, labels),
        "pinball": lambda: _means(counts, np.maximum(quantile * errors, (quantile - 1) * errors)),
    }
    return {name: compute[name]() for name in names}


def _means(counts: Counts, values: NDArray[Any]) -> Floats:
    """(samples,) means of values (rows,); a product of matrices would copy the counts as floats."""
    return np.asarray(np.einsum("sr,r->s", counts, values, dtype=np.float64) / counts.shape[1])


def _variances(counts: Counts, labels: Floats) -> Floats:
    """(samples,) variances of the labels; NaN where a sample's labels are all equal, up to rounding."""
    centred = labels - labels.mean()
    squares = _means(counts, np.square(centred))
    found = squares - np.square(_means(counts, centred))
    return np.where(found > 1e-12 * squares, found, np.nan)


def _medians(counts: Counts, values: Floats) -> Floats:
    """(samples,) medians of values (rows,): of an even number of rows the mean of the two in the middle."""
    order = np.argsort(values)
    ranked, rows = values[order], len(values)
    middle = [(rows + 1) // 2, rows // 2 + 1]
    return np.array(
        [ranked[np.searchsorted(np.cumsum(sample[order], dtype=np.int32), middle)].mean() for sample in counts]
    )


def _count_classes(actual: ActualLabels, predictions: CandidatePredictions, counts: Counts) -> Floats:
    """(3, samples, classes) rows that are of each class, that are predicted to be, and that are both."""
    classes = actual.num_classes
    # Few pairs of actual and predicted class occur: rows are counted by pair, and pairs by class.
    pairs, pair_of_row = np.unique(actual.labels.astype(np.intp) * classes + predictions.labels, return_inverse=True)
    labels, predicted = np.divmod(pairs, classes)
    found = np.empty((3, len(counts), classes))
    for index, sample in enumerate(counts):
        drawn = np.bincount(pair_of_row, sample)
        found[0, index] = np.bincount(labels, drawn, classes)
        found[1, index] = np.bincount(predicted, drawn, classes)
        found[2, index] = np.bincount(labels, drawn * (labels == predicted), classes)
    return found


def _class_areas(actual: ActualLabels, predictions: CandidatePredictions, counts: Counts) -> Floats:
    """(2, samples, classes) areas under the ROC and the precision-recall curve of each class that has curves."""
    areas = [_areas(actual.labels == label, predictions.class_scores(label), counts) for label in actual.curve_classes]
    return np.stack(areas, axis=2)


def _areas(positive: NDArray[np.bool_], scores: NDArray[np.floating], counts: Counts) -> Floats:
    """(2, samples) areas under both curves, from the ranks of the positive rows; ties are one step of a curve."""
    if scores.min() == scores.max():  # as of a constant: no rows to rank
        shares = _means(counts, positive)
        return np.where((shares > 0) & (shares < 1), [np.full(len(counts), 0.5), shares], np.nan)
    order = np.argsort(-scores, kind="stable")
    order_of_hits = order[positive[order]]
    ranked, ranked_hits = -scores[order], -scores[order_of_hits]
    # Of each positive row: the rows with a higher score, with at least its score, and the positive ones of these.
    above, through = (np.searchsorted(ranked, ranked_hits, side) for side in ("left", "right"))
    hits_through = np.searchsorted(ranked_hits, ranked_hits, "right")
    rows_up_to, hits_up_to = np.zeros(len(order) + 1, np.int32), np.zeros(len(order_of_hits) + 1, np.int32)
    found = np.full((2, len(counts)), np.nan)
    for index, sample in enumerate(counts):
        drawn = sample[order_of_hits]
        np.cumsum(sample[order], out=rows_up_to[1:])
        np.cumsum(drawn, out=hits_up_to[1:])
        hits = float(hits_up_to[-1])
        if 0 < hits < len(order):
            rows_through = rows_up_to[through]
            # Half of the positive rows themselves are among the rows above a positive one, ties counting half.
            ranks = _sum(drawn, rows_up_to[above] + rows_through) / 2 - hits**2 / 2
            found[0, index] = 1 - ranks / (hits * (len(order) - hits))
            found[1, index] = _sum(drawn, hits_up_to[hits_through] / np.maximum(rows_through, 1)) / hits
    return found


def _sum(counts: Counts, values: NDArray[Any]) -> Any:
    return np.einsum("r,r", counts, values, dtype=np.float64)


def _log_losses(actual: ActualLabels, predictions: CandidatePredictions) -> Floats:
    """(rows,) log losses, the probabilities clipped at the precision they have; NaN without probabilities."""
    labels, scores = actual.labels.astype(np.intp), predictions.scores
    if not predictions.probabilities:
        return np.full(len(labels), np.nan)
    if actual.num_classes == 2:
        given = np.where(labels == 1, scores, 1 - scores)
    else:
        given = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    precision = np.finfo(scores.dtype).eps
    return np.asarray(-np.log(np.clip(given, precision, 1 - precision).astype(np.float64)))
