"""A model is clearly worse than a closed-form fit only if its error is certainly and considerably larger."""

from dataclasses import replace

import numpy as np
import pytest

from linear_learner.hyperparameters import LOSSES
from linear_learner.model import Examples, LinearModel, PredictorType
from tasks.evaluation.closed_form import MAX_SAMPLE_ROWS, MAX_TEST_ROWS, compare_with_closed_form, fit_closed_form

KINDS: tuple[PredictorType, ...] = ("regressor", "binary_classifier", "multiclass_classifier")
WIDTH = 4


def true_model(kind: PredictorType) -> LinearModel:
    outputs = 3 if kind == "multiclass_classifier" else 1
    weights = np.random.default_rng(7).standard_normal((WIDTH, outputs)).astype(np.float32)
    return LinearModel(kind, LOSSES[kind][0], weights, np.full(outputs, 0.5, np.float32))


def rows(kind: PredictorType, count: int, seed: int) -> Examples:
    """Rows whose labels follow the true model, with noise."""
    rng, model = np.random.default_rng(seed), true_model(kind)
    features = rng.standard_normal((count, WIDTH)).astype(np.float32)
    scores = model.raw_scores(features)
    noise = rng.gumbel(size=scores.shape) if kind == "multiclass_classifier" else rng.logistic(size=scores.shape) / 2
    labels = scores + noise
    if kind == "regressor":
        return Examples(features, labels[:, 0].astype(np.float32))
    classes = labels.argmax(axis=1) if kind == "multiclass_classifier" else labels[:, 0] > 0
    return Examples(features, classes.astype(np.float32))


def untrained(model: LinearModel) -> LinearModel:
    """The model with random weights, as before the first update."""
    weights = np.random.default_rng(3).uniform(-0.07, 0.07, model.weights.shape).astype(np.float32)
    return replace(model, weights=weights)


@pytest.mark.parametrize("kind", KINDS)
def test_the_true_model_is_not_worse_and_an_untrained_one_is(kind: PredictorType) -> None:
    sample, test = rows(kind, 1000, 1), rows(kind, 800, 2)
    good = compare_with_closed_form(true_model(kind), sample, test)
    bad = compare_with_closed_form(untrained(true_model(kind)), sample, test)
    assert good is not None
    assert bad is not None
    assert not good.is_clearly_worse
    assert bad.is_clearly_worse
    assert good.closed_form == bad.closed_form
    assert good.model == pytest.approx(good.closed_form, rel=0.05)


def test_a_difference_that_may_be_chance_is_not_clear() -> None:
    sample, test = rows("regressor", 1000, 1), rows("regressor", 4, 2)
    found = compare_with_closed_form(replace(true_model("regressor"), bias=np.float32([0.1])), sample, test)
    assert found is not None
    assert not found.is_clearly_worse


def test_a_multiple_of_an_error_close_to_zero_is_not_worth_a_warning() -> None:
    model = true_model("regressor")
    features = rows("regressor", 1500, 3).features
    exact = Examples(features, model.predict(features).scores)
    off = replace(model, bias=model.bias + np.float32(0.01))
    found = compare_with_closed_form(off, Examples(exact.features[:1000], exact.labels[:1000]), exact)
    assert found is not None
    assert found.model > 2 * found.closed_form
    assert not found.is_clearly_worse


@pytest.mark.parametrize("loss", ["absolute_loss", "quantile_loss", "huber_loss"])
def test_losses_without_a_closed_form_are_not_compared(loss: str) -> None:
    data = rows("regressor", 100, 1)
    assert compare_with_closed_form(replace(true_model("regressor"), loss=loss), data, data) is None


def test_weighted_classes_are_not_compared() -> None:
    data = rows("multiclass_classifier", 100, 1)
    assert compare_with_closed_form(true_model("multiclass_classifier"), data, data, weighted_classes=True) is None


@pytest.mark.parametrize("kind", ["binary_classifier", "multiclass_classifier"])
def test_a_sample_with_one_class_is_not_compared(kind: PredictorType) -> None:
    data = rows(kind, 100, 1)
    assert compare_with_closed_form(true_model(kind), Examples(data.features, np.zeros(100, np.float32)), data) is None


def test_test_rows_with_one_class_have_no_area_to_compare() -> None:
    data = rows("binary_classifier", 100, 1)
    one_class = Examples(data.features, np.ones(100, np.float32))
    assert compare_with_closed_form(true_model("binary_classifier"), data, one_class) is None


def test_a_class_that_the_sample_lacks_has_probability_zero() -> None:
    data = rows("multiclass_classifier", 300, 1)
    seen = data.labels < 2
    fit = fit_closed_form("multiclass_classifier", Examples(data.features[seen], data.labels[seen]), 3)
    scores = fit.predict(data.features).scores
    assert scores.shape == (300, 3)
    assert not scores[:, 2].any()
    found = compare_with_closed_form(
        true_model("multiclass_classifier"), Examples(data.features[seen], data.labels[seen]), data
    )
    assert found is not None
    assert not found.is_clearly_worse


def test_hinge_loss_is_compared_by_area() -> None:
    data = rows("binary_classifier", 300, 1)
    found = compare_with_closed_form(replace(true_model("binary_classifier"), loss="hinge_loss"), data, data)
    assert found is not None
    assert found.metric == "roc_auc"
    assert not found.is_clearly_worse


def test_a_constant_column_and_large_means_do_no_harm() -> None:
    data = rows("regressor", 500, 1)
    features = np.column_stack([data.features[:, :3] + 1000, np.full(500, 0.1, np.float32)])
    fit = fit_closed_form("regressor", Examples(features, data.labels))
    plain = fit_closed_form("regressor", Examples(data.features[:, :3], data.labels))
    np.testing.assert_allclose(fit.predict(features).scores, plain.predict(data.features[:, :3]).scores, atol=1e-3)


def test_at_most_the_maximum_of_rows_is_used() -> None:
    found = compare_with_closed_form(
        true_model("regressor"), rows("regressor", MAX_SAMPLE_ROWS + 7, 1), rows("regressor", MAX_TEST_ROWS + 7, 2)
    )
    assert found is not None
    assert (found.sample_rows, found.test_rows) == (MAX_SAMPLE_ROWS, MAX_TEST_ROWS)
