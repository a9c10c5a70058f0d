"""The values of metrics in short intervals, from which alarms are evaluated."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_SAMPLES = 100
"""Values that an interval keeps for percentiles: the first ones."""
RETENTION_MINUTES = 180
"""How far an alarm looks back, in minutes of the service."""
INTERVALS_PER_MINUTE = 10


class MetricKey(NamedTuple):
    """A metric; `dimensions` are pairs of name and value."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


@dataclass
class Summary:
    """A statistic set of some values."""

    count: float = 0.0
    total: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf
    samples: list[float] = field(default_factory=list)

    def add(self, other: "Summary") -> None:
        self.count += other.count
        self.total += other.total
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self.samples += other.samples[: MAX_SAMPLES - len(self.samples)] if len(self.samples) < MAX_SAMPLES else ()

    def statistic(self, name: str) -> float:
        """A statistic of CloudWatch: Sum, Average, Minimum, Maximum, SampleCount or a percentile such as p99."""
        if name.startswith("p") and self.samples:
            ordered = sorted(self.samples)
            return ordered[min(len(ordered) - 1, math.ceil(float(name[1:]) / 100 * len(ordered)) - 1)]
        values = {"Sum": self.total, "SampleCount": self.count, "Minimum": self.minimum, "Maximum": self.maximum}
        return values.get(name, self.total / self.count)


def summary_of(value: float) -> Summary:
    return Summary(1.0, value, value, value, [value])


class MetricStore:
    """The recent values of every metric; memory is bounded for each metric, whatever the number of values."""

    def __init__(self, speed: float) -> None:
        """A minute of the service takes 60 / `speed` seconds."""
        self._interval = 60 / speed / INTERVALS_PER_MINUTE
        self._series: dict[MetricKey, dict[int, Summary]] = {}

    def add(self, key: MetricKey, time: float, summary: Summary) -> None:
        series = self._series.setdefault(key, {})
        index = math.floor(time / self._interval)
        if index not in series:
            series[index] = Summary()
            oldest = index - RETENTION_MINUTES * INTERVALS_PER_MINUTE
            if len(series) > 2 * RETENTION_MINUTES * INTERVALS_PER_MINUTE:
                self._series[key] = series = {one: summary for one, summary in series.items() if one > oldest}
        series[index].add(summary)

    def periods(self, key: MetricKey, now: float, period: int, count: int) -> list[Summary | None]:
        """The last `count` periods of `period` seconds of the service, the latest last; None for one without values.

        The latest ends now; those of CloudWatch end at a full minute.
        """
        series, last = self._series.get(key, {}), math.floor(now / self._interval)
        width = max(1, round(period * INTERVALS_PER_MINUTE / 60))
        return [_combine(series, last - width * number, width) for number in reversed(range(count))]


def _combine(series: dict[int, Summary], last: int, width: int) -> Summary | None:
    found = [series[index] for index in range(last - width + 1, last + 1) if index in series]
    combined = Summary()
    for summary in found:
        combined.add(summary)
    return combined if found else None
