"""The final scores of a channel, with the container's names and in its order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import Examples, LinearModel, row_slices, sigmoid
from linear_learner.training.losses import Loss

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One final score with the container's name, e.g. `Score("mse", 0.25, "loss")`; `kind` is `loss` or `score`."""

    name: str
    value: float
    kind: str


def channel_scores(model: LinearModel, examples: Examples, loss: Loss, settings: Hyperparameters) -> tuple[Score, ...]:
    """All final scores of `model` on `examples`, the objective first, as the newest known containers print them."""
    raw, labels = model.raw_scores(examples.features), np.asarray(examples.labels)
    objective = Score(f"{loss.objective}_objective", _mean_loss(loss, raw, labels), "loss")
    if model.predictor_type == "regressor":
        values = _regression_scores(raw[:, 0].astype(np.float64), labels.astype(np.float64))
    elif model.predictor_type == "binary_classifier":
        values = _binary_scores(model, raw[:, 0], labels == 1, settings.f_beta)
    else:
        values = _multiclass_scores(raw, labels.astype(np.intp), settings)
    kind = "loss" if model.predictor_type == "regressor" else "score"
    return (objective, *(Score(name, value, kind) for name, value in values.items()))


def _mean_loss(loss: Loss, raw: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    losses = (
        loss.weighted_value(raw[rows, :, None].astype(np.float64), labels[rows].astype(np.float64)).sum()
        for rows in row_slices(*raw.shape)
    )
    return float(sum(losses) / len(raw))


def _regression_scores(scores: Floats, labels: Floats) -> dict[str, float]:
    """The last three are from newer containers; that they are also printed as losses is inferred."""
    error = scores - labels
    mse, mae = float(np.square(error).mean()), float(np.abs(error).mean())
    variance = float(labels.var())
    r2 = 1 - mse / variance if variance else float("nan")
    return {"mse": mse, "absolute_loss": mae, "rmse": mse**0.5, "r2": r2, "mae": mae}


def _binary_scores(
    model: LinearModel, raw: NDArray[np.float32], positive: NDArray[np.bool_], beta: float
) -> dict[str, float]:
    served = model.activate(raw)
    predicted = served >= np.float32(model.threshold)
    true_positives = float(np.count_nonzero(predicted & positive))
    # The container applies the sigmoid to the served score again for these two: balanced accuracy is always 0.5.
    squashed = sigmoid(served).astype(np.float64)
    right = (squashed >= 0.5) == positive
    return {
        "binary_classification_accuracy": float(np.mean(predicted == positive)),
        f"binary_f_{beta:.3f}": _ratio((1 + beta**2) * true_positives, beta**2 * positive.sum() + predicted.sum()),
        "precision": _ratio(true_positives, predicted.sum()),
        "recall": _ratio(true_positives, positive.sum()),
        "roc_auc_score": area_under_curve(raw, positive),
        "binary_balanced_accuracy": 0.5
        * sum(_ratio(right[group].sum(), group.sum()) for group in (positive, ~positive)),
        "binary_log_loss": float(-np.log(np.where(positive, squashed, 1 - squashed)).mean()),
    }


def _multiclass_scores(
    raw: NDArray[np.float32], labels: NDArray[np.intp], settings: Hyperparameters
) -> dict[str, float]:
    classes = raw.shape[1]
    label_scores = np.take_along_axis(raw, labels[:, None], axis=1)
    rank = np.count_nonzero(raw > label_scores, axis=1)
    predicted = raw.argmax(axis=1)
    true_positives = np.bincount(labels[predicted == labels], minlength=classes).astype(np.float64)
    label_counts, predicted_counts = (
        np.bincount(classes_of_rows, minlength=classes).astype(np.float64) for classes_of_rows in (labels, predicted)
    )
    square = settings.f_beta**2
    return {
        "multiclass_accuracy": float(np.mean(predicted == labels)),
        f"multiclass_top_k_accuracy_{settings.accuracy_top_k}": float(np.mean(rank < settings.accuracy_top_k)),
        "dcg": float(np.mean(1 / np.log2(rank + 2.0))),
        "macro_recall": float(_ratios(true_positives, label_counts).mean()),
        "macro_precision": float(_ratios(true_positives, predicted_counts).mean()),
        f"macro_f_{settings.f_beta:.3f}": float(
            _ratios((1 + square) * true_positives, square * label_counts + predicted_counts).mean()
        ),
    }


def area_under_curve(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Probability that a positive row scores above a negative one, ties counting half; NaN without both classes."""
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    if not (len(above) and len(below)):
        return float("nan")
    wins = np.searchsorted(below, above, "left").sum() + np.searchsorted(below, above, "right").sum()
    return float(wins / (2 * len(above) * len(below)))


def _ratio(part: float | np.number, whole: float | np.number) -> float:
    return float(part / whole) if whole else 0.0


def _ratios(parts: Floats, wholes: Floats) -> Floats:
    return np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes > 0)
