"""The models that are trained side by side: one row of hyperparameters each."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice, product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters

Axes = Mapping[str, tuple[float, ...]]

GRID_AXES: Final[Axes] = {
    "lr_scheduler_step": (10, 100),
    "lr_scheduler_minimum_lr": (1e-5, 1e-4),
    "learning_rate": (0.005, 0.1),
    "wd": (1e-4, 1e-2, 1.0, 100.0),
    "l1": (0.0,),
    "lr_scheduler_factor": (0.99,),
}
"""The container's 32 models for regression and binary classification; the first axis changes fastest."""

MULTICLASS_GRID_AXES: Final[Axes] = {
    "learning_rate": (0.01, 0.1),
    "l1": (0.0, 0.1),
    "wd": (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0),
    "lr_scheduler_step": (100,),
    "lr_scheduler_minimum_lr": (1e-5,),
    "lr_scheduler_factor": (0.98,),
}
"""28 models, as many as the container's random search for multiclass, whose draws are not known; this grid is ours."""

_REPORTED = ("learning_rate", "wd", "l1", "lr_scheduler_step", "lr_scheduler_factor", "lr_scheduler_minimum_lr")


@dataclass(frozen=True)
class ModelGrid:
    """One array of (models,) per hyperparameter that differs, or may differ, between models."""

    optimizer: str
    hyperparameters: Mapping[str, NDArray[np.float64]]
    scheduled: bool

    @property
    def model_count(self) -> int:
        return len(self.hyperparameters["wd"])

    def learning_rates(self, first: int, count: int) -> NDArray[np.float64]:
        """(count, models) rates of the mini-batches first, first + 1, … counted from 1 over all epochs.

        max(rate·factor^((t - 1) // step), minimum), as logged jobs show; a minimum above the rate itself, never seen,
        is taken to leave the rate as it is.
        """
        rate = self.hyperparameters["learning_rate"]
        if not self.scheduled:
            return np.tile(rate, (count, 1))
        batches_before = np.arange(first - 1, first - 1 + count)[:, None]
        reductions = batches_before // self.hyperparameters["lr_scheduler_step"]
        lowest = np.minimum(self.hyperparameters["lr_scheduler_minimum_lr"], rate)
        return np.maximum(rate * self.hyperparameters["lr_scheduler_factor"] ** reductions, lowest)

    def hyperparameters_of(self, model: int) -> dict[str, object]:
        """One model's hyperparameters, named and ordered as in the log's `Best model found for hyperparameters`."""
        names = _REPORTED if self.scheduled else _REPORTED[:3]
        values: dict[str, object] = {name: float(self.hyperparameters[name][model]) for name in names}
        if self.scheduled:
            values["lr_scheduler_step"] = int(self.hyperparameters["lr_scheduler_step"][model])
        return {"optimizer": self.optimizer, **values}


def make_model_grid(hyperparameters: Hyperparameters) -> ModelGrid:
    """The grid of models that the hyperparameters ask for.

    A value the user fixes replaces its axis and keeps the number of models, which then differ by where they start; of
    `num_models` below the grid's size the first are taken, above it the grid repeats. Both are inferred from few jobs.
    """
    multiclass = hyperparameters.predictor_type == "multiclass_classifier"
    axes = MULTICLASS_GRID_AXES if multiclass else GRID_AXES
    fixed = {name: getattr(hyperparameters, name) for name in axes}
    values = [axis if fixed[name] is None else (fixed[name],) * len(axis) for name, axis in axes.items()]
    combinations = [combination[::-1] for combination in product(*reversed(values))]
    count = hyperparameters.num_models or len(combinations)
    chosen = np.array(list(islice(cycle(combinations), count)), dtype=np.float64)
    optimizer = "adam" if hyperparameters.optimizer == "auto" else hyperparameters.optimizer
    return ModelGrid(optimizer, dict(zip(axes, chosen.T, strict=True)), hyperparameters.use_lr_scheduler)
