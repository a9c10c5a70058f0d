"""Models to report on: invented rows, predicted by a linear model that nearly knows how they came about."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_curve, precision_recall_fscore_support, roc_curve

from linear_learner.logs.training_summary import EpochPoint, TrainingSummary
from linear_learner.model import LinearModel, PredictorType
from tasks.data.measurement import measure_chunks
from tasks.data.reader import Chunk
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
    Verdict,
)
from tasks.model_report.context import ReportContext
from tasks.parameters import Split

MakeContext = Callable[..., ReportContext]
ROWS = 4000
NAMES = ("years_employed", "salary", "age", "distance_km", "overtime_hours", "satisfaction", "team_size")
OBJECTIVES = {
    "regressor": "mse",
    "binary_classifier": "binary_classification_cross_entropy",
    "multiclass_classifier": "multiclass_cross_entropy",
}
GATES: dict[str, MetricName] = {
    "regressor": "rmse",
    "binary_classifier": "roc_auc",
    "multiclass_classifier": "log_loss",
}
FIGURES: dict[str, dict[MetricName, tuple[float, float]]] = {
    "regressor": {
        "rmse": (1843.27, 3120.5),
        "mae": (1402.11, 2511.9),
        "median_error": (1189.4, 2190.0),
        "r2": (0.6511, 0),
    },
    "binary_classifier": {
        "accuracy": (0.8712, 0.7931),
        "balanced_accuracy": (0.7911, 0.5),
        "precision": (0.7122, 0.0),
        "recall": (0.6488, 0.0),
        "f1": (0.6790, 0.0),
        "roc_auc": (0.9127, 0.5),
        "pr_auc": (0.7654, 0.2069),
        "log_loss": (0.3012, 0.5098),
    },
    "multiclass_classifier": {
        "accuracy": (0.8397, 0.3912),
        "balanced_accuracy": (0.7933, 0.2),
        "f1": (0.8011, 0.11),
        "roc_auc": (0.9611, 0.5),
        "pr_auc": (0.8712, 0.2),
        "log_loss": (0.4120, 1.512),
    },
}


@pytest.fixture
def context_of() -> MakeContext:
    """Makes a report context of a type; keywords replace its fields, `names` those of the features."""
    return make


def make(
    kind: PredictorType = "regressor", *, classes: int = 5, names: tuple[str, ...] = NAMES, **changes: object
) -> ReportContext:
    random = np.random.default_rng(7)
    spread = np.logspace(-1, 4, len(names))
    features = random.normal(0, spread, (ROWS, len(names)))
    outputs = classes if kind == "multiclass_classifier" else 1
    weights = random.normal(0, 1.5, (len(names), outputs)) / spread[:, None]
    model = LinearModel(kind, "auto", weights.astype(np.float32), np.zeros(outputs, np.float32), 0.4, {}, names)
    target = str(changes.get("target", "bonus"))
    frame = pl.DataFrame(np.column_stack([np.arange(ROWS), features]).astype(np.float64))
    context = ReportContext(
        target=target,
        source="s3://people-data/output/transformed_data.csv",
        verdict=Verdict(outcome="promoted", reason="RMSE 1,843 is 8.7 % below the champion's 2,019."),
        registered="version 3 of group linear-learner-bonus, waits for approval",
        profile=measure_chunks([Chunk(frame, {})], [target, *names], target).profile(),
        rows={"train": 28_000, "validation": 8_040, "test": 3_960},
        split=Split(),
        summary=summary(kind),
        summary_error=None,
        evaluation=evaluation(kind, model, features, classes),
        model=model,
        job="linear-learner-bonus-3f9a1c07",
        submission="started",
        cost="0.0077 USD: 240 billable seconds on one ml.m5.large",
        warnings=("column 'age': 3 values lie far from all others. Look at rows 17, 212 and 3004.",),
        reproduce="python -m flows.train --dataset.source s3://people-data/output/transformed_data.csv",
        champion="version 2, training job linear-learner-bonus-11d0e2b4",
    )
    return replace(context, **changes)  # type: ignore[arg-type]


def summary(kind: PredictorType, epochs: int = 15) -> TrainingSummary:
    losses = [0.35 + 2.2 * 0.6**epoch + 0.004 * max(0, epoch - 9) for epoch in range(epochs)]
    curve = tuple(EpochPoint(index=n, criterion=v, train=v * 0.4, validation=v) for n, v in enumerate(losses))
    return TrainingSummary(
        objective=OBJECTIVES[kind],
        criterion=f"{OBJECTIVES[kind]}_objective",
        lower_is_better=True,
        models=32,
        saved_model=7,
        hyperparameters={"learning_rate": 0.1, "wd": 0.0001, "l1": 0.0, "optimizer": "adam", "lr_scheduler_step": 10},
        epochs=epochs,
        saved_epoch=9,
        saved_value=losses[9],
        best_epoch=10,
        best_value=0.3687,
        stopped_early=True,
        throughput=17_302.4,
        curve=curve,
    )


def evaluation(kind: PredictorType, model: LinearModel, features: NDArray[np.float64], classes: int = 5) -> Evaluation:
    regression = regression_picture(model, features) if kind == "regressor" else None
    figures, picture = ((), None) if regression else classified(model, features, classes)
    return Evaluation(
        predictor_type=kind,
        rows=len(features),
        metrics=tuple(
            Metric(
                name=name,
                value=v,
                low=v * 0.97,
                high=v * 1.03,
                baseline=b,
                champion=v * (0.93 if METRICS[name].higher_is_better else 1.0955),
            )
            for name, (v, b) in FIGURES[kind].items()
        ),
        gate_metric=GATES[kind],
        over_baseline=Improvement(value=0.409, low=0.381, high=0.432),
        over_champion=Improvement(value=0.087, low=0.041, high=0.122),
        champion_objection=None,
        confidence=0.95,
        rounds=1000,
        classes=figures,
        slices=tuple(
            Slice(
                value=place,
                rows=rows,
                metrics={GATES[kind]: value and value * FIGURES[kind][GATES[kind]][0]},
                baseline={GATES[kind]: FIGURES[kind][GATES[kind]][1]},
            )
            for place, rows, value in (("Zürich", 2_301, 0.98), ("Bern", 1_209, 1.01), ("(missing)", 490, None))
        ),
        regression=regression,
        classification=picture,
    )


def regression_picture(model: LinearModel, features: NDArray[np.float64]) -> RegressionPlotData:
    random = np.random.default_rng(1)
    predicted = 9_000 + 1_200 * model.predict(features).scores.astype(np.float64)
    actual = predicted + random.normal(0, 1_500, len(features))
    edges = np.linspace(np.quantile(actual, 0.001), np.quantile(actual, 0.999), 65)
    density, _, _ = np.histogram2d(actual.clip(edges[0], edges[-1]), predicted.clip(edges[0], edges[-1]), edges)
    counts, bins = np.histogram(actual - predicted, 60)
    shares = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    return RegressionPlotData(
        density=Density(edges=edges.tolist(), counts=density.astype(int).tolist()),
        residuals=Histogram(edges=bins.tolist(), counts=counts.tolist()),
        residual_quantiles=dict(zip(shares, np.quantile(actual - predicted, shares).tolist(), strict=True)),
        clipped_rows=16,
    )


def classified(
    model: LinearModel, features: NDArray[np.float64], classes: int
) -> tuple[tuple[ClassMetrics, ...], ClassificationPlotData]:
    random = np.random.default_rng(1)
    scores = model.predict(features).scores.astype(np.float64)
    chances = np.stack([1 - scores, scores], axis=1) if scores.ndim == 1 else scores
    actual = (chances.cumsum(axis=1) < random.random((len(features), 1))).sum(axis=1).clip(max=chances.shape[1] - 1)
    predicted = chances.argmax(axis=1)
    labels = tuple(range(chances.shape[1]))
    of_each = zip(*precision_recall_fscore_support(actual, predicted, labels=labels, zero_division=0), strict=True)
    figures = tuple(
        ClassMetrics(label=label, rows=rows, precision=p, recall=r, f1=f, roc_auc=0.9 + 0.001 * label)
        for label, (p, r, f, rows) in zip(labels, of_each, strict=True)
    )
    drawn = labels[1:] if len(labels) == 2 else labels[:10]
    return figures, ClassificationPlotData(
        curves=tuple(curves(label, actual == label, chances[:, label]) for label in drawn),
        calibration=calibration(chances.max(axis=1), predicted == actual),
        confusion=Confusion(labels=labels, counts=confusion_matrix(actual, predicted, labels=labels).tolist())
        if classes <= 20
        else None,
    )


def curves(label: int, actual: NDArray[np.bool_], scores: NDArray[np.float64]) -> ClassCurves:
    wrong, right, _ = roc_curve(actual, scores)
    precision, recall, _ = precision_recall_curve(actual, scores)
    places = [np.unique(np.linspace(0, len(line) - 1, 200).astype(int)) for line in (wrong, recall)]
    return ClassCurves(
        label=label,
        roc=Curve(x=wrong[places[0]].tolist(), y=right[places[0]].tolist()),
        precision_recall=Curve(x=recall[places[1]].tolist(), y=precision[places[1]].tolist()),
    )


def calibration(chances: NDArray[np.float64], right: NDArray[np.bool_]) -> Curve:
    tenths = np.array_split(np.argsort(chances), 10)
    return Curve(x=tuple(chances[one].mean() for one in tenths), y=tuple(right[one].mean() for one in tenths))
