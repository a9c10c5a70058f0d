"""Selection of the best model, epoch and threshold."""

from typing import Final, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters, LossCriteria

Floats = NDArray[np.float64]

LOSS_CRITERIA: Final = get_args(LossCriteria)
"""Values of binary_classifier_model_selection_criteria that compare models by loss and determine no threshold."""

CANDIDATE_STEP: Final = 5
"""Every fifth score in ascending order is a candidate for the threshold."""


def find_best_threshold(
    scores: NDArray[np.float32], labels: NDArray[np.float32], settings: Hyperparameters
) -> tuple[float, float]:
    """The best threshold for scores (rows,) with labels 0 and 1, and the criterion's value, 0 if its target is missed.

    Candidates are every fifth score in ascending order from the lowest, and the first best one is selected, as in three
    real jobs with the criterion accuracy; for the other criteria this is inferred.
    """
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    candidates = ranked[::CANDIDATE_STEP]
    below = np.searchsorted(ranked, candidates)
    positives_below = np.concatenate([[0.0], np.cumsum(labels[order], dtype=np.float64)])
    positives = positives_below[-1]
    values = _criterion_values(
        positives - positives_below[below],
        (len(scores) - below).astype(np.float64),
        int(positives),
        len(scores),
        settings,
    )
    best = int(np.argmax(values))
    return float(candidates[best]), max(float(values[best]), 0.0)


def _criterion_values(
    true_positives: Floats, predicted_positives: Floats, positives: int, rows: int, settings: Hyperparameters
) -> Floats:
    """(candidates,) the selection criterion for every candidate threshold; below 0 if its target is missed."""
    criterion = settings.binary_classifier_model_selection_criteria
    if criterion == "accuracy":
        return (rows - positives - predicted_positives + 2 * true_positives) / rows
    if criterion in ("f_beta", "f1"):
        square = settings.f_beta**2 if criterion == "f_beta" else 1.0
        return (1 + square) * true_positives / (square * positives + predicted_positives)
    precision, recall = true_positives / predicted_positives, true_positives / max(positives, 1)
    if criterion == "precision_at_target_recall":
        return np.where(recall >= settings.target_recall, precision, precision - 1)
    # Below the target, higher precision gives a higher value.
    return np.where(precision >= settings.target_precision, recall, precision - 1)


class Progress(NamedTuple):
    """The state of early stopping after an epoch; see `Epoch`."""

    improved: bool
    extended: bool
    stop: bool


class EarlyStopping:
    """The container's rule for a value to be minimised; a value to be maximised is negated by the caller.

    An epoch improves if it is below the best value so far by more than `tolerance` times that value. With negative
    (negated) values this includes epochs that are worse by less than `tolerance`: in logs such jobs improve in every
    epoch and do not stop early. Exhausted patience restarts if an epoch is better by more than the tolerance than all
    epochs since the last improvement. All 164 known logs agree with this.
    """

    def __init__(self, patience: int, tolerance: float) -> None:
        self._patience, self._tolerance = patience, tolerance
        self._best = self._best_since = np.inf
        self._waiting_since = 0

    def observe(self, epoch: int, value: float) -> Progress:
        """The state of early stopping after the next epoch, with this value."""
        improved = bool(np.isfinite(value)) and self._is_better(value, self._best)
        exhausted = not improved and epoch - self._waiting_since > self._patience
        extended = exhausted and bool(np.isfinite(value)) and self._is_better(value, self._best_since)
        if improved or extended:
            self._waiting_since = epoch
        if np.isfinite(value):
            self._best = min(self._best, value)
            self._best_since = np.inf if improved else min(self._best_since, value)
        return Progress(improved, extended, stop=exhausted and not extended)

    def _is_better(self, value: float, best: float) -> bool:
        return np.isinf(best) or best - value > self._tolerance * best
