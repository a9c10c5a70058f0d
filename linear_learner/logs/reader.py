"""Read a training job's log line by line into a report."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import isfinite
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MAX_CURVE_POINTS = 200
"""Maximum number of epochs in a condensed report; longer jobs have every second, fourth, … epoch."""
DIVERGENCE_FACTOR = 1000.0
"""A loss above this multiple of the lowest so far does not recover with any learning rate schedule."""
_MODEL_CONFIG = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class EpochReport(BaseModel):
    """One pass over the training data; losses are by model index, throughput is in records per second."""

    model_config = _MODEL_CONFIG

    index: int
    train: dict[int, float] = Field(default_factory=dict)
    validation: dict[int, float] = Field(default_factory=dict)
    criteria: str | None = None
    value: float | None = None
    improved: bool = False
    throughput: float | None = None

    @property
    def number(self) -> int:
        """The epoch as people count, from 1; the log counts from 0."""
        return self.index + 1


class LogReport(BaseModel):
    """A report on a log, finished or not. `progress` is in percent; scores are by channel (train, validation, test)."""

    model_config = _MODEL_CONFIG

    objective: str | None = None
    """The minimised loss, e.g. `mse`."""
    criterion: str | None = None
    """The value that selects the model and stops training, e.g. `mse_objective`."""
    lower_is_better: bool = True
    configuration: dict[str, str] = Field(default_factory=dict)
    model_count: int = 0
    epoch_count: int = 0
    """Number of trained epochs; a condensed report may contain fewer."""
    epochs: tuple[EpochReport, ...] = ()
    best_epoch: int | None = None
    """The epoch, from 0, with the best finite value of the criterion."""
    best_value: float | None = None
    saved_epoch: int | None = None
    """The epoch of the saved model: the last that improved by more than early stopping's tolerance."""
    saved_value: float | None = None
    saved_model: int | None = None
    """The saved model's index; None if the log does not print the criterion of every model."""
    progress: float | None = None
    throughput: float | None = None
    scores: dict[str, dict[str, float]] = Field(default_factory=dict)
    best_hyperparameters: dict[str, int | float | str] = Field(default_factory=dict)
    stopped_early: bool = False
    failure: str | None = None

    @property
    def discarded_improvement(self) -> float | None:
        """Fraction by which the best epoch is better than the saved one: 0 if they are the same, None if unknown."""
        if self.saved_value is None or self.best_value is None:
            return None
        gap = abs(self.best_value - self.saved_value)
        return gap / abs(self.saved_value) if gap and self.saved_value else 0.0

    def condensed(self) -> Self:
        """At most MAX_CURVE_POINTS epochs with the finite losses of the saved model or, if unknown, the lowest."""
        epochs = [
            epoch.model_copy(
                update={"train": self._main_loss(epoch.train), "validation": self._main_loss(epoch.validation)}
            )
            for epoch in thin_out(self.epochs, MAX_CURVE_POINTS)
        ]
        return self.model_copy(update={"epochs": tuple(epochs)})

    def _main_loss(self, losses: dict[int, float]) -> dict[int, float]:
        model = _lowest(losses) if self.saved_model is None else self.saved_model
        return {model: losses[model]} if model in losses and isfinite(losses[model]) else {}


def thin_out(epochs: Sequence[EpochReport], limit: int) -> Sequence[EpochReport]:
    """At most `limit` of the epochs: all, or every second, fourth, …, always with the last one."""
    step = 1
    while len(epochs) / step > limit:
        step *= 2
    return epochs[::-1][::step][::-1]


def _lowest(values: dict[int, float]) -> int | None:
    """The key of the lowest finite value."""
    finite = {key: value for key, value in values.items() if isfinite(value)}
    return min(finite, key=finite.__getitem__, default=None)


def lower_is_better(criteria: str | None) -> bool:
    """Whether the criterion is a loss; other observed criteria, e.g. `sampled_accuracy`, are scores."""
    return criteria is None or criteria.endswith("_objective")


