"""What an evaluation came to, as data: small enough to keep as JSON, whole enough to draw every plot from it."""

from typing import Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from linear_learner.model import PredictorType

_MODEL_CONFIG = ConfigDict(frozen=True, use_attribute_docstrings=True)

MetricName = Literal[
    "rmse",
    "mae",
    "median_error",
    "r2",
    "pinball",
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "roc_auc",
    "pr_auc",
    "log_loss",
]


class MetricInfo(NamedTuple):
    """How a metric is called, whether more of it is better, and whether it is in the target's unit."""

    title: str
    higher_is_better: bool
    in_target_units: bool = False


METRICS: Final[dict[MetricName, MetricInfo]] = {
    "rmse": MetricInfo("RMSE", higher_is_better=False, in_target_units=True),
    "mae": MetricInfo("MAE", higher_is_better=False, in_target_units=True),
    "median_error": MetricInfo("median absolute error", higher_is_better=False, in_target_units=True),
    "r2": MetricInfo("R²", higher_is_better=True),
    "pinball": MetricInfo("pinball loss", higher_is_better=False, in_target_units=True),
    "accuracy": MetricInfo("accuracy", higher_is_better=True),
    "balanced_accuracy": MetricInfo("balanced accuracy", higher_is_better=True),
    "precision": MetricInfo("precision", higher_is_better=True),
    "recall": MetricInfo("recall", higher_is_better=True),
    "f1": MetricInfo("F1", higher_is_better=True),
    "roc_auc": MetricInfo("ROC-AUC", higher_is_better=True),
    "pr_auc": MetricInfo("PR-AUC", higher_is_better=True),
    "log_loss": MetricInfo("log loss", higher_is_better=False),
}
"""In the order of a report. Precision, recall, F1 and the areas of a multiclass are macro averages over its classes."""


class Metric(BaseModel):
    """One figure on the test set; None where it is not defined, as the area under a curve of one class is not."""

    model_config = _MODEL_CONFIG

    name: MetricName
    value: float | None
    low: float | None
    """Lower end of the bootstrap interval."""
    high: float | None
    baseline: float | None
    """Of the best constant prediction for these very rows."""
    champion: float | None = None


class Improvement(BaseModel):
    """The share of another's error that is gone, 1 for all of it, below 0 for more error; with its paired interval.

    The error is the gate's metric itself where less is better, and what is missing from 1 where more is.
    """

    model_config = _MODEL_CONFIG

    value: float
    low: float
    high: float


class ClassMetrics(BaseModel):
    """One class: its rows in the test set, and how well it is told from the others."""

    model_config = _MODEL_CONFIG

    label: int
    rows: int
    precision: float
    recall: float
    f1: float
    roc_auc: float | None


class Slice(BaseModel):
    """The rows with one value of the chosen column, or of one range of values."""

    model_config = _MODEL_CONFIG

    value: str
    rows: int
    metrics: dict[MetricName, float | None]
    baseline: dict[MetricName, float | None]
    """Of the same constant prediction as the whole test set's."""


class Confusion(BaseModel):
    """Rows by actual (first index) and predicted label."""

    model_config = _MODEL_CONFIG

    labels: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]


class Histogram(BaseModel):
    """Counts between neighbouring edges, one less than there are edges."""

    model_config = _MODEL_CONFIG

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Density(BaseModel):
    """Rows by actual value (first index of `counts`) and predicted value, both cut at the same edges."""

    model_config = _MODEL_CONFIG

    edges: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]


class Curve(BaseModel):
    """Points of a line; of many only as many as a plot can show, the ends included."""

    model_config = _MODEL_CONFIG

    x: tuple[float, ...]
    y: tuple[float, ...]


class RegressionPlotData(BaseModel):
    """What the plots of a regression show; residuals are actual - predicted."""

    model_config = _MODEL_CONFIG

    density: Density
    residuals: Histogram
    residual_quantiles: dict[float, float]
    """By share of the rows: 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99."""
    clipped_rows: int
    """Rows beyond the edges, which a few far-off values would else stretch; counted at the outermost cells."""


class ClassCurves(BaseModel):
    """Of one class against the others; a binary classifier has those of class 1."""

    model_config = _MODEL_CONFIG

    label: int
    roc: Curve
    """False positive rate, true positive rate."""
    precision_recall: Curve
    """Recall, precision."""


class ClassificationPlotData(BaseModel):
    """What the plots of a classification show."""

    model_config = _MODEL_CONFIG

    curves: tuple[ClassCurves, ...]
    """Of a multiclass at most the ten classes with most rows; none where there is one class only."""
    calibration: Curve | None
    """Mean predicted probability and share of rows that are so, per tenth of the rows; None without probabilities.

    Of a multiclass the probability of the predicted class, and the share of rows where it is right.
    """
    confusion: Confusion | None
    """None for more than 20 classes."""


class Evaluation(BaseModel):
    """A model on the rows it was not trained on."""

    model_config = _MODEL_CONFIG

    predictor_type: PredictorType
    rows: int
    metrics: tuple[Metric, ...]
    gate_metric: MetricName
    over_baseline: Improvement | None
    """By the gate's metric; None where that is not defined on these rows."""
    over_champion: Improvement | None
    """None without a champion that can score these rows."""
    champion_objection: str | None
    """Why the champion cannot score these rows, if so."""
    confidence: float
    """Of all intervals, such as 0.95."""
    rounds: int
    """Bootstrap samples behind each interval."""
    classes: tuple[ClassMetrics, ...]
    slices: tuple[Slice, ...]
    regression: RegressionPlotData | None
    classification: ClassificationPlotData | None

    def __str__(self) -> str:
        value = self.value(self.gate_metric)
        figure = "undefined" if value is None else f"{value:.4g}"
        return f"evaluation on {self.rows} rows, {METRICS[self.gate_metric].title} {figure}"

    def __getitem__(self, name: MetricName) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)

    def value(self, name: MetricName) -> float | None:
        """The model's own figure; None where it is not defined, or not of this predictor type."""
        return next((metric.value for metric in self.metrics if metric.name == name), None)


GateOutcome = Literal["promoted", "first model", "no better than the baseline", "no better than the champion"]


class Verdict(BaseModel):
    """What the gate says of a model, and why, with the numbers, in a sentence or two."""

    model_config = _MODEL_CONFIG

    outcome: GateOutcome
    reason: str

    @property
    def passed(self) -> bool:
        """Whether the model may be used."""
        return self.outcome in {"promoted", "first model"}

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}"
