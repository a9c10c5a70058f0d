"""Whether a model may be used: clearly better than the best constant prediction, and not worse than the champion."""

from typing import get_args

from linear_learner.errors import HyperparameterError
from linear_learner.hyperparameter_groups import LOSSES
from linear_learner.model import PredictorType
from tasks.evaluation.results import METRICS, Evaluation, Improvement, Metric, MetricName, Verdict
from tasks.parameters import Gate, GateMetric

_REGRESSION: tuple[MetricName, ...] = ("rmse", "mae", "r2")
_CLASSIFICATION: tuple[MetricName, ...] = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "pr_auc")
_AUTO: dict[str, MetricName] = {
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
_ROUNDING = 1e-6
"""A share of the error below which a difference is that of two computations, not of two models."""
_FAR = 10.0
"""Shares above it are not worth a number."""


def gate_metric(predictor_type: PredictorType, loss: str, gate: Gate, weighted_classes: bool = False) -> MetricName:
    """The metric that decides; known before anything is trained.

    Raises HyperparameterError for one that the predictor type does not have, or that the loss leaves undefined: hinge
    loss trains for no probabilities, and so has no log loss; pinball loss needs the quantile of quantile_loss.
    """
    loss = LOSSES[predictor_type][0] if loss == "auto" else loss
    allowed = _allowed(predictor_type, loss)
    if gate.metric == "auto":
        weighted = weighted_classes and predictor_type == "multiclass_classifier"
        return "balanced_accuracy" if weighted else _AUTO[loss]
    if gate.metric not in allowed:
        raise HyperparameterError(
            f"gate.metric {gate.metric} cannot judge a {predictor_type} with {loss}: give auto, or one of"
            f" {', '.join(allowed)}"
        )
    return gate.metric


def decide(evaluation: Evaluation, gate: Gate, *, has_champion: bool) -> Verdict:
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
        said = f"{title} is not defined on these {evaluation.rows} test rows: give the test set more of them."
        return Verdict(outcome="no better than the baseline", reason=said)
    said = f"{title} {_instead(metric)}, {_less(baseline, evaluation.confidence)}"
    if baseline.low <= 0 or baseline.low < gate.margin:
        wanted = f"at least {_chosen(gate.margin)} less" if gate.margin else "less error"
        return Verdict(outcome="no better than the baseline", reason=f"{said}; {wanted} had to be certain.")
    if not has_champion:
        return Verdict(outcome="first model", reason=f"{said}; there is no champion yet.")
    return _beside_champion(evaluation, metric, gate, said)


def _allowed(predictor_type: PredictorType, loss: str) -> tuple[GateMetric, ...]:
    if predictor_type == "regressor":
        names = (*_REGRESSION, "pinball") if loss == "quantile_loss" else _REGRESSION
    else:
        names = _CLASSIFICATION if loss == "hinge_loss" else (*_CLASSIFICATION, "log_loss")
    return tuple(name for name in get_args(GateMetric) if name in names)


def _beside_champion(evaluation: Evaluation, metric: Metric, gate: Gate, said: str) -> Verdict:
    champion = evaluation.over_champion
    if champion is None:
        why = evaluation.champion_objection or f"its {METRICS[metric.name].title} is not defined on these rows"
        ending = f"the champion cannot be compared: {why.rstrip('. ')}. A person can approve this model."
        return Verdict(outcome="no better than the champion", reason=f"{said}; {ending}")
    said = f"{said}; the champion has {_figure(metric.champion)}, {_than(champion, evaluation.confidence)}"
    if champion.value <= _ROUNDING:
        return Verdict(outcome="no better than the champion", reason=f"{said}.")
    if champion.low < -gate.tolerance:
        ruled = f"up to {_percent(-champion.low)} more error cannot be ruled out, and {_chosen(gate.tolerance)} may be"
        return Verdict(outcome="no better than the champion", reason=f"{said}; {ruled}.")
    return Verdict(outcome="promoted", reason=f"{said}.")


def _instead(metric: Metric) -> str:
    return f"{_figure(metric.value)} instead of {_figure(metric.baseline)} for the best constant"


def _less(improvement: Improvement, confidence: float) -> str:
    """`56 % less error (95 % interval 54 to 57 %)`."""
    more = improvement.value < 0
    ends = (-improvement.high, -improvement.low) if more else (improvement.low, improvement.high)
    low, high = map(_percent, ends)
    low = low.removesuffix(" %")
    return (
        f"{_percent(abs(improvement.value))} {'more' if more else 'less'} error"
        f" ({_chosen(confidence)} interval {low} to {high})"
    )


def _than(improvement: Improvement, confidence: float) -> str:
    if improvement.value == 0:
        return "just as much error"
    return f"so it has {_less(improvement, confidence)} here"


def _percent(share: float) -> str:
    """A measured share; `_chosen` spells those that people give."""
    if abs(share) > _FAR:
        return f"{'less than -' if share < 0 else 'over '}1000 %"
    digits = 0 if abs(share) >= 0.0995 else 1
    return f"{100 * share:.{digits}f} %" if abs(share) >= 0.001 else f"{100 * share:.2g} %"


def _chosen(share: float) -> str:
    return f"{100 * share:.6g} %"


def _figure(value: float | None) -> str:
    """Four digits, and a comma before each group of three."""
    if value is None:
        return "none"
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"
