"""The models that are trained side by side: one row of hyperparameters each."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice, product
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters

Axes = Mapping[str, tuple[float, ...]]

AXES: Final[Axes] = MappingProxyType(
    {
        "lr_scheduler_step": (10, 100),
        "lr_scheduler_minimum_lr": (1e-5, 1e-4),
        "learning_rate": (0.005, 0.1),
        "wd": (1e-4, 1e-2, 1.0, 100.0),
        "l1": (0.0,),
        "lr_scheduler_factor": (0.99,),
    }
)
"""The container's 32 models for regression and binary classification; the first axis changes fastest."""

MULTICLASS_AXES: Final[Axes] = MappingProxyType(
    {
        "learning_rate": (0.01, 0.1),
        "l1": (0.0, 0.1),
        "wd": (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0),
        "lr_scheduler_step": (100,),
        "lr_scheduler_minimum_lr": (1e-5,),
        "lr_scheduler_factor": (0.98,),
    }
)
"""28 models, as many as the container's random search for multiclass, whose draws are not known; this grid is ours."""

_REPORTED = ("learning_rate", "wd", "l1", "lr_scheduler_step", "lr_scheduler_factor", "lr_scheduler_minimum_lr")


@dataclass(frozen=True)
class ModelGrid:
    """One array of (models,) per hyperparameter that differs, or may differ, between models."""

    optimizer: str
    columns: Mapping[str, NDArray[np.float64]]
    scheduled: bool

    @property
    def models(self) -> int:
        return len(self.columns["wd"])

    def learning_rates(self, first: int, count: int) -> NDArray[np.float64]:
        """(count, models) rates of the mini-batches first, first + 1, … counted from 1 over all epochs.

        max(rate·factor^((t - 1) // step), minimum), as logged jobs show; a minimum above the rate itself, never seen,
        is taken to leave the rate as it is.
        """
        rate = self.columns["learning_rate"]
        if not self.scheduled:
            return np.tile(rate, (count, 1))
        done = np.arange(first - 1, first - 1 + count)[:, None]
        falls = done // self.columns["lr_scheduler_step"]
        lowest = np.minimum(self.columns["lr_scheduler_minimum_lr"], rate)
        return np.maximum(rate * self.columns["lr_scheduler_factor"] ** falls, lowest)

    def row(self, model: int) -> dict[str, object]:
        """One model in the words, and the order, of the log's `Best model found for hyperparameters`."""
        names = _REPORTED if self.scheduled else _REPORTED[:3]
        values: dict[str, object] = {name: float(self.columns[name][model]) for name in names}
        if self.scheduled:
            values["lr_scheduler_step"] = int(self.columns["lr_scheduler_step"][model])
        return {"optimizer": self.optimizer, **values}


def models_of(hyperparameters: Hyperparameters) -> ModelGrid:
    """The models the hyperparameters ask for.

    A value the user fixes replaces its axis and keeps the number of models, which then differ by where they start; of
    `num_models` below the grid's size the first are taken, above it the grid repeats. Both are inferred from few jobs.
    """
    multiclass = hyperparameters.predictor_type == "multiclass_classifier"
    axes = MULTICLASS_AXES if multiclass else AXES
    values = [_axis(getattr(hyperparameters, name), axis) for name, axis in axes.items()]
    rows = [combination[::-1] for combination in product(*reversed(values))]
    chosen = np.array(list(islice(cycle(rows), hyperparameters.num_models or len(rows))), dtype=np.float64)
    optimizer = "adam" if hyperparameters.optimizer == "auto" else hyperparameters.optimizer
    return ModelGrid(optimizer, dict(zip(axes, chosen.T, strict=True)), hyperparameters.use_lr_scheduler)


def _axis(fixed: float | None, axis: tuple[float, ...]) -> tuple[float, ...]:
    return axis if fixed is None else (fixed,) * len(axis)
