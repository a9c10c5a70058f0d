import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import Examples, LinearModel, PredictorType, sigmoid
from linear_learner.training.losses import make_loss
from linear_learner.training.metrics import area_under_curve, channel_scores

LOSS = {"regressor": "squared_loss", "binary_classifier": "logistic", "multiclass_classifier": "softmax_loss"}


def random_case(
    predictor_type: PredictorType, seed: int = 0, classes: int = 4, **options: object
) -> tuple[LinearModel, Examples, dict[str, float]]:
    """A random model, random rows, and the scores by name."""
    rng = np.random.default_rng(seed)
    outputs = classes if predictor_type == "multiclass_classifier" else 1
    model = LinearModel(
        predictor_type=predictor_type,
        loss=LOSS[predictor_type],
        weights=rng.normal(size=(3, outputs)).astype(np.float32),
        bias=rng.normal(size=outputs).astype(np.float32),
        threshold=0.4,
    )
    labels = rng.normal(size=50) if predictor_type == "regressor" else rng.integers(0, max(outputs, 2), 50)
    examples = Examples(rng.normal(size=(50, 3)).astype(np.float32), labels.astype(np.float32))
    chosen = Hyperparameters(predictor_type=predictor_type, num_classes=outputs, **options)
    scores = channel_scores(model, examples, make_loss(chosen, examples.labels), chosen)
    return model, examples, {score.name: score.value for score in scores}


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_regression_scores_equal_scikit_learns(seed):
    model, examples, scores = random_case("regressor", seed)
    predicted = model.predict(examples.features).scores
    assert list(scores) == ["mse_objective", "mse", "absolute_loss", "rmse", "r2", "mae"]
    expected = {
        "mse_objective": metrics.mean_squared_error(examples.labels, predicted),
        "mse": metrics.mean_squared_error(examples.labels, predicted),
        "absolute_loss": metrics.mean_absolute_error(examples.labels, predicted),
        "rmse": metrics.root_mean_squared_error(examples.labels, predicted),
        "r2": metrics.r2_score(examples.labels, predicted),
        "mae": metrics.mean_absolute_error(examples.labels, predicted),
    }
    assert scores == pytest.approx(expected, rel=1e-4)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_binary_scores_equal_scikit_learns(seed):
    model, examples, scores = random_case("binary_classifier", seed, f_beta=2.0)
    labels, served = examples.labels, model.predict(examples.features)
    # In float64, because float32 scores close to 1 lack the digits that determine the loss.
    exact = expit((examples.features.astype(np.float64) @ model.weights + model.bias)[:, 0])
    expected = {
        "binary_classification_cross_entropy_objective": metrics.log_loss(labels, exact),
        "binary_classification_accuracy": metrics.accuracy_score(labels, served.labels),
        "binary_f_2.000": metrics.fbeta_score(labels, served.labels, beta=2.0, zero_division=0),
        "precision": metrics.precision_score(labels, served.labels, zero_division=0),
        "recall": metrics.recall_score(labels, served.labels, zero_division=0),
        "roc_auc_score": metrics.roc_auc_score(labels, served.scores),
        "binary_balanced_accuracy": 0.5,
        "binary_log_loss": metrics.log_loss(labels, sigmoid(served.scores)),
    }
    assert list(scores) == list(expected)
    assert scores == pytest.approx(expected, abs=1e-5)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_multiclass_scores_equal_scikit_learns(seed):
    model, examples, scores = random_case("multiclass_classifier", seed, accuracy_top_k=2)
    labels, served = examples.labels.astype(int), model.predict(examples.features)
    named = {"labels": range(4), "average": "macro", "zero_division": 0}
    gains, probabilities = np.eye(4)[labels], served.scores.astype(float)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = {
        "multiclass_cross_entropy_objective": metrics.log_loss(labels, probabilities, labels=range(4)),
        "multiclass_accuracy": metrics.accuracy_score(labels, served.labels),
        "multiclass_top_k_accuracy_2": metrics.top_k_accuracy_score(labels, served.scores, k=2, labels=range(4)),
        "dcg": metrics.dcg_score(gains, served.scores),
        "macro_recall": metrics.recall_score(labels, served.labels, **named),
        "macro_precision": metrics.precision_score(labels, served.labels, **named),
        "macro_f_1.000": metrics.f1_score(labels, served.labels, **named),
    }
    assert list(scores) == list(expected)
    assert scores == pytest.approx(expected, abs=1e-5)


def test_the_objective_is_a_loss_and_other_binary_scores_are_scores():
    model, examples, _ = random_case("binary_classifier")
    chosen = Hyperparameters(predictor_type="binary_classifier")
    kinds = [score.kind for score in channel_scores(model, examples, make_loss(chosen, examples.labels), chosen)]
    assert kinds == ["loss"] + ["score"] * 7


def test_the_objective_uses_the_weight_of_positive_examples():
    _, examples, plain = random_case("binary_classifier")
    _, _, weighted = random_case("binary_classifier", positive_example_weight_mult="3")
    model, _, _ = random_case("binary_classifier")
    probability = model.predict(examples.features).scores.astype(float)
    losses = -np.log(np.where(examples.labels == 1, probability, 1 - probability))
    expected = np.mean(losses * np.where(examples.labels == 1, 3, 1))
    assert weighted.pop("binary_classification_weighted_cross_entropy_objective") == pytest.approx(expected, rel=1e-5)
    plain.pop("binary_classification_cross_entropy_objective")
    assert weighted == plain


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=2, max_size=40))
def test_the_area_under_the_curve_counts_ties_half(rows):
    scores, positive = np.array([s for s, _ in rows], dtype=np.float32), np.array([p for _, p in rows])
    if positive.all() or not positive.any():
        assert np.isnan(area_under_curve(scores, positive))
    else:
        assert area_under_curve(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores))


def test_top_k_accuracy_is_1_for_k_above_the_number_of_classes():
    _, _, scores = random_case("multiclass_classifier", classes=3, accuracy_top_k=9)
    assert scores["multiclass_top_k_accuracy_9"] == 1.0


def test_r2_of_a_constant_label_is_nan():
    chosen = Hyperparameters()
    model = LinearModel("regressor", "squared_loss", np.ones((1, 1), np.float32), np.zeros(1, np.float32))
    examples = Examples(np.ones((3, 1), np.float32), np.full(3, 2, np.float32))
    scores = {s.name: s.value for s in channel_scores(model, examples, make_loss(chosen, examples.labels), chosen)}
    assert scores["mse"] == 1.0
    assert np.isnan(scores["r2"])
