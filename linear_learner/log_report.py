"""What a training job's log said, as data."""

from collections.abc import Sequence
from math import isnan
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

_AS_DATA = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class EpochReport(BaseModel):
    """One pass over the training data; losses are keyed by the model's index, speed is in records per second."""

    model_config = _AS_DATA

    index: int
    train: dict[int, float] = Field(default_factory=dict)
    validation: dict[int, float] = Field(default_factory=dict)
    criteria: str | None = None
    value: float | None = None
    improved: bool = False
    throughput: float | None = None

    @property
    def best_model(self) -> int | None:
        """The model with the lowest loss, on the validation channel if there is one.

        None where the log holds no loss, or where models are compared by something it does not print for each of them
        (`sampled_accuracy`).
        """
        losses = {model: loss for model, loss in (self.validation or self.train).items() if not isnan(loss)}
        return min(losses, key=losses.__getitem__) if losses and lower_is_better(self.criteria) else None


class LogReport(BaseModel):
    """A whole log, finished or not. `progress` is in percent; scores are by channel (train, validation, test)."""

    model_config = _AS_DATA

    objective: str | None = None
    configuration: dict[str, str] = Field(default_factory=dict)
    epochs: tuple[EpochReport, ...] = ()
    best_epoch: int | None = None
    """The epoch with the best value of the criterion."""
    kept_epoch: int | None = None
    """The epoch whose model was saved: the last that improved by more than the tolerance."""
    kept_model: int | None = None
    progress: float | None = None
    throughput: float | None = None
    scores: dict[str, dict[str, float]] = Field(default_factory=dict)
    best_hyperparameters: dict[str, int | float | str] = Field(default_factory=dict)
    stopped_early: bool = False
    failure: str | None = None

    @classmethod
    def of(cls, epochs: tuple[EpochReport, ...], **said: object) -> Self:
        """Complete what the log said by what follows from its epochs."""
        rated = {
            epoch.index: epoch.value if lower_is_better(epoch.criteria) else -epoch.value
            for epoch in epochs
            if epoch.value is not None
        }
        kept = max((epoch for epoch in epochs if epoch.improved), key=lambda epoch: epoch.index, default=None)
        return cls.model_validate(
            {
                **said,
                "epochs": epochs,
                "best_epoch": min(rated, key=rated.__getitem__, default=None),
                "kept_epoch": kept and kept.index,
                "kept_model": kept and kept.best_model,
            }
        )


def thinned(epochs: Sequence[EpochReport], most: int) -> Sequence[EpochReport]:
    """At most so many of them: all, or every second, fourth, …, the last one included."""
    step = 1
    while len(epochs) / step > most:
        step *= 2
    return epochs[::-1][::step][::-1]


def lower_is_better(criteria: str | None) -> bool:
    """Whether early stopping watches a loss; other criteria seen, like `sampled_accuracy`, are scores."""
    return criteria is None or criteria.endswith("_objective")
