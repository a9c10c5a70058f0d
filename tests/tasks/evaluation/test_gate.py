"""The gate accepts a model only if it is better than the best constant prediction and than the champion."""

import re
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from linear_learner.errors import HyperparameterError
from linear_learner.hyperparameters import LOSSES, Hyperparameters
from linear_learner.model import Examples, LinearModel, PredictorType
from linear_learner.training.engine import train
from tasks.evaluation.assessment import MIN_IMPROVEMENT, assess, error_reduction
from tasks.evaluation.gate import confirm_champion, make_verdict, select_gate_metric
from tasks.evaluation.results import Evaluation, Improvement, Metric, Verdict
from tasks.parameters import Gate, GateMetric

KINDS: tuple[PredictorType, ...] = get_args(PredictorType)


def problem(kind: PredictorType, rows: int, seed: int, noise: float = 1.0) -> tuple[LinearModel, Examples]:
    """A random linear model, and rows with labels from it plus noise."""
    rng = np.random.default_rng(seed)
    outputs = 3 if kind == "multiclass_classifier" else 1
    weights = rng.normal(size=(4, outputs)).astype(np.float32)
    features = rng.normal(size=(rows, 4)).astype(np.float32)
    line = features @ weights + noise * rng.normal(size=(rows, outputs))
    labels = line[:, 0] if kind == "regressor" else line.argmax(axis=1) if outputs > 1 else line[:, 0] > 0
    model = LinearModel(kind, LOSSES[kind][0], weights, np.zeros(outputs, np.float32))
    return model, Examples(features, labels.astype(np.float32))


def perturb(model: LinearModel, by: float, seed: int = 0) -> LinearModel:
    change = np.random.default_rng(seed).normal(size=model.weights.shape) * by
    weights = (model.weights + change).astype(np.float32)
    return LinearModel(model.predictor_type, model.loss, weights, model.bias)


