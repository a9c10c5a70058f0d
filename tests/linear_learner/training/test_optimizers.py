from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.training.models import make_model_grid
from linear_learner.training.optimizers import OPTIMIZERS

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
    """MXNet's definitions, written out for one parameter matrix in float64."""
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
def test_the_folded_optimizer_is_mxnets(options):
    settings = Hyperparameters(**FIXED, **options)
    rng = np.random.default_rng(0)
    start = rng.normal(size=(5, 4)).astype(np.float32)
    sums = rng.normal(size=(STEPS, 5, 4)).astype(np.float32)
    weights = start.copy()
    optimizer = OPTIMIZERS[options["optimizer"]](weights, make_model_grid(settings), settings, SLOPE)
    rates = np.concatenate([optimizer.rates(1, 15), optimizer.rates(16, STEPS - 15)])
    for total, rate in zip(sums, rates, strict=True):
        optimizer.gradient[:] = total
        optimizer.step(rate)
    assert_allclose(weights, reference(settings, start, sums), rtol=2e-4, atol=2e-5)


def test_the_rate_falls_by_the_factor_every_step_down_to_the_minimum():
    rates = make_model_grid(Hyperparameters(**FIXED)).learning_rates(1, 30)
    assert_allclose(rates[[0, 6, 7, 13, 14, 20, 21, 29], 0], [0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125, 0.01, 0.01])
    assert_allclose(make_model_grid(Hyperparameters(**FIXED)).learning_rates(8, 23), rates[7:])


def test_the_rate_stays_without_the_scheduler():
    grid = make_model_grid(Hyperparameters(learning_rate=0.2, use_lr_scheduler=False, num_models=1))
    assert_allclose(grid.learning_rates(1, 1000), 0.2)
    assert "lr_scheduler_step" not in grid.hyperparameters_of(0)


def test_a_minimum_above_the_rate_does_not_raise_it():
    grid = make_model_grid(Hyperparameters(learning_rate=1e-6, num_models=1))
    assert grid.learning_rates(1, 1).max() == pytest.approx(1e-6)


def test_the_grid_is_the_containers_with_its_lowest_bit_first():
    rows = [make_model_grid(Hyperparameters()).hyperparameters_of(model) for model in range(32)]
    steps = [row["lr_scheduler_step"] for row in rows]
    assert steps == [10, 100] * 16
    assert [row["lr_scheduler_minimum_lr"] for row in rows[:4]] == [1e-5, 1e-5, 1e-4, 1e-4]
    assert [row["learning_rate"] for row in rows[:8]] == [0.005] * 4 + [0.1] * 4
    assert [row["wd"] for row in rows[::8]] == [1e-4, 1e-2, 1, 100]
    assert len({tuple(row.items()) for row in rows}) == 32
    assert list(rows[0].items()) == [
        ("optimizer", "adam"),
        ("learning_rate", 0.005),
        ("wd", 1e-4),
        ("l1", 0.0),
        ("lr_scheduler_step", 10),
        ("lr_scheduler_factor", 0.99),
        ("lr_scheduler_minimum_lr", 1e-5),
    ]


def test_fewer_models_are_the_first_of_the_grid_and_more_repeat_it():
    full = make_model_grid(Hyperparameters())
    for count in (1, 16, 40):
        some = make_model_grid(Hyperparameters(num_models=count))
        assert some.model_count == count
        assert [some.hyperparameters_of(model) for model in range(count)] == [
            full.hyperparameters_of(model % 32) for model in range(count)
        ]


def test_a_fixed_value_replaces_its_axis_and_keeps_the_number_of_models():
    grid = make_model_grid(Hyperparameters(wd=0.5, lr_scheduler_step=77))
    assert grid.model_count == 32
    assert {(row["wd"], row["lr_scheduler_step"]) for row in map(grid.hyperparameters_of, range(32))} == {(0.5, 77)}
    assert {row["learning_rate"] for row in map(grid.hyperparameters_of, range(32))} == {0.005, 0.1}


def test_multiclass_has_28_different_models():
    grid = make_model_grid(Hyperparameters(predictor_type="multiclass_classifier", num_classes=3))
    assert len({tuple(grid.hyperparameters_of(model).items()) for model in range(grid.model_count)}) == 28
