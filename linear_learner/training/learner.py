"""Train all models of the grid at once: two matrix products per mini-batch, for scores and gradient."""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import Examples, row_slices
from linear_learner.training.batches import Batches, Block
from linear_learner.training.initial_weights import draw_normal_weights, draw_uniform_weights
from linear_learner.training.input_checks import class_count
from linear_learner.training.losses import Loss
from linear_learner.training.models import ModelGrid
from linear_learner.training.optimizers import make_optimizer
from linear_learner.training.scaling import fit_scaling

MAX_SLAB_SCORES = 2**16
MAX_SLAB_RATES = 2**18
"""Scores and learning rates in memory at a time: the mini-batches of a slab share the cost of numpy calls."""


class Learner:
    """The parameters of all models, (features + 1, outputs·models) with the bias last, and their training."""

    def __init__(self, settings: Hyperparameters, grid: ModelGrid, loss: Loss, train: Examples) -> None:
        self._settings, self._loss, self.models = settings, loss, grid.model_count
        self.outputs = class_count(settings) if settings.predictor_type == "multiclass_classifier" else 1
        self.scaling = fit_scaling(settings, train)
        self.parameters = self._initialise(train.features.shape[1])
        self._batches = Batches(train, settings, self.scaling, loss)
        self._optimizer = make_optimizer(self.parameters, grid, settings, loss.slope)
        self._update_count = 0

    def copy_parameters(self, model: int) -> NDArray[np.float32]:
        """A copy of one model's parameters (features + 1, outputs)."""
        return self.parameters.reshape(-1, self.outputs, self.models)[:, :, model].copy()

    def train_epoch(self) -> NDArray[np.float64]:
        """Train on every mini-batch once; return (models,) mean objective, with the weights before each update."""
        total = np.zeros(self.models)
        rows, columns = self._settings.mini_batch_size, self.parameters.shape[1]
        slab_batches = max(
            1, min(MAX_SLAB_SCORES // (rows * columns), MAX_SLAB_RATES // self.parameters.size, self._batches.count)
        )
        scores = np.empty((slab_batches, rows, self.outputs, self.models), dtype=np.float32)
        residual = np.empty(scores.shape[1:], dtype=np.float32)
        ones = np.ones(slab_batches * rows, dtype=np.float32)
        for block in self._batches.blocks():
            for first in range(0, len(block.features), slab_batches):
                slab = block.select(first, first + slab_batches)
                batch_scores = scores[: len(slab.features)]
                targets = slab.targets
                if self.outputs == 1:
                    # One copy for all calls of the slab costs less than broadcasting in each.
                    targets = np.broadcast_to(targets, batch_scores.shape).copy()
                self._update(slab, targets, batch_scores, residual)
                loss = self._loss.value(batch_scores, targets)
                if slab.weights is not None:
                    loss *= slab.weights
                total += ones[: loss.size // self.models] @ loss.reshape(-1, self.models)
        return total / (self._batches.count * rows)

    def mean_loss(self, examples: Examples) -> NDArray[np.float64]:
        """(models,) mean objective of all rows, in the label's units."""
        total = np.zeros(self.models)
        for rows, scores in self.iter_scores(examples, self.parameters):
            losses = self._loss.weighted_value(scores, np.asarray(examples.labels[rows]))
            total += losses.sum(axis=(0, 1), dtype=np.float64)
        return total / len(examples.labels)

    def iter_scores(
        self, examples: Examples, parameters: NDArray[np.float32]
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Scores (rows, outputs, models) of slices of the examples, in the label's units."""
        for rows in row_slices(len(examples.labels), max(parameters.shape)):
            scores = self.scaling.scale_features(examples.features[rows]) @ parameters
            yield rows, self.scaling.unscale_scores(scores).reshape(len(scores), self.outputs, -1)

    def _initialise(self, features: int) -> NDArray[np.float32]:
        settings, shape = self._settings, (self.models, features, self.outputs)
        if settings.init_method == "uniform":
            weights = draw_uniform_weights(*shape, settings.init_scale)
        else:
            weights = draw_normal_weights(*shape, settings.init_sigma)
        bias = np.full((1, self.outputs * self.models), settings.init_bias if settings.use_bias else 0, np.float32)
        return np.concatenate([weights.reshape(features, -1), bias])

    def _update(
        self, block: Block, targets: NDArray[Any], scores: NDArray[np.float32], residual: NDArray[np.float32]
    ) -> None:
        """Update the parameters once per mini-batch; write the scores before each update to `scores`."""
        parameters, gradient, step = self.parameters, self._optimizer.gradient, self._optimizer.step
        flat_scores = scores.reshape(*scores.shape[:2], -1)
        flat_residual = residual.reshape(len(residual), -1)
        rates = self._optimizer.rates(self._update_count + 1, len(scores))
        self._update_count += len(scores)
        example_weights: Iterable[NDArray[np.float32] | None] = repeat(None) if block.weights is None else block.weights
        for rows, batch_scores, score, target, weight, rate in zip(
            block.features, flat_scores, scores, targets, example_weights, rates, strict=False
        ):
            np.dot(rows, parameters, out=batch_scores)
            self._loss.residual(score, target, residual)
            if weight is not None:
                np.multiply(residual, weight, out=residual)
            np.dot(rows.T, flat_residual, out=gradient)
            step(rate)
