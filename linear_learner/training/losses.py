"""The losses, their gradients and their class weights."""

from abc import ABC, abstractmethod
from math import log
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import LOSSES, Hyperparameters

MIN_PROBABILITY = 1e-10
MAX_SOFTMAX_LOSS = -log(MIN_PROBABILITY)
"""Upper limit of the softmax loss, where the label's probability is lower than MIN_PROBABILITY."""

Floats = NDArray[np.floating]
Targets = NDArray[Any]


class Loss(ABC):
    """A loss; `residual` times `slope` is its derivative with respect to the score.

    `name` is the value of the hyperparameter `loss` and of the artifact's `loss_type`; `class_weights` (classes,) are
    the weights of examples by class, None if all are 1.
    """

    slope: ClassVar[float] = 1.0

    def __init__(self, name: str, settings: Hyperparameters, class_weights: NDArray[np.float32] | None) -> None:
        self.name, self.settings, self.class_weights = name, settings, class_weights

    @property
    def objective(self) -> str:
        """Name in the log, before `_objective`; inferred except for squared, absolute, logistic and softmax loss."""
        weighted = "" if self.class_weights is None else "weighted_"
        objectives = {
            "squared_loss": "mse",
            "logistic": f"binary_classification_{weighted}cross_entropy",
            "softmax_loss": "weighted_softmax_loss" if weighted else "multiclass_cross_entropy",
        }
        return objectives.get(self.name, self.name)

    def targets(self, labels: Floats) -> Targets:
        """Labels (rows,) in the form that `residual` and `value` take: (rows, 1, 1)."""
        return labels[:, None, None]

    def weights(self, labels: Floats) -> NDArray[np.float32] | None:
        """Weights of examples with these labels (rows,): (rows, 1, 1), or None if all are 1."""
        return None if self.class_weights is None else self.class_weights[labels.astype(np.intp)][:, None, None]

    def weighted_value(self, score: Floats, labels: Floats) -> Floats:
        """The loss of every row and model, times the row's weight: `score`'s shape with one output."""
        losses, weights = self.value(score, self.targets(labels)), self.weights(labels)
        return losses if weights is None else losses * weights

    @abstractmethod
    def residual(self, score: Floats, target: Targets, out: Floats) -> None:
        """Write the derivative with respect to the score, divided by `slope`, to `out`; all of `score`'s shape."""

    @abstractmethod
    def value(self, score: Floats, target: Targets) -> Floats:
        """The loss of every row and model: `score`'s shape with one output."""


class RegressionLoss(Loss):
    """A loss of the error, score minus target."""

    def residual(self, score: Floats, target: Targets, out: Floats) -> None:
        np.subtract(score, target, out=out)
        self._differentiate(out)

    def value(self, score: Floats, target: Targets) -> Floats:
        return self._evaluate(np.subtract(score, target))

    @abstractmethod
    def _differentiate(self, error: Floats) -> None:
        """Replace errors by the loss's derivative, divided by `slope`."""

    @abstractmethod
    def _evaluate(self, error: Floats) -> Floats:
        """The loss of these errors."""


class SquaredLoss(RegressionLoss):
    """The container reports e² but uses the gradient of e²/2, as the effect of weight decay shows."""

    def _differentiate(self, error: Floats) -> None:
        pass

    def _evaluate(self, error: Floats) -> Floats:
        return np.square(error, out=error)


class AbsoluteLoss(RegressionLoss):
    def _differentiate(self, error: Floats) -> None:
        np.sign(error, out=error)

    def _evaluate(self, error: Floats) -> Floats:
        return np.abs(error, out=error)


class QuantileLoss(RegressionLoss):
    """q·max(y - f, 0) + (1 - q)·max(f - y, 0)."""

    def _differentiate(self, error: Floats) -> None:
        np.sign(error, out=error)
        error *= 0.5
        error += 0.5 - self.settings.quantile

    def _evaluate(self, error: Floats) -> Floats:
        loss: Floats = np.maximum((1 - self.settings.quantile) * error, -self.settings.quantile * error)
        return loss


class HuberLoss(RegressionLoss):
    """e²/2 within delta, delta·|e| - delta²/2 outside; delta is in the units of the scores."""

    def _differentiate(self, error: Floats) -> None:
        np.clip(error, -self.settings.huber_delta, self.settings.huber_delta, out=error)

    def _evaluate(self, error: Floats) -> Floats:
        inside = np.minimum(np.abs(error, out=error), self.settings.huber_delta)
        return inside * (error - 0.5 * inside)


class EpsInsensitiveSquaredLoss(RegressionLoss):
    """max(0, e² - ε²)."""

    slope = 2.0

    def _differentiate(self, error: Floats) -> None:
        error *= np.abs(error) > self.settings.loss_insensitivity

    def _evaluate(self, error: Floats) -> Floats:
        return np.maximum(np.square(error, out=error) - self.settings.loss_insensitivity**2, 0)


