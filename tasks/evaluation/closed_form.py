"""A comparison with a closed-form fit of a sample of training rows, by which an undertrained model is recognised."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linear_learner.model import Examples, LinearModel, Predictions, PredictorType
from tasks.evaluation.intervals import count_samples, draw_samples, percentile_interval
from tasks.evaluation.metrics import (
    ActualLabels,
    CandidatePredictions,
    Floats,
    baseline_metrics,
    best_constants,
    compute_sample_metrics,
)
from tasks.evaluation.results import METRICS, ClosedFormComparison, MetricName

MAX_SAMPLE_ROWS: Final = 5000
MAX_TEST_ROWS: Final = 20_000
"""Maximum rows to fit and to compare on; of more rows, evenly spaced ones are used."""
MIN_RELATIVE_EXCESS: Final = 0.15
"""A model is clearly worse only if its error (RMSE, log loss) exceeds the closed-form fit's by this share …"""
MIN_AREA_EXCESS: Final = 0.05
"""… or its ROC-AUC is this much lower,"""
MIN_SHARE_OF_BASELINE: Final = 0.03
"""and the difference of the errors is this share of the best constant's error: 0.001 instead of 0.0005 is no fault."""
CONFIDENCE: Final = 0.95

_METRICS: Final[dict[str, MetricName]] = {
    "squared_loss": "rmse",
    "eps_insensitive_squared_loss": "rmse",
    "logistic": "roc_auc",
    "hinge_loss": "roc_auc",
    "softmax_loss": "log_loss",
}
"""The metric to compare by for each loss; no closed-form fit minimises the losses that are not listed."""


@dataclass(frozen=True)
class ClosedForm:
    """A ridge or logistic regression on standardised features, both with regularisation strength 1."""

    predictor_type: PredictorType
    mean: Floats
    deviation: Floats
    estimator: Any
    num_classes: int

    def predict(self, features: NDArray[np.floating]) -> Predictions:
        """Values, probabilities (rows,) of class 1, or (rows, classes), for `features` (rows, features)."""
        scaled = (features.astype(np.float64) - self.mean) / self.deviation
        if self.predictor_type == "regressor":
            return Predictions(self.estimator.predict(scaled).astype(np.float32), None)
        scores = np.zeros((len(scaled), self.num_classes), np.float32)
        scores[:, self.estimator.classes_] = self.estimator.predict_proba(scaled)
        labels = scores.argmax(axis=1).astype(np.float32)
        return Predictions(scores if self.predictor_type == "multiclass_classifier" else scores[:, 1], labels)


def fit_closed_form(predictor_type: PredictorType, train: Examples, num_classes: int = 2) -> ClosedForm:
    """Fit on all rows of `train`; at least two classes must occur in its labels."""
    from sklearn.linear_model import LogisticRegression, Ridge

    features = train.features.astype(np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    # The deviation of a constant column is not exactly 0, because its mean is rounded.
    deviation[deviation <= 1e-12 * np.abs(mean)] = 1.0
    scaled = (features - mean) / deviation
    estimator = Ridge(alpha=1.0) if predictor_type == "regressor" else LogisticRegression(max_iter=300)
    labels = train.labels.astype(np.float64 if predictor_type == "regressor" else np.intp)
    return ClosedForm(predictor_type, mean, deviation, estimator.fit(scaled, labels), num_classes)


def compare_with_closed_form(
    model: LinearModel, sample: Examples, test: Examples, *, weighted_classes: bool = False
) -> ClosedFormComparison | None:
    """Compare `model` with a closed-form fit of `sample`, training rows, on the rows of `test`.

    None where there is nothing to compare with: a loss without a closed-form fit, multiclass with weighted classes, a
    sample with one class, or a metric that is not defined on these test rows.
    """
    metric = _METRICS.get(model.loss)
    if metric is None or (weighted_classes and metric == "log_loss"):
        return None
    sample, test = _evenly_spaced(sample, MAX_SAMPLE_ROWS), _evenly_spaced(test, MAX_TEST_ROWS)
    actual = ActualLabels.of(model, test.labels)
    if actual.num_classes and len(np.unique(sample.labels)) < 2:
        return None
    fit = fit_closed_form(model.predictor_type, sample, actual.num_classes)
    values, of_fit = _resample(metric, actual, model.predict(test.features), fit.predict(test.features))
    low, _ = percentile_interval(_excess(metric, values, of_fit)[1:], CONFIDENCE)
    if low is None or np.isnan(values[0]) or np.isnan(of_fit[0]):
        return None
    baseline = baseline_metrics(actual, best_constants(actual))[metric]
    return ClosedFormComparison(
        metric=metric,
        sample_rows=len(sample.labels),
        test_rows=len(test.labels),
        model=float(values[0]),
        closed_form=float(of_fit[0]),
        is_clearly_worse=low > 0 and _exceeds_limits(metric, float(values[0]), float(of_fit[0]), baseline or 0.0),
    )


def _evenly_spaced(examples: Examples, limit: int) -> Examples:
    rows = len(examples.labels)
    if rows <= limit:
        return examples
    chosen = np.linspace(0, rows - 1, limit).astype(np.intp)
    return Examples(examples.features[chosen], examples.labels[chosen])


def _resample(
    metric: MetricName, actual: ActualLabels, of_model: Predictions, of_fit: Predictions
) -> tuple[Floats, Floats]:
    """The metric (1 + samples,) of both on the rows, and on the same bootstrap samples of them."""
    counts = draw_samples(len(actual.labels), count_samples(len(actual.labels), max(1, actual.num_classes)))
    first, second = (
        compute_sample_metrics(
            actual,
            CandidatePredictions(
                of.scores,
                None if of.labels is None else of.labels.astype(np.intp),
                probabilities=metric == "log_loss",
                metric_names=[metric],
            ),
            counts,
            counts,
        )[metric]
        for of in (of_model, of_fit)
    )
    return first, second


def _excess(metric: MetricName, of_model: Floats, of_fit: Floats) -> Floats:
    return of_fit - of_model if METRICS[metric].higher_is_better else of_model - of_fit


def _exceeds_limits(metric: MetricName, of_model: float, of_fit: float, baseline: float) -> bool:
    if metric == "roc_auc":
        return of_fit - of_model > MIN_AREA_EXCESS
    excess = of_model - of_fit
    return excess > MIN_RELATIVE_EXCESS * of_fit and excess > MIN_SHARE_OF_BASELINE * baseline
