"""A model's evaluation: its figures beside the best constant's and the champion's, how sure they are, and pictures."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from linear_learner.model import LinearModel, Predictions
from tasks.evaluation.gate import select_gate_metric
from tasks.evaluation.intervals import (
    count_samples,
    draw_samples,
    percentile_interval,
    resample,
)
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
from tasks.evaluation.results import (
    METRICS,
    ClassCurves,
    ClassificationPlotData,
    ClassMetrics,
    Confusion,
    Curve,
    Density,
    Evaluation,
    Histogram,
    Improvement,
    Metric,
    MetricName,
    RegressionPlotData,
    Slice,
)
from tasks.parameters import Gate

MIN_IMPROVEMENT = -1e9
"""The improvement over a candidate without any error, instead of minus infinity, which JSON does not have."""
MAX_CURVE_POINTS = 200
DENSITY_CELLS = 40
RESIDUAL_BINS = 41
CALIBRATION_BINS = 10
MAX_CURVES = 10
MAX_CONFUSION_CLASSES = 20
RESIDUAL_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_EDGE_QUANTILES = (0.005, 0.995)
"""Shares of the rows between which edges are drawn."""


@dataclass(frozen=True)
class _Comparison:
    """A model, the constant and the champion on the same rows: their metrics and the bootstrap values of these."""

    metrics: MetricValues
    baseline: MetricValues
    champion: MetricValues
    values: BootstrapValues
    baseline_values: BootstrapValues
    champion_values: BootstrapValues
    confidence: float

    def metric(self, name: MetricName) -> Metric:
        value = self.metrics[name]
        low, high = percentile_interval(self.values[name], self.confidence) if value is not None else (None, None)
        return Metric(
            name=name,
            value=value,
            low=low,
            high=high,
            baseline=self.baseline[name] if value is not None else None,
            champion=self.champion.get(name),
        )

    def over_baseline(self, name: MetricName) -> Improvement | None:
        return self._over(name, self.baseline, self.baseline_values)

    def over_champion(self, name: MetricName) -> Improvement | None:
        return self._over(name, self.champion, self.champion_values)

    def _over(self, name: MetricName, other: MetricValues, other_values: BootstrapValues) -> Improvement | None:
        value, of_other = self.metrics[name], other.get(name)
        if value is None or of_other is None:
            return None
        low, high = percentile_interval(error_reduction(name, self.values[name], other_values[name]), self.confidence)
        if low is None or high is None:
            return None
        return Improvement(
            value=float(error_reduction(name, np.array([value]), np.array([of_other]))[0]), low=low, high=high
        )


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
    own, *others = (
        CandidatePredictions.of(one, actual, probabilities=_are_probabilities(model, one))
        for one in (predictions, champion)
        if one is not None
    )
    comparison, classes = _compare(actual, [own, *others], gate.confidence)
    if others and comparison.metrics[gate_metric] is not None and comparison.champion[gate_metric] is None:
        champion_objection = f"its scores are no probabilities, so it has no {METRICS[gate_metric].title}."
    return Evaluation(
        predictor_type=model.predictor_type,
        rows=len(labels),
        metrics=tuple(comparison.metric(name) for name in actual.metric_names),
        gate_metric=gate_metric,
        over_baseline=comparison.over_baseline(gate_metric),
        over_champion=comparison.over_champion(gate_metric),
        champion_objection=champion_objection,
        confidence=gate.confidence,
        rounds=len(comparison.values[actual.metric_names[0]]),
        classes=classes,
        slices=_assess_slices(actual, own, slices),
        regression=None if actual.num_classes else regression_plot_data(actual, own),
        classification=classification_plot_data(actual, own) if actual.num_classes else None,
    )


def error_reduction(name: MetricName, values: Floats, others: Floats) -> Floats:
    """The share of the others' error that is gone: 1 - error / other error, elementwise.

    The error is the metric, or what is missing from 1 where more of it is better. Beside no error at all it is 0 for
    none and MIN_IMPROVEMENT for any.
    """
    error, other = (1 - of if METRICS[name].higher_is_better else of for of in (values, others))
    share = np.divide(error, other, out=np.where(error > 0, np.inf, 1.0), where=other > 0)
    share[np.isnan(error) | np.isnan(other)] = np.nan
    return np.asarray(np.maximum(1 - share, MIN_IMPROVEMENT))


def _compare(
    actual: ActualLabels, models: Sequence[CandidatePredictions], confidence: float
) -> tuple[_Comparison, tuple[ClassMetrics, ...]]:
    """Compare the first of `models` with the best constants and, if there is a second, with that; and its classes."""
    chosen = best_constants(actual)
    with ThreadPoolExecutor(len(models)) as pool:
        own, *others = pool.map(partial(compute_metrics, actual), models)
    candidates = [Candidate(one, actual.metric_names) for one in models]
    candidates += chosen
    samples = draw_samples(len(actual.labels), count_samples(len(actual.labels)))
    values = resample(actual, candidates, samples)
    comparison = _Comparison(
        metrics=own,
        baseline=baseline_metrics(actual, chosen),
        champion=others[0] if others else {},
        values=values[0],
        baseline_values={name: found for some in values[len(models) :] for name, found in some.items()},
        champion_values=values[1] if others else {},
        confidence=confidence,
    )
    return comparison, compute_class_metrics(actual, models[0])


def _are_probabilities(model: LinearModel, predictions: Predictions) -> bool:
    """Whether scores are probabilities; the champion of a logistic model may be one with hinge loss."""
    if model.predictor_type != "binary_classifier":
        return model.predictor_type == "multiclass_classifier"
    return model.has_sigmoid and bool(((predictions.scores >= 0) & (predictions.scores <= 1)).all())


def _assess_slices(
    actual: ActualLabels, predictions: CandidatePredictions, slices: Sequence[tuple[str, NDArray[np.intp]]]
) -> tuple[Slice, ...]:
    chosen = best_constants(actual) if slices else []
    found = []
    for value, rows in slices:
        part = actual.select_rows(rows)
        baseline = baseline_metrics(part, [Candidate(one.select_rows(rows), names) for one, names in chosen])
        found.append(
            Slice(
                value=value,
                rows=len(rows),
                metrics=compute_metrics(part, predictions.select_rows(rows)),
                baseline=baseline,
            )
        )
    return tuple(found)


def regression_plot_data(actual: ActualLabels, predictions: CandidatePredictions) -> RegressionPlotData:
    """Actual against predicted, and residuals."""
    labels, predicted = actual.labels.astype(np.float64), predictions.scores.astype(np.float64)
    residuals = labels - predicted
    edges = _edges(np.concatenate([labels, predicted]), DENSITY_CELLS)
    of_residuals = _edges(residuals, RESIDUAL_BINS)
    cells = _cells(labels, edges) * DENSITY_CELLS + _cells(predicted, edges)
    counts = np.bincount(cells, minlength=DENSITY_CELLS**2).reshape(DENSITY_CELLS, DENSITY_CELLS)
    clipped = _beyond(labels, edges) | _beyond(predicted, edges) | _beyond(residuals, of_residuals)
    return RegressionPlotData(
        density=Density(edges=tuple(edges.tolist()), counts=tuple(map(tuple, counts.tolist()))),
        residuals=Histogram(
            edges=tuple(of_residuals.tolist()),
            counts=tuple(np.bincount(_cells(residuals, of_residuals), minlength=RESIDUAL_BINS).tolist()),
        ),
        residual_quantiles=dict(
            zip(RESIDUAL_QUANTILES, np.quantile(residuals, RESIDUAL_QUANTILES).tolist(), strict=True)
        ),
        clipped_rows=int(np.count_nonzero(clipped)),
    )


def classification_plot_data(actual: ActualLabels, predictions: CandidatePredictions) -> ClassificationPlotData:
    """Curves of the classes that have rows of both kinds, calibration, and who is taken for whom."""
    labels, predicted = actual.labels.astype(np.intp), np.asarray(predictions.labels)
    rows = np.bincount(labels, minlength=actual.num_classes)
    largest = sorted(actual.curve_classes, key=lambda label: -int(rows[label]))[:MAX_CURVES]
    confusion = None
    if actual.num_classes <= MAX_CONFUSION_CLASSES:
        counts = np.bincount(labels * actual.num_classes + predicted, minlength=actual.num_classes**2)
        by_actual = map(tuple, counts.reshape(actual.num_classes, -1).tolist())
        confusion = Confusion(labels=tuple(range(actual.num_classes)), counts=tuple(by_actual))
    columns = dict(zip(actual.curve_classes, predictions.scores.reshape(len(labels), -1).T, strict=True))
    return ClassificationPlotData(
        curves=tuple(
            class_curves(labels == label, columns[label], label)
            for label in sorted(largest)
            if 0 < rows[label] < len(labels)
        ),
        calibration=_calibration(labels, predicted, predictions) if predictions.probabilities else None,
        confusion=confusion,
    )


def class_curves(positive: NDArray[np.bool_], scores: NDArray[np.floating], label: int) -> ClassCurves:
    """Both curves of one class, at the same thresholds; without any row, precision is 1, as scikit-learn has it."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
    chosen = _thin_out(false + true)
    false, true = false[chosen], true[chosen]
    hits, misses = true * positive.sum(), false * (~positive).sum()
    precision = np.divide(hits, hits + misses, out=np.ones_like(hits), where=hits + misses > 0)
    return ClassCurves(label=label, roc=_curve(false, true), precision_recall=_curve(true, precision))