def describe_divergence(epochs: Sequence[EpochReport]) -> str | None:
    """Describe the divergence of the best model's loss, e.g. "its loss is inf in epoch 3"; None without divergence.

    Epochs are counted from 1. Other models may diverge without harm. Epochs whose criterion is a score are ignored.
    """
    values = [
        (epoch.number, epoch.value) for epoch in epochs if epoch.value is not None and lower_is_better(epoch.criteria)
    ]
    if not values:
        return None
    number, value = values[-1]
    if not isfinite(value):
        return f"its loss is {value} in epoch {number}"
    lowest = min(value for _, value in values)
    if value > DIVERGENCE_FACTOR * lowest > 0:
        return f"its loss is {value:.3g} in epoch {number} and was {lowest:.3g} before"
    return None


_NUMBER: Final = r"([+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|nan|inf|NaN|Infinity))"
_INDEX: Final = r"(\d{1,9})"
_FLAT: Final = r"\{[^{}]*+\}"
_NESTED: Final = r"\{[^{}]*+(?:\{[^{}]*+(?:\{[^{}]*+\}[^{}]*+)*+\}[^{}]*+)*+\}"
_STATEMENTS: Final = {
    "configuration": rf"Final configuration: ({_FLAT})",
    "metrics": rf"#metrics ({_NESTED})",
    "criterion": rf"#early_stopping_criteria_metric: host=\S+, epoch={_INDEX}, criteria=([^\s,]+), value={_NUMBER}",
    "improvement": rf"Epoch {_INDEX}: Loss improved\. Updating best model",
    "early_stop": r"(Early stop condition met)",
    "progress": rf"#progress_metric: host=\S+, completed {_NUMBER} %",
    "throughput": rf"#throughput_metric: host=\S+, train throughput={_NUMBER} records/second",
    "score": rf"#(train|validation|test)_score \(\S+\) : \(u?'([^']+)', {_NUMBER}\)",
    "final_quality": rf"#quality_metric: host=\S+, (train|validation|test) (\S+) <(?:loss|score)>={_NUMBER}",
    "winner": rf"Best model found for hyperparameters: ({_FLAT})",
    "failure": r"(?:(?:Customer|Algorithm|Platform) Error:|Failed\. Reason:) ?(.*)",
}
# Container versions differ in the order of JSON keys and in the repr of text (u'' in Python 2), not in the patterns.
_STATEMENT: Final = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _STATEMENTS.items()))
_SETTING: Final = re.compile(r"u?'([^']*)': u?'([^']*)'")
_OBJECTIVE: Final = re.compile(r"(train|validation)_(\S+)_objective")
_NEXT_STATEMENT: Final = re.compile(r"\s*$|\[?\d{2,4}[/-]\d{2}[/-]\d{2,4} |#|Traceback|\W{9}")
_SETTINGS_ADAPTER: Final = TypeAdapter(dict[str, int | float | str])


class _Metrics(BaseModel):
    Dimensions: dict[str, int | str]
    Metrics: dict[str, dict[str, float]]


