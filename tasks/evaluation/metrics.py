"""The figures of a model on labelled rows, by scikit-learn, and those of the best constant prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import DataError
from linear_learner.model import LinearModel, Predictions
from tasks.evaluation.results import ClassFigures, MetricName

Floats = NDArray[np.float64]
Figures = dict[MetricName, float | None]
REGRESSION: tuple[MetricName, ...] = ("rmse", "mae", "median_error", "r2")
BY_LABEL: tuple[MetricName, ...] = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
CLASSIFICATION: tuple[MetricName, ...] = (*BY_LABEL, "roc_auc", "pr_auc", "log_loss")


@dataclass(frozen=True)
class Truth:
    """The labels (rows,) of the test set: float64, or classes from 0, and the quantile that was to be predicted."""

    labels: NDArray[np.float64] | NDArray[np.intp]
    classes: int = 0
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
    def names(self) -> tuple[MetricName, ...]:
        """Of the metrics that are reported, in the report's order."""
        return CLASSIFICATION if self.classes else (*REGRESSION, "pinball") if self.quantile else REGRESSION

    @property
    def by_class(self) -> range:
        """The classes that have curves of their own: of two, the second says it all."""
        return range(1, 2) if self.classes == 2 else range(self.classes)

    def at(self, rows: NDArray[np.intp]) -> Self:
        """Of some rows."""
        return replace(self, labels=self.labels[rows])


@dataclass(frozen=True)
class Guess:
    """What a model, the champion or a constant says of each row: `scores` (rows,) or (rows, classes), and labels."""

    scores: NDArray[np.floating]
    labels: NDArray[np.intp] | None = None
    probabilities: bool = False
    constant: bool = False

    @classmethod
    def of(cls, predictions: Predictions, truth: Truth, *, probabilities: bool) -> Self:
        """A model's predictions; raises DataError where they are not finite, or not of the same rows."""
        if len(predictions.scores) != len(truth.labels):
            raise DataError(
                f"{len(predictions.scores)} predictions for {len(truth.labels)} labels: score every row once."
            )
        wrong = np.flatnonzero(~np.isfinite(predictions.scores.reshape(len(truth.labels), -1)).all(axis=1))
        if len(wrong):
            said = f"the prediction for row {wrong[0] + 1} of the test set is not finite"
            raise DataError(f"{said}: its features are beyond what the model can hold; correct them, or drop the row.")
        if not truth.classes or predictions.labels is None:
            return cls(predictions.scores.astype(np.float64))
        return cls(predictions.scores, predictions.labels.astype(np.intp), probabilities)

    def at(self, rows: NDArray[np.intp]) -> Self:
        """Of some rows."""
        return replace(self, scores=self.scores[rows], labels=None if self.labels is None else self.labels[rows])

    def of_class(self, label: int) -> NDArray[np.floating]:
        """(rows,) scores of one class."""
        return self.scores if self.scores.ndim == 1 else self.scores[:, label]


class Area(NamedTuple):
    """Under the ROC and the precision-recall curve."""

    roc: float
    precision_recall: float


def figures(truth: Truth, guess: Guess) -> Figures:
    """Every metric of one guess; None where these rows, or scores that are no probabilities, do not define it."""
    return described(truth, guess)[0]


def described(truth: Truth, guess: Guess) -> tuple[Figures, tuple[ClassFigures, ...]]:
    """Every metric of one guess, and its classes one by one."""
    return _classification(truth, guess) if truth.classes else (_regression(truth, guess), ())


def _classification(truth: Truth, guess: Guess) -> tuple[Figures, tuple[ClassFigures, ...]]:
    """Every metric, and the classes one by one.

    Precision, recall and F1 are of class 1 where there are two classes; else means over the classes that are actual
    or predicted, as scikit-learn's macro averages are, an undefined one counting 0. Areas are means over the classes
    that have rows of both kinds. Scores are clipped at their own precision before a log loss, as scikit-learn does.
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    actual, said = truth.labels, guess.labels
    per_class = precision_recall_fscore_support(actual, said, labels=range(truth.classes), zero_division=0)
    rows = per_class[3]
    counted = rows + np.bincount(np.asarray(said), minlength=truth.classes) > 0
    shown = np.array([False, True]) if truth.classes == 2 else counted
    by_class = {label: area(truth, guess, label) for label in truth.by_class}
    known = [one for one in by_class.values() if one]
    found: Figures = {
        "accuracy": float(accuracy_score(actual, said)),
        "balanced_accuracy": float(per_class[1][rows > 0].mean()),
        **{name: float(per_class[place][shown].mean()) for place, name in enumerate(BY_LABEL[2:])},
        "roc_auc": float(np.mean([one.roc for one in known])) if known else None,
        "pr_auc": float(np.mean([one.precision_recall for one in known])) if known else None,
        "log_loss": _log_loss(truth, guess),
    }
    return found, tuple(_shown_alone(label, per_class, by_class) for label in range(truth.classes))


def area(truth: Truth, guess: Guess, label: int) -> Area | None:
    """Of one class against the others; None without rows of both kinds."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    positive = truth.labels == label
    share = float(positive.mean())
    if not 0 < share < 1:
        return None
    if guess.constant:  # all rows tie: what scikit-learn says of them, too
        return Area(0.5, share)
    scores = guess.of_class(label)
    return Area(float(roc_auc_score(positive, scores)), float(average_precision_score(positive, scores)))


