"""The gate: a model must be better than the best constant prediction and than the champion."""

from collections.abc import Sequence
from typing import Literal

from linear_learner.errors import DataError, HyperparameterError
from linear_learner.hyperparameters import LOSSES, Hyperparameters
from linear_learner.model import PredictorType
from tasks.data.numbers import format_change, format_number
from tasks.evaluation.results import METRICS, Evaluation, GateOutcome, Improvement, MetricName, Verdict
from tasks.parameters import Gate, RunParameters

_SQUARED: tuple[MetricName, ...] = ("rmse", "mae", "r2")
_ABSOLUTE: tuple[MetricName, ...] = ("mae", "rmse", "r2")
_CLASSES: tuple[MetricName, ...] = ("roc_auc", "pr_auc", "accuracy", "balanced_accuracy", "f1")
_GATE_METRICS: dict[str, tuple[MetricName, ...]] = {
    "squared_loss": _SQUARED,
    "eps_insensitive_squared_loss": _SQUARED,
    "quantile_loss": ("pinball", *_ABSOLUTE),
    "absolute_loss": _ABSOLUTE,
    "huber_loss": _ABSOLUTE,
    "eps_insensitive_absolute_loss": _ABSOLUTE,
    "logistic": (*_CLASSES, "log_loss"),
    "hinge_loss": _CLASSES,
    "softmax_loss": ("log_loss", *_CLASSES),
}
"""The gate metrics for each loss. The first one is the default (`auto`): it is the nearest to the loss.

A model with hinge loss has no probabilities, and so no log loss; pinball loss needs the quantile of quantile_loss.
"""
_ROUNDING_ERROR = 1e-6
"""A smaller relative difference of the error is due to rounding, not to the models."""


def select_gate_metric(
    predictor_type: PredictorType, loss: str, gate: Gate, weighted_classes: bool = False
) -> MetricName:
    """The gate metric; raises HyperparameterError if it does not apply to the predictor type or the loss."""
    loss = LOSSES[predictor_type][0] if loss == "auto" else loss
    allowed = _GATE_METRICS[loss]
    if gate.metric == "auto":
        weighted = weighted_classes and predictor_type == "multiclass_classifier"
        return "balanced_accuracy" if weighted else allowed[0]
    if gate.metric not in allowed:
        raise HyperparameterError(
            f"gate.metric {gate.metric} does not apply to a {predictor_type} with {loss}: set it to auto, or to one of"
            f" {', '.join(allowed)}"
        )
    return gate.metric


def make_verdict(evaluation: Evaluation, gate: Gate, *, champion: int | None) -> Verdict:
    """Whether the model passes the gate, by the first of these rules that applies; `champion` is a version.

    1. `no better than the baseline`, unless the error is reduced, and by at least `gate.margin`, at the lower end of
       the interval.
    2. `first model`, if there is no champion.
    3. `no better than the champion`, if the champion cannot be compared; a person can still approve the model.
    4. `no better than the champion`, if the error on the test rows is not lower, as with a copy, or if the interval
       includes more than `gate.tolerance` more error.
    5. Otherwise `promoted`.
    """
    baseline, figure = evaluation.over_baseline, _figure(evaluation)
    if baseline is None:
        reason = f"{figure} is not defined on these {evaluation.rows} test rows."
        return _reject("baseline", reason.rstrip("."), f"{reason} Use a larger test set.")
    reason = _compare(evaluation, baseline)
    if baseline.low <= 0 or baseline.low < gate.margin:
        required = f"at least {100 * gate.margin:g} % lower" if gate.margin else "lower"
        reason = f"{reason} The gate requires that it is {required} at the lower end of the interval."
        return _reject("baseline", f"{figure}, {baseline} than the baseline, interval {baseline.interval}", reason)
    if champion is None:
        return Verdict(
            outcome="first model",
            headline=f"first model: {figure}, {_below(evaluation, baseline)}",
            reason=f"{reason} There is no champion yet.",
        )
    return _compare_with_champion(evaluation, gate, champion, reason)


