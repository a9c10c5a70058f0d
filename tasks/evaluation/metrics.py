"""The metrics of predictions on labelled rows or on samples of them, and the best constant predictions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import DataError
from linear_learner.model import LinearModel, Predictions
from tasks.evaluation.results import ClassMetrics, MetricName

Floats = NDArray[np.float64]
Counts = NDArray[np.uint8]
MetricValues = dict[MetricName, float | None]
BootstrapValues = dict[MetricName, Floats]
"""For each metric, the values (samples,)."""
RATES: tuple[MetricName, ...] = ("precision", "recall", "f1")


@dataclass(frozen=True)
class ActualLabels:
    """The labels (rows,) of the test set, float64 or classes from 0, and the quantile that a regressor predicts."""

    labels: NDArray[np.float64] | NDArray[np.intp]
    num_classes: int = 0
    """0 for a regressor."""
    quantile: float | None = None

    @classmethod
    def of(cls, model: LinearModel, labels: NDArray[np.floating]) -> Self:
        """The labels, converted for the type of `model`; the check of the table has already validated them."""
        classes = {"regressor": 0, "binary_classifier": 2}.get(model.predictor_type, len(model.bias))
        if classes:
            return cls(labels.astype(np.intp), classes)
        quantile = float(model.metrics_params.get("quantile") or 0.5) if model.loss == "quantile_loss" else None
        return cls(labels.astype(np.float64), quantile=quantile)

    @property
    def metric_names(self) -> tuple[MetricName, ...]:
        if self.num_classes:
            return ("accuracy", "balanced_accuracy", *RATES, "roc_auc", "pr_auc", "log_loss")
        return ("rmse", "mae", "median_error", "r2", *(("pinball",) if self.quantile else ()))

    @property
    def curve_classes(self) -> range:
        """The classes for which curves are computed; of two classes, the second is enough."""
        return range(1, 2) if self.num_classes == 2 else range(self.num_classes)

    def select_rows(self, rows: NDArray[np.intp]) -> Self:
        return replace(self, labels=self.labels[rows])


@dataclass(frozen=True)
class CandidatePredictions:
    """The predictions of a model, the champion or a constant: `scores` (rows,) or (rows, classes), labels (rows,)."""

    scores: NDArray[np.floating]
    labels: NDArray[np.intp] | None = None
    probabilities: bool = False
    metric_names: Sequence[MetricName] = ()
    """The metrics to compute; empty: all metrics of the predictor type."""

    @classmethod
    def of(cls, model: LinearModel, predictions: Predictions) -> Self:
        """Predictions of `model` or the champion; raises DataError, with the row, if one is not finite."""
        scores = predictions.scores
        finite = np.isfinite(scores).reshape(len(scores), -1).all(axis=1)
        if not finite.all():
            found = f"the prediction for row {finite.argmin() + 1} of the test set is not finite"
            raise DataError(f"{found}: its features are too large for the model. Correct them, or drop the row.")
        labels = None if predictions.labels is None else predictions.labels.astype(np.intp)
        # The champion of a logistic model may have hinge loss; then its scores are not probabilities.
        within = model.has_sigmoid and bool(((scores >= 0) & (scores <= 1)).all())
        return cls(scores, labels, probabilities=within or model.predictor_type == "multiclass_classifier")

    def select_rows(self, rows: NDArray[np.intp]) -> Self:
        return replace(self, scores=self.scores[rows], labels=None if self.labels is None else self.labels[rows])


def compute_metrics(actual: ActualLabels, predictions: CandidatePredictions) -> MetricValues:
    """The metrics of one candidate; None if a metric is not defined for these rows or without probabilities."""
    once = np.ones((1, len(actual.labels)), np.uint8)
    values = compute_sample_metrics(actual, predictions, once, once)
    return {name: None if np.isnan(value) else float(value) for name, (value,) in values.items()}


def compute_class_metrics(actual: ActualLabels, predictions: CandidatePredictions) -> tuple[ClassMetrics, ...]:
    """The metrics of each class against the others; empty for a regressor."""
    if not actual.num_classes:
        return ()
    from sklearn.metrics import precision_recall_fscore_support

    classes = range(actual.num_classes)
    rates = precision_recall_fscore_support(actual.labels, predictions.labels, labels=classes, zero_division=0)
    (areas,), _ = _class_areas(actual, predictions, np.ones((1, len(actual.labels)), np.uint8))
    # Both classes of a binary classifier have the same area.
    roc_aucs = [None if np.isnan(area) else float(area) for area in np.broadcast_to(areas, actual.num_classes)]
    columns = zip(classes, *(rate.tolist() for rate in rates), roc_aucs, strict=True)
    return tuple(
        ClassMetrics(label=label, rows=rows, precision=precision, recall=recall, f1=f1, roc_auc=roc_auc)
        for label, precision, recall, f1, rows, roc_auc in columns
    )


def compute_sample_metrics(
    actual: ActualLabels, predictions: CandidatePredictions, counts: Counts, area_counts: Counts
) -> BootstrapValues:
    """The candidate's metrics on samples; `counts` (samples, rows) is how often a sample contains a row.

    Returns values (samples,), NaN where a metric is not defined on a sample. They equal those of scikit-learn on the
    rows of the sample. Areas under curves use the samples in `area_counts`, and are means over the classes that have
    positive and negative rows.
    """
    if not actual.num_classes:
        return _regression_values(actual, predictions, counts)
    values = _label_values(actual, predictions, counts)
    areas = np.ma.masked_invalid(_class_areas(actual, predictions, area_counts)).mean(axis=2).filled(np.nan)
    values["roc_auc"], values["pr_auc"] = areas
    values["log_loss"] = _means(counts, _log_losses(actual, predictions))
    return {name: values[name] for name in predictions.metric_names or actual.metric_names}


def best_constants(actual: ActualLabels) -> list[CandidatePredictions]:
    """The best constant predictions for these rows, each with the metrics for which it is the best.

    No constant is better on these rows, not even one from the training rows, which are therefore not needed. The
    constant is the mean (RMSE, R²), the median (MAE, and by convention median absolute error), the quantile (pinball
    loss), the most frequent class, or the shares of the classes as probabilities. Precision, recall and F1 of a binary
    classifier are best when every row is predicted as 1.
    """
    rows, labels = len(actual.labels), actual.labels
    if actual.num_classes:
        shares = np.bincount(labels, minlength=actual.num_classes) / rows
        scores = np.full(rows, shares[1]) if actual.num_classes == 2 else np.broadcast_to(shares, (rows, len(shares)))
        largest = CandidatePredictions(scores, np.full(rows, shares.argmax()), probabilities=True)
        if actual.num_classes > 2:
            return [largest]
        others = [name for name in actual.metric_names if name not in RATES]
        ones = replace(largest, labels=np.ones(rows, np.intp), metric_names=RATES)
        return [replace(largest, metric_names=others), ones]
    values: list[tuple[float, tuple[MetricName, ...]]] = [
        (labels.mean(), ("rmse", "r2")),
        (np.median(labels), ("mae", "median_error")),
    ]
    if actual.quantile:
        # One of the labels: at an interpolated quantile between two labels, the loss can be higher.
        values.append((np.quantile(labels, actual.quantile, method="inverted_cdf"), ("pinball",)))
    return [CandidatePredictions(np.full(rows, value), metric_names=names) for value, names in values]


def baseline_metrics(actual: ActualLabels, constants: Sequence[CandidatePredictions]) -> MetricValues:
    """For each metric, the value of the constant that is best for it."""
    return {name: value for one in constants for name, value in compute_metrics(actual, one).items()}


def _regression_values(actual: ActualLabels, predictions: CandidatePredictions, counts: Counts) -> BootstrapValues:
    errors = actual.labels - predictions.scores
    quantile = actual.quantile or 0.5
    compute: dict[MetricName, Callable[[], Floats]] = {
        "rmse": lambda: np.sqrt(_means(counts, np.square(errors))),
        "mae": lambda: _means(counts, np.abs(errors)),
        "median_error": lambda: _medians(counts, np.abs(errors)),
        "r2": lambda: 1 - _means(counts, np.square(errors)) / _variances(counts, actual.labels),
        "pinball": lambda: _means(counts, np.maximum(quantile * errors, (quantile - 1) * errors)),
    }
    return {name: compute[name]() for name in predictions.metric_names or actual.metric_names}


def _means(counts: Counts, values: NDArray[Any]) -> Floats:
    """Means (samples,) of values (rows,); unlike a matrix product, einsum does not copy the counts as floats."""
    return np.asarray(np.einsum("sr,r->s", counts, values, dtype=np.float64) / counts.shape[1])


def _variances(counts: Counts, labels: NDArray[Any]) -> Floats:
    """Variances (samples,) of the labels; NaN where all labels of a sample are equal, up to rounding."""
    centred = labels - labels.mean()
    squares = _means(counts, np.square(centred))
    found = squares - np.square(_means(counts, centred))
    return np.where(found > 1e-12 * squares, found, np.nan)


def _medians(counts: Counts, values: Floats) -> Floats:
    """Medians (samples,) of values (rows,)."""
    order = np.argsort(values)
    ranked, rows = values[order], len(values)
    middle = [(rows + 1) // 2, rows // 2 + 1]
    positions = (np.searchsorted(np.cumsum(sample[order], dtype=np.int32), middle) for sample in counts)
    return np.array([ranked[two].mean() for two in positions])


def _label_values(actual: ActualLabels, predictions: CandidatePredictions, counts: Counts) -> BootstrapValues:
    """Accuracy, balanced accuracy, precision, recall and F1 of each sample.

    Precision, recall and F1 are of class 1 for two classes; otherwise means over the classes that are actual or
    predicted, as scikit-learn's macro averages, where an undefined value counts as 0.
    """
    classes = actual.num_classes
    # Rows are counted by pair of actual and predicted class, of which few occur, and then pairs by class.
    pairs, pair_of_row = np.unique(actual.labels * classes + np.asarray(predictions.labels), return_inverse=True)
    labels, predicted = np.divmod(pairs, classes)
    rows, predicted_rows, hits = np.empty((3, len(counts), classes))
    for index, sample in enumerate(counts):
        drawn = np.bincount(pair_of_row, sample)
        rows[index] = np.bincount(labels, drawn, classes)
        predicted_rows[index] = np.bincount(predicted, drawn, classes)
        hits[index] = np.bincount(labels, drawn * (labels == predicted), classes)
    rates: BootstrapValues = {
        "precision": hits / np.maximum(predicted_rows, 1),
        "recall": hits / np.maximum(rows, 1),
        "f1": 2 * hits / np.maximum(rows + predicted_rows, 1),
    }
    averaged = np.array([False, True]) if classes == 2 else rows + predicted_rows > 0
    values = {name: np.average(rate, axis=1, weights=averaged) for name, rate in rates.items()}
    values["accuracy"] = hits.sum(axis=1) / len(pair_of_row)
    values["balanced_accuracy"] = np.average(rates["recall"], axis=1, weights=rows > 0)
    return values


def _class_areas(actual: ActualLabels, predictions: CandidatePredictions, counts: Counts) -> Floats:
    """Areas under the ROC and the precision-recall curve of each curve class, shape (2, samples, classes)."""
    columns = zip(actual.curve_classes, predictions.scores.reshape(len(actual.labels), -1).T, strict=True)
    return np.stack([_areas(actual.labels == label, scores, counts) for label, scores in columns], axis=2)


def _areas(positive: NDArray[np.bool_], scores: NDArray[np.floating], counts: Counts) -> Floats:
    """Areas under both curves, (2, samples), from the ranks of the positive rows; ties are one step of a curve."""
    if scores.min() == scores.max():  # a constant prediction: there are no ranks
        shares = _means(counts, positive)
        return np.where((shares > 0) & (shares < 1), [np.full(len(counts), 0.5), shares], np.nan)
    order = np.argsort(-scores, kind="stable")
    positive_order = order[positive[order]]
    ranked, ranked_hits = -scores[order], -scores[positive_order]
    # For each positive row: the rows with a higher score, those with at least its score, and the positive of these.
    above, through = (np.searchsorted(ranked, ranked_hits, side) for side in ("left", "right"))
    hits_through = np.searchsorted(ranked_hits, ranked_hits, "right")
    rows_up_to, hits_up_to = np.zeros(len(order) + 1, np.int32), np.zeros(len(positive_order) + 1, np.int32)
    found = np.full((2, len(counts)), np.nan)
    for index, sample in enumerate(counts):
        drawn = sample[positive_order]
        np.cumsum(sample[order], out=rows_up_to[1:])
        np.cumsum(drawn, out=hits_up_to[1:])
        hits = float(hits_up_to[-1])
        if 0 < hits < len(order):
            rows_through = rows_up_to[through]
            # Ties count half. Pairs of two positive rows contribute hits**2 / 2, which is subtracted.
            ranks = np.einsum("r,r", drawn, rows_up_to[above] + rows_through, dtype=np.float64) / 2 - hits**2 / 2
            found[0, index] = 1 - ranks / (hits * (len(order) - hits))
            precision = hits_up_to[hits_through] / np.maximum(rows_through, 1)
            found[1, index] = np.einsum("r,r", drawn, precision) / hits
    return found


def _log_losses(actual: ActualLabels, predictions: CandidatePredictions) -> Floats:
    """Log losses (rows,), with probabilities clipped at the precision of their type; NaN without probabilities."""
    rows, scores = np.arange(len(actual.labels)), predictions.scores
    if not predictions.probabilities:
        return np.full(len(rows), np.nan)
    by_class = np.column_stack([1 - scores, scores]) if scores.ndim == 1 else scores
    precision = np.finfo(scores.dtype).eps
    given = np.clip(by_class[rows, actual.labels], precision, 1 - precision)
    return np.asarray(-np.log(given.astype(np.float64)))