class LogReader:
    """Parse the log of one host, fed line by line; a report is available at any time."""

    def __init__(self) -> None:
        self.progress: float | None = None
        """The last logged progress, in percent of the epochs."""
        self.is_complete = False
        """Whether the log contains its last entry: the container's total time, or its failure."""
        self._epochs: defaultdict[int, dict[str, Any]] = defaultdict(lambda: {"train": {}, "validation": {}})
        self._last: int | None = None
        self._fields: dict[str, object] = {}
        self._scores: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._failure: list[str] = []
        self._in_failure = False
        self._completed: list[int] = []

    @classmethod
    def read(cls, lines: Iterable[str]) -> LogReport:
        reader = cls()
        for line in lines:
            reader.feed(line)
        return reader.report()

    def feed(self, text: str) -> tuple[EpochReport, ...]:
        """Parse one line or several; return the epochs that end in them, with a throughput line."""
        self._completed.clear()
        for line in text.splitlines() or [""]:
            self._in_failure = self._in_failure and not _NEXT_STATEMENT.match(line)
            if self._in_failure:
                self._failure.append(line.rstrip())
            for match in _STATEMENT.finditer(line):
                values = [group for group in match.groups() if group is not None][1:]
                getattr(self, f"_read_{match.lastgroup}")(*values)
        return tuple(self._report_epoch(index) for index in self._completed)

    def report(self) -> LogReport:
        epochs = [self._report_epoch(index) for index in sorted(self._epochs)]
        criterion = next((epoch.criteria for epoch in epochs if epoch.criteria), None)
        lower = lower_is_better(criterion)
        values = {epoch.index: epoch.value for epoch in epochs if epoch.value is not None and isfinite(epoch.value)}
        best = _lowest(values if lower else {index: -value for index, value in values.items()})
        saved = next((epoch for epoch in reversed(epochs) if epoch.improved), None)
        return LogReport.model_validate(
            {
                **self._fields,
                "criterion": criterion,
                "lower_is_better": lower,
                "model_count": max((len(epoch.train) for epoch in epochs), default=0),
                "epoch_count": len(epochs),
                "epochs": epochs,
                "best_epoch": best,
                "best_value": None if best is None else values[best],
                "saved_epoch": saved and saved.index,
                "saved_value": saved and values.get(saved.index),
                "saved_model": _lowest(saved.validation or saved.train) if saved and lower else None,
                "progress": self.progress,
                "scores": self._scores,
                "failure": "\n".join(self._failure).strip() or None,
            }
        )

    def _report_epoch(self, index: int) -> EpochReport:
        return EpochReport.model_validate({"index": index, **self._epochs[index]})

    def _set_of_epoch(self, index: int, **values: object) -> None:
        self._last = index
        self._epochs[index].update(values)

    def _read_configuration(self, text: str) -> None:
        self._fields["configuration"] = dict(_SETTING.findall(text))

    def _read_metrics(self, text: str) -> None:
        self.is_complete = self.is_complete or '"totaltime"' in text
        with suppress(ValidationError):
            content = _Metrics.model_validate_json(text)
            epoch, model = (content.Dimensions.get(name) for name in ("epoch", "model"))
            if not (isinstance(epoch, int) and isinstance(model, int)):
                return
            for name, metric in content.Metrics.items():
                if (match := _OBJECTIVE.fullmatch(name)) and "sum" in metric:
                    self._fields["objective"] = match[2]
                    self._set_of_epoch(epoch)
                    self._epochs[epoch][match[1]][model] = metric["sum"]

    def _read_criterion(self, epoch: str, criteria: str, value: str) -> None:
        self._set_of_epoch(int(epoch), criteria=criteria, value=float(value))

    def _read_improvement(self, epoch: str) -> None:
        self._set_of_epoch(int(epoch), improved=True)

    def _read_early_stop(self, _: str) -> None:
        self._fields["stopped_early"] = True

    def _read_progress(self, percent: str) -> None:
        self.progress = float(percent)

    def _read_throughput(self, records_per_second: str) -> None:
        self._fields["throughput"] = float(records_per_second)
        if self._last is not None:
            self._epochs[self._last]["throughput"] = float(records_per_second)
            self._completed.append(self._last)

    def _read_score(self, channel: str, name: str, value: str) -> None:
        self._scores[channel][name] = float(value)

    def _read_final_quality(self, channel: str, name: str, value: str) -> None:
        # The same scores again; Python 2 containers print fewer digits here.
        self._scores[channel].setdefault(name, float(value))

    def _read_winner(self, text: str) -> None:
        with suppress(ValidationError):
            self._fields["best_hyperparameters"] = _SETTINGS_ADAPTER.validate_json(text)

    def _read_failure(self, message: str) -> None:
        # SageMaker's reason repeats the container's message, so only the first is stored.
        if not self._failure:
            self._failure.append(message.rstrip())
            self._in_failure = self.is_complete = True
