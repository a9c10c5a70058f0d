"""The states of alarms, as the tables in CloudWatch's documentation on missing data show them."""

import pytest

from sandbox.cloudwatch.evaluation import evaluate
from sandbox.cloudwatch.metrics import MetricKey, MetricStore, Summary, summary_of

pytestmark = pytest.mark.unit
NONE = None
KEY = MetricKey("namespace", "metric", frozenset())


@pytest.mark.parametrize(
    ("values", "needed", "states"),
    [
        # "missing", "ignore", "breaching" and "notBreaching"; before, the alarm was in the state "before".
        ([0.0, 9.0, 9.0], 3, ("OK", "OK", "OK", "OK")),
        ([9.0, 9.0, 9.0], 3, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ([NONE, NONE, NONE], 3, ("INSUFFICIENT_DATA", "before", "ALARM", "OK")),
        ([NONE, 9.0, NONE], 3, ("ALARM", "before", "ALARM", "OK")),
        ([NONE, 0.0, NONE], 3, ("OK", "OK", "OK", "OK")),
        ([9.0, NONE, 9.0], 2, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ([0.0, NONE, 9.0], 2, ("OK", "before", "ALARM", "OK")),
        ([0.0, 0.0, NONE], 2, ("OK", "OK", "OK", "OK")),
    ],
)
def test_missing_data_are_treated_as_the_documentation_describes(
    values: list[float | None], needed: int, states: tuple[str, ...]
) -> None:
    treatments = ("missing", "ignore", "breaching", "notBreaching")
    found = [evaluate(values, "GreaterThanThreshold", 5.0, needed, one, "before")[0] for one in treatments]
    assert tuple(found) == states


@pytest.mark.parametrize(
    ("comparison", "value", "state"),
    [
        ("GreaterThanThreshold", 5.0, "OK"),
        ("GreaterThanOrEqualToThreshold", 5.0, "ALARM"),
        ("LessThanThreshold", 5.0, "OK"),
        ("LessThanOrEqualToThreshold", 5.0, "ALARM"),
    ],
)
def test_comparisons_with_the_threshold(comparison: str, value: float, state: str) -> None:
    assert evaluate([value], comparison, 5.0, 1, "missing", "OK")[0] == state


def test_the_reason_names_the_values_and_the_threshold() -> None:
    _, reason = evaluate([7.0, 0.0], "GreaterThanThreshold", 5.0, 1, "missing", "OK")
    assert reason == (
        "Threshold Crossed: 1 out of the last 2 datapoints [7, 0] were greater than the threshold (5); 0 were missing."
    )


def test_the_periods_of_a_metric_end_now_and_those_without_values_are_none() -> None:
    store = MetricStore(speed=60.0)  # a minute takes a second
    for time, value in ((10.05, 1.0), (10.95, 5.0), (12.5, 7.0)):
        store.add(KEY, time, summary_of(value))
    first, second, third = store.periods(KEY, 12.95, 60, 3)
    assert second is None
    assert (first.statistic("Sum"), first.statistic("Average")) == (6.0, 3.0) if first else False
    assert third and third.statistic("Maximum") == 7.0  # noqa: PT018
    assert store.periods(MetricKey("other", "metric", frozenset()), 12.95, 60, 2) == [None, None]


def test_statistics_of_a_summary() -> None:
    summary = Summary()
    for value in range(1, 101):
        summary.add(summary_of(float(value)))
    names = ("Sum", "Average", "Minimum", "Maximum", "SampleCount", "p99", "p50")
    assert [summary.statistic(name) for name in names] == [5050.0, 50.5, 1.0, 100.0, 100.0, 99.0, 50.0]


def test_memory_is_bounded_whatever_the_number_of_values() -> None:
    store = MetricStore(speed=60.0)
    for number in range(20_000):
        store.add(KEY, number / 2, summary_of(1.0))
    assert len(store._series[KEY]) <= 3600
    assert store.periods(KEY, 9999.5, 60, 1)[0] is not None
