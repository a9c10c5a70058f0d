"""MXNet's optimizers adam, sgd and rmsprop, for all models at once.

The parameters are one (features + 1, columns) float32 matrix whose last row is the bias, one column per model and
output. With small models the numpy calls, half a microsecond each, determine the time of a step, so a step does not
allocate, broadcast or convert, and constant factors are combined: `gradient` is a sum of residuals (the mean gradient
divided by `gradient_scale`), and the learning rate, the moments' weights and the bias correction are one number per
parameter and step, computed in advance for blocks of steps.
"""

from abc import ABC, abstractmethod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.training.models import ModelGrid

EPSILON: Final = 1e-8
RMSPROP_DECAY: Final = 0.9

MAX_CONSTANT_ARRAY_SIZE: Final = 2**13
"""Number of parameters up to which a full array of constants multiplies faster than a broadcast row."""

Floats = NDArray[np.float32]


class Optimizer(ABC):
    """An optimizer that updates `weights` in place; adam and sgd are those of MXNet 1.3 and later."""

    def __init__(self, weights: Floats, grid: ModelGrid, settings: Hyperparameters, slope: float) -> None:
        self.weights = weights
        self.gradient = np.zeros_like(weights)
        self.gradient_scale = slope / settings.mini_batch_size
        self._grid = grid
        self._outputs = weights.shape[1] // grid.model_count
        self._change = np.zeros_like(weights)
        self._rate_mults = np.ones(weights.shape, dtype=np.float32)
        self._rate_mults[-1] = np.tile(grid.hyperparameters["bias_lr_mult"], self._outputs)
        bias_wd = 0.0 if settings.bias_wd_mult is None else settings.bias_wd_mult
        self._wd = self._make_penalty(grid.hyperparameters["wd"] / self.gradient_scale, bias_wd)
        # The container divides l1, unlike wd, by the mini-batch size; observed in one job.
        self._l1 = self._make_penalty(grid.hyperparameters["l1"] / slope, 0.0)

    def step(self, rate: Floats) -> None:
        """Update the weights with `gradient` and one mini-batch's entry of `rates`."""
        if self._wd is not None:
            np.multiply(self.weights, self._wd, out=self._change)
            self.gradient += self._change
        if self._l1 is not None:
            np.sign(self.weights, out=self._change)
            self._change *= self._l1
            self.gradient += self._change
        self._compute_change()
        self._change *= rate
        self._apply_change()

    def rates(self, first: int, count: int) -> Floats:
        """(count, features + 1, columns) rates of the mini-batches first, first + 1, … counted from 1."""
        corrections = self._rate_correction(np.arange(first, first + count)[:, None])
        per_model = self._grid.learning_rates(first, count) * corrections
        return np.tile(per_model, (1, self._outputs)).astype(np.float32)[:, None] * self._rate_mults

    def _make_penalty(self, strength: NDArray[np.float64], bias_mult: float) -> Floats | None:
        if not strength.any():
            return None
        penalty = np.repeat(np.tile(strength, self._outputs)[None], len(self.weights), axis=0)
        penalty[-1] *= bias_mult
        return penalty.astype(np.float32)

    def _make_constant(self, values: NDArray[np.float64] | float) -> Floats:
        """A factor per model (models,), or one for all, in the shape with the fastest multiplication."""
        row = np.tile(np.broadcast_to(values, self._grid.model_count), self._outputs).astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(row, self.weights.shape)) if self._is_small else row

    @property
    def _is_small(self) -> bool:
        return self.weights.size <= MAX_CONSTANT_ARRAY_SIZE

    @abstractmethod
    def _compute_change(self) -> None:
        """Write the update, before multiplication by the rate, to `_change`."""

    @abstractmethod
    def _rate_correction(self, update: NDArray[np.int64]) -> NDArray[np.float64] | float:
        """The factor of the learning rates of these updates (count, 1)."""

    def _apply_change(self) -> None:
        self.weights -= self._change


class Adaptive(Optimizer):
    """Adam and rmsprop at once: rmsprop is adam without the mean, and with epsilon inside the root.

    adam: m ← β1·m + (1 - β1)·g, n ← β2·n + (1 - β2)·g², w ← w - rate·m/(√n + ε), with bias correction in the rate;
    rmsprop: n ← 0.9·n + 0.1·g², w ← w - rate·g/√(n + ε). The moments omit the factors 1 - β; the
    rate and epsilon contain them instead.
    """

    def __init__(self, weights: Floats, grid: ModelGrid, settings: Hyperparameters, slope: float) -> None:
        super().__init__(weights, grid, settings, slope)
        is_adam = np.array([name == "adam" for name in grid.optimizers])
        self._is_adam = is_adam
        self._beta_1 = np.where(is_adam, 0.9 if settings.beta_1 is None else settings.beta_1, 0.0)
        self._beta_2 = np.where(is_adam, 0.999 if settings.beta_2 is None else settings.beta_2, RMSPROP_DECAY)
        epsilon = EPSILON / (self.gradient_scale * np.sqrt(1 - self._beta_2))
        self._decay_1, self._decay_2 = self._make_constant(self._beta_1), self._make_constant(self._beta_2)
        self._outer_epsilon = self._make_constant(np.where(is_adam, epsilon, 0.0)) if is_adam.any() else None
        inner = EPSILON / (self.gradient_scale**2 * (1 - self._beta_2))
        self._inner_epsilon = None if is_adam.all() else self._make_constant(np.where(is_adam, 0.0, inner))
        self._mean = np.zeros_like(weights)
        self._square = np.zeros_like(weights)

    def _compute_change(self) -> None:
        mean, square, change, gradient = self._mean, self._square, self._change, self.gradient
        mean *= self._decay_1
        mean += gradient
        np.multiply(gradient, gradient, out=change)
        square *= self._decay_2
        square += change
        if self._inner_epsilon is None:
            np.sqrt(square, out=change)
        else:
            np.add(square, self._inner_epsilon, out=change)
            np.sqrt(change, out=change)
        if self._outer_epsilon is not None:
            change += self._outer_epsilon
        np.divide(mean, change, out=change)

    def _rate_correction(self, update: NDArray[np.int64]) -> NDArray[np.float64]:
        bias = np.sqrt(1 - self._beta_2**update) / (1 - self._beta_1**update)
        corrected = np.where(self._is_adam, bias * (1 - self._beta_1), 1.0)
        return np.asarray(corrected / np.sqrt(1 - self._beta_2))


class Sgd(Optimizer):
    """v ← momentum·v - rate·gradient, w ← w + v."""

    def __init__(self, weights: Floats, grid: ModelGrid, settings: Hyperparameters, slope: float) -> None:
        super().__init__(weights, grid, settings, slope)
        self._momentum = self._make_constant(settings.momentum or 0.0)
        self._velocity = np.zeros_like(weights)

    def _compute_change(self) -> None:
        np.copyto(self._change, self.gradient)

    def _rate_correction(self, update: NDArray[np.int64]) -> float:  # noqa: ARG002 - the same for all
        return self.gradient_scale

    def _apply_change(self) -> None:
        self._velocity *= self._momentum
        self._velocity -= self._change
        self.weights += self._velocity


def make_optimizer(weights: Floats, grid: ModelGrid, settings: Hyperparameters, slope: float) -> Optimizer:
    return (Sgd if "sgd" in grid.optimizers else Adaptive)(weights, grid, settings, slope)
