"""The gate: a model must be better than the best constant prediction and than the champion."""

from collections.abc import Sequence

from linear_learner.errors import DataError, HyperparameterError
from linear_learner.hyperparameters import LOSSES, Hyperparameters
from linear_learner.model import PredictorType
from tasks.evaluation.numbers import format_number, format_share
from tasks.evaluation.results import METRICS, Evaluation, Improvement, MetricName, Verdict
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


def make_verdict(evaluation: Evaluation, gate: Gate, *, has_champion: bool) -> Verdict:
    """Whether the model may be used, by the first of these rules that applies.

    1. `no better than the baseline`, unless the error is reduced, and by at least `gate.margin`, at the lower end of
       the interval.
    2. `first model`, if there is no champion.
    3. `no better than the champion`, if the champion cannot be compared; a person can still approve the model.
    4. `no better than the champion`, if the error on the test rows is not lower, as with a copy, or if the interval
       includes more than `gate.tolerance` more error.
    5. Otherwise `promoted`.
    """
    metric, baseline = evaluation[evaluation.gate_metric], evaluation.over_baseline
    title = METRICS[metric.name].title
    if baseline is None:
        reason = f"{title} is not defined on these {evaluation.rows} test rows. Use a larger test set."
        return Verdict(outcome="no better than the baseline", reason=reason)
    reason = (
        f"{title} {format_number(metric.value)}, compared with {format_number(metric.baseline)} for the best constant:"
        f" {_format_improvement(baseline, evaluation.confidence)}"
    )
    if baseline.low <= 0 or baseline.low < gate.margin:
        required = f"at least {100 * gate.margin:g} % less" if gate.margin else "less error"
        reason = f"{reason}; the gate requires {required} at the lower end of the interval."
        return Verdict(outcome="no better than the baseline", reason=reason)
    if not has_champion:
        return Verdict(outcome="first model", reason=f"{reason}; there is no champion yet.")
    return _compare_with_champion(evaluation, gate, reason)


def _compare_with_champion(evaluation: Evaluation, gate: Gate, reason: str) -> Verdict:
    metric, champion = evaluation[evaluation.gate_metric], evaluation.over_champion
    title = METRICS[metric.name].title
    if champion is None:
        why = evaluation.champion_objection or f"its scores are not probabilities, so it has no {title}"
        reason = f"{reason}; the champion cannot be compared: {why.rstrip('. ')}. A person can approve this model."
        return Verdict(outcome="no better than the champion", reason=reason)
    improvement = _format_improvement(champion, evaluation.confidence)
    reason = f"{reason}; compared with {format_number(metric.champion)} for the champion: {improvement}"
    if champion.value <= _ROUNDING_ERROR:
        return Verdict(outcome="no better than the champion", reason=f"{reason}.")
    if champion.low < -gate.tolerance:
        possible = _format_share(-champion.low)
        reason = (
            f"{reason}; up to {possible} more error is possible, but the gate tolerates {100 * gate.tolerance:g} %."
        )
        return Verdict(outcome="no better than the champion", reason=reason)
    return Verdict(outcome="promoted", reason=f"{reason}.")


def _format_improvement(improvement: Improvement, confidence: float) -> str:
    """`56.2 % less error (95 % interval 54.1 to 57.3 %)`."""
    shares = [improvement.value, improvement.low, improvement.high]
    if improvement.value < 0:
        shares = [-improvement.value, -improvement.high, -improvement.low]
    value, low, high = map(_format_share, shares)
    kind = "more" if improvement.value < 0 else "less"
    return f"{value} {kind} error ({100 * confidence:g} % interval {low.removesuffix(' %')} to {high})"


def _format_share(share: float) -> str:
    if abs(share) <= 10:
        return format_share(share)
    return "over 1000 %" if share > 0 else "less than -1000 %"


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
