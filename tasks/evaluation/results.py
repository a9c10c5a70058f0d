"""What an evaluation came to, and the verdict on it; small enough to keep as JSON."""

from typing import Final, Literal, NamedTuple

from pydantic import BaseModel

from linear_learner.model import PredictorType

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
    """How a metric is called, and whether more of it is better."""

    title: str
    higher_is_better: bool


METRICS: Final[dict[MetricName, MetricInfo]] = {
    "rmse": MetricInfo("RMSE", higher_is_better=False),
    "mae": MetricInfo("MAE", higher_is_better=False),
    "median_error": MetricInfo("median absolute error", higher_is_better=False),
    "r2": MetricInfo("R²", higher_is_better=True),
    "pinball": MetricInfo("pinball loss", higher_is_better=False),
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


class Metric(BaseModel, frozen=True):
    """One figure on the test set; None where it is not defined, as the area under a curve of one class is not."""

    name: MetricName
    value: float | None
    low: float | None
    """Lower end of the bootstrap interval."""
    high: float | None
    baseline: float | None
    """Of the best constant prediction for these very rows."""
    champion: float | None = None


class Improvement(BaseModel, frozen=True):
    """The share of another's error that is gone, 1 for all of it, below 0 for more error; with its paired interval.

    The error is the gate's metric itself where less is better, and what is missing from 1 where more is.
    """

    value: float
    low: float
    high: float


class ClassMetrics(BaseModel, frozen=True):
    """One class: its rows in the test set, and how well it is told from the others."""

    label: int
    rows: int
    precision: float
    recall: float
    f1: float
    roc_auc: float | None


class Slice(BaseModel, frozen=True):
    """The rows with one value of the chosen column, or of one range of values."""

    value: str
    rows: int
    metrics: dict[MetricName, float | None]
    baseline: dict[MetricName, float | None]
    """Of the same constant prediction as the whole test set's."""


class Evaluation(BaseModel, frozen=True):
    """A model on the rows it was not trained on."""

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
    slice_by: str | None = None
    """The column whose values the slices are."""
    residual_quantiles: dict[float, float] = {}
    """Of a regressor: actual - predicted by share of the rows, from 0.01 to 0.99."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Of a classifier of at most 20 classes: rows by actual (first index) and predicted class."""

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


class Verdict(BaseModel, frozen=True):
    """What the gate says of a model, and why, with the numbers, in a sentence or two."""

    outcome: GateOutcome
    reason: str

    @property
    def passed(self) -> bool:
        """Whether the model may be used."""
        return self.outcome in {"promoted", "first model"}

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}"
