"""Whether a model may be used: clearly better than the best constant prediction, and not worse than the champion."""

from collections.abc import Sequence
from typing import get_args

from linear_learner.errors import DataError, HyperparameterError
from linear_learner.hyperparameters import LOSSES
from linear_learner.model import PredictorType
from tasks.evaluation.results import METRICS, Evaluation, Improvement, Metric, MetricName, Verdict
from tasks.parameters import Gate, GateMetric, RunParameters

_REGRESSION_METRICS: tuple[MetricName, ...] = ("rmse", "mae", "r2")
_CLASSIFICATION_METRICS: tuple[MetricName, ...] = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "pr_auc")
_AUTO_METRICS: dict[str, MetricName] = {
    "squared_loss": "rmse",
    "eps_insensitive_squared_loss": "rmse",
    "quantile_loss": "pinball",
    "absolute_loss": "mae",
    "huber_loss": "mae",
    "eps_insensitive_absolute_loss": "mae",
    "logistic": "roc_auc",
    "hinge_loss": "roc_auc",
    "softmax_loss": "log_loss",
}
"""By loss, the metric that is nearest to what was trained for and says something of every model with that loss."""
_ROUNDING_ERROR = 1e-6
"""A share of the error below which a difference is that of two computations, not of two models."""
_MAX_SHOWN_SHARE = 10.0
"""Shares above it are not worth a number."""


def select_gate_metric(
    predictor_type: PredictorType, loss: str, gate: Gate, weighted_classes: bool = False
) -> MetricName:
    """The metric that decides; known before anything is trained.

    Raises HyperparameterError for one that the predictor type does not have, or that the loss leaves undefined: hinge
    loss trains for no probabilities, and so has no log loss; pinball loss needs the quantile of quantile_loss.
    """
    loss = LOSSES[predictor_type][0] if loss == "auto" else loss
    allowed = _allowed_metrics(predictor_type, loss)
    if gate.metric == "auto":
        weighted = weighted_classes and predictor_type == "multiclass_classifier"
        return "balanced_accuracy" if weighted else _AUTO_METRICS[loss]
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
    metric = evaluation[evaluation.gate_metric]
    title = METRICS[metric.name].title
    baseline = evaluation.over_baseline
    if baseline is None:
        reason = f"{title} is not defined on these {evaluation.rows} test rows: give the test set more of them."
        return Verdict(outcome="no better than the baseline", reason=reason)
    reason = f"{title} {_format_values(metric)}, {_format_improvement(baseline, evaluation.confidence)}"
    if baseline.low <= 0 or baseline.low < gate.margin:
        wanted = f"at least {_format_setting(gate.margin)} less" if gate.margin else "less error"
        return Verdict(outcome="no better than the baseline", reason=f"{reason}; {wanted} had to be certain.")
    if not has_champion:
        return Verdict(outcome="first model", reason=f"{reason}; there is no champion yet.")
    return _compare_with_champion(evaluation, metric, gate, reason)


def _allowed_metrics(predictor_type: PredictorType, loss: str) -> tuple[GateMetric, ...]:
    if predictor_type == "regressor":
        names = (*_REGRESSION_METRICS, "pinball") if loss == "quantile_loss" else _REGRESSION_METRICS
    else:
        names = _CLASSIFICATION_METRICS if loss == "hinge_loss" else (*_CLASSIFICATION_METRICS, "log_loss")
    return tuple(name for name in get_args(GateMetric) if name in names)


def _compare_with_champion(evaluation: Evaluation, metric: Metric, gate: Gate, reason: str) -> Verdict:
    champion = evaluation.over_champion
    if champion is None:
        why = evaluation.champion_objection or f"its {METRICS[metric.name].title} is not defined on these rows"
        ending = f"the champion cannot be compared: {why.rstrip('. ')}. A person can approve this model."
        return Verdict(outcome="no better than the champion", reason=f"{reason}; {ending}")
    comparison = _format_champion_improvement(champion, evaluation.confidence)
    reason = f"{reason}; the champion has {_format_number(metric.champion)}, {comparison}"
    if champion.value <= _ROUNDING_ERROR:
        return Verdict(outcome="no better than the champion", reason=f"{reason}.")
    if champion.low < -gate.tolerance:
        possible, allowed = _format_share(-champion.low), _format_setting(gate.tolerance)
        reason = f"{reason}; up to {possible} more error cannot be ruled out, and {allowed} may be."
        return Verdict(outcome="no better than the champion", reason=reason)
    return Verdict(outcome="promoted", reason=f"{reason}.")


def _format_values(metric: Metric) -> str:
    return f"{_format_number(metric.value)} instead of {_format_number(metric.baseline)} for the best constant"


def _format_improvement(improvement: Improvement, confidence: float) -> str:
    """`56 % less error (95 % interval 54 to 57 %)`."""
    more = improvement.value < 0
    ends = (-improvement.high, -improvement.low) if more else (improvement.low, improvement.high)
    low, high = map(_format_share, ends)
    low = low.removesuffix(" %")
    return (
        f"{_format_share(abs(improvement.value))} {'more' if more else 'less'} error"
        f" ({_format_setting(confidence)} interval {low} to {high})"
    )


def _format_champion_improvement(improvement: Improvement, confidence: float) -> str:
    if improvement.value == 0:
        return "just as much error"
    return f"so it has {_format_improvement(improvement, confidence)} here"


def _format_share(share: float) -> str:
    """A measured share, rounded; `_format_setting` is for those that people choose."""
    if abs(share) > _MAX_SHOWN_SHARE:
        return f"{'less than -' if share < 0 else 'over '}1000 %"
    digits = 0 if abs(share) >= 0.0995 else 1
    return f"{100 * share:.{digits}f} %" if abs(share) >= 0.001 else f"{100 * share:.2g} %"


def _format_setting(share: float) -> str:
    return f"{100 * share:.6g} %"


def _format_number(value: float | None) -> str:
    """Four digits, and a comma before each group of three."""
    if value is None:
        return "none"
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


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
