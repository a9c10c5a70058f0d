"""What a training run reports: one `Epoch` after each pass over the data, one `Training` at the end."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linear_learner.model import LinearModel


@dataclass(frozen=True)
class Score:
    """One final figure in the container's words, e.g. `Score("mse", 0.25, "loss")`; `kind` is `loss` or `score`."""

    name: str
    value: float
    kind: str


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data, seen from every model trained at once."""

    index: int
    train: NDArray[np.float64]
    """(models,) mean training objective over the epoch's mini-batches."""
    validation: NDArray[np.float64] | None
    """(models,) validation objective over all rows; None without a validation channel."""
    criteria: str
    """Name of what early stopping watches, as the log prints it."""
    value: float
    """The best model's value of it."""
    best_model: int
    improved: bool
    """The value fell by more than the tolerance, and this epoch's best model was kept."""
    stop: bool
    """Patience is exhausted; this was the last epoch."""
    records: int
    batches: int
    seconds: float


@dataclass(frozen=True)
class Training:
    """The model that was kept and how it came to be."""

    model: LinearModel
    epochs: tuple[Epoch, ...]
    objective: str
    """The objective's name in the log, e.g. `mse`, `binary_classification_cross_entropy`."""
    best_model: int
    best_epoch: int
    hyperparameters: Mapping[str, object]
    """The winner's, in the words of the log's `Best model found for hyperparameters`."""
    scores: Mapping[str, tuple[Score, ...]]
    """Per channel (`train`, `validation`, `test`), in the container's order."""
