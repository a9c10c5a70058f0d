"""Selection of the best model, epoch and threshold."""

from typing import Final, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters, LossCriteria

Floats = NDArray[np.float64]

LOSS_CRITERIA: Final = get_args(LossCriteria)
"""Values of binary_classifier_model_selection_criteria that compare models by their loss and name no threshold."""


CANDIDATE_STEP: Final = 5
"""Every fifth of the ranked scores is a candidate for the threshold."""


def find_best_threshold(
    scores: NDArray[np.float32], labels: NDArray[np.float32], settings: Hyperparameters
) -> tuple[float, float]:
    """The threshold for scores (rows,) with labels 0 and 1, and the criterion's best value, 0 if its target is missed.

    Candidates are every fifth score in ascending order, from the lowest on, and the first best one wins, as in three
    real jobs with the criterion accuracy; for the other criteria it is inferred.
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


class Progress(NamedTuple):
    """What one epoch means for early stopping."""

    improved: bool
    """The best model of this epoch replaces the saved one."""
    extended: bool
    """Patience was exhausted, but starts again."""
    stop: bool
    """This epoch is the last."""


class EarlyStopping:
    """The container's rule, on a value to be minimised; one to be maximised is given negated.

    An epoch improves on the best value so far when it is below it by more than `tolerance` of it. For a negated, hence
    negative, value that lets through every epoch less than `tolerance` worse than the best: such jobs are logged to
    improve in every epoch, and do not stop early. When patience is exhausted, an epoch that is better by more than the
    tolerance than all epochs since the last improvement lets it start again. All 164 known logs agree with this.
    """

    def __init__(self, patience: int, tolerance: float) -> None:
        self._patience, self._tolerance = patience, tolerance
        self._best = self._best_since = np.inf
        self._waiting_since = 0

    def observe(self, epoch: int, value: float) -> Progress:
        """Take in the value of the next epoch."""
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
