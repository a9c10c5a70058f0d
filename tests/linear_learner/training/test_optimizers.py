from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.training.models import ModelGrid, make_model_grid
from linear_learner.training.optimizers import make_optimizer

BATCH, SLOPE, STEPS = 8, 0.5, 40
FIXED: dict[str, Any] = {
    "num_models": 2,
    "mini_batch_size": BATCH,
    "learning_rate": 0.05,
    "wd": 0.3,
    "l1": 0.2,
    "lr_scheduler_step": 7,
    "lr_scheduler_factor": 0.5,
    "lr_scheduler_minimum_lr": 0.01,
}


def reference(settings: Hyperparameters, start: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The weights according to MXNet's formulas, in float64."""
    weights = start.astype(np.float64)
    mean, square, velocity = (np.zeros_like(weights) for _ in range(3))
    mults = np.ones((len(weights), 1))
    mults[-1] = 10 if settings.bias_lr_mult is None else settings.bias_lr_mult
    decays, lasso = np.full((len(weights), 1), settings.wd), np.full((len(weights), 1), settings.l1 / BATCH)
    decays[-1] *= settings.bias_wd_mult or 0
    lasso[-1] = 0
    for update, total in enumerate(sums, 1):
        rate = mults * max(settings.learning_rate * 0.5 ** ((update - 1) // 7), 0.01)
        gradient = total * SLOPE / BATCH + decays * weights + lasso * np.sign(weights)
        if settings.optimizer == "sgd":
            velocity = (settings.momentum or 0) * velocity - rate * gradient
            weights += velocity
        elif settings.optimizer == "rmsprop":
            square = 0.9 * square + 0.1 * gradient**2
            weights -= rate * gradient / np.sqrt(square + 1e-8)
        else:
            beta_1, beta_2 = settings.beta_1 or 0.9, settings.beta_2 or 0.999
            mean = beta_1 * mean + (1 - beta_1) * gradient
            square = beta_2 * square + (1 - beta_2) * gradient**2
            corrected = rate * np.sqrt(1 - beta_2**update) / (1 - beta_1**update)
            weights -= corrected * mean / (np.sqrt(square) + 1e-8)
    return weights


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam"},
        {"optimizer": "adam", "beta_1": 0.5, "beta_2": 0.9, "bias_lr_mult": 2.0, "bias_wd_mult": 1.5},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.9, "bias_lr_mult": 1.0},
        {"optimizer": "rmsprop"},
    ],
    ids=str,
)
def test_optimizers_equal_mxnets(options):
    settings = Hyperparameters(**FIXED, **options)
    rng = np.random.default_rng(0)
    start = rng.normal(size=(5, 4)).astype(np.float32)
    sums = rng.normal(size=(STEPS, 5, 4)).astype(np.float32)
    weights = start.copy()
    optimizer = make_optimizer(weights, make_model_grid(settings), settings, SLOPE)
    rates = np.concatenate([optimizer.rates(1, 15), optimizer.rates(16, STEPS - 15)])
    for total, rate in zip(sums, rates, strict=True):
        optimizer.gradient[:] = total
        optimizer.step(rate)
    assert_allclose(weights, reference(settings, start, sums), rtol=2e-4, atol=2e-5)


def test_adam_and_rmsprop_at_once_equal_separate_runs():
    settings = Hyperparameters(predictor_type="multiclass_classifier", num_classes=3, mini_batch_size=BATCH)
    grid = make_model_grid(settings)
    rng = np.random.default_rng(0)
    start = rng.normal(size=(5, 3 * grid.model_count)).astype(np.float32)
    sums = rng.normal(size=(STEPS, *start.shape)).astype(np.float32)
    combined = run(start, sums, grid, settings)
    for model, name in enumerate(grid.optimizers):
        hyperparameters = {key: values[[model]] for key, values in grid.hyperparameters.items()}
        columns = np.arange(3) * grid.model_count + model
        one_model = ModelGrid((name,), hyperparameters, scheduled=True)
        separate = run(start[:, columns], sums[:, :, columns], one_model, settings)
        assert_allclose(combined[:, columns], separate, rtol=1e-5, atol=1e-6)


def run(start: np.ndarray, sums: np.ndarray, grid: ModelGrid, settings: Hyperparameters) -> np.ndarray:
    weights = start.copy()
    optimizer = make_optimizer(weights, grid, settings, SLOPE)
    for total, rate in zip(sums, optimizer.rates(1, len(sums)), strict=True):
        optimizer.gradient[:] = total
        optimizer.step(rate)
    return weights