def constants(truth: Truth) -> dict[MetricName, Guess]:
    """The best constant prediction for each metric, in hindsight: chosen for these very rows.

    No constant does better on them, so a model that beats it shows more than one that beats a constant learnt from
    the training rows, and those are not needed. It is the mean (RMSE, R²), the median (MAE, and median absolute error,
    where it is customary rather than best), the quantile (pinball loss), the largest class, or the shares of the
    classes as probabilities. Precision, recall and F1 of two classes are best when every row is called a 1.
    """
    rows, labels = len(truth.labels), truth.labels
    if truth.classes:
        shares = np.bincount(labels.astype(np.intp), minlength=truth.classes) / rows
        scores = np.broadcast_to(shares if truth.classes > 2 else shares[1], (rows, *shares.shape[: truth.classes > 2]))
        largest = Guess(scores, np.full(rows, shares.argmax()), probabilities=True, constant=True)
        ones = replace(largest, labels=np.ones(rows, np.intp)) if truth.classes == 2 else largest
        return {name: ones if name in {"precision", "recall", "f1"} else largest for name in truth.names}
    mean, median = (Guess(np.full(rows, of(labels)), constant=True) for of in (np.mean, np.median))
    found: dict[MetricName, Guess] = {"rmse": mean, "mae": median, "median_error": median, "r2": mean}
    if truth.quantile:
        # A label itself: between two of them, where quantiles are often put, the loss can be higher.
        quantile = np.quantile(labels, truth.quantile, method="inverted_cdf")
        found["pinball"] = Guess(np.full(rows, quantile), constant=True)
    return found


def by_guess(chosen: Mapping[MetricName, Guess]) -> Sequence[tuple[Guess, tuple[MetricName, ...]]]:
    """Each guess once, with the metrics it is made for."""
    different = {id(guess): guess for guess in chosen.values()}
    return [(one, tuple(name for name, guess in chosen.items() if guess is one)) for one in different.values()]


def of_constants(truth: Truth, chosen: Mapping[MetricName, Guess]) -> Figures:
    """Each metric of the constant that was chosen for it."""
    found = [(names, figures(truth, guess)) for guess, names in by_guess(chosen)]
    return {name: of_guess[name] for names, of_guess in found for name in names}


def _regression(truth: Truth, guess: Guess) -> Figures:
    """R² is not defined where all labels are equal."""
    from sklearn import metrics

    actual, said = truth.labels, guess.scores
    found: Figures = {
        "rmse": float(metrics.root_mean_squared_error(actual, said)),
        "mae": float(metrics.mean_absolute_error(actual, said)),
        "median_error": float(metrics.median_absolute_error(actual, said)),
        "r2": float(metrics.r2_score(actual, said)) if np.ptp(actual) else None,
    }
    if truth.quantile:
        found["pinball"] = float(metrics.mean_pinball_loss(actual, said, alpha=truth.quantile))
    return found


def _shown_alone(label: int, per_class: tuple[Floats, ...], areas: Mapping[int, Area | None]) -> ClassFigures:
    precision, recall, f1, rows = (of[label] for of in per_class)
    own = areas.get(label, areas[1])  # of two classes, both have the same
    return ClassFigures(
        label=label,
        rows=int(rows),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        roc_auc=own.roc if own else None,
    )


def _log_loss(truth: Truth, guess: Guess) -> float | None:
    from sklearn.metrics import log_loss

    return float(log_loss(truth.labels, guess.scores, labels=range(truth.classes))) if guess.probabilities else None
