"""Alarms of an update, and the metrics of its checks."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from aws.endpoints.alarms import (
    ALARM_KINDS,
    UPDATE_KINDS,
    AlarmKind,
    alarm_name,
    alarm_states,
    delete_alarms,
    describe_alarms,
    put_alarms,
    put_check,
)
from aws.endpoints.deployment import ensure_model_and_config, start
from aws.endpoints.invocation import invoke
from aws.endpoints.outcome import judge
from aws.endpoints.settings import Guard, Traffic
from aws.endpoints.specification import EndpointSpec
from aws.endpoints.state import EndpointState, describe_endpoint
from aws.workspace import Workspace
from tests.aws.endpoints.conftest import SHORT

pytestmark = pytest.mark.sandbox

Deploy = Callable[..., EndpointState]
Inject = Callable[..., None]
MakeSpec = Callable[..., EndpointSpec]


@pytest.mark.parametrize("kind", ["wrong-answers", "no-checks", "latency"])
def test_an_alarm_rolls_an_update_back(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, inject: Inject, endpoint: str, kind: AlarmKind
) -> None:
    old, new = make_spec(1.0), make_spec(2.0)
    deploy(old)
    put_alarms(workspace, endpoint, Guard(max_latency_ms=100))
    ensure_model_and_config(workspace, new)
    if kind == "latency":
        inject(kind="slow-answers", endpoint=endpoint, seconds=0.3)
    # Only a rollback ends this update soon: alarms are watched for an hour, which takes 12 s here.
    name = alarm_name(endpoint, kind)
    assert start(workspace, new, Traffic(minutes=60), [name]) == "updating"
    while judge(describe_endpoint(workspace, endpoint), new.config_name).kind == "in progress":
        if kind == "wrong-answers":
            put_check(workspace, endpoint, wrong=True)
        elif kind == "latency":
            invoke(workspace, endpoint, b"1\n", "text/csv")
        time.sleep(0.1)
    outcome = judge(describe_endpoint(workspace, endpoint), new.config_name)
    assert (outcome.kind, outcome.problem, outcome.config) == ("rolled back", "alarm", old.config_name)
    assert name in outcome.cause
    assert json.loads(invoke(workspace, endpoint, b"2\n", "text/csv")) == {"predictions": [{"score": 2.0}]}


def test_an_update_without_an_alarm_is_completed(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str
) -> None:
    deploy(make_spec(1.0))
    new = make_spec(2.0)
    names = put_alarms(workspace, endpoint, Guard())
    put_check(workspace, endpoint, wrong=False)
    # Without the alarm on missing checks, which goes off when this process pauses for half a second.
    watched = tuple(name for name in names if not name.endswith("no-checks"))
    assert judge(deploy(new, SHORT, watched), new.config_name).kind == "in service"
    assert set(alarm_states(workspace, watched).values()) == {"OK"}


def test_alarms_are_replaced_read_and_deleted(workspace: Workspace, endpoint: str) -> None:
    names = [f"{endpoint}-{kind}" for kind in ALARM_KINDS]
    for most in (5, 9):
        assert put_alarms(workspace, endpoint, Guard(max_errors=most, max_latency_ms=300)) == names
    put_alarms(workspace, f"{endpoint}-5xx", Guard())
    assert set(alarm_states(workspace, [*names, "missing"])) == set(names)
    assert set(alarm_states(workspace, names).values()) <= {"OK", "ALARM", "INSUFFICIENT_DATA"}
    assert alarm_states(workspace, []) == {}
    found = workspace.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    alarms = {alarm["AlarmName"].removeprefix(f"{endpoint}-"): alarm for alarm in found}
    assert (alarms["5xx"]["MetricName"], alarms["5xx"]["Threshold"]) == ("Invocation5XXErrors", 9)
    assert (alarms["latency"]["MetricName"], alarms["latency"]["Threshold"]) == ("ModelLatency", 300_000)
    assert alarms["no-checks"]["TreatMissingData"] == "breaching"
    assert alarms["no-checks"]["EvaluationPeriods"] == 2
    assert delete_alarms(workspace, endpoint, UPDATE_KINDS) == [f"{endpoint}-wrong-answers", f"{endpoint}-no-checks"]
    assert delete_alarms(workspace, endpoint, UPDATE_KINDS) == []
    assert delete_alarms(workspace, endpoint) == [f"{endpoint}-5xx", f"{endpoint}-latency"]
    assert describe_alarms(workspace, names) == {}
    assert len(delete_alarms(workspace, f"{endpoint}-5xx")) == 4


def test_a_check_is_recorded_with_both_metrics(workspace: Workspace, endpoint: str) -> None:
    for wrong in (False, True, False):
        put_check(workspace, endpoint, wrong)
    now = datetime.now(UTC)
    sums = {}
    for name in ("Checks", "WrongAnswers"):
        points = workspace.client("cloudwatch").get_metric_statistics(
            Namespace="LinearLearner/Endpoints",
            MetricName=name,
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        sums[name] = sum(point["Sum"] for point in points)
    assert sums == {"Checks": 3, "WrongAnswers": 1}
