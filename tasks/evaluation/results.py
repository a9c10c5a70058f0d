"""The results of an evaluation and the verdict of the gate; small enough to store as JSON."""

from typing import Final, Literal, NamedTuple

from pydantic import BaseModel

from linear_learner.model import PredictorType
from tasks.data.numbers import format_change

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
    """The title of a metric, and whether higher values are better."""

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
"""In the order of the report."""


MACRO_AVERAGES: Final[tuple[MetricName, ...]] = ("precision", "recall", "f1", "roc_auc", "pr_auc")
"""Of a multiclass model: means over the classes."""


class Metric(BaseModel, frozen=True):
    """A metric on the test set, and its bootstrap interval; None where undefined, as ROC-AUC with only one class."""

    name: MetricName
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    """The metric of the best constant prediction for the same rows."""
    champion: float | None = None


class Improvement(BaseModel, frozen=True):
    """The relative reduction of the error, 1 for no error, below 0 for more error; with its paired interval.

    The error is the gate metric if lower is better, else 1 - the gate metric.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{format_change(self.value)} error"

    @property
    def interval(self) -> str:
        return self.format_interval("less", "more")

    def format_interval(self, less: str, more: str) -> str:
        """`82.1 to 83.3 % less`; `2.10 % more to 0.500 % less` if the interval includes 0."""
        ends = [format_change(end, less, more) for end in (self.low, self.high)]
        if self.low < 0 < self.high:
            return " to ".join(ends)
        smaller, larger = ends if self.low >= 0 else reversed(ends)
        return f"{smaller.partition(' %')[0]} to {larger}"


class ClassMetrics(BaseModel, frozen=True):
    """One class: its rows in the test set, and its metrics against the other classes."""

    label: int
    rows: int
    precision: float
    recall: float
    f1: float
    roc_auc: float | None


class Slice(BaseModel, frozen=True):
    """The metrics of the rows with one value, or one range of values, of a column."""

    value: str
    rows: int
    metrics: dict[MetricName, float | None]
    baseline: dict[MetricName, float | None]
    """The metrics of the constant prediction that is the best for the whole test set."""


class Evaluation(BaseModel, frozen=True):
    """The evaluation of a model on the test set."""

    predictor_type: PredictorType
    rows: int
    metrics: tuple[Metric, ...]
    gate_metric: MetricName
    over_baseline: Improvement | None
    """Of the gate metric; None if it is not defined on these rows."""
    over_champion: Improvement | None
    """Of the gate metric; None without a champion that can score these rows."""
    champion_objection: str | None
    """Why the champion cannot score these rows, if it cannot."""
    confidence: float
    """The confidence of all intervals, such as 0.95."""
    rounds: int
    """The number of bootstrap samples of each interval."""
    classes: tuple[ClassMetrics, ...]
    slices: tuple[Slice, ...]
    slice_by: str | None = None
    residual_quantiles: dict[float, float] = {}
    """Quantiles of actual - predicted, from 0.01 to 0.99; only for a regressor."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Rows by actual (first index) and predicted class; only for a classifier with at most 20 classes."""
    class_names: tuple[str, ...] = ()
    """The names of the classes 0, 1, 2, … in the table; empty for a regressor."""

    def __str__(self) -> str:
        value = self.value(self.gate_metric)
        figure = "undefined" if value is None else f"{value:.4g}"
        return f"evaluation on {self.rows} rows, {self.title(self.gate_metric)} {figure}"

    def __getitem__(self, name: MetricName) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)

    def class_name(self, label: int) -> str:
        """The name of a class in the table; its number if the names are unknown."""
        return self.class_names[label] if self.class_names else str(label)

    def title(self, name: MetricName) -> str:
        """The title of a metric; it says so if the metric is a mean over the classes."""
        averaged = self.predictor_type == "multiclass_classifier" and name in MACRO_AVERAGES
        return f"{METRICS[name].title} (macro average)" if averaged else METRICS[name].title

    def value(self, name: MetricName) -> float | None:
        """The model's metric; None where it is not defined, or does not apply to the predictor type."""
        return next((metric.value for metric in self.metrics if metric.name == name), None)


class ClosedFormComparison(BaseModel, frozen=True):
    """The model and a closed-form fit of a sample of the training rows, on the same test rows."""

    metric: MetricName
    sample_rows: int
    """The number of training rows of the closed-form fit."""
    test_rows: int
    model: float
    closed_form: float
    is_clearly_worse: bool
    """The model's error is larger by more than the limits, and certainly larger (bootstrap interval of 95 %)."""

    def __str__(self) -> str:
        figures = f"{METRICS[self.metric].title} {self.closed_form:.4g}, and this model {self.model:.4g}"
        text = f"A closed-form fit of {self.sample_rows:,} training rows has {figures}, on the same test rows."
        if not self.is_clearly_worse:
            return text
        return f"{text} The model is clearly worse: set mini_batch_size to auto or lower, or epochs higher."


GateOutcome = Literal[
    "promoted", "first model", "unchanged", "no better than the baseline", "no better than the champion"
]


class Verdict(BaseModel, frozen=True):
    """The outcome of the gate for a model."""

    outcome: GateOutcome
    headline: str
    """One line with the outcome and the decisive number, as `first model: RMSE 631.0, 82.7 % below baseline`."""
    reason: str
    """Full sentences with all numbers."""

    @property
    def passed(self) -> bool:
        return self.outcome in {"promoted", "first model", "unchanged"}

    def __str__(self) -> str:
        return f"{self.outcome.capitalize()}. {self.reason}"
