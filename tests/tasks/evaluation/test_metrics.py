"""Metrics, on the rows and on bootstrap samples, equal those of scikit-learn on the same rows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn import metrics
from sklearn.dummy import DummyClassifier, DummyRegressor

from linear_learner.errors import DataError
from linear_learner.model import LinearModel, Predictions
from tasks.evaluation.intervals import count_samples, draw_samples, percentile_interval, wilson_interval
from tasks.evaluation.metrics import (
    ActualLabels,
    CandidatePredictions,
    baseline_metrics,
    best_constants,
    compute_metrics,
    compute_sample_metrics,
)

NAN = float("nan")


def scikit_learn_metrics(actual: ActualLabels, predictions: CandidatePredictions) -> dict[str, float]:
    """The metrics computed by scikit-learn; NaN where they are undefined."""
    y, predicted, scores = actual.labels, predictions.labels, predictions.scores
    if not actual.num_classes:
        found = {
            "rmse": metrics.root_mean_squared_error(y, scores),
            "mae": metrics.mean_absolute_error(y, scores),
            "median_error": metrics.median_absolute_error(y, scores),
            "r2": metrics.r2_score(y, scores) if np.ptp(y) else NAN,
        }
        pinball = {"pinball": metrics.mean_pinball_loss(y, scores, alpha=actual.quantile)} if actual.quantile else {}
        return found | pinball
    average = {"average": "binary"} if actual.num_classes == 2 else {"average": "macro"}
    classes = [c for c in actual.curve_classes if 0 < (y == c).mean() < 1]

    def of(label: int) -> Any:
        return scores if scores.ndim == 1 else scores[:, label]

    return {
        "accuracy": metrics.accuracy_score(y, predicted),
        "balanced_accuracy": metrics.recall_score(y, predicted, labels=np.unique(y), average="macro"),
        "precision": metrics.precision_score(y, predicted, zero_division=0, **average),
        "recall": metrics.recall_score(y, predicted, zero_division=0, **average),
        "f1": metrics.f1_score(y, predicted, zero_division=0, **average),
        "roc_auc": np.mean([metrics.roc_auc_score(y == c, of(c)) for c in classes]) if classes else NAN,
        "pr_auc": np.mean([metrics.average_precision_score(y == c, of(c)) for c in classes]) if classes else NAN,
        "log_loss": metrics.log_loss(y, scores, labels=range(actual.num_classes)) if predictions.probabilities else NAN,
    }


def make_predictions(kind: int, rows: int, steps: int, seed: int) -> tuple[ActualLabels, CandidatePredictions]:
    """Random labels and predictions of `kind` classes, 0 for a regressor; scores are multiples of 1 / steps (ties)."""
    rng = np.random.default_rng(seed)
    if not kind:
        labels = rng.integers(0, steps, rows) / 7
        return ActualLabels(labels, quantile=0.9), CandidatePredictions(labels + rng.integers(-steps, steps, rows) / 3)
    labels = rng.integers(0, kind, rows)
    if kind == 2:
        scores = (rng.integers(0, steps + 1, rows) / steps).astype(np.float32)
        return ActualLabels(labels, 2), CandidatePredictions(
            scores, (scores >= 0.5).astype(np.intp), probabilities=True
        )
    scores = rng.integers(1, steps + 1, (rows, kind)).astype(np.float32)
    scores /= scores.sum(axis=1, keepdims=True)
    return ActualLabels(labels, kind), CandidatePredictions(scores, scores.argmax(axis=1), probabilities=True)


KINDS = st.sampled_from([0, 2, 3, 5])


@given(KINDS, st.integers(1, 12), st.integers(1, 5), st.integers(0, 10_000))
def test_every_metric_equals_scikit_learn_for_few_rows(kind: int, rows: int, steps: int, seed: int) -> None:
    actual, predictions = make_predictions(kind, rows, steps, seed)
    expected = scikit_learn_metrics(actual, predictions)
    found = {name: NAN if value is None else value for name, value in compute_metrics(actual, predictions).items()}
    assert found == pytest.approx(expected, nan_ok=True)


@settings(max_examples=20)
@given(KINDS, st.integers(1, 40), st.integers(1, 9), st.integers(0, 10_000))
def test_metrics_of_a_sample_equal_scikit_learn(kind: int, rows: int, steps: int, seed: int) -> None:
    actual, predictions = make_predictions(kind, rows, steps, seed)
    counts = draw_samples(rows, 2)
    candidates = [predictions, *best_constants(actual)]
    for candidate in candidates:
        of_candidate = compute_sample_metrics(actual, candidate, counts, counts)
        for index, sample in enumerate(counts):
            drawn = np.repeat(np.arange(rows), sample)
            expected = scikit_learn_metrics(actual.select_rows(drawn), candidate.select_rows(drawn))
            for name in candidate.metric_names or actual.metric_names:
                assert_allclose(of_candidate[name][index], expected[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_metrics_of_a_sample_of_many_rows_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 5000)
    predictions = CandidatePredictions(rng.random(5000, np.float32), labels, probabilities=True)
    counts = draw_samples(5000, 3)
    found = compute_sample_metrics(ActualLabels(labels, 2), predictions, counts, counts)
    for index, sample in enumerate(counts):
        drawn = np.repeat(np.arange(5000), sample)
        expected = scikit_learn_metrics(ActualLabels(labels[drawn], 2), predictions.select_rows(drawn))
        assert {name: values[index] for name, values in found.items()} == pytest.approx(expected, rel=1e-6)


def test_r2_is_precise_for_labels_far_from_zero() -> None:
    labels = 1e8 + np.random.default_rng(0).integers(0, 2, 50) / 8
    actual, predictions = ActualLabels(labels), CandidatePredictions(labels + 0.01, metric_names=("r2",))
    counts = draw_samples(50, 20)
    found = compute_sample_metrics(actual, predictions, counts, counts)
    expected = [metrics.r2_score(np.repeat(labels, c), np.repeat(predictions.scores, c)) for c in counts]
    assert_allclose(found["r2"], expected, rtol=1e-4)


@pytest.mark.parametrize("kind", [0, 2, 3])
def test_the_baseline_equals_a_dummy_model_fitted_on_the_same_rows(kind: int) -> None:
    actual, _ = make_predictions(kind, 101, 9, 5)
    labels, features = actual.labels, np.zeros((101, 1))
    found = baseline_metrics(actual, best_constants(actual))

    def fit_result(dummy: Any, method: str = "predict") -> Any:
        return getattr(dummy.fit(features, labels), method)(features)

    if not kind:
        mean = scikit_learn_metrics(actual, CandidatePredictions(fit_result(DummyRegressor(strategy="mean"))))
        median = scikit_learn_metrics(actual, CandidatePredictions(fit_result(DummyRegressor(strategy="median"))))
        quantile = scikit_learn_metrics(
            actual, CandidatePredictions(fit_result(DummyRegressor(strategy="quantile", quantile=0.9)))
        )
        expected = mean | {name: median[name] for name in ("mae", "median_error")} | {"pinball": quantile["pinball"]}
    else:
        shares = fit_result(DummyClassifier(strategy="prior"), "predict_proba")
        scores = shares[:, 1] if kind == 2 else shares
        expected = scikit_learn_metrics(
            actual,
            CandidatePredictions(scores, fit_result(DummyClassifier(strategy="most_frequent")), probabilities=True),
        )
        if kind == 2:
            ones = scikit_learn_metrics(
                actual, CandidatePredictions(scores, fit_result(DummyClassifier(strategy="constant", constant=1)))
            )
            expected |= {name: ones[name] for name in ("precision", "recall", "f1")}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("name", ["rmse", "mae", "r2", "pinball"])
@settings(max_examples=40)
@given(st.lists(st.integers(-20, 20), min_size=2, max_size=15), st.integers(-25, 25))
def test_no_constant_number_is_better_than_the_baseline(name: Any, labels: list[int], constant: int) -> None:
    actual = ActualLabels(np.array(labels, float), quantile=0.3)
    best = baseline_metrics(actual, best_constants(actual))[name]
    other = compute_metrics(actual, CandidatePredictions(np.full(len(labels), float(constant))))[name]
    if best is not None and other is not None:
        assert (other <= best + 1e-9) if name == "r2" else (other >= best - 1e-9)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=15), st.integers(0, 1), st.floats(0, 1))
def test_no_constant_class_or_share_is_better_than_the_baseline(labels: list[int], constant: int, share: float) -> None:
    actual, rows = ActualLabels(np.array(labels), 2), len(labels)
    best = baseline_metrics(actual, best_constants(actual))
    other = compute_metrics(
        actual, CandidatePredictions(np.full(rows, share), np.full(rows, constant), probabilities=True)
    )
    for name, value in best.items():
        compared = other[name]
        if value is not None and compared is not None:
            assert compared >= value - 1e-9 if name == "log_loss" else compared <= value + 1e-9


def test_metrics_are_computed_when_classes_are_absent() -> None:
    scores = np.array([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.2, 0.2, 0.6]], np.float32)
    one_class = compute_metrics(
        ActualLabels(np.array([1, 1, 1]), 3), CandidatePredictions(scores, scores.argmax(1), probabilities=True)
    )
    assert one_class["roc_auc"] is None
    assert one_class["pr_auc"] is None
    assert one_class["balanced_accuracy"] == pytest.approx(2 / 3)
    two_classes = compute_metrics(
        ActualLabels(np.array([1, 1, 2]), 3), CandidatePredictions(scores, scores.argmax(1), probabilities=True)
    )
    assert two_classes["roc_auc"] == 1


def test_an_interval_ignores_undefined_values_and_is_none_if_most_are_undefined() -> None:
    values = np.array([NAN, NAN, 1.0, 2.0])
    assert percentile_interval(values, 0.5) == (1.25, 1.75)
    assert percentile_interval(np.array([NAN, NAN, 1.0]), 0.5) == (None, None)
    assert percentile_interval(np.full(3, NAN), 0.5) == (None, None)


def test_large_test_sets_have_between_100_and_1000_samples() -> None:
    assert [count_samples(rows) for rows in (1, 200_000, 400_000, 5_000_000)] == [1000, 1000, 500, 100]
    assert count_samples(100_000, 10) == 200


def test_samples_start_with_the_rows_themselves_and_are_reproducible() -> None:
    counts = draw_samples(30, 50)
    assert (counts[0] == 1).all()
    assert (counts.sum(axis=1) == 30).all()
    assert (counts == draw_samples(30, 50)).all()
    assert len(np.unique(counts, axis=0)) == 51


def test_predictions_that_are_not_finite_are_rejected() -> None:
    model = LinearModel("regressor", "squared_loss", np.zeros((1, 1), np.float32), np.zeros(1, np.float32))
    with pytest.raises(DataError, match="row 2 of the test set is not finite"):
        CandidatePredictions.of(model, Predictions(np.array([1, np.inf], np.float32), None))


def test_pinball_loss_uses_the_quantile_of_the_model() -> None:
    weights, bias = np.zeros((1, 1), np.float32), np.zeros(1, np.float32)
    model = LinearModel("regressor", "quantile_loss", weights, bias, metrics_params={"quantile": 0.9})
    assert ActualLabels.of(model, np.ones(2)).quantile == 0.9
    assert ActualLabels.of(LinearModel("regressor", "quantile_loss", weights, bias), np.ones(2)).quantile == 0.5
    assert (
        "pinball"
        not in ActualLabels.of(LinearModel("regressor", "squared_loss", weights, bias), np.ones(2)).metric_names
    )


def test_wilson_intervals_equal_published_values() -> None:
    """Brown, Cai and DasGupta (2001): 1 - z² / (n + z²) for a share of 1."""
    assert_allclose(wilson_interval(1, 10, 0.95), (10 / (10 + 1.959964**2), 1), rtol=1e-6)
    assert_allclose(wilson_interval(0.5, 20, 0.95), (0.299298, 0.700702), rtol=1e-5)