class EpsInsensitiveAbsoluteLoss(RegressionLoss):
    """max(0, |e| - ε)."""

    def _differentiate(self, error: Floats) -> None:
        outside = np.abs(error) > self.settings.loss_insensitivity
        np.sign(error, out=error)
        error *= outside

    def _evaluate(self, error: Floats) -> Floats:
        return np.maximum(np.abs(error, out=error) - self.settings.loss_insensitivity, 0)


class SignedLoss(Loss):
    """A loss of binary labels, whose targets are -1 and +1."""

    def targets(self, labels: Floats) -> Targets:
        return (2 * labels - 1)[:, None, None]


class LogisticLoss(SignedLoss):
    """log(1 + exp(-s·f)); the derivative sigmoid(f) - y equals (tanh(f/2) - s)/2, which is faster to compute."""

    slope = 0.5

    def residual(self, score: Floats, target: Targets, out: Floats) -> None:
        np.multiply(score, 0.5, out=out)
        np.tanh(out, out=out)
        out -= target

    def value(self, score: Floats, target: Targets) -> Floats:
        margin = score * target
        loss: Floats = np.abs(margin)
        np.exp(np.negative(loss, out=loss), out=loss)
        loss += 1
        np.log(loss, out=loss)
        loss -= np.minimum(margin, 0, out=margin)
        return loss


class HingeLoss(SignedLoss):
    """max(0, margin - s·f)."""

    def residual(self, score: Floats, target: Targets, out: Floats) -> None:
        np.multiply(score, target, out=out)
        np.multiply(out < self.settings.margin, -target, out=out)

    def value(self, score: Floats, target: Targets) -> Floats:
        loss: Floats = np.maximum(self.settings.margin - score * target, 0)
        return loss


class SoftmaxLoss(Loss):
    """-log max(p, 1e-10), where p is the label's probability; the gradient below 1e-10 is 0. Targets are classes."""

    def targets(self, labels: Floats) -> Targets:
        return labels.astype(np.intp)[:, None, None]

    def residual(self, score: Floats, target: Targets, out: Floats) -> None:
        np.subtract(score, score.max(axis=-2, keepdims=True), out=out)
        np.exp(out, out=out)
        out /= out.sum(axis=-2, keepdims=True)
        rows, labels = np.arange(len(out)), target[:, 0, 0]
        clipped = out[rows, labels] < MIN_PROBABILITY
        out[rows, labels] -= 1
        if clipped.any():
            out *= ~clipped[:, None]

    def value(self, score: Floats, target: Targets) -> Floats:
        shifted = score - score.max(axis=-2, keepdims=True)
        label_scores = np.take_along_axis(shifted, target, axis=-2)
        total: Floats = np.exp(shifted, out=shifted).sum(axis=-2, keepdims=True)
        loss: Floats = np.log(total, out=total) - label_scores
        np.minimum(loss, MAX_SOFTMAX_LOSS, out=loss)
        return loss


LOSS_TYPES: Final[dict[str, type[Loss]]] = {
    "squared_loss": SquaredLoss,
    "absolute_loss": AbsoluteLoss,
    "quantile_loss": QuantileLoss,
    "huber_loss": HuberLoss,
    "eps_insensitive_squared_loss": EpsInsensitiveSquaredLoss,
    "eps_insensitive_absolute_loss": EpsInsensitiveAbsoluteLoss,
    "logistic": LogisticLoss,
    "hinge_loss": HingeLoss,
    "softmax_loss": SoftmaxLoss,
}


def make_loss(settings: Hyperparameters, train_labels: NDArray[np.float32]) -> Loss:
    name = LOSSES[settings.predictor_type][0] if settings.loss == "auto" else settings.loss
    return LOSS_TYPES[name](name, settings, compute_class_weights(settings, train_labels))


def compute_class_weights(settings: Hyperparameters, labels: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """(classes,) weights of the classes, or None if all are 1.

    With `balanced` and `auto` the weight of positive examples is negatives / positives, as logs show. Multiclass
    weights are inversely proportional to the rows of a class (documented) and sum to 1 (inferred from one log).
    """
    if settings.predictor_type == "binary_classifier":
        weight = settings.positive_weight
        if weight is None:
            positives = int(np.count_nonzero(labels))
            weight = (len(labels) - positives) / max(positives, 1)
        return None if weight == 1 else np.array([1, weight], dtype=np.float32)
    if settings.predictor_type == "multiclass_classifier" and settings.balance_multiclass_weights:
        counts = np.bincount(labels.astype(np.intp), minlength=settings.num_classes or 0)
        inverse = 1 / np.maximum(counts, 1)
        return np.asarray(inverse / inverse.sum(), np.float32)
    return None
