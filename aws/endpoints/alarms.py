"""CloudWatch alarms that roll an update back, and the metrics of the checks that are made while it is watched."""

from collections.abc import Collection, Iterable
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel

from aws.endpoints.settings import Guard
from aws.endpoints.specification import ENDPOINT_TAG, VARIANT
from aws.errors import NotFound, translate_errors
from aws.workspace import Workspace

NAMESPACE: Final = "LinearLearner/Endpoints"
CHECKS, WRONG_ANSWERS = "Checks", "WrongAnswers"
"""Metrics of this project: the number of checks, and of those whose answer was wrong. Their dimension: EndpointName."""
SAGEMAKER: Final = "AWS/SageMaker"
PERIOD_SECONDS = 60
AlarmKind = Literal["5xx", "latency", "wrong-answers", "no-checks"]
ALARM_KINDS: Final[tuple[AlarmKind, ...]] = get_args(AlarmKind)
UPDATE_KINDS: Final[tuple[AlarmKind, ...]] = ("wrong-answers", "no-checks")
"""Alarms that make sense only while checks are sent, which is during an update."""


class Alarm(BaseModel, frozen=True):
    """The state of an alarm, OK, ALARM or INSUFFICIENT_DATA, and the reason that CloudWatch gives for it."""

    state: str
    reason: str


def alarm_name(endpoint: str, kind: AlarmKind) -> str:
    """Return the name of an alarm of this endpoint."""
    return f"{endpoint}-{kind}"


def put_alarms(workspace: Workspace, endpoint: str, guard: Guard) -> list[str]:
    """Create or replace the four alarms of an update; return their names.

    Send a check first: without one, the alarm on missing checks goes off when CloudWatch evaluates it for the first
    time, and SageMaker rolls back an update that has such an alarm.
    """
    client = workspace.client("cloudwatch")
    requests = build_alarm_requests(workspace, endpoint, guard)
    for request in requests:
        with translate_errors(f"creating alarm {request['AlarmName']}"):
            client.put_metric_alarm(**request)
    return [request["AlarmName"] for request in requests]


def build_alarm_requests(workspace: Workspace, endpoint: str, guard: Guard) -> list[dict[str, Any]]:
    """Return the PutMetricAlarm requests, in the order of ALARM_KINDS."""
    at_least, less = "GreaterThanOrEqualToThreshold", "LessThanThreshold"
    own: list[dict[str, str]] = [{"Name": "EndpointName", "Value": endpoint}]
    variant = [*own, {"Name": "VariantName", "Value": VARIANT}]
    shared: dict[str, Any] = {
        "Period": PERIOD_SECONDS,
        "EvaluationPeriods": 1,
        "DatapointsToAlarm": 1,
        "TreatMissingData": "notBreaching",
        "Statistic": "Sum",
        "Namespace": NAMESPACE,
        "Dimensions": own,
        "ActionsEnabled": False,
        "Tags": [{"Key": key, "Value": value} for key, value in {**workspace.tags, ENDPOINT_TAG: endpoint}.items()],
    }
    measured_by_sagemaker = {"Namespace": SAGEMAKER, "Dimensions": variant}
    by_kind: dict[AlarmKind, dict[str, Any]] = {
        "5xx": {
            **measured_by_sagemaker,
            "MetricName": "Invocation5XXErrors",
            "Threshold": float(guard.max_errors),
            "ComparisonOperator": at_least,
            "AlarmDescription": f"Endpoint {endpoint}: {guard.max_errors} or more 5XX errors in a minute.",
        },
        "latency": {
            **measured_by_sagemaker,
            "MetricName": "ModelLatency",  # in microseconds
            "Statistic": "Average",
            "Threshold": 1000.0 * guard.max_latency_ms,
            "ComparisonOperator": "GreaterThanThreshold",
            "AlarmDescription": f"Endpoint {endpoint}: the model takes more than {guard.max_latency_ms} ms on average.",
        },
        "wrong-answers": {
            "MetricName": WRONG_ANSWERS,
            "Threshold": 1.0,
            "ComparisonOperator": at_least,
            "AlarmDescription": f"Endpoint {endpoint}: a checked answer was neither the old nor the new model's.",
        },
        "no-checks": {
            "MetricName": CHECKS,
            "Threshold": 1.0,
            "ComparisonOperator": less,
            "EvaluationPeriods": 2,
            "DatapointsToAlarm": 2,
            "TreatMissingData": "breaching",
            "AlarmDescription": f"Endpoint {endpoint}: no answer was checked for two minutes.",
        },
    }
    return [{"AlarmName": alarm_name(endpoint, kind), **shared, **by_kind[kind]} for kind in ALARM_KINDS]


def put_check(workspace: Workspace, endpoint: str, wrong: bool) -> None:
    """Record one checked answer, and whether it was wrong, in one call."""
    dimensions = [{"Name": "EndpointName", "Value": endpoint}]
    values = {CHECKS: 1.0, WRONG_ANSWERS: float(wrong)}
    with translate_errors(f"recording a check of endpoint {endpoint}"):
        workspace.client("cloudwatch").put_metric_data(
            Namespace=NAMESPACE,
            MetricData=[
                {"MetricName": name, "Dimensions": dimensions, "Value": value, "Unit": "Count"}
                for name, value in values.items()
            ],
        )


def describe_alarms(workspace: Workspace, names: Iterable[str]) -> dict[str, Alarm]:
    """Return the alarms of these names (at most 100) that exist."""
    listed = list(names)
    if not listed:
        return {}
    with translate_errors("reading the alarms"):
        found = workspace.client("cloudwatch").describe_alarms(AlarmNames=listed, MaxRecords=100)["MetricAlarms"]
    return {one["AlarmName"]: Alarm(state=one["StateValue"], reason=one.get("StateReason") or "") for one in found}


def alarm_states(workspace: Workspace, names: Iterable[str]) -> dict[str, str]:
    """Return the state of each alarm of these names that exists: OK, ALARM or INSUFFICIENT_DATA."""
    return {name: alarm.state for name, alarm in describe_alarms(workspace, names).items()}


def delete_alarms(workspace: Workspace, endpoint: str, only: Collection[AlarmKind] = ALARM_KINDS) -> list[str]:
    """Delete the alarms of these kinds; return the names of those that existed. Missing ones are no error."""
    names = [alarm_name(endpoint, kind) for kind in ALARM_KINDS if kind in only]
    existing = describe_alarms(workspace, names)
    # One by one: with several names CloudWatch deletes none of them if one does not exist (AWS: DeleteAlarms).
    return [name for name in names if name in existing and _delete_alarm(workspace, name)]


def _delete_alarm(workspace: Workspace, name: str) -> bool:
    try:
        with translate_errors(f"deleting alarm {name}"):
            workspace.client("cloudwatch").delete_alarms(AlarmNames=[name])
    except NotFound:
        return False
    return True
