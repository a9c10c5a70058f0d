"""Figures, resampled or not, are scikit-learn's on the very same rows."""

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
from tasks.evaluation.intervals import Contender, draws, interval, resampled, rounds_for
from tasks.evaluation.metrics import Guess, Truth, by_guess, constants, figures, of_constants

NAN = float("nan")


def by_hand(truth: Truth, guess: Guess) -> dict[str, float]:
    """Straight from scikit-learn; NaN where there is nothing to compute."""
    y, said, scores = truth.labels, guess.labels, guess.scores
    if not truth.classes:
        found = {
            "rmse": metrics.root_mean_squared_error(y, scores),
            "mae": metrics.mean_absolute_error(y, scores),
            "median_error": metrics.median_absolute_error(y, scores),
            "r2": metrics.r2_score(y, scores) if np.ptp(y) else NAN,
        }
        pinball = {"pinball": metrics.mean_pinball_loss(y, scores, alpha=truth.quantile)} if truth.quantile else {}
        return found | pinball
    average = {"average": "binary"} if truth.classes == 2 else {"average": "macro"}
    classes = [c for c in truth.by_class if 0 < (y == c).mean() < 1]
    of = guess.of_class
    return {
        "accuracy": metrics.accuracy_score(y, said),
        "balanced_accuracy": metrics.recall_score(y, said, labels=np.unique(y), average="macro"),
        "precision": metrics.precision_score(y, said, zero_division=0, **average),
        "recall": metrics.recall_score(y, said, zero_division=0, **average),
        "f1": metrics.f1_score(y, said, zero_division=0, **average),
        "roc_auc": np.mean([metrics.roc_auc_score(y == c, of(c)) for c in classes]) if classes else NAN,
        "pr_auc": np.mean([metrics.average_precision_score(y == c, of(c)) for c in classes]) if classes else NAN,
        "log_loss": metrics.log_loss(y, scores, labels=range(truth.classes)) if guess.probabilities else NAN,
    }


def made(kind: int, rows: int, steps: int, seed: int) -> tuple[Truth, Guess]:
    """Labels and a guess of `kind` classes, 0 for numbers; scores are multiples of 1 / steps, so that many tie."""
    rng = np.random.default_rng(seed)
    if not kind:
        labels = rng.integers(0, steps, rows) / 7
        return Truth(labels, quantile=0.9), Guess(labels + rng.integers(-steps, steps, rows) / 3)
    labels = rng.integers(0, kind, rows)
    if kind == 2:
        scores = (rng.integers(0, steps + 1, rows) / steps).astype(np.float32)
        return Truth(labels, 2), Guess(scores, (scores >= 0.5).astype(np.intp), probabilities=True)
    scores = rng.integers(1, steps + 1, (rows, kind)).astype(np.float32)
    scores /= scores.sum(axis=1, keepdims=True)
    return Truth(labels, kind), Guess(scores, scores.argmax(axis=1), probabilities=True)


KINDS = st.sampled_from([0, 2, 3, 5])


@given(KINDS, st.integers(1, 12), st.integers(1, 5), st.integers(0, 10_000))
def test_every_metric_is_scikit_learn_s_however_few_the_rows(kind: int, rows: int, steps: int, seed: int) -> None:
    truth, guess = made(kind, rows, steps, seed)
    expected = by_hand(truth, guess)
    found = {name: NAN if value is None else value for name, value in figures(truth, guess).items()}
    assert found == pytest.approx(expected, nan_ok=True)


