"""At convergence every loss and penalty agrees with scikit-learn, or with scipy if scikit-learn has no such model."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.linear_model import HuberRegressor, Lasso, LogisticRegression, QuantileRegressor, Ridge
from sklearn.metrics import mean_pinball_loss
from sklearn.svm import LinearSVC, LinearSVR

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import Examples
from linear_learner.training.learner import Learner
from linear_learner.training.losses import make_loss
from linear_learner.training.models import make_model_grid

ROWS, FEATURES, UPDATES = 300, 4, 3000
# One mini-batch contains all rows, so that the gradient is exact.
CONVERGED: dict[str, Any] = {
    "num_models": 1,
    "mini_batch_size": ROWS,
    "normalize_data": False,
    "unbias_data": False,
    "normalize_label": False,
    "unbias_label": False,
    "learning_rate": 0.05,
    "wd": 0.0,
    "l1": 0.0,
    "bias_lr_mult": 1.0,
    "lr_scheduler_step": 10,
    "lr_scheduler_factor": 0.97,
    "lr_scheduler_minimum_lr": 1e-6,
}
RNG = np.random.default_rng(7)
X = RNG.normal(size=(ROWS, FEATURES)).astype(np.float32)
LINE = X @ np.array([1.0, -2.0, 0.5, 0.0], dtype=np.float32) + 0.7
Y = (LINE + RNG.standard_t(3, ROWS)).astype(np.float32)
POSITIVE = (LINE + 1.5 * RNG.normal(size=ROWS) > 0).astype(np.float32)
CLASSES = np.digitize(LINE + RNG.normal(size=ROWS), [-1, 1]).astype(np.float32)


def learned(examples: Examples, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias after all updates; the engine would save the epoch with the lowest loss without penalties."""
    settings = Hyperparameters(**{**CONVERGED, **options})
    learner = Learner(settings, make_model_grid(settings), make_loss(settings, examples.labels), examples)
    for _ in range(UPDATES):
        learner.train_epoch()
    return learner.scaling.unscale_parameters(learner.copy_parameters(0))


def fitted(labels: np.ndarray, **options: Any) -> np.ndarray:
    weights, bias = learned(Examples(X, labels), **options)
    return np.append(weights[:, 0], bias)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_squared_loss_with_weight_decay_is_ridge(optimizer):
    ridge = Ridge(alpha=0.3 * ROWS).fit(X, Y)
    found = fitted(Y, wd=0.3, optimizer=optimizer)
    assert_allclose(found, [*ridge.coef_, ridge.intercept_], atol=2e-3)


def test_l1_over_the_mini_batch_size_is_lasso():
    lasso = Lasso(alpha=0.2).fit(X, Y)
    found = fitted(Y, l1=0.2 * ROWS)
    assert_allclose(found, [*lasso.coef_, lasso.intercept_], atol=5e-3)


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
def test_quantile_loss_is_quantile_regression(quantile):
    exact = QuantileRegressor(quantile=quantile, alpha=0).fit(X, Y)
    found = fitted(Y, loss="quantile_loss", quantile=quantile)
    # The optimum is flat, so its value is compared instead of its position.
    best = mean_pinball_loss(Y, exact.predict(X), alpha=quantile)
    assert mean_pinball_loss(Y, X @ found[:-1] + found[-1], alpha=quantile) == pytest.approx(best, rel=2e-3)


def test_absolute_loss_is_median_regression():
    exact = QuantileRegressor(quantile=0.5, alpha=0).fit(X, Y)
    assert_allclose(fitted(Y, loss="absolute_loss"), [*exact.coef_, exact.intercept_], atol=0.03)


def test_huber_loss_is_huber_regression_at_its_scale():
    huber = HuberRegressor(epsilon=1.35, alpha=0, max_iter=1000, tol=1e-8).fit(X, Y)
    found = fitted(Y, loss="huber_loss", huber_delta=1.35 * huber.scale_)
    assert_allclose(found, [*huber.coef_, huber.intercept_], atol=3e-3)


def test_eps_insensitive_absolute_loss_is_support_vector_regression():
    svr = LinearSVR(epsilon=0.5, C=1 / (0.1 * ROWS), intercept_scaling=100, tol=1e-6, max_iter=1_000_000).fit(X, Y)
    found = fitted(Y, loss="eps_insensitive_absolute_loss", loss_insensitivity=0.5, wd=0.1)
    assert_allclose(found, [*svr.coef_, svr.intercept_[0]], atol=0.02)


def test_eps_insensitive_squared_loss_reaches_its_optimum():
    def objective(p: np.ndarray) -> float:
        return float(np.maximum((X @ p[:-1] + p[-1] - Y) ** 2 - 0.5**2, 0).mean())

    best = minimize(objective, np.zeros(FEATURES + 1), method="Powell", options={"xtol": 1e-8, "ftol": 1e-12})
    found = fitted(Y, loss="eps_insensitive_squared_loss", loss_insensitivity=0.5)
    assert objective(found.astype(np.float64)) <= best.fun * (1 + 1e-3)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_logistic_loss_is_logistic_regression(weight):
    exact = LogisticRegression(C=1 / (0.05 * ROWS), class_weight={0: 1, 1: weight}, tol=1e-8).fit(X, POSITIVE)
    found = fitted(POSITIVE, predictor_type="binary_classifier", wd=0.05, positive_example_weight_mult=weight)
    assert_allclose(found, [*exact.coef_[0], exact.intercept_[0]], atol=3e-3)


def test_hinge_loss_is_a_support_vector_machine():
    svm = LinearSVC(loss="hinge", C=1 / (0.1 * ROWS), intercept_scaling=100, tol=1e-6, max_iter=1_000_000)
    svm.fit(X, POSITIVE)
    found = fitted(POSITIVE, predictor_type="binary_classifier", loss="hinge_loss", wd=0.1)
    assert_allclose(found, [*svm.coef_[0], svm.intercept_[0]], atol=0.02)


def test_softmax_loss_is_multinomial_logistic_regression():
    exact = LogisticRegression(C=1 / (0.05 * ROWS), tol=1e-8).fit(X, CLASSES)
    weights, bias = learned(Examples(X, CLASSES), predictor_type="multiclass_classifier", num_classes=3, wd=0.05)
    assert_allclose(weights.T, exact.coef_, atol=3e-3)
    assert_allclose(softmax(X @ weights + bias, axis=1), exact.predict_proba(X), atol=3e-3)


def test_scaling_does_not_change_the_optimum_without_penalties():
    stretched = Examples(X * np.float32(50) + np.float32(1000), Y * np.float32(30) - np.float32(500))
    weights, bias = learned(stretched, normalize_data=True, unbias_data=None, normalize_label=None, unbias_label=None)
    exact, *_ = np.linalg.lstsq(np.c_[stretched.features, np.ones(ROWS)].astype(float), stretched.labels, rcond=None)
    expected = stretched.features @ exact[:-1] + exact[-1]
    assert_allclose(stretched.features @ weights[:, 0] + bias, expected, atol=0.1)
