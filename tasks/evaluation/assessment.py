"""The metrics of a model, the best constant prediction and the champion, with bootstrap intervals."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from linear_learner.model import LinearModel, Predictions
from tasks.evaluation.gate import select_gate_metric
from tasks.evaluation.intervals import WORKERS, count_samples, draw_samples, percentile_interval, wilson_interval
from tasks.evaluation.metrics import (
    ActualLabels,
    BootstrapValues,
    CandidatePredictions,
    Floats,
    baseline_metrics,
    best_constants,
    compute_class_metrics,
    compute_metrics,
    compute_sample_metrics,
)
from tasks.evaluation.results import METRICS, Evaluation, Improvement, Metric, MetricName, Slice
from tasks.parameters import Gate

MIN_IMPROVEMENT = -1e9
"""The improvement over a candidate without error, used instead of minus infinity, which JSON cannot represent."""
MAX_CONFUSION_CLASSES = 20
RESIDUAL_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


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
    class_names: Sequence[str] = (),
) -> Evaluation:
    """Evaluate the `predictions` of `model` for rows with these `labels` (rows,); deterministic.

    `champion` are the champion's predictions for the same rows, `slices` are names and row indices. Raises DataError,
    with the row, for a prediction that is not finite, and HyperparameterError for a metric that does not apply.
    """
    gate_metric = select_gate_metric(model.predictor_type, model.loss, gate, weighted_classes)
    actual, candidate = ActualLabels.of(model, labels), CandidatePredictions.of(model, predictions)
    other = CandidatePredictions.of(model, champion) if champion else None
    values, baseline, of_champion = _resample(actual, candidate, other)
    return Evaluation(
        predictor_type=model.predictor_type,
        rows=len(labels),
        metrics=tuple(
            _widen(_metric(name, values, baseline, of_champion, gate.confidence), actual, gate.confidence)
            for name in actual.metric_names
        ),
        gate_metric=gate_metric,
        over_baseline=_improvement(gate_metric, values, baseline, gate.confidence),
        over_champion=_improvement(gate_metric, values, of_champion, gate.confidence),
        champion_objection=champion_objection,
        confidence=gate.confidence,
        rounds=len(values[actual.metric_names[0]]) - 1,
        classes=compute_class_metrics(actual, candidate),
        slices=_assess_slices(actual, candidate, slices),
        slice_by=gate.slice_by,
        residual_quantiles={} if actual.num_classes else _residual_quantiles(actual, candidate),
        class_names=tuple(class_names),
        confusion=_confusion(actual, candidate) if 0 < actual.num_classes <= MAX_CONFUSION_CLASSES else (),
    )


def _resample(
    actual: ActualLabels, model: CandidatePredictions, champion: CandidatePredictions | None
) -> tuple[BootstrapValues, BootstrapValues, BootstrapValues]:
    """The metrics of the model, of the best constant for each metric, and of the champion (empty without a champion).

    The first value of each metric is computed on the rows themselves, the others on the bootstrap samples.
    """
    candidates = [model, *([champion] if champion else []), *best_constants(actual)]
    rows = len(actual.labels)
    counts = draw_samples(rows, count_samples(rows))
    area_counts = counts[: 1 + count_samples(rows, max(1, len(actual.curve_classes)))]
    with ThreadPoolExecutor(WORKERS) as pool:
        of_model, *others = pool.map(lambda one: compute_sample_metrics(actual, one, counts, area_counts), candidates)
    of_champion = others.pop(0) if champion else {}
    return of_model, {name: values for constant in others for name, values in constant.items()}, of_champion


def _metric(
    name: MetricName, of_model: BootstrapValues, baseline: BootstrapValues, champion: BootstrapValues, confidence: float
) -> Metric:
    value, of_baseline, of_champion = (
        None if name not in values or np.isnan(values[name][0]) else float(values[name][0])
        for values in (of_model, baseline, champion)
    )
    low, high = percentile_interval(of_model[name][1:], confidence)
    of_baseline = None if value is None else of_baseline
    return Metric(name=name, value=value, low=low, high=high, baseline=of_baseline, champion=of_champion)


def _widen(metric: Metric, actual: ActualLabels, confidence: float) -> Metric:
    """The metric with Wilson's interval, if its bootstrap interval has no width because it is 0 or 1 in every sample.

    The rows are those of the smallest class, as few positive rows are what leaves a rate uncertain; for accuracy, all.
    """
    value, has_width = metric.value, metric.low != metric.high
    if not actual.num_classes or metric.name == "log_loss" or has_width or value is None or not 0 <= value <= 1:
        return metric
    counts = np.bincount(actual.labels.astype(np.intp))
    rows = len(actual.labels) if metric.name == "accuracy" else int(counts[counts > 0].min())
    low, high = wilson_interval(value, rows, confidence)
    return metric.model_copy(update={"low": low, "high": high})


def _improvement(
    name: MetricName, of_model: BootstrapValues, other: BootstrapValues, confidence: float
) -> Improvement | None:
    if name not in other:
        return None
    shares = error_reduction(name, of_model[name], other[name])
    low, high = percentile_interval(shares[1:], confidence)
    if np.isnan(shares[0]) or low is None or high is None:
        return None
    return Improvement(value=float(shares[0]), low=low, high=high)


def error_reduction(name: MetricName, values: Floats, others: Floats) -> Floats:
    """The relative reduction of the error, 1 - error / other error, elementwise.

    The error is the metric, or 1 - metric where higher is better. If the other error is 0, the result is 0 for an error
    of 0 and MIN_IMPROVEMENT for a larger one.
    """
    error, other = (1 - of if METRICS[name].higher_is_better else of for of in (values, others))
    share = np.divide(error, other, out=np.where(error > 0, np.inf, 1.0), where=other > 0)
    share[np.isnan(error) | np.isnan(other)] = np.nan
    return np.asarray(np.maximum(1 - share, MIN_IMPROVEMENT))


def _assess_slices(
    actual: ActualLabels, predictions: CandidatePredictions, slices: Sequence[tuple[str, NDArray[np.intp]]]
) -> tuple[Slice, ...]:
    constants = best_constants(actual)
    found = []
    for value, rows in slices:
        part = actual.select_rows(rows)
        metrics = compute_metrics(part, predictions.select_rows(rows))
        baseline = baseline_metrics(part, [one.select_rows(rows) for one in constants])
        found.append(Slice(value=value, rows=len(rows), metrics=metrics, baseline=baseline))
    return tuple(found)


def _residual_quantiles(actual: ActualLabels, predictions: CandidatePredictions) -> dict[float, float]:
    quantiles = np.quantile(actual.labels - predictions.scores, RESIDUAL_QUANTILES)
    return dict(zip(RESIDUAL_QUANTILES, quantiles.tolist(), strict=True))


def _confusion(actual: ActualLabels, predictions: CandidatePredictions) -> tuple[tuple[int, ...], ...]:
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(actual.labels, predictions.labels, labels=range(actual.num_classes))
    return tuple(map(tuple, counts.tolist()))