@settings(max_examples=40)
@given(KINDS, st.integers(1, 40), st.integers(1, 9), st.integers(0, 10_000))
def test_a_round_is_scikit_learn_on_the_rows_it_drew(kind: int, rows: int, steps: int, seed: int) -> None:
    truth, guess = made(kind, rows, steps, seed)
    counts = draws(rows, 4)
    chosen = constants(truth)
    contenders = [Contender(guess, truth.names), *(Contender(one, names) for one, names in by_guess(chosen))]
    for contender, of_contender in zip(contenders, resampled(truth, contenders, counts), strict=True):
        for index, of_round in enumerate(counts):
            drawn = np.repeat(np.arange(rows), of_round)
            expected = by_hand(truth.at(drawn), contender.guess.at(drawn))
            for name in contender.names:
                assert_allclose(of_contender[name][index], expected[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_a_round_of_many_untied_rows_is_exact_too() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 5000)
    guess = Guess(rng.random(5000, np.float32), labels, probabilities=True)
    counts = draws(5000, 3)
    (found,) = resampled(Truth(labels, 2), [Contender(guess, Truth(labels, 2).names)], counts)
    for index, of_round in enumerate(counts):
        drawn = np.repeat(np.arange(5000), of_round)
        expected = by_hand(Truth(labels[drawn], 2), guess.at(drawn))
        assert {name: values[index] for name, values in found.items()} == pytest.approx(expected, rel=1e-6)


def test_r2_far_from_zero_is_of_the_spread_not_of_the_rounding() -> None:
    labels = 1e8 + np.random.default_rng(0).integers(0, 2, 50) / 8
    truth, guess = Truth(labels), Guess(labels + 0.01)
    counts = draws(50, 20)
    (found,) = resampled(truth, [Contender(guess, ("r2",))], counts)
    expected = [metrics.r2_score(np.repeat(labels, c), np.repeat(guess.scores, c)) for c in counts]
    assert_allclose(found["r2"], expected, rtol=1e-4)


@pytest.mark.parametrize("kind", [0, 2, 3])
def test_the_baseline_is_the_dummy_fitted_on_the_very_rows(kind: int) -> None:
    truth, _ = made(kind, 101, 9, 5)
    labels, nothing = truth.labels, np.zeros((101, 1))
    found = of_constants(truth, constants(truth))

    def fitted(dummy: Any, method: str = "predict") -> Any:
        return getattr(dummy.fit(nothing, labels), method)(nothing)

    if not kind:
        mean = by_hand(truth, Guess(fitted(DummyRegressor(strategy="mean"))))
        median = by_hand(truth, Guess(fitted(DummyRegressor(strategy="median"))))
        quantile = by_hand(truth, Guess(fitted(DummyRegressor(strategy="quantile", quantile=0.9))))
        expected = mean | {name: median[name] for name in ("mae", "median_error")} | {"pinball": quantile["pinball"]}
    else:
        shares = fitted(DummyClassifier(strategy="prior"), "predict_proba")
        scores = shares[:, 1] if kind == 2 else shares
        expected = by_hand(truth, Guess(scores, fitted(DummyClassifier(strategy="most_frequent")), probabilities=True))
        if kind == 2:
            ones = by_hand(truth, Guess(scores, fitted(DummyClassifier(strategy="constant", constant=1))))
            expected |= {name: ones[name] for name in ("precision", "recall", "f1")}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("name", ["rmse", "mae", "r2", "pinball"])
@settings(max_examples=40)
@given(st.lists(st.integers(-20, 20), min_size=2, max_size=15), st.integers(-25, 25))
def test_no_constant_number_beats_the_baseline(name: Any, labels: list[int], constant: int) -> None:
    truth = Truth(np.array(labels, float), quantile=0.3)
    best = of_constants(truth, constants(truth))[name]
    other = figures(truth, Guess(np.full(len(labels), float(constant))))[name]
    if best is not None and other is not None:
        assert (other <= best + 1e-9) if name == "r2" else (other >= best - 1e-9)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=15), st.integers(0, 1), st.floats(0, 1))