def run_gate(
    model: LinearModel, data: Examples, champion: LinearModel | None = None, gate: Gate | None = None, **options: Any
) -> tuple[Evaluation, Verdict]:
    gate = gate or Gate()
    champion = champion.predict(data.features) if champion else None
    evaluation = assess(model, data.labels, model.predict(data.features), gate, champion=champion, **options)
    return evaluation, make_verdict(evaluation, gate, champion=1 if champion else None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_model_better_than_the_baseline_passes(kind: PredictorType) -> None:
    evaluation, verdict = run_gate(*problem(kind, 500, 0))
    assert verdict.outcome == "first model"
    assert verdict.passed
    for metric in evaluation.metrics:
        assert metric.value is not None
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low < metric.value < metric.high


@pytest.mark.parametrize("kind", KINDS)
def test_a_better_model_is_promoted_and_a_worse_one_is_not(kind: PredictorType) -> None:
    model, data = problem(kind, 3000, 1)
    worse = perturb(model, 0.5)
    assert run_gate(model, data, champion=worse)[1].outcome == "promoted"
    verdict = run_gate(worse, data, champion=model)[1]
    assert verdict.outcome == "no better than the champion"
    assert "% higher (95 % interval" in verdict.reason
    assert "more error than champion version 1" in verdict.headline


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", get_args(GateMetric))
@settings(max_examples=1)
@given(seed=st.integers(0, 10_000), rows=st.integers(20, 300))
def test_a_copy_of_the_champion_does_not_pass(kind: PredictorType, metric: GateMetric, seed: int, rows: int) -> None:
    model, data = problem(kind, rows, seed, noise=0.5)
    gate = Gate(metric=metric, margin=0, tolerance=0.5)
    try:
        select_gate_metric(kind, model.loss, gate)
    except HyperparameterError:
        return
    evaluation, verdict = run_gate(model, data, champion=model, gate=gate)
    assert not verdict.passed
    if evaluation.over_champion:
        assert (evaluation.over_champion.value, evaluation.over_champion.low, evaluation.over_champion.high) == (
            0,
            0,
            0,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_with_rounding_errors_does_not_pass(kind: PredictorType) -> None:
    model, data = problem(kind, 2000, 3)
    for seed in range(3):
        copy = perturb(model, 1e-7, seed)
        assert run_gate(copy, data, champion=model)[1].outcome == "no better than the champion"


@pytest.mark.parametrize("kind", KINDS)
def test_models_trained_on_noise_do_not_pass(kind: PredictorType) -> None:
    """By the confidence of the interval, at most one in forty passes; the margin reduces that further."""
    passed = sum(passes_after_training_on_noise(kind, seed) for seed in range(12))
    assert passed <= 1


def passes_after_training_on_noise(kind: PredictorType, seed: int) -> bool:
    """Whether a model passes the gate when its training labels are independent of the features."""
    rng = np.random.default_rng(seed)
    outputs = {"multiclass_classifier": 3, "binary_classifier": 2}.get(kind, 0)
    features = rng.normal(size=(700, 5)).astype(np.float32)
    labels = rng.integers(0, outputs, 700) if outputs else rng.normal(size=700)
    data = Examples(features, labels.astype(np.float32))
    settings = Hyperparameters(
        predictor_type=kind, num_classes=outputs if outputs > 2 else None, mini_batch_size=50, epochs=3, num_models=4
    )
    train_rows, test_rows = (Examples(data.features[part], data.labels[part]) for part in (slice(400), slice(400, 700)))
    return run_gate(train(settings, train_rows).model, test_rows)[1].passed


def test_predicting_1_for_every_row_does_not_pass_by_f1() -> None:
    rng = np.random.default_rng(0)
    data = Examples(rng.normal(size=(400, 1)).astype(np.float32), (rng.random(400) < 0.3).astype(np.float32))
    model = LinearModel("binary_classifier", "logistic", np.zeros((1, 1), np.float32), np.ones(1, np.float32))
    verdict = run_gate(model, data, gate=Gate(metric="f1"))[1]
    assert verdict.outcome == "no better than the baseline"


def test_a_tie_with_the_best_constant_does_not_pass_without_a_margin() -> None:
    _, data = problem("regressor", 50, 0)
    bias = np.array([data.labels.mean()], np.float32)
    model = LinearModel("regressor", "squared_loss", np.zeros((4, 1), np.float32), bias)
    assert run_gate(model, data, gate=Gate(margin=0))[1].outcome == "no better than the baseline"


def test_the_lower_end_of_the_interval_must_reach_the_margin() -> None:
    model, data = problem("regressor", 500, 0)
    evaluation, _ = run_gate(model, data)
    assert evaluation.over_baseline is not None
    for margin, outcome in ((-0.001, "first model"), (0.001, "no better than the baseline")):
        gate = Gate(margin=evaluation.over_baseline.low + margin)
        assert make_verdict(evaluation, gate, champion=None).outcome == outcome


def test_a_model_that_may_be_worse_than_the_champion_does_not_pass() -> None:
    model, data = problem("regressor", 200, 3)
    better, worse = sorted(
        (perturb(model, 0.01, seed) for seed in range(2)),
        key=lambda one: float(np.square(data.labels - one.predict(data.features).scores).mean()),
    )
    evaluation, verdict = run_gate(better, data, champion=worse, gate=Gate(tolerance=0))
    assert evaluation.over_champion is not None
    assert evaluation.over_champion.low < 0 < evaluation.over_champion.value
    assert verdict.outcome == "no better than the champion"
    assert "more error is possible, but the gate tolerates 0 %" in verdict.reason


def test_the_reason_has_the_numbers() -> None:
    model, data = problem("regressor", 2000, 0)
    data = Examples(data.features, data.labels * 3000)
    model = LinearModel("regressor", "squared_loss", model.weights * 3000, model.bias)
    worse = LinearModel("regressor", "squared_loss", model.weights * np.float32(0.7), model.bias)
    evaluation, verdict = run_gate(model, data, champion=worse)
    figure, interval = r"\d,\d{3}", r"\(95 % interval [\d.]+ to [\d.]+ % lower\)"
    full = (
        rf"Promoted. This model: RMSE {figure}. Champion \(version 1\): {figure}. The error is [\d.]+ % lower"
        rf" {interval}. The best constant prediction has {figure}."
    )
    assert re.fullmatch(full, str(verdict)), str(verdict)
    headline = rf"promoted: RMSE {figure}, [\d.]+ % less error than champion version 1"
    assert re.fullmatch(headline, verdict.headline), verdict.headline
    _, first = run_gate(model, data)
    assert re.fullmatch(rf"first model: RMSE {figure}, [\d.]+ % below baseline", first.headline), first.headline
    full = rf"This model: RMSE {figure}. Best constant prediction: {figure}. The error is [\d.]+ % lower {interval}."
    assert re.fullmatch(rf"{full} There is no champion yet\.", first.reason), first.reason
    unchanged = confirm_champion(evaluation, 4)
    assert re.fullmatch(rf"unchanged: still champion, version 4 \(RMSE {figure}\)", unchanged.headline)
    assert re.fullmatch(rf"This model is still the champion, version 4\. {full}", unchanged.reason)
    assert unchanged.passed


def test_more_error_is_a_positive_number() -> None:
    metric = Metric(name="rmse", value=2940.0, low=2900.0, high=3000.0, baseline=3651.0, champion=633.8)
    evaluation, _ = run_gate(*problem("regressor", 50, 0))
    worse = evaluation.model_copy(
        update={
            "metrics": (metric,),
            "over_baseline": Improvement(value=0.195, low=0.18, high=0.21),
            "over_champion": Improvement(value=-3.64, low=-3.9, high=-3.4),
        }
    )
    verdict = make_verdict(worse, Gate(), champion=1)
    assert verdict.reason == (
        "This model: RMSE 2,940. Champion (version 1): 633.8. The error is 364 % higher (95 % interval 340 to 390 %"
        " higher). The best constant prediction has 3,651."
    )
    assert verdict.headline == "rejected: RMSE 2,940, 364 % more error than champion version 1"
    assert Improvement(value=0.1, low=-0.02, high=0.2).interval == "2.00 % more to 20.0 % less"


def test_the_error_of_a_metric_that_should_be_high_is_named() -> None:
    _, verdict = run_gate(*problem("binary_classifier", 500, 0))
    assert re.fullmatch(r"first model: ROC-AUC [\d.]+, [\d.]+ % less error than baseline", verdict.headline)
    assert "The error (1 - ROC-AUC) is " in verdict.reason


def test_a_model_does_not_pass_if_the_champion_cannot_be_compared() -> None:
    model, data = problem("regressor", 300, 0)
    gate = Gate()
    evaluation = assess(model, data.labels, model.predict(data.features), gate, champion_objection="it uses 'age'.")
    verdict = make_verdict(evaluation, gate, champion=1)
    assert verdict.outcome == "no better than the champion"
    assert verdict.reason.endswith(
        "champion version 1 cannot be compared: it uses 'age'. A person can approve this model."
    )


def test_a_champion_with_hinge_loss_has_no_log_loss() -> None:
    model, data = problem("binary_classifier", 300, 0)
    champion = LinearModel("binary_classifier", "hinge_loss", model.weights, model.bias, threshold=0)
    evaluation, verdict = run_gate(model, data, champion, Gate(metric="log_loss"))
    assert evaluation["log_loss"].champion is None
    assert evaluation["roc_auc"].champion == pytest.approx(evaluation["roc_auc"].value)
    assert verdict.outcome == "no better than the champion"
    assert "not probabilities" in verdict.reason


def test_perfect_predictions_of_few_positive_rows_have_intervals_with_a_width() -> None:
    model = LinearModel("binary_classifier", "logistic", np.full((1, 1), 9, np.float32), np.zeros(1, np.float32))
    features = np.repeat(np.array([[-1.0], [1.0]], np.float32), (60, 4), axis=0)
    evaluation, _ = run_gate(model, Examples(features, (features[:, 0] > 0).astype(np.float32)))
    recall, accuracy = evaluation["recall"], evaluation["accuracy"]
    assert (recall.value, recall.high) == (1, 1)
    assert recall.low == pytest.approx(4 / (4 + 1.959964**2))
    assert accuracy.low == pytest.approx(64 / (64 + 1.959964**2))
    assert evaluation["roc_auc"].low == recall.low


def test_a_test_set_with_one_class_does_not_pass() -> None:
    model, data = problem("binary_classifier", 30, 0)
    evaluation, verdict = run_gate(model, Examples(data.features, np.ones(30, np.float32)))
    assert evaluation.over_baseline is None
    assert evaluation["roc_auc"].low is None
    assert verdict.outcome == "no better than the baseline"
    assert "ROC-AUC is not defined on these 30 test rows" in verdict.reason


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3)
@given(rows=st.integers(1, 6), label=st.integers(0, 1), seed=st.integers(0, 100))
def test_small_and_constant_test_sets_are_evaluated_and_stored_as_json(
    kind: PredictorType, rows: int, label: int, seed: int
) -> None:
    model, data = problem(kind, rows, seed)
    for labels in (data.labels, np.full(rows, label, np.float32)):
        evaluation, verdict = run_gate(model, Examples(data.features, labels), perturb(model, 0.1))
        assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation
        assert verdict.outcome != "first model"


def test_the_same_input_gives_the_same_evaluation() -> None:
    model, data = problem("multiclass_classifier", 300, 0)
    assert run_gate(model, data, perturb(model, 0.1)) == run_gate(model, data, perturb(model, 0.1))


def test_the_baseline_of_a_slice_is_the_constant_of_the_whole_set() -> None:
    model, data = problem("regressor", 100, 0)
    rows = np.flatnonzero(data.labels > 0)
    evaluation, _ = run_gate(model, data, slices=[("above 0", rows), ("all", np.arange(100))])
    above, whole = evaluation.slices
    assert (above.value, above.rows) == ("above 0", len(rows))
    constant = data.labels.astype(float).mean()
    assert above.baseline["rmse"] == pytest.approx(np.sqrt(np.mean((data.labels[rows] - constant) ** 2)))
    assert whole.metrics == {metric.name: metric.value for metric in evaluation.metrics}
    assert whole.baseline == pytest.approx({metric.name: metric.baseline for metric in evaluation.metrics})


def test_a_slice_with_one_class_has_no_areas() -> None:
    model, data = problem("binary_classifier", 100, 0)
    evaluation, _ = run_gate(model, data, slices=[("ones", np.flatnonzero(data.labels))])
    assert evaluation.slices[0].metrics["roc_auc"] is None
    assert evaluation.slices[0].metrics["recall"] == evaluation["recall"].value


@pytest.mark.parametrize("kind", ["binary_classifier", "multiclass_classifier"])
def test_each_class_has_metrics(kind: PredictorType) -> None:
    model, data = problem(kind, 200, 0)
    evaluation, _ = run_gate(model, data)
    assert [one.rows for one in evaluation.classes] == np.bincount(data.labels.astype(int)).tolist()
    assert all(one.roc_auc and one.roc_auc > 0.5 for one in evaluation.classes)


def test_residuals_of_a_regressor_are_summarised_as_quantiles() -> None:
    model, data = problem("regressor", 500, 0)
    evaluation, _ = run_gate(model, data)
    residuals = data.labels.astype(float) - model.predict(data.features).scores
    assert evaluation.residual_quantiles[0.5] == pytest.approx(np.median(residuals))
    assert list(evaluation.residual_quantiles) == [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
    assert evaluation.confusion == ()


@pytest.mark.parametrize(("classes", "has_matrix"), [(20, True), (21, False)])
def test_up_to_20_classes_have_a_confusion_matrix(classes: int, has_matrix: bool) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, classes)).astype(np.float32)
    model = LinearModel("multiclass_classifier", "softmax_loss", weights, np.zeros(classes, np.float32))
    features = rng.normal(size=(200, 3)).astype(np.float32)
    labels = rng.integers(0, classes, 200)
    evaluation, _ = run_gate(model, Examples(features, labels.astype(np.float32)))
    expected = confusion_matrix(labels, model.predict(features).labels, labels=range(classes)).tolist()
    assert [list(counts) for counts in evaluation.confusion] == (expected if has_matrix else [])


