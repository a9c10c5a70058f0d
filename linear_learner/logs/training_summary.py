"""What a training job did, according to its log, and whether its loss diverges."""

from collections.abc import Sequence
from math import isfinite
from typing import Self

from pydantic import BaseModel, ConfigDict

from linear_learner.logs.reader import EpochReport, LogReport, lower_is_better, thin_out

MAX_CURVE_POINTS = 200
"""Epochs in a learning curve; of a longer one it has every second, fourth, … epoch."""
_MODEL_CONFIG = ConfigDict(frozen=True, use_attribute_docstrings=True)


class EpochPoint(BaseModel):
    """One epoch: the best model's criterion, and the losses of the saved model; None where not logged."""

    model_config = _MODEL_CONFIG

    index: int
    criterion: float | None
    train: float | None
    validation: float | None


class TrainingSummary(BaseModel):
    """One training job; values of the criterion are None where the log does not hold them, or they were not finite."""

    model_config = _MODEL_CONFIG

    objective: str | None
    """What was minimised, such as `mse`."""
    criterion: str | None
    """What decided between models and about stopping, such as `mse_objective`."""
    lower_is_better: bool
    """Of the criterion."""
    models: int
    """How many were trained side by side."""
    saved_model: int | None
    """Its index; None where models were compared by something the log does not print for each of them.

    The curve then holds the lowest loss of each epoch.
    """
    hyperparameters: dict[str, int | float | str]
    """Of the saved model."""
    epochs: int
    """How many were trained."""
    saved_epoch: int | None
    """The epoch whose model was saved: the last that improved by more than the tolerance. The first is 0."""
    saved_value: float | None
    best_epoch: int | None
    """The epoch with the best value of the criterion."""
    best_value: float | None
    stopped_early: bool
    throughput: float | None
    """Records per second, over all models at once."""
    curve: tuple[EpochPoint, ...]

    @classmethod
    def from_report(cls, report: LogReport) -> Self:
        """Summarise the report of a whole log."""
        values: dict[int | None, float | None] = {epoch.index: _value(epoch) for epoch in report.epochs}
        criterion = next((epoch.criteria for epoch in report.epochs if epoch.criteria), None)
        return cls(
            objective=report.objective,
            criterion=criterion,
            lower_is_better=lower_is_better(criterion),
            models=max((len(epoch.train) for epoch in report.epochs), default=0),
            saved_model=report.saved_model,
            hyperparameters=report.best_hyperparameters,
            epochs=len(report.epochs),
            saved_epoch=report.saved_epoch,
            saved_value=values.get(report.saved_epoch),
            best_epoch=report.best_epoch,
            best_value=values.get(report.best_epoch),
            stopped_early=report.stopped_early,
            throughput=report.throughput,
            curve=tuple(
                EpochPoint(
                    index=epoch.index,
                    criterion=_value(epoch),
                    train=_loss(epoch.train, report.saved_model),
                    validation=_loss(epoch.validation, report.saved_model),
                )
                for epoch in thin_out(report.epochs, MAX_CURVE_POINTS)
            ),
        )

    @property
    def discarded_improvement(self) -> float | None:
        """The share by which the best epoch was better than the saved one; 0 when they are the same.

        The saved epoch is the last that improved by more than early stopping's tolerance; smaller improvements after
        it are discarded.
        """
        if self.saved_value is None or self.best_value is None:
            return None
        gap = abs(self.best_value - self.saved_value)
        return gap / abs(self.saved_value) if gap and self.saved_value else 0.0


def _loss(losses: dict[int, float], model: int | None) -> float | None:
    finite = {index: loss for index, loss in losses.items() if isfinite(loss)}
    return finite.get(model) if model is not None else min(finite.values(), default=None)


def _value(epoch: EpochReport) -> float | None:
    return epoch.value if epoch.value is not None and isfinite(epoch.value) else None


DIVERGENCE_FACTOR = 1000.0
"""Times the lowest loss so far: no learning rate schedule brings that back within the epochs that are left."""


def describe_divergence(epochs: Sequence[EpochReport]) -> str | None:
    """What is wrong with the best model's loss, e.g. "its loss is inf in epoch 3"; None as long as nothing is.

    One of many models may diverge without harm; early stopping's criterion is the best model's. Scores are passed over.
    """
    values = [
        (epoch.index, epoch.value) for epoch in epochs if epoch.value is not None and lower_is_better(epoch.criteria)
    ]
    if not values:
        return None
    index, value = values[-1]
    if not isfinite(value):
        return f"its loss is {value} in epoch {index}"
    lowest = min(value for _, value in values)
    if value > DIVERGENCE_FACTOR * lowest > 0:
        return f"its loss is {value:.3g} in epoch {index} and was {lowest:.3g} before"
    return None