def test_no_constant_class_or_share_beats_the_baseline(labels: list[int], constant: int, share: float) -> None:
    truth, rows = Truth(np.array(labels), 2), len(labels)
    best = of_constants(truth, constants(truth))
    other = figures(truth, Guess(np.full(rows, share), np.full(rows, constant), probabilities=True))
    for name, value in best.items():
        compared = other[name]
        if value is not None and compared is not None:
            assert compared >= value - 1e-9 if name == "log_loss" else compared <= value + 1e-9


def test_classes_that_are_not_among_the_rows_are_no_reason_to_fail() -> None:
    scores = np.array([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.2, 0.2, 0.6]], np.float32)
    one_kind = figures(Truth(np.array([1, 1, 1]), 3), Guess(scores, scores.argmax(1), probabilities=True))
    assert one_kind["roc_auc"] is None
    assert one_kind["pr_auc"] is None
    assert one_kind["balanced_accuracy"] == pytest.approx(2 / 3)
    two_kinds = figures(Truth(np.array([1, 1, 2]), 3), Guess(scores, scores.argmax(1), probabilities=True))
    assert two_kinds["roc_auc"] == 1


def test_an_interval_leaves_undefined_rounds_out_and_is_none_when_they_are_most() -> None:
    values = np.array([NAN, NAN, 1.0, 2.0])
    assert interval(values, 0.5) == (1.25, 1.75)
    assert interval(np.array([NAN, NAN, 1.0]), 0.5) == (None, None)
    assert interval(np.full(3, NAN), 0.5) == (None, None)


def test_large_sets_get_fewer_rounds_but_never_too_few() -> None:
    assert [rounds_for(rows) for rows in (1, 200_000, 400_000, 5_000_000)] == [1000, 1000, 500, 100]
    assert rounds_for(100_000, 10) == 200


def test_draws_hold_as_many_rows_as_there_are_and_are_the_same_every_time() -> None:
    counts = draws(30, 50)
    assert (counts.sum(axis=1) == 30).all()
    assert (counts == draws(30, 50)).all()
    assert len(np.unique(counts, axis=0)) == 50


def linear(kind: Any, outputs: int = 1, loss: str = "softmax_loss") -> LinearModel:
    return LinearModel(kind, loss, np.zeros((1, outputs), np.float32), np.zeros(outputs, np.float32))


@pytest.mark.parametrize(
    ("kind", "outputs", "labels", "message"),
    [
        ("regressor", 1, [], "no rows"),
        ("regressor", 1, [0, np.nan], "row 2 of the test set is nan, which is not a finite number"),
        ("binary_classifier", 1, [0, 1, 2], "row 3 of the test set is 2, which is not one of the classes 0 to 1"),
        ("multiclass_classifier", 3, [0.5], "row 1 of the test set is 0.5, which is not one of the classes 0 to 2"),
    ],
)
def test_labels_the_model_cannot_mean_are_refused(kind: str, outputs: int, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Truth.of(linear(kind, outputs), np.array(labels, np.float32))


def test_predictions_that_cannot_be_judged_are_refused() -> None:
    truth = Truth(np.array([1.0, 2.0]))
    with pytest.raises(DataError, match="1 predictions for 2 labels"):
        Guess.of(Predictions(np.ones(1, np.float32), None), truth, probabilities=False)
    with pytest.raises(DataError, match="row 2 of the test set is not finite"):
        Guess.of(Predictions(np.array([1, np.inf], np.float32), None), truth, probabilities=False)


def test_pinball_is_of_the_quantile_that_was_trained_for() -> None:
    weights, bias = np.zeros((1, 1), np.float32), np.zeros(1, np.float32)
    model = LinearModel("regressor", "quantile_loss", weights, bias, metrics_params={"quantile": 0.9})
    assert Truth.of(model, np.ones(2)).quantile == 0.9
    assert Truth.of(LinearModel("regressor", "quantile_loss", weights, bias), np.ones(2)).quantile == 0.5
    assert "pinball" not in Truth.of(LinearModel("regressor", "squared_loss", weights, bias), np.ones(2)).names