def _thin_out(along: Floats) -> NDArray[np.intp]:
    """Of points at these increasing places of a line, at most POINTS spread evenly along it, both ends included."""
    if len(along) <= MAX_CURVE_POINTS:
        return np.arange(len(along))
    found = np.searchsorted(along, np.linspace(along[0], along[-1], MAX_CURVE_POINTS))
    found[[0, -1]] = 0, len(along) - 1
    return np.unique(found)


def _calibration(labels: NDArray[np.intp], predicted: NDArray[np.intp], predictions: CandidatePredictions) -> Curve:
    if predictions.scores.ndim == 1:
        probability, so = predictions.scores.astype(np.float64), labels == 1
    else:
        probability, so = predictions.scores.max(axis=1).astype(np.float64), labels == predicted
    tenth = _cells(probability, np.quantile(probability, np.linspace(0, 1, CALIBRATION_BINS + 1)), "left")
    rows = np.bincount(tenth, minlength=CALIBRATION_BINS)
    filled = rows > 0
    mean, share = (np.bincount(tenth, of, CALIBRATION_BINS)[filled] / rows[filled] for of in (probability, so))
    return _curve(mean, share)


def _curve(x: Floats, y: Floats) -> Curve:
    """A millionth is finer than any plot shows, and keeps the JSON small."""
    return Curve(x=tuple(x.round(6).tolist()), y=tuple(y.round(6).tolist()))


def _edges(values: Floats, cells: int) -> Floats:
    """Of equally wide cells over all but the outermost values, around a constant if need be."""
    low, high = np.quantile(values, _EDGE_QUANTILES)
    room = 0.0 if high > low else max(abs(low) / 1000, 0.5)
    return np.linspace(low - room, high + room, cells + 1)


def _cells(values: Floats, edges: Floats, side: str = "right") -> NDArray[np.intp]:
    """The cell of each value, the outermost for those beyond the edges."""
    return np.searchsorted(edges[1:-1], values, "left" if side == "left" else "right")


def _beyond(values: Floats, edges: Floats) -> NDArray[np.bool_]:
    return np.asarray((values < edges[0]) | (values > edges[-1]))
