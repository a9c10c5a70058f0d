"""Whether a model may be used: clearly better than the best constant prediction, and not worse than the champion."""

from collections.abc import Sequence

from linear_learner.errors import DataError, HyperparameterError
from linear_learner.hyperparameters import LOSSES
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
"""By loss, the metrics that can decide, first the one that `auto` means: the nearest to what was trained for.

Hinge loss trains for no probabilities, and so has no log loss; pinball loss needs the quantile of quantile_loss.
"""
_ROUNDING_ERROR = 1e-6
"""A share of the error below which a difference is that of two computations, not of two models."""


def select_gate_metric(
    predictor_type: PredictorType, loss: str, gate: Gate, weighted_classes: bool = False
) -> MetricName:
    """The metric that decides; known before anything is trained.

    Raises HyperparameterError for one that the predictor type does not have, or that the loss leaves undefined.
    """
    loss = LOSSES[predictor_type][0] if loss == "auto" else loss
    allowed = _GATE_METRICS[loss]
    if gate.metric == "auto":
        weighted = weighted_classes and predictor_type == "multiclass_classifier"
        return "balanced_accuracy" if weighted else allowed[0]
    if gate.metric not in allowed:
        raise HyperparameterError(
            f"gate.metric {gate.metric} cannot judge a {predictor_type} with {loss}: give auto, or one of"
            f" {', '.join(allowed)}"
        )
    return gate.metric


def make_verdict(evaluation: Evaluation, gate: Gate, *, has_champion: bool) -> Verdict:
    """Whether the model may be used, by the first of these rules that applies.

    1. It is `no better than the baseline` unless, at the lower end of the interval, at least `gate.margin` of the best
       constant's error is gone, and more than none of it: a tie is no better.
    2. Without a champion it is the `first model`.
    3. It is `no better than the champion` when that cannot be compared; a person can still approve the model.
    4. It is `no better than the champion` without less error on the test rows themselves, as a copy of it, or when more
       than `gate.tolerance` more error cannot be ruled out.
    5. Else it is `promoted`.
    """
    metric, baseline = evaluation[evaluation.gate_metric], evaluation.over_baseline
    title = METRICS[metric.name].title
    if baseline is None:
        reason = f"{title} is not defined on these {evaluation.rows} test rows: give the test set more of them."
        return Verdict(outcome="no better than the baseline", reason=reason)
    reason = (
        f"{title} {format_number(metric.value)} instead of {format_number(metric.baseline)} for the best constant,"
        f" {_format_improvement(baseline, evaluation.confidence)}"
    )
    if baseline.low <= 0 or baseline.low < gate.margin:
        wanted = f"at least {100 * gate.margin:g} % less" if gate.margin else "less error"
        return Verdict(outcome="no better than the baseline", reason=f"{reason}; {wanted} had to be certain.")
    if not has_champion:
        return Verdict(outcome="first model", reason=f"{reason}; there is no champion yet.")
    return _compare_with_champion(evaluation, gate, reason)


def _compare_with_champion(evaluation: Evaluation, gate: Gate, reason: str) -> Verdict:
    metric, champion = evaluation[evaluation.gate_metric], evaluation.over_champion
    title = METRICS[metric.name].title
    if champion is None:
        why = evaluation.champion_objection or f"its scores are no probabilities, so it has no {title}"
        ending = f"the champion cannot be compared: {why.rstrip('. ')}. A person can approve this model."
        return Verdict(outcome="no better than the champion", reason=f"{reason}; {ending}")
    improvement = _format_improvement(champion, evaluation.confidence)
    reason = f"{reason}; the champion has {format_number(metric.champion)}, so it has {improvement} here"
    if champion.value <= _ROUNDING_ERROR:
        return Verdict(outcome="no better than the champion", reason=f"{reason}.")
    if champion.low < -gate.tolerance:
        possible = _format_share(-champion.low)
        reason = f"{reason}; up to {possible} more error cannot be ruled out, and {100 * gate.tolerance:g} % may be."
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


def check_gate(parameters: RunParameters, columns: Sequence[str]) -> None:
    """See that the gate applies to a table with these columns.

    Raises HyperparameterError for a metric that the predictor type does not have, DataError for an unknown column.
    """
    hyperparameters, gate = parameters.hyperparameters, parameters.gate
    select_gate_metric(
        hyperparameters.predictor_type, hyperparameters.loss, gate, hyperparameters.balance_multiclass_weights
    )
    known = (*columns, *parameters.dataset.ignore)
    if gate.slice_by is not None and gate.slice_by not in known:
        shown = ", ".join(known[:30])[:300]
        raise DataError(f"gate.slice_by names {gate.slice_by!r}, which is no column of the table. It has: {shown}.")
