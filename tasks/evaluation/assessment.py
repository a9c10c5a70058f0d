"""A model's metrics beside those of the best constant and of the champion, with bootstrap intervals."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linear_learner.model import LinearModel, Predictions
from tasks.evaluation.gate import select_gate_metric
from tasks.evaluation.intervals import count_samples, draw_samples, percentile_interval, resample
from tasks.evaluation.metrics import (
    ActualLabels,
    BootstrapValues,
    Candidate,
    CandidatePredictions,
    Floats,
    MetricValues,
    baseline_metrics,
    best_constants,
    compute_class_metrics,
    compute_metrics,
)
from tasks.evaluation.results import METRICS, Evaluation, Improvement, Metric, MetricName, Slice
from tasks.parameters import Gate

MIN_IMPROVEMENT = -1e9
"""The improvement over a candidate without any error, instead of minus infinity, which JSON does not have."""
MAX_CONFUSION_CLASSES = 20
RESIDUAL_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class _Measured(NamedTuple):
    """The metrics of a candidate, and their values in each bootstrap sample."""

    metrics: MetricValues
    samples: BootstrapValues


def assess(  # noqa: PLR0913 - the model, the champion, the rows, and the gate
    model: LinearModel,
    labels: NDArray[np.floating],
    predictions: Predictions,
    gate: Gate,
    *,
    champion: Predictions | None = None,
    weighted_classes: bool = False,
    slices: Sequence[tuple[str, NDArray[np.intp]]] = (),
    champion_objection: str | None = None,
) -> Evaluation:
    """What `predictions` of `model` for rows with these `labels` (rows,) come to; the same input gives the same.

    `champion` are the champion's predictions for the same rows, `slices` names and row indices. Raises DataError, with
    the row, for labels and scores that cannot be compared, HyperparameterError for a metric the model does not have.
    """
    gate_metric = select_gate_metric(model.predictor_type, model.loss, gate, weighted_classes)
    actual = ActualLabels.of(model, labels)
    candidates = [
        CandidatePredictions.of(one, actual, probabilities=_are_probabilities(model, one))
        for one in (predictions, champion)
        if one is not None
    ]
    own, baseline, other = _measure(actual, candidates)
    if champion and own.metrics[gate_metric] is not None and other.metrics[gate_metric] is None:
        champion_objection = f"its scores are no probabilities, so it has no {METRICS[gate_metric].title}."
    return Evaluation(
        predictor_type=model.predictor_type,
        rows=len(labels),
        metrics=tuple(_metric(name, own, baseline, other, gate.confidence) for name in actual.metric_names),
        gate_metric=gate_metric,
        over_baseline=_improvement(gate_metric, own, baseline, gate.confidence),
        over_champion=_improvement(gate_metric, own, other, gate.confidence),
        champion_objection=champion_objection,
        confidence=gate.confidence,
        rounds=len(own.samples[actual.metric_names[0]]),
        classes=compute_class_metrics(actual, candidates[0]),
        slices=_assess_slices(actual, candidates[0], slices),
        slice_by=gate.slice_by,
        residual_quantiles={} if actual.num_classes else _residual_quantiles(actual, candidates[0]),
        confusion=_confusion(actual, candidates[0]) if 0 < actual.num_classes <= MAX_CONFUSION_CLASSES else (),
    )


def _are_probabilities(model: LinearModel, predictions: Predictions) -> bool:
    """Whether scores are probabilities; the champion of a logistic model may be one with hinge loss."""
    if model.predictor_type != "binary_classifier":
        return model.predictor_type == "multiclass_classifier"
    return model.has_sigmoid and bool(((predictions.scores >= 0) & (predictions.scores <= 1)).all())


def _measure(actual: ActualLabels, models: Sequence[CandidatePredictions]) -> tuple[_Measured, _Measured, _Measured]:
    """The first model, the best constants, and the second model, empty without one."""
    constants = best_constants(actual)
    with ThreadPoolExecutor(len(models)) as pool:
        own, *others = pool.map(partial(compute_metrics, actual), models)
    candidates = [*(Candidate(one, actual.metric_names) for one in models), *constants]
    samples = resample(actual, candidates, draw_samples(len(actual.labels), count_samples(len(actual.labels))))
    of_constants = {name: values for some in samples[len(models) :] for name, values in some.items()}
    baseline = _Measured(baseline_metrics(actual, constants), of_constants)
    champion = _Measured(others[0], samples[1]) if others else _Measured({}, {})
    return _Measured(own, samples[0]), baseline, champion


def _metric(name: MetricName, own: _Measured, baseline: _Measured, champion: _Measured, confidence: float) -> Metric:
    value, of_champion = own.metrics[name], champion.metrics.get(name)
    if value is None:
        return Metric(name=name, value=None, low=None, high=None, baseline=None, champion=of_champion)
    low, high = percentile_interval(own.samples[name], confidence)
    return Metric(name=name, value=value, low=low, high=high, baseline=baseline.metrics[name], champion=of_champion)


def _improvement(name: MetricName, own: _Measured, other: _Measured, confidence: float) -> Improvement | None:
    value, of_other = own.metrics[name], other.metrics.get(name)
    if value is None or of_other is None:
        return None
    low, high = percentile_interval(error_reduction(name, own.samples[name], other.samples[name]), confidence)
    if low is None or high is None:
        return None
    share = error_reduction(name, np.array([value]), np.array([of_other]))
    return Improvement(value=float(share[0]), low=low, high=high)


def error_reduction(name: MetricName, values: Floats, others: Floats) -> Floats:
    """The share of the others' error that is gone: 1 - error / other error, elementwise.

    The error is the metric, or what is missing from 1 where more of it is better. Beside no error at all it is 0 for
    none and MIN_IMPROVEMENT for any.
    """
    error, other = (1 - of if METRICS[name].higher_is_better else of for of in (values, others))
    share = np.divide(error, other, out=np.where(error > 0, np.inf, 1.0), where=other > 0)
    share[np.isnan(error) | np.isnan(other)] = np.nan
    return np.asarray(np.maximum(1 - share, MIN_IMPROVEMENT))


def _assess_slices(
    actual: ActualLabels, predictions: CandidatePredictions, slices: Sequence[tuple[str, NDArray[np.intp]]]
) -> tuple[Slice, ...]:
    constants = best_constants(actual) if slices else []
    found = []
    for value, rows in slices:
        part = actual.select_rows(rows)
        metrics = compute_metrics(part, predictions.select_rows(rows))
        baseline = baseline_metrics(part, [Candidate(one.select_rows(rows), names) for one, names in constants])
        found.append(Slice(value=value, rows=len(rows), metrics=metrics, baseline=baseline))
    return tuple(found)


def _residual_quantiles(actual: ActualLabels, predictions: CandidatePredictions) -> dict[float, float]:
    quantiles = np.quantile(actual.labels - predictions.scores, RESIDUAL_QUANTILES)
    return dict(zip(RESIDUAL_QUANTILES, quantiles.tolist(), strict=True))


def _confusion(actual: ActualLabels, predictions: CandidatePredictions) -> tuple[tuple[int, ...], ...]:
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(actual.labels, predictions.labels, labels=range(actual.num_classes))
    return tuple(map(tuple, counts.tolist()))
