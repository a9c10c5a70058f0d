"""Whether a training job ended before its model had stopped improving."""

from math import isfinite
from typing import Final

from linear_learner.logs.reader import LogReport

RECENT_EPOCHS: Final = 3
"""The last epochs over which the improvement is measured; the default patience of early stopping."""
MIN_IMPROVEMENT: Final = 0.01
"""A smaller improvement over the recent epochs is not worth further epochs."""


def measure_late_improvement(report: LogReport) -> float | None:
    """The fraction by which the criterion improved in the last epochs, if the job was still improving when it ended.

    None if early stopping ended the job, if the best epoch is not the last one, or if the improvement is below
    MIN_IMPROVEMENT: further epochs would hardly help. The criterion of `report` is a loss, or a score such as
    `sampled_accuracy`, whose improvement is that of the error, 1 - score.
    """
    if report.stopped_early or not report.epochs or report.best_epoch != report.epochs[-1].index:
        return None
    # Of a condensed report, the epochs may be further apart than one.
    first = report.epochs[-1].index - RECENT_EPOCHS
    earlier = [
        epoch.value
        for epoch in report.epochs[:-1]
        if epoch.index >= first and epoch.value is not None and isfinite(epoch.value)
    ]
    if not earlier or report.best_value is None:
        return None
    before, after = (_error(report, value) for value in (earlier[0], report.best_value))
    improvement = (before - after) / before if before > 0 else 0.0
    return improvement if improvement >= MIN_IMPROVEMENT else None


def _error(report: LogReport, value: float) -> float:
    return value if report.lower_is_better else 1 - value
