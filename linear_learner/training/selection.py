"""Selection of the best model, epoch and threshold."""

from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters, LossCriteria

Floats = NDArray[np.float64]

LOSS_CRITERIA: Final = get_args(LossCriteria)
"""Values of binary_classifier_model_selection_criteria that compare models by their loss and name no threshold."""


def find_best_threshold(
    scores: NDArray[np.float32], labels: NDArray[np.float32], settings: Hyperparameters
) -> tuple[float, float]:
    """The threshold for scores (rows,) with labels 0 and 1, and the criterion's best value, 0 if its target is missed.

    Of equally good cuts the container takes the lowest, and stores not the score there but the next higher one, so the
    value is not quite reached by it.
    """
    order = np.argsort(scores)[::-1]
    ranked = scores[order]
    cut_ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    true_positives = np.cumsum(labels[order].astype(np.float64))
    values = _criterion_values(
        true_positives[cut_ends], (cut_ends + 1).astype(np.float64), int(true_positives[-1]), len(scores), settings
    )
    best = len(values) - 1 - int(np.argmax(values[::-1]))
    return float(ranked[cut_ends[max(best - 1, 0)]]), max(float(values[best]), 0.0)


def _criterion_values(
    true_positives: Floats, predicted_positives: Floats, positives: int, rows: int, settings: Hyperparameters
) -> Floats:
    """(cuts,) the selection criterion for every way to cut rows ranked by score; below 0 where its target is missed."""
    criterion = settings.binary_classifier_model_selection_criteria
    if criterion == "accuracy":
        return (rows - positives - predicted_positives + 2 * true_positives) / rows
    if criterion in ("f_beta", "f1"):
        square = settings.f_beta**2 if criterion == "f_beta" else 1.0
        return (1 + square) * true_positives / (square * positives + predicted_positives)
    precision, recall = true_positives / predicted_positives, true_positives / max(positives, 1)
    if criterion == "precision_at_target_recall":
        return np.where(recall >= settings.target_recall, precision, precision - 1)
    # Where the precision is missed, the more precise the higher.
    return np.where(precision >= settings.target_precision, recall, precision - 1)


class EarlyStopping:
    """The container's rule, on a value to be minimised; one to be maximised is given negated.

    An epoch improves on the best value so far when it is below it by more than `tolerance` of it. For a negated, hence
    negative, value that lets through every epoch less than `tolerance` worse than the best: such jobs are logged to
    improve in every epoch, and do not stop early. One noisy data set, logged twice, went on for four epochs longer than
    this rule; why is unknown.
    """

    def __init__(self, patience: int, tolerance: float) -> None:
        self._patience, self._tolerance = patience, tolerance
        self._best_value: float | None = None
        self._last_improved_epoch = 0

    def observe(self, epoch: int, value: float) -> tuple[bool, bool]:
        """Whether this epoch improved, and whether it is the last."""
        best = self._best_value
        improved = bool(np.isfinite(value)) and (best is None or best - value > self._tolerance * best)
        if np.isfinite(value):
            self._best_value = value if best is None else min(best, value)
        if improved:
            self._last_improved_epoch = epoch
        return improved, epoch - self._last_improved_epoch > self._patience
