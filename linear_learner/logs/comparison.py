"""Compare two training logs: the saved model, its hyperparameters, the scores, and the losses of all models."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import Any

from linear_learner.logs.reader import LogReport

MAX_LISTED_LOSSES = 10
_WIDTH = 56


@dataclass(frozen=True)
class ComparedValue:
    """A value in two logs; None where a log does not have it."""

    name: str
    one: Any
    other: Any

    @property
    def difference(self) -> float:
        """The relative difference of two numbers; infinite for other values that are not equal."""
        if self.one == self.other or str(self.one) == str(self.other):  # as NaN
            return 0.0
        try:
            return float(abs(self.one - self.other) / max(abs(self.one), abs(self.other)))
        except TypeError:
            return float("inf")

    def __str__(self) -> str:
        one, other = ("-" if value is None else str(value) for value in (self.one, self.other))
        return f"{self.name:<{_WIDTH}}{one:<24}{other:<24}{self.difference:.1e}"


@dataclass(frozen=True)
class LogComparison:
    """Two logs of the same training."""

    facts: list[ComparedValue]
    """The saved model and epoch, the number of epochs, the winner's hyperparameters, and the scores of both logs."""
    losses: list[ComparedValue]

    @property
    def median_difference(self) -> float:
        """Of all losses; infinite without any."""
        return median([loss.difference for loss in self.losses] or [float("inf")])

    def is_equal(self, tolerance: float) -> bool:
        """Whether all facts, and the losses in the median, differ by at most `tolerance`.

        Single losses may differ by more: at high learning rates, rmsprop amplifies rounding errors.
        """
        return max(self.median_difference, *(fact.difference for fact in self.facts)) <= tolerance

    def __str__(self) -> str:
        models = defaultdict[str, list[float]](list)
        for loss in self.losses:
            models[loss.name.partition(",")[0]].append(loss.difference)
        largest = sorted(self.losses, key=lambda loss: loss.difference, reverse=True)[:MAX_LISTED_LOSSES]
        return "\n".join(
            [
                *map(str, self.facts),
                f"\n{len(self.losses)} losses differ by {self.median_difference:.1e} (median); median and largest:",
                *(f"{name:<{_WIDTH}}{median(of):<24.1e}{max(of):.1e}" for name, of in models.items()),
                "\nThe largest differences of losses:",
                *map(str, largest),
            ]
        )


def compare_logs(one: LogReport, other: LogReport) -> LogComparison:
    """Compare two logs; scores that only one of the containers prints are left out."""
    facts, losses = (
        [ComparedValue(name, first.get(name), second.get(name)) for name in first | second]
        for first, second in ((_facts(one), _facts(other)), (_losses(one), _losses(other)))
    )
    return LogComparison([fact for fact in facts if " " not in fact.name or None not in (fact.one, fact.other)], losses)


def _facts(report: LogReport) -> dict[str, Any]:
    scores = {f"{channel} {name}": value for channel, of in report.scores.items() for name, value in of.items()}
    names = ("saved_model", "saved_epoch", "epoch_count", "stopped_early")
    return {**{name: getattr(report, name) for name in names}, **report.best_hyperparameters, **scores}


def _losses(report: LogReport) -> dict[str, Any]:
    return {
        f"model {model}, epoch {epoch.index}, {channel}": loss
        for epoch in report.epochs
        for channel in ("train", "validation")
        for model, loss in getattr(epoch, channel).items()
    }
