"""A model is used when it is clearly better than guessing, and not worse than the champion; never on luck."""

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
from tasks.evaluation.gate import make_verdict, select_gate_metric
from tasks.evaluation.results import Evaluation, Verdict
from tasks.parameters import Gate, GateMetric

KINDS: tuple[PredictorType, ...] = get_args(PredictorType)


def problem(kind: PredictorType, rows: int, seed: int, noise: float = 1.0) -> tuple[LinearModel, Examples]:
    """Rows of a random linear model, and that model itself."""
    rng = np.random.default_rng(seed)
    outputs = 3 if kind == "multiclass_classifier" else 1
    weights = rng.normal(size=(4, outputs)).astype(np.float32)
    features = rng.normal(size=(rows, 4)).astype(np.float32)
    line = features @ weights + noise * rng.normal(size=(rows, outputs))
    labels = line[:, 0] if kind == "regressor" else line.argmax(axis=1) if outputs > 1 else line[:, 0] > 0
    model = LinearModel(kind, LOSSES[kind][0], weights, np.zeros(outputs, np.float32))
    return model, Examples(features, labels.astype(np.float32))


def altered(model: LinearModel, by: float, seed: int = 0) -> LinearModel:
    change = np.random.default_rng(seed).normal(size=model.weights.shape) * by
    weights = (model.weights + change).astype(np.float32)
    return LinearModel(model.predictor_type, model.loss, weights, model.bias)


