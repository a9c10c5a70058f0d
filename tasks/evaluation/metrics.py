"""The figures of a model on labelled rows, by scikit-learn, and those of the best constant prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import DataError
from linear_learner.model import LinearModel, Predictions
from tasks.evaluation.results import ClassMetrics, MetricName

Floats = NDArray[np.float64]
MetricValues = dict[MetricName, float | None]
REGRESSION_METRICS: tuple[MetricName, ...] = ("rmse", "mae", "median_error", "r2")
LABEL_METRICS: tuple[MetricName, ...] = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
CLASSIFICATION_METRICS: tuple[MetricName, ...] = (*LABEL_METRICS, "roc_auc", "pr_auc", "log_loss")


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
    constant: bool = False

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


class CurveAreas(NamedTuple):
    """Under the ROC and the precision-recall curve."""

    roc: float
    precision_recall: float


def compute_metrics(actual: ActualLabels, predictions: CandidatePredictions) -> MetricValues:
    """Every metric of one candidate; None where these rows, or scores that are no probabilities, do not define it."""
    return compute_metrics_by_class(actual, predictions)[0]


def compute_metrics_by_class(
    actual: ActualLabels, predictions: CandidatePredictions
) -> tuple[MetricValues, tuple[ClassMetrics, ...]]:
    """Every metric of one candidate's predictions, and its classes one by one."""
    return (
        _classification_metrics(actual, predictions)
        if actual.num_classes
        else (_regression_metrics(actual, predictions), ())
    )


def _classification_metrics(
    actual: ActualLabels, predictions: CandidatePredictions
) -> tuple[MetricValues, tuple[ClassMetrics, ...]]:
    """Every metric, and the classes one by one.

    Precision, recall and F1 are of class 1 where there are two classes; else means over the classes that are actual
    or predicted, as scikit-learn's macro averages are, an undefined one counting 0. Areas are means over the classes
    that have rows of both kinds. Scores are clipped at their own precision before a log loss, as scikit-learn does.
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    labels, predicted = actual.labels, predictions.labels
    per_class = precision_recall_fscore_support(labels, predicted, labels=range(actual.num_classes), zero_division=0)
    rows = per_class[3]
    counted = rows + np.bincount(np.asarray(predicted), minlength=actual.num_classes) > 0
    shown = np.array([False, True]) if actual.num_classes == 2 else counted
    by_class = {label: compute_areas(actual, predictions, label) for label in actual.curve_classes}
    known = [one for one in by_class.values() if one]
    found: MetricValues = {
        "accuracy": float(accuracy_score(labels, predicted)),
        "balanced_accuracy": float(per_class[1][rows > 0].mean()),
        **{name: float(per_class[place][shown].mean()) for place, name in enumerate(LABEL_METRICS[2:])},
        "roc_auc": float(np.mean([one.roc for one in known])) if known else None,
        "pr_auc": float(np.mean([one.precision_recall for one in known])) if known else None,
        "log_loss": _log_loss(actual, predictions),
    }
    return found, tuple(_class_metrics(label, per_class, by_class) for label in range(actual.num_classes))


def compute_areas(actual: ActualLabels, predictions: CandidatePredictions, label: int) -> CurveAreas | None:
    """Of one class against the others; None without rows of both kinds."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    positive = actual.labels == label
    share = float(positive.mean())
    if not 0 < share < 1:
        return None
    if predictions.constant:  # all rows tie: what scikit-learn says of them, too
        return CurveAreas(0.5, share)
    scores = predictions.class_scores(label)
    return CurveAreas(float(roc_auc_score(positive, scores)), float(average_precision_score(positive, scores)))


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
        largest = CandidatePredictions(scores, np.full(rows, shares.argmax()), probabilities=True, constant=True)
        ones = replace(largest, labels=np.ones(rows, np.intp)) if actual.num_classes == 2 else largest
        return {name: ones if name in {"precision", "recall", "f1"} else largest for name in actual.metric_names}
    mean, median = (CandidatePredictions(np.full(rows, of(labels)), constant=True) for of in (np.mean, np.median))
    found: dict[MetricName, CandidatePredictions] = {"rmse": mean, "mae": median, "median_error": median, "r2": mean}
    if actual.quantile:
        # A label itself: between two of them, where quantiles are often put, the loss can be higher.
        quantile = np.quantile(labels, actual.quantile, method="inverted_cdf")
        found["pinball"] = CandidatePredictions(np.full(rows, quantile), constant=True)
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


def _regression_metrics(actual: ActualLabels, predictions: CandidatePredictions) -> MetricValues:
    """R² is not defined where all labels are equal."""
    from sklearn import metrics

    labels, predicted = actual.labels, predictions.scores
    found: MetricValues = {
        "rmse": float(metrics.root_mean_squared_error(labels, predicted)),
        "mae": float(metrics.mean_absolute_error(labels, predicted)),
        "median_error": float(metrics.median_absolute_error(labels, predicted)),
        "r2": float(metrics.r2_score(labels, predicted)) if np.ptp(labels) else None,
    }
    if actual.quantile:
        found["pinball"] = float(metrics.mean_pinball_loss(labels, predicted, alpha=actual.quantile))
    return found


def _class_metrics(label: int, per_class: tuple[Floats, ...], areas: Mapping[int, CurveAreas | None]) -> ClassMetrics:
    precision, recall, f1, rows = (of[label] for of in per_class)
    own = areas.get(label, areas[1])  # of two classes, both have the same
    return ClassMetrics(
        label=label,
        rows=int(rows),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        roc_auc=own.roc if own else None,
    )


def _log_loss(actual: ActualLabels, predictions: CandidatePredictions) -> float | None:
    from sklearn.metrics import log_loss

    return (
        float(log_loss(actual.labels, predictions.scores, labels=range(actual.num_classes)))
        if predictions.probabilities
        else None
    )
