"""The models that are trained at once, and the hyperparameters of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice, product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import MODEL_GRID, Hyperparameters

MULTICLASS_MODELS: Final = 28
"""Number of models of a multiclass job in 17 of 20 logs; the others have 27 or 32."""
MULTICLASS_DEFAULTS: Final[Mapping[str, float]] = {
    "learning_rate": 0.02,
    "l1": 0.02,
    "wd": 0.02,
    "lr_scheduler_step": 10,
    "lr_scheduler_factor": 0.98,
    "lr_scheduler_minimum_lr": 1e-5,
    "bias_lr_mult": 10,
}
"""The first model of a multiclass job; the others are drawn at random around it."""
GRID_DEFAULTS: Final[Mapping[str, float]] = {"l1": 0.0, "lr_scheduler_factor": 0.99, "bias_lr_mult": 10}
_REPORTED = ("learning_rate", "wd", "l1", "lr_scheduler_step", "lr_scheduler_factor", "lr_scheduler_minimum_lr")
_Values = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class ModelGrid:
    """The optimizer of each model, and one array (models,) per hyperparameter that may differ between models."""

    optimizers: tuple[str, ...]
    hyperparameters: Mapping[str, NDArray[np.float64]]
    scheduled: bool

    @property
    def model_count(self) -> int:
        return len(self.optimizers)

    def learning_rates(self, first: int, count: int) -> NDArray[np.float64]:
        """(count, models) rates of the mini-batches first, first + 1, … counted from 1 over all epochs.

        max(rate·factor^((t - 1) // step), minimum), as logged jobs show. Inferred: a minimum above the rate (in no
        known log) leaves the rate unchanged.
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
        return {"optimizer": self.optimizers[model], **values}


def make_model_grid(hyperparameters: Hyperparameters) -> ModelGrid:
    if hyperparameters.predictor_type == "multiclass_classifier":
        optimizers, values = _search_models(hyperparameters)
    else:
        optimizers, values = _grid_models(hyperparameters)
    return ModelGrid(optimizers, values, hyperparameters.use_lr_scheduler)


def _grid_models(settings: Hyperparameters) -> tuple[tuple[str, ...], _Values]:
    """The container's 32 models for regression and binary classification, or the first `num_models` of them.

    A given value that is in the grid does not change the grid (observed in logs). Inferred: any other value replaces
    those of the grid, and above 32 models the grid repeats.
    """
    axes = {}
    for name, axis in MODEL_GRID.items():
        given = getattr(settings, name)
        axes[name] = axis if given is None or given in axis else (given,) * len(axis)
    combinations = [combination[::-1] for combination in product(*reversed(axes.values()))]
    count = settings.num_models or len(combinations)
    chosen = np.array(list(islice(cycle(combinations), count)), dtype=np.float64)
    values = dict(zip(axes, chosen.T, strict=True))
    for name, default in GRID_DEFAULTS.items():
        given = getattr(settings, name)
        values[name] = np.full(count, default if given is None else given, dtype=np.float64)
    return (_fixed_optimizer(settings) or "adam",) * count, values


def _search_models(settings: Hyperparameters) -> tuple[tuple[str, ...], _Values]:
    """The given values for the first model, and a random search around them for the others.

    Decoded from real logs, where it reproduces 20 of 20 best models: numpy's legacy generator with seed 0, in this
    order. Inferred: `num_models` counts all models, and a given lr_scheduler_step, lr_scheduler_minimum_lr,
    bias_lr_mult or optimizer applies to every model.
    """
    random = np.random.RandomState(0)
    count = (settings.num_models or MULTICLASS_MODELS) - 1
    given = {name: getattr(settings, name) for name in MULTICLASS_DEFAULTS}
    first = {name: default if given[name] is None else given[name] for name, default in MULTICLASS_DEFAULTS.items()}

    def draw(low: float, high: float) -> NDArray[np.float64]:
        uniform = random.random_sample(count)
        if not high:  # the centre is 0
            return np.zeros(count)
        return np.asarray(np.exp(np.log(low) + (np.log(high) - np.log(low)) * uniform))

    drawn = {
        name: draw(first[name] / factor, first[name] * factor)
        for name, factor in (("learning_rate", 8), ("l1", 20), ("wd", 20))
    }
    drawn["lr_scheduler_step"] = np.round(draw(10, 1000))
    reduction = 1 - first["lr_scheduler_factor"]  # the centre, as the last digit of logged factors shows
    drawn["lr_scheduler_factor"] = 1 - draw(reduction / 5, reduction * 5)
    random.random_sample()
    drawn["lr_scheduler_minimum_lr"] = draw(1e-6, 1e-3)
    random.random_sample()
    rmsprop = random.randint(0, 2, count)
    drawn["bias_lr_mult"] = np.array([1.0, 10.0])[random.randint(0, 2, count)]
    for name in ("lr_scheduler_step", "lr_scheduler_minimum_lr", "bias_lr_mult"):
        if given[name] is not None:
            drawn[name][:] = given[name]
    values = {name: np.append(first[name], drawn[name]) for name in first}
    optimizer = _fixed_optimizer(settings)
    others = [optimizer or ("adam", "rmsprop")[index] for index in rmsprop]
    return (optimizer or "adam", *others), values


def _fixed_optimizer(settings: Hyperparameters) -> str | None:
    return None if settings.optimizer == "auto" else settings.optimizer