def assessed(
    model: LinearModel, data: Examples, champion: LinearModel | None = None, gate: Gate | None = None, **options: Any
) -> tuple[Evaluation, Verdict]:
    gate = gate or Gate()
    champion = champion.predict(data.features) if champion else None
    evaluation = assess(model, data.labels, model.predict(data.features), gate, champion=champion, **options)
    return evaluation, make_verdict(evaluation, gate, has_champion=champion is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_model_that_beats_guessing_passes(kind: PredictorType) -> None:
    evaluation, verdict = assessed(*problem(kind, 500, 0))
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
    worse = altered(model, 0.5)
    assert assessed(model, data, champion=worse)[1].outcome == "promoted"
    verdict = assessed(worse, data, champion=model)[1]
    assert verdict.outcome == "no better than the champion"
    assert "more error" in verdict.reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", get_args(GateMetric))
@settings(max_examples=1)
@given(seed=st.integers(0, 10_000), rows=st.integers(20, 300))
def test_a_copy_of_the_champion_never_displaces_it(
    kind: PredictorType, metric: GateMetric, seed: int, rows: int
) -> None:
    model, data = problem(kind, rows, seed, noise=0.5)
    gate = Gate(metric=metric, margin=0, tolerance=0.5)
    try:
        select_gate_metric(kind, model.loss, gate)
    except HyperparameterError:
        return
    evaluation, verdict = assessed(model, data, champion=model, gate=gate)
    assert not verdict.passed
    if evaluation.over_champion:
        assert (evaluation.over_champion.value, evaluation.over_champion.low, evaluation.over_champion.high) == (
            0,
            0,
            0,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_that_was_computed_otherwise_does_not_displace_it_either(kind: PredictorType) -> None:
    model, data = problem(kind, 2000, 3)
    for seed in range(6):
        copy = altered(model, 1e-7, seed)
        assert assessed(copy, data, champion=model)[1].outcome == "no better than the champion"


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_noise_do_not_pass(kind: PredictorType) -> None:
    """One in forty may, by the interval's confidence, less the margin."""
    passed = sum(fitted_to_noise(kind, seed) for seed in range(12))
    assert passed <= 1


def fitted_to_noise(kind: PredictorType, seed: int) -> bool:
    """Whether a model trained on labels that have nothing to do with the features passes the gate."""
    rng = np.random.default_rng(seed)
    outputs = {"multiclass_classifier": 3, "binary_classifier": 2}.get(kind, 0)
    features = rng.normal(size=(700, 5)).astype(np.float32)
    labels = rng.integers(0, outputs, 700) if outputs else rng.normal(size=700)
    data = Examples(features, labels.astype(np.float32))
    settings = Hyperparameters(
        predictor_type=kind, num_classes=outputs if outputs > 2 else None, mini_batch_size=50, epochs=3, num_models=4
    )
    train_rows, test_rows = (Examples(data.features[part], data.labels[part]) for part in (slice(400), slice(400, 700)))
    return assessed(train(settings, train_rows).model, test_rows)[1].passed


def test_calling_everything_positive_does_not_pass_by_f1() -> None:
    rng = np.random.default_rng(0)
    data = Examples(rng.normal(size=(400, 1)).astype(np.float32), (rng.random(400) < 0.3).astype(np.float32))
    model = LinearModel("binary_classifier", "logistic", np.zeros((1, 1), np.float32), np.ones(1, np.float32))
    verdict = assessed(model, data, gate=Gate(metric="f1"))[1]
    assert verdict.outcome == "no better than the baseline"


def test_a_tie_with_the_best_constant_is_no_better_even_without_a_margin() -> None:
    _, data = problem("regressor", 50, 0)
    bias = np.array([data.labels.mean()], np.float32)
    model = LinearModel("regressor", "squared_loss", np.zeros((4, 1), np.float32), bias)
    assert assessed(model, data, gate=Gate(margin=0))[1].outcome == "no better than the baseline"


def test_more_than_the_margin_must_be_certain() -> None:
    model, data = problem("regressor", 500, 0)
    evaluation, _ = assessed(model, data)
    assert evaluation.over_baseline is not None
    for margin, outcome in ((-0.001, "first model"), (0.001, "no better than the baseline")):
        gate = Gate(margin=evaluation.over_baseline.low + margin)
        assert make_verdict(evaluation, gate, has_champion=False).outcome == outcome


def test_a_model_better_by_chance_is_held_back_when_it_may_be_worse() -> None:
    model, data = problem("regressor", 200, 3)
    luckier, other = sorted(
        (altered(model, 0.01, seed) for seed in range(2)),
        key=lambda one: float(np.square(data.labels - one.predict(data.features).scores).mean()),
    )
    evaluation, verdict = assessed(luckier, data, champion=other, gate=Gate(tolerance=0))
    assert evaluation.over_champion is not None
    assert evaluation.over_champion.low < 0 < evaluation.over_champion.value
    assert verdict.outcome == "no better than the champion"
    assert "cannot be ruled out" in verdict.reason


def test_the_reason_tells_the_numbers_in_a_sentence() -> None:
    model, data = problem("regressor", 2000, 0)
    data = Examples(data.features, data.labels * 3000)
    model = LinearModel("regressor", "squared_loss", model.weights * 3000, model.bias)
    worse = LinearModel("regressor", "squared_loss", model.weights * np.float32(0.7), model.bias)
    _, verdict = assessed(model, data, champion=worse)
    figure = r"\d,\d{3}"
    interval = r"\(95 % interval [\d.]+ to [\d.]+ %\)"
    pattern = (
        rf"promoted: RMSE {figure} instead of {figure} for the best constant, [\d.]+ % less error {interval};"
        rf" the champion has {figure}, so it has [\d.]+ % less error {interval} here\."
    )
    assert re.fullmatch(pattern, str(verdict)), str(verdict)


def test_a_champion_that_cannot_be_compared_stays_until_a_person_decides() -> None:
    model, data = problem("regressor", 300, 0)
    gate = Gate()
    evaluation = assess(model, data.labels, model.predict(data.features), gate, champion_objection="it uses 'age'.")
    verdict = make_verdict(evaluation, gate, has_champion=True)
    assert verdict.outcome == "no better than the champion"
    assert verdict.reason.endswith("the champion cannot be compared: it uses 'age'. A person can approve this model.")


def test_a_champion_with_distances_has_no_log_loss_to_beat() -> None:
    model, data = problem("binary_classifier", 300, 0)
    champion = LinearModel("binary_classifier", "hinge_loss", model.weights, model.bias, threshold=0)
    evaluation, verdict = assessed(model, data, champion, Gate(metric="log_loss"))
    assert evaluation["log_loss"].champion is None
    assert evaluation["roc_auc"].champion == pytest.approx(evaluation["roc_auc"].value)
    assert verdict.outcome == "no better than the champion"
    assert "no probabilities" in verdict.reason


def test_one_class_in_the_test_set_decides_nothing_and_says_so() -> None:
    model, data = problem("binary_classifier", 30, 0)
    evaluation, verdict = assessed(model, Examples(data.features, np.ones(30, np.float32)))
    assert evaluation.over_baseline is None
    assert evaluation["roc_auc"].low is None
    assert verdict.outcome == "no better than the baseline"
    assert "ROC-AUC is not defined on these 30 test rows" in verdict.reason


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3)
@given(rows=st.integers(1, 6), label=st.integers(0, 1), seed=st.integers(0, 100))
def test_any_set_however_small_or_constant_is_judged_as_json(
    kind: PredictorType, rows: int, label: int, seed: int
) -> None:
    model, data = problem(kind, rows, seed)
    for labels in (data.labels, np.full(rows, label, np.float32)):
        evaluation, verdict = assessed(model, Examples(data.features, labels), altered(model, 0.1))
        assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation
        assert verdict.outcome != "first model"


def test_the_same_input_gives_the_same_evaluation() -> None:
    model, data = problem("multiclass_classifier", 300, 0)
    assert assessed(model, data, altered(model, 0.1)) == assessed(model, data, altered(model, 0.1))


def test_slices_are_judged_beside_the_constant_of_the_whole_set() -> None:
    model, data = problem("regressor", 100, 0)
    rows = np.flatnonzero(data.labels > 0)
    evaluation, _ = assessed(model, data, slices=[("above 0", rows), ("all", np.arange(100))])
    above, whole = evaluation.slices
    assert (above.value, above.rows) == ("above 0", len(rows))
    constant = data.labels.astype(float).mean()
    assert above.baseline["rmse"] == pytest.approx(np.sqrt(np.mean((data.labels[rows] - constant) ** 2)))
    assert whole.metrics == {metric.name: metric.value for metric in evaluation.metrics}
    assert whole.baseline == pytest.approx({metric.name: metric.baseline for metric in evaluation.metrics})


def test_a_slice_of_one_class_has_no_areas() -> None:
    model, data = problem("binary_classifier", 100, 0)
    evaluation, _ = assessed(model, data, slices=[("ones", np.flatnonzero(data.labels))])
    assert evaluation.slices[0].metrics["roc_auc"] is None
    assert evaluation.slices[0].metrics["recall"] == evaluation["recall"].value


@pytest.mark.parametrize("kind", ["binary_classifier", "multiclass_classifier"])
def test_classes_are_shown_one_by_one(kind: PredictorType) -> None:
    model, data = problem(kind, 200, 0)
    evaluation, _ = assessed(model, data)
    assert [one.rows for one in evaluation.classes] == np.bincount(data.labels.astype(int)).tolist()
    assert all(one.roc_auc and one.roc_auc > 0.5 for one in evaluation.classes)


def test_residuals_of_a_regressor_are_summed_up() -> None:
    model, data = problem("regressor", 500, 0)
    evaluation, _ = assessed(model, data)
    residuals = data.labels.astype(float) - model.predict(data.features).scores
    assert evaluation.residual_quantiles[0.5] == pytest.approx(np.median(residuals))
    assert list(evaluation.residual_quantiles) == [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
    assert evaluation.confusion == ()


@pytest.mark.parametrize(("classes", "shown"), [(20, True), (21, False)])
def test_mistakes_are_counted_up_to_twenty_classes(classes: int, shown: bool) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, classes)).astype(np.float32)
    model = LinearModel("multiclass_classifier", "softmax_loss", weights, np.zeros(classes, np.float32))
    features = rng.normal(size=(200, 3)).astype(np.float32)
    labels = rng.integers(0, classes, 200)
    evaluation, _ = assessed(model, Examples(features, labels.astype(np.float32)))
    expected = confusion_matrix(labels, model.predict(features).labels, labels=range(classes)).tolist()
    assert [list(counts) for counts in evaluation.confusion] == (expected if shown else [])


