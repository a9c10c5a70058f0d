"""Read a training job's log, line by line, into a report."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import isnan
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

_MODEL_CONFIG = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class EpochReport(BaseModel):
    """One pass over the training data; losses are keyed by the model's index, speed is in records per second."""

    model_config = _MODEL_CONFIG

    index: int
    train: dict[int, float] = Field(default_factory=dict)
    validation: dict[int, float] = Field(default_factory=dict)
    criteria: str | None = None
    value: float | None = None
    improved: bool = False
    throughput: float | None = None

    @property
    def best_model(self) -> int | None:
        """The model with the lowest loss, on the validation channel if there is one.

        None where the log holds no loss, or where models are compared by something it does not print for each of them
        (`sampled_accuracy`).
        """
        losses = {model: loss for model, loss in (self.validation or self.train).items() if not isnan(loss)}
        return min(losses, key=losses.__getitem__) if losses and lower_is_better(self.criteria) else None


class LogReport(BaseModel):
    """A whole log, finished or not. `progress` is in percent; scores are by channel (train, validation, test)."""

    model_config = _MODEL_CONFIG

    objective: str | None = None
    configuration: dict[str, str] = Field(default_factory=dict)
    epochs: tuple[EpochReport, ...] = ()
    best_epoch: int | None = None
    """The epoch with the best value of the criterion."""
    saved_epoch: int | None = None
    """The epoch whose model was saved: the last that improved by more than the tolerance."""
    saved_model: int | None = None
    progress: float | None = None
    throughput: float | None = None
    scores: dict[str, dict[str, float]] = Field(default_factory=dict)
    best_hyperparameters: dict[str, int | float | str] = Field(default_factory=dict)
    stopped_early: bool = False
    failure: str | None = None


def thin_out(epochs: Sequence[EpochReport], limit: int) -> Sequence[EpochReport]:
    """At most `limit` of the epochs: all, or every second, fourth, …, the last one included."""
    step = 1
    while len(epochs) / step > limit:
        step *= 2
    return epochs[::-1][::step][::-1]


def lower_is_better(criteria: str | None) -> bool:
    """Whether early stopping watches a loss; other criteria seen, like `sampled_accuracy`, are scores."""
    return criteria is None or criteria.endswith("_objective")


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
# The containers differ in the order of JSON keys and in the repr of text (u'' in Python 2), not in these statements.
_STATEMENT: Final = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _STATEMENTS.items()))
_SETTING: Final = re.compile(r"u?'([^']*)': u?'([^']*)'")
_OBJECTIVE: Final = re.compile(r"(train|validation)_(\S+)_objective")
_NEXT_STATEMENT: Final = re.compile(r"\s*$|\[?\d{2,4}[/-]\d{2}[/-]\d{2,4} |#|Traceback|\W{9}")
_SETTINGS_ADAPTER: Final = TypeAdapter(dict[str, int | float | str])


class _Metrics(BaseModel):
    Dimensions: dict[str, int | str]
    Metrics: dict[str, dict[str, float]]


class LogReader:
    """Feed it one host's lines as they come; ask it for a report at any time."""

    def __init__(self) -> None:
        self.progress: float | None = None
        """The last progress in the log, in percent of the epochs."""
        self.is_complete = False
        """Whether the log ended as logs end: with the container's total time, or with its failure."""
        self._epochs: defaultdict[int, dict[str, Any]] = defaultdict(lambda: {"train": {}, "validation": {}})
        self._last: int | None = None
        self._fields: dict[str, object] = {}
        self._scores: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._failure: list[str] = []
        self._in_failure = False
        self._completed: list[int] = []

    @classmethod
    def read(cls, lines: Iterable[str]) -> LogReport:
        """Report on a whole log."""
        reader = cls()
        for line in lines:
            reader.feed(line)
        return reader.report()

    def feed(self, text: str) -> tuple[EpochReport, ...]:
        """Take in one line, or several; return the epochs that end in it, which is when their speed is printed."""
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
        """Report on what was fed so far."""
        epochs = [self._report_epoch(index) for index in sorted(self._epochs)]
        losses = {
            epoch.index: epoch.value if lower_is_better(epoch.criteria) else -epoch.value
            for epoch in epochs
            if epoch.value is not None
        }
        saved = next((epoch for epoch in reversed(epochs) if epoch.improved), None)
        return LogReport.model_validate(
            {
                **self._fields,
                "epochs": epochs,
                "best_epoch": min(losses, key=losses.__getitem__, default=None),
                "saved_epoch": saved and saved.index,
                "saved_model": saved and saved.best_model,
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
        # The same scores once more; Python 2 containers print fewer digits here.
        self._scores[channel].setdefault(name, float(value))

    def _read_winner(self, text: str) -> None:
        with suppress(ValidationError):
            self._fields["best_hyperparameters"] = _SETTINGS_ADAPTER.validate_json(text)

    def _read_failure(self, message: str) -> None:
        # SageMaker's own reason repeats the container's message: the first stands.
        if not self._failure:
            self._failure.append(message.rstrip())
            self._in_failure = self.is_complete = True