def confirm_champion(evaluation: Evaluation, version: int) -> Verdict:
    """The verdict on a model that is the champion; it needs no other approval."""
    headline = f"unchanged: still champion, version {version} ({_figure(evaluation)})"
    reason = f"This model is still the champion, version {version}."
    if evaluation.over_baseline:
        reason = f"{reason} {_compare(evaluation, evaluation.over_baseline)}"
    return Verdict(outcome="unchanged", headline=headline, reason=reason)


def _compare_with_champion(evaluation: Evaluation, gate: Gate, version: int, reason: str) -> Verdict:
    improvement, figure = evaluation.over_champion, _figure(evaluation)
    if improvement is None:
        title = METRICS[evaluation.gate_metric].title
        why = evaluation.champion_objection or f"its scores are not probabilities, so it has no {title}"
        why = f"champion version {version} cannot be compared: {why.rstrip('. ')}"
        return _reject("champion", f"{figure}; {why}", f"{reason} The {why}. A person can approve this model.")
    reason = _compare(evaluation, improvement, version)
    headline = f"{figure}, {improvement} than champion version {version}"
    if improvement.value <= _ROUNDING_ERROR:
        return _reject("champion", headline, reason)
    if improvement.low < -gate.tolerance:
        possible = format_change(improvement.low)
        reason = f"{reason} Up to {possible} error is possible, but the gate tolerates {100 * gate.tolerance:g} %."
        return _reject("champion", f"{headline}, but up to {possible} is possible", reason)
    return Verdict(outcome="promoted", headline=f"promoted: {headline}", reason=reason)


def _reject(better: Literal["baseline", "champion"], headline: str, reason: str) -> Verdict:
    outcome: GateOutcome = "no better than the champion" if better == "champion" else "no better than the baseline"
    return Verdict(outcome=outcome, headline=f"rejected: {headline}", reason=reason)


def _figure(evaluation: Evaluation) -> str:
    """`RMSE 633.8`; the title alone if the metric is not defined."""
    value = evaluation.value(evaluation.gate_metric)
    title = evaluation.title(evaluation.gate_metric)
    return title if value is None else f"{title} {format_number(value)}"


def _below(evaluation: Evaluation, baseline: Improvement) -> str:
    """`82.7 % below baseline` for a metric that is an error itself, else `82.7 % less error than baseline`."""
    error_words = ("less error than", "more error than")
    words = error_words if METRICS[evaluation.gate_metric].higher_is_better else ("below", "above")
    return f"{format_change(baseline.value, *words)} baseline"


def _compare(evaluation: Evaluation, improvement: Improvement, champion: int | None = None) -> str:
    """For example: This model: RMSE 2,940. Champion (version 1): 633.8. The error is 364 % higher (95 % interval …)."""
    metric, (title, higher_is_better) = evaluation[evaluation.gate_metric], METRICS[evaluation.gate_metric]
    baseline = format_number(metric.baseline)
    other = f"Best constant prediction: {baseline}"
    if champion is not None:
        other = f"Champion (version {champion}): {format_number(metric.champion)}"
    error = f"The error (1 - {title})" if higher_is_better else "The error"
    interval = f"{100 * evaluation.confidence:g} % interval {improvement.format_interval('lower', 'higher')}"
    change = format_change(improvement.value, "lower", "higher")
    text = f"This model: {_figure(evaluation)}. {other}. {error} is {change} ({interval})."
    return text if champion is None else f"{text} The best constant prediction has {baseline}."


def check_gate(parameters: RunParameters, hyperparameters: Hyperparameters, columns: Sequence[str]) -> None:
    """Raise HyperparameterError for a gate metric that does not apply, DataError for an unknown `gate.slice_by`."""
    gate = parameters.gate
    select_gate_metric(
        hyperparameters.predictor_type, hyperparameters.loss, gate, hyperparameters.balance_multiclass_weights
    )
    known = (*columns, *parameters.dataset.ignore)
    if gate.slice_by is not None and gate.slice_by not in known:
        shown = ", ".join(known[:30])[:300]
        raise DataError(f"gate.slice_by names {gate.slice_by!r}, which is not a column of the table. It has: {shown}.")