def test_the_error_reduction_is_defined_when_the_other_error_is_zero() -> None:
    share = error_reduction("rmse", np.array([0.0, 0.1, 1.0, np.nan]), np.array([0.0, 0.0, 2.0, 1.0]))
    np.testing.assert_array_equal(share, [0, MIN_IMPROVEMENT, 0.5, np.nan])
    assert error_reduction("accuracy", np.array([0.75]), np.array([0.5])) == [0.5]


def test_no_model_replaces_a_champion_without_error() -> None:
    model, data = problem("regressor", 50, 0, noise=0)
    exact = Examples(data.features, model.predict(data.features).scores)
    evaluation, verdict = run_gate(perturb(model, 0.01), exact, champion=model)
    assert evaluation.over_champion is not None
    assert evaluation.over_champion.value == MIN_IMPROVEMENT
    assert "over 1000 % more error" in verdict.headline


@pytest.mark.parametrize(
    ("kind", "loss", "metric"),
    [
        ("regressor", "auto", "rmse"),
        ("regressor", "eps_insensitive_squared_loss", "rmse"),
        ("regressor", "quantile_loss", "pinball"),
        ("regressor", "huber_loss", "mae"),
        ("regressor", "absolute_loss", "mae"),
        ("binary_classifier", "logistic", "roc_auc"),
        ("binary_classifier", "hinge_loss", "roc_auc"),
        ("multiclass_classifier", "auto", "log_loss"),
    ],
)
def test_the_default_gate_metric_depends_on_the_loss(kind: PredictorType, loss: str, metric: str) -> None:
    assert select_gate_metric(kind, loss, Gate()) == metric


