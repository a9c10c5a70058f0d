"""Updates of endpoints under load: which fleet answers, and every way in which an update is undone."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.sandbox
Inject = Callable[..., None]
Config = Callable[..., dict[str, Any]]
DIMENSIONS = [{"Name": "EndpointName", "Value": "guarded"}, {"Name": "VariantName", "Value": "main"}]


@pytest.mark.parametrize("speed_of_shift", [("ALL_AT_ONCE", 0), ("CANARY", 10), ("LINEAR", 50)])
def test_no_request_fails_during_an_update(
    client: Any, deployment_config: Config, scores: dict[str, float], speed_of_shift: tuple[str, int]
) -> None:
    kind, percent = speed_of_shift
    name = f"busy-{kind.replace('_', '-').lower()}"
    client.create(name)
    with client.load(name) as answers:
        client.update(name, DeploymentConfig=deployment_config(kind, 60, percent))
        assert client.statuses(name) == ["Updating", "InService"]
        wait_for_more(answers)
    assert set(answers) == set(scores.values())
    assert answers.index(scores["new"]) > answers.index(scores["old"])
    assert answers[-1] == scores["new"]


def wait_for_more(answers: list[Any], count: int = 10) -> None:
    """Wait for further answers."""
    wanted, deadline = len(answers) + count, time.monotonic() + 30
    while len(answers) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_canary_gets_its_share_of_the_requests(
    client: Any, deployment_config: Config, scores: dict[str, float]
) -> None:
    client.create("shared")
    client.update("shared", DeploymentConfig=deployment_config("CANARY", 3600, 10))
    while client.describe("shared")["PendingDeploymentSummary"]["ProductionVariants"][0]["CurrentInstanceCount"] == 0:
        time.sleep(0.01)
    counts = Counter(client.answer("shared") for _ in range(100))
    assert counts == {scores["old"]: 90, scores["new"]: 10}


@pytest.mark.parametrize(
    ("fault", "statuses", "reason"),
    [
        ("endpoint-no-capacity", ["Updating", "InService"], "InsufficientInstanceCapacity"),
        ("endpoint-unhealthy", ["Updating", "InService"], "did not pass the ping health check"),
        ("silent-rollback", ["Updating", "InService"], None),
        ("rollback-fails", ["Updating", "UpdateRollbackFailed"], "did not pass the ping health check"),
    ],
)
def test_an_update_that_fails_leaves_the_old_fleet_answering(
    client: Any,
    inject: Inject,
    deployment_config: Config,
    scores: dict[str, float],
    fault: str,
    statuses: list[str],
    reason: str | None,
) -> None:
    client.create(fault)
    inject(kind=fault)
    with client.load(fault) as answers:
        client.update(fault, DeploymentConfig=deployment_config("CANARY", 60, 50))
        assert client.statuses(fault) == statuses
        wait_for_more(answers)
    assert set(answers) == {scores["old"]}
    endpoint = client.describe(fault)
    assert endpoint["EndpointConfigName"] == "old"
    assert "PendingDeploymentSummary" not in endpoint
    assert reason in endpoint["FailureReason"] if reason else "FailureReason" not in endpoint
    client.update(fault)
    assert client.wait(fault)["EndpointConfigName"] == "new"
    assert client.answer(fault) == scores["new"]
    assert "FailureReason" not in client.describe(fault)


def test_an_update_that_takes_too_long_is_rolled_back(client: Any, deployment_config: Config) -> None:
    client.create("late")
    config = deployment_config("ALL_AT_ONCE", 3600)
    config["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"] = 600
    client.update("late", DeploymentConfig=config)
    assert client.statuses("late") == ["Updating", "InService"]
    endpoint = client.describe("late")
    assert endpoint["EndpointConfigName"] == "old"
    assert "MaximumExecutionTimeoutInSeconds of 600" in endpoint["FailureReason"]


def put_alarm(client: Any, name: str, metric: str, namespace: str = "AWS/SageMaker", **changes: Any) -> None:
    settings = {
        "Namespace": namespace,
        "MetricName": metric,
        "Dimensions": DIMENSIONS,
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 0.0,
        "Statistic": "Sum",
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    client.cloudwatch.put_metric_alarm(AlarmName=name, **settings | changes)


def wait_for_state(client: Any, name: str, state: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        [alarm] = client.cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        if alarm["StateValue"] == state:
            return dict(alarm)
        assert time.monotonic() < deadline, alarm
        time.sleep(0.02)


def ensure_guarded_endpoint(client: Any) -> None:
    if not client.sagemaker.list_endpoints(NameContains="guarded")["Endpoints"]:
        client.create("guarded")


def test_wrong_answers_of_a_canary_stay_below_its_share_and_an_alarm_rolls_it_back(
    client: Any, inject: Inject, deployment_config: Config, scores: dict[str, float]
) -> None:
    ensure_guarded_endpoint(client)
    put_alarm(client, "wrong", "WrongAnswers", "Checks")
    wait_for_state(client, "wrong", "OK")
    inject(kind="wrong-answers")
    config = deployment_config("CANARY", 3600, 10, ("wrong",))
    client.update("guarded", DeploymentConfig=config)
    seen: list[float] = []
    deadline = time.monotonic() + 30
    while client.describe("guarded")["EndpointStatus"] == "Updating":
        assert time.monotonic() < deadline
        seen.append(client.answer("guarded"))
        value = {
            "MetricName": "WrongAnswers",
            "Dimensions": DIMENSIONS,
            "Value": float(seen[-1] not in scores.values()),
        }
        client.cloudwatch.put_metric_data(Namespace="Checks", MetricData=[value])
    wrong = [one for one in seen if one not in scores.values()]
    assert 1 <= len(wrong) <= len(seen) / 10
    endpoint = client.wait("guarded")
    assert endpoint["EndpointConfigName"] == "old"
    assert "alarm wrong is in ALARM state" in endpoint["FailureReason"]
    assert {client.answer("guarded") for _ in range(20)} == {scores["old"]}


def test_slow_answers_raise_the_latency_and_an_alarm_rolls_them_back(
    client: Any, inject: Inject, deployment_config: Config
) -> None:
    ensure_guarded_endpoint(client)
    put_alarm(client, "slow", "ModelLatency", Statistic="Maximum", Threshold=30_000.0)
    wait_for_state(client, "slow", "OK")
    inject(kind="slow-answers", seconds=0.05)
    with client.load("guarded") as answers:
        client.update("guarded", DeploymentConfig=deployment_config("ALL_AT_ONCE", 3600, alarms=("slow",)))
        assert client.statuses("guarded") == ["Updating", "InService"]
    assert not [one for one in answers if isinstance(one, Exception)]
    assert client.describe("guarded")["EndpointConfigName"] == "old"


def test_an_alarm_that_exists_before_an_update_rolls_it_back_before_requests_move(
    client: Any, deployment_config: Config, scores: dict[str, float]
) -> None:
    ensure_guarded_endpoint(client)
    put_alarm(
        client,
        "no-checks",
        "Checks",
        "Checks",
        ComparisonOperator="LessThanThreshold",
        Threshold=1.0,
        EvaluationPeriods=2,
        TreatMissingData="breaching",
    )
    wait_for_state(client, "no-checks", "ALARM")
    with client.load("guarded") as answers:
        client.update("guarded", DeploymentConfig=deployment_config(alarms=("no-checks",)))
        assert client.statuses("guarded") == ["Updating", "InService"]
    assert set(answers) == {scores["old"]}


def test_an_update_without_alarms_is_not_rolled_back(client: Any, inject: Inject, scores: dict[str, float]) -> None:
    ensure_guarded_endpoint(client)
    inject(kind="wrong-answers")
    client.update("guarded", "old")
    assert client.wait("guarded")["EndpointConfigName"] == "old"
    assert client.answer("guarded") not in scores.values()