def test_beside_no_error_at_all_nothing_is_missing_or_it_is_hopeless() -> None:
    share = error_reduction("rmse", np.array([0.0, 0.1, 1.0, np.nan]), np.array([0.0, 0.0, 2.0, 1.0]))
    np.testing.assert_array_equal(share, [0, MIN_IMPROVEMENT, 0.5, np.nan])
    assert error_reduction("accuracy", np.array([0.75]), np.array([0.5])) == [0.5]


def test_no_champion_without_error_is_displaced() -> None:
    model, data = problem("regressor", 50, 0, noise=0)
    exact = Examples(data.features, model.predict(data.features).scores)
    evaluation, verdict = assessed(altered(model, 0.01), exact, champion=model)
    assert evaluation.over_champion is not None
    assert evaluation.over_champion.value == MIN_IMPROVEMENT
    assert "over 1000 % more error" in verdict.reason


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
def test_what_decides_by_itself_follows_the_loss(kind: PredictorType, loss: str, metric: str) -> None:
    assert select_gate_metric(kind, loss, Gate()) == metric


def test_weighted_classes_are_judged_by_balanced_accuracy() -> None:
    assert (
        select_gate_metric("multiclass_classifier", "softmax_loss", Gate(), weighted_classes=True)
        == "balanced_accuracy"
    )
    assert select_gate_metric("binary_classifier", "logistic", Gate(), weighted_classes=True) == "roc_auc"


@pytest.mark.parametrize("kind", KINDS)
def test_every_loss_has_a_metric_that_can_also_be_chosen(kind: PredictorType) -> None:
    for loss in LOSSES[kind]:
        metric: Any = select_gate_metric(kind, loss, Gate())
        assert select_gate_metric(kind, loss, Gate(metric=metric)) == metric


@pytest.mark.parametrize(
    ("kind", "loss", "metric", "offered"),
    [
        ("binary_classifier", "logistic", "rmse", "roc_auc, pr_auc, accuracy, balanced_accuracy, f1, log_loss$"),
        ("binary_classifier", "hinge_loss", "log_loss", "roc_auc, pr_auc, accuracy, balanced_accuracy, f1$"),
        ("regressor", "squared_loss", "pinball", "rmse, mae, r2$"),
        ("regressor", "quantile_loss", "accuracy", "pinball, mae, rmse, r2$"),
    ],
)
def test_a_metric_the_model_does_not_have_is_refused(
    kind: PredictorType, loss: str, metric: GateMetric, offered: str
) -> None:
    with pytest.raises(
        HyperparameterError, match=f"gate.metric {metric} cannot judge .*: give auto, or one of {offered}"
    ):
        select_gate_metric(kind, loss, Gate(metric=metric))
