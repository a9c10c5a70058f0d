"""Selection of the best model, epoch and threshold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ThresholdCounts:
    """Every way to cut rows ranked by score in two: the first `predicted` rows positive, `hits` of them rightly."""

    true_positives: Floats
    predicted_positives: Floats
    positives: int
    rows: int

    @property
    def precision(self) -> Floats:
        return self.true_positives / self.predicted_positives

    @property
    def recall(self) -> Floats:
        return self.true_positives / max(self.positives, 1)

    def accuracy(self) -> Floats:
        return (self.rows - self.positives - self.predicted_positives + 2 * self.true_positives) / self.rows

    def f_score(self, beta: float) -> Floats:
        """(1 + β²)·precision·recall / (β²·precision + recall)."""
        return (1 + beta**2) * self.true_positives / (beta**2 * self.positives + self.predicted_positives)

    def precision_at(self, recall: float) -> Floats:
        """Below 0 where the recall is missed."""
        return np.where(self.recall >= recall, self.precision, self.precision - 1)

    def recall_at(self, precision: float) -> Floats:
        """Below 0 where the precision is missed, the more precise the higher."""
        return np.where(self.precision >= precision, self.recall, self.precision - 1)


LOSS_CRITERIA: Final = ("loss_function", "cross_entropy_loss")
CRITERIA: Final[Mapping[str, Callable[[ThresholdCounts, Hyperparameters], Floats]]] = MappingProxyType(
    {
        "accuracy": lambda cuts, _: cuts.accuracy(),
        "f_beta": lambda cuts, settings: cuts.f_score(settings.f_beta),
        "f1": lambda cuts, _: cuts.f_score(1.0),
        "precision_at_target_recall": lambda cuts, settings: cuts.precision_at(settings.target_recall),
        "recall_at_target_precision": lambda cuts, settings: cuts.recall_at(settings.target_precision),
    }
)
"""What is maximised over thresholds, per value of binary_classifier_model_selection_criteria that needs one."""


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
    cuts = ThresholdCounts(
        true_positives[cut_ends], (cut_ends + 1).astype(np.float64), int(true_positives[-1]), len(scores)
    )
    values = CRITERIA[settings.binary_classifier_model_selection_criteria](cuts, settings)
    best = len(values) - 1 - int(np.argmax(values[::-1]))
    return float(ranked[cut_ends[max(best - 1, 0)]]), max(float(values[best]), 0.0)


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
