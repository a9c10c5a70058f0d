"""CloudWatch over HTTP with boto3: metrics, alarms and their states, and a restart."""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sandbox.server import Sandbox, make_client

pytestmark = pytest.mark.sandbox
DIMENSIONS = [{"Name": "EndpointName", "Value": "one"}]
ALARM = {
    "AlarmName": "errors",
    "Namespace": "Own",
    "MetricName": "Errors",
    "Dimensions": DIMENSIONS,
    "Period": 300,
    "EvaluationPeriods": 2,
    "DatapointsToAlarm": 1,
    "Threshold": 3.0,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "Statistic": "Sum",
    "TreatMissingData": "notBreaching",
}


@pytest.fixture(scope="module")
def sandbox(initial_state_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = shutil.copytree(initial_state_dir, tmp_path_factory.mktemp("cloudwatch") / "state")
    sandbox = Sandbox(folder, hosting_speed=60.0)
    sandbox.start()
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> Any:
    return make_client("cloudwatch", sandbox.endpoint_url)


def put(client: Any, value: float, metric: str = "Errors", **changes: Any) -> None:
    datum = {"MetricName": metric, "Dimensions": DIMENSIONS, "Value": value, **changes}
    client.put_metric_data(Namespace="Own", MetricData=[datum])


def describe(client: Any, name: str = "errors") -> dict[str, Any]:
    [alarm] = client.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return dict(alarm)


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_in(client: Any, state: str) -> bool:
    return bool(describe(client)["StateValue"] == state)


def test_an_alarm_goes_through_its_states(client: Any) -> None:
    client.put_metric_alarm(**ALARM)
    assert describe(client)["StateValue"] == "INSUFFICIENT_DATA"
    wait_until(partial(is_in, client, "OK"))
    put(client, 2.0)
    assert is_in(client, "OK")
    put(client, 3.5, Timestamp=datetime.now(UTC))
    assert is_in(client, "ALARM")
    alarm = describe(client)
    assert "greater than or equal to the threshold (3)" in alarm["StateReason"]
    assert {name: alarm[name] for name in ALARM} == ALARM
    client.put_metric_alarm(**ALARM | {"Threshold": 40.0})
    assert describe(client)["StateValue"] == "ALARM"  # a changed alarm keeps its state at first
    wait_until(partial(is_in, client, "OK"))


def test_values_are_summed_up(client: Any) -> None:
    now = datetime.now(UTC)
    for value in (1.0, 2.0, 6.0):
        put(client, value, "Summed")
    [point] = client.get_metric_statistics(
        Namespace="Own",
        MetricName="Summed",
        Dimensions=DIMENSIONS,
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=10),
        Period=3600,
        Statistics=["Sum", "Average", "Maximum", "SampleCount"],
    )["Datapoints"]
    assert (point["Sum"], point["Average"], point["Maximum"], point["SampleCount"]) == (9.0, 3.0, 6.0, 3.0)


def test_alarms_survive_a_restart_and_deleted_ones_do_not(sandbox: Sandbox, client: Any) -> None:
    client.put_metric_alarm(**ALARM)
    client.put_metric_alarm(**ALARM | {"AlarmName": "deleted"})
    client.delete_alarms(AlarmNames=["deleted", "never-created"])
    sandbox.stop()
    sandbox.start()
    [alarm] = client.describe_alarms()["MetricAlarms"]
    assert alarm["StateValue"] == "INSUFFICIENT_DATA"
    assert {name: alarm[name] for name in ALARM} == ALARM
    wait_until(partial(is_in, client, "OK"))
    put(client, 5.0)
    assert is_in(client, "ALARM")
