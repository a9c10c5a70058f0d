"""The final figures of a channel, in the container's names and order."""

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import LinearModel, sigmoid
from linear_learner.training.examples import Examples
from linear_learner.training.losses import Loss
from linear_learner.training.results import Score
from linear_learner.training.scaling import CHUNK

Floats = NDArray[np.float64]


def raw_scores(model: LinearModel, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """w·x + b of every row: (rows, outputs) float32."""
    scores = np.empty((len(features), len(model.bias)), dtype=np.float32)
    step = max(1, CHUNK // max(1, features.shape[1]))
    for start in range(0, len(features), step):
        scores[start : start + step] = features[start : start + step] @ model.weights + model.bias
    return scores


def channel_scores(model: LinearModel, examples: Examples, loss: Loss, settings: Hyperparameters) -> tuple[Score, ...]:
    """All final figures of `model` on `examples`, the objective first, as the newest known containers print them."""
    raw, labels = raw_scores(model, examples.features), np.asarray(examples.labels)
    objective = Score(f"{loss.objective}_objective", _mean_loss(loss, raw, labels), "loss")
    if model.predictor_type == "regressor":
        return (objective, *_regression(raw[:, 0].astype(np.float64), labels.astype(np.float64)))
    if model.predictor_type == "binary_classifier":
        return (objective, *_binary(model, raw[:, 0], labels == 1, settings.f_beta))
    return (objective, *_multiclass(raw, labels.astype(np.intp), settings))


def _mean_loss(loss: Loss, raw: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    total, step = 0.0, max(1, CHUNK // raw.shape[1])
    for start in range(0, len(raw), step):
        some = labels[start : start + step].astype(np.float64)
        losses = loss.value(raw[start : start + step, :, None].astype(np.float64), loss.targets(some))
        weights = loss.weights(some)
        total += float((losses if weights is None else losses * weights).sum())
    return total / len(raw)


def _regression(scores: Floats, labels: Floats) -> tuple[Score, ...]:
    """The last three are of newer containers; that they too are printed as losses is inferred."""
    error = scores - labels
    mse, mae = float(np.square(error).mean()), float(np.abs(error).mean())
    variance = float(labels.var())
    r2 = 1 - mse / variance if variance else float("nan")
    named = {"mse": mse, "absolute_loss": mae, "rmse": mse**0.5, "r2": r2, "mae": mae}
    return tuple(Score(name, value, "loss") for name, value in named.items())


def _binary(
    model: LinearModel, raw: NDArray[np.float32], positive: NDArray[np.bool_], beta: float
) -> tuple[Score, ...]:
    served = sigmoid(raw) if model.has_sigmoid else raw
    predicted = served >= np.float32(model.threshold)
    hits = float(np.count_nonzero(predicted & positive))
    # The container squashes the served score once more before these two: its balanced accuracy is always one half.
    squashed = sigmoid(served).astype(np.float64)
    named = {
        "binary_classification_accuracy": float(np.mean(predicted == positive)),
        f"binary_f_{beta:.3f}": _ratio((1 + beta**2) * hits, beta**2 * positive.sum() + predicted.sum()),
        "precision": _ratio(hits, predicted.sum()),
        "recall": _ratio(hits, positive.sum()),
        "roc_auc_score": area_under_curve(raw, positive),
        "binary_balanced_accuracy": _balanced_accuracy(squashed >= 0.5, positive),
        "binary_log_loss": float(-np.log(np.where(positive, squashed, 1 - squashed)).mean()),
    }
    return tuple(Score(name, value, "score") for name, value in named.items())


def _multiclass(raw: NDArray[np.float32], labels: NDArray[np.intp], settings: Hyperparameters) -> tuple[Score, ...]:
    classes = raw.shape[1]
    own = np.take_along_axis(raw, labels[:, None], axis=1)
    rank = np.count_nonzero(raw > own, axis=1)
    predicted = raw.argmax(axis=1)
    hits = np.bincount(labels[predicted == labels], minlength=classes).astype(np.float64)
    actual, chosen = (np.bincount(of, minlength=classes).astype(np.float64) for of in (labels, predicted))
    square = settings.f_beta**2
    named = {
        "multiclass_accuracy": float(np.mean(predicted == labels)),
        f"multiclass_top_k_accuracy_{settings.accuracy_top_k}": float(np.mean(rank < settings.accuracy_top_k)),
        "dcg": float(np.mean(1 / np.log2(rank + 2.0))),
        "macro_recall": float(_ratios(hits, actual).mean()),
        "macro_precision": float(_ratios(hits, chosen).mean()),
        f"macro_f_{settings.f_beta:.3f}": float(_ratios((1 + square) * hits, square * actual + chosen).mean()),
    }
    return tuple(Score(name, value, "score") for name, value in named.items())


def area_under_curve(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """The chance that a positive row scores above a negative one, ties counting half; NaN without either."""
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    if not (len(above) and len(below)):
        return float("nan")
    wins = np.searchsorted(below, above, "left").sum() + np.searchsorted(below, above, "right").sum()
    return float(wins / (2 * len(above) * len(below)))


def _balanced_accuracy(predicted: NDArray[np.bool_], positive: NDArray[np.bool_]) -> float:
    hits, misses = np.count_nonzero(predicted & positive), np.count_nonzero(predicted & ~positive)
    negatives = len(positive) - positive.sum()
    return 0.5 * (_ratio(hits, positive.sum()) + _ratio(negatives - misses, negatives))


def _ratio(part: float | np.number, whole: float | np.number) -> float:
    return float(part / whole) if whole else 0.0


def _ratios(parts: Floats, wholes: Floats) -> Floats:
    return np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes > 0)