def test_the_gate_metric_of_weighted_classes_is_balanced_accuracy() -> None:
    assert (
        select_gate_metric("multiclass_classifier", "softmax_loss", Gate(), weighted_classes=True)
        == "balanced_accuracy"
    )
    assert select_gate_metric("binary_classifier", "logistic", Gate(), weighted_classes=True) == "roc_auc"


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_gate_metric_can_be_chosen_explicitly(kind: PredictorType) -> None:
    for loss in LOSSES[kind]:
        metric: Any = select_gate_metric(kind, loss, Gate())
        assert select_gate_metric(kind, loss, Gate(metric=metric)) == metric


@pytest.mark.parametrize(
    ("kind", "loss", "metric", "allowed"),
    [
        ("binary_classifier", "logistic", "rmse", "roc_auc, pr_auc, accuracy, balanced_accuracy, f1, log_loss$"),
        ("binary_classifier", "hinge_loss", "log_loss", "roc_auc, pr_auc, accuracy, balanced_accuracy, f1$"),
        ("regressor", "squared_loss", "pinball", "rmse, mae, r2$"),
        ("regressor", "quantile_loss", "accuracy", "pinball, mae, rmse, r2$"),
    ],
)
def test_a_gate_metric_that_does_not_apply_is_rejected(
    kind: PredictorType, loss: str, metric: GateMetric, allowed: str
) -> None:
    with pytest.raises(
        HyperparameterError, match=f"gate.metric {metric} does not apply to .*: set it to auto, or to one of {allowed}"
    ):
        select_gate_metric(kind, loss, Gate(metric=metric))
