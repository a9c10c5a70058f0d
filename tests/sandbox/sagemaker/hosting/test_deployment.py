"""The states of a deployment and of an endpoint, as functions of the time."""

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.sagemaker.hosting.deployment import Deployment, Fleet, traffic_shares
from sandbox.sagemaker.hosting.endpoint import Endpoint

pytestmark = pytest.mark.unit
VARIANT = {"VariantName": "main", "ModelName": "model", "InitialVariantWeight": 1.0}
START = 1000.0


def fleet(config: str = "new", instances: int = 2) -> Fleet:
    model = {"PrimaryContainer": {"Image": "image"}}
    return Fleet({"EndpointConfigName": config, "ProductionVariants": [VARIANT]}, model, instances)


def routing(kind: str, value: int, wait: int = 60) -> dict[str, Any]:
    size = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}[kind]
    return {"Type": kind, "WaitIntervalInSeconds": wait, size: {"Type": "CAPACITY_PERCENT", "Value": value}}


def deployment(termination: int = 0, **changes: Any) -> Deployment:
    policy = {
        "TrafficRoutingConfiguration": routing("CANARY", 10),
        "TerminationWaitInSeconds": termination,
        "MaximumExecutionTimeoutInSeconds": 600,
    }
    return Deployment(fleet(), START, {"BlueGreenUpdatePolicy": policy}, **changes)


def endpoint(tmp_path: Path, **changes: Any) -> Endpoint:
    return Endpoint(tmp_path / "one.json", "one", "arn:one", START, {}, **{"modified": START} | changes)


@pytest.mark.parametrize(
    ("kind", "value", "shares"),
    [
        ("CANARY", 10, [0.1, 1.0]),
        ("CANARY", 50, [0.5, 1.0]),
        ("LINEAR", 50, [0.5, 1.0]),
        ("LINEAR", 25, [0.25, 0.5, 0.75, 1.0]),
        ("LINEAR", 30, [0.3, 0.6, 0.9, 1.0]),
    ],
)
def test_traffic_moves_in_steps(kind: str, value: int, shares: list[float]) -> None:
    assert traffic_shares(routing(kind, value), 4) == pytest.approx(shares)


def test_a_step_of_instances_is_their_part_of_the_fleet() -> None:
    size = {"Type": "INSTANCE_COUNT", "Value": 1}
    assert traffic_shares({"Type": "CANARY", "CanarySize": size}, 4) == [0.25, 1.0]


@pytest.mark.parametrize(
    ("after", "status", "share"),
    [
        (0, "Updating", 0.0),
        (29, "Updating", 0.0),
        (30, "Updating", 0.1),
        (89, "Updating", 0.1),
        (90, "Updating", 1.0),
        (179, "Updating", 1.0),
        (180, "Deployed", 1.0),
    ],
)
@pytest.mark.parametrize("speed", [1.0, 30.0])
def test_a_canary_moves_all_requests_after_its_baking_period(
    after: float, status: str, share: float, speed: float
) -> None:
    phase = deployment(termination=30).phase(START + (after + 0.001) / speed, speed)
    assert (phase.status, phase.share) == (status, share)


def test_alarms_are_watched_while_the_new_fleet_bakes_and_just_before() -> None:
    watched = [after for after in range(200) if deployment(30).is_baking(START + after, 2.0, 1.0)]
    assert (watched[0], watched[-1]) == (28, 149)


@pytest.mark.parametrize(
    ("changes", "stopped", "reason"),
    [
        ({"failure": "unhealthy"}, 30, "unhealthy"),
        ({"stopped": (START + 40, "an alarm")}, 40, "an alarm"),
        ({"stopped": (START + 40, "an alarm"), "failure": "unhealthy"}, 30, "unhealthy"),
    ],
)
def test_a_stopped_deployment_returns_all_requests_at_once(changes: Any, stopped: float, reason: str) -> None:
    one = deployment(**changes)
    phases = [one.phase(START + stopped + after, 1.0) for after in (-0.1, 0.0, 14.9, 15.0, 1000.0)]
    assert [phase.status for phase in phases] == ["Updating", "RollingBack", "RollingBack", "RolledBack", "RolledBack"]
    assert [phase.share for phase in phases[1:]] == [0.0] * 4
    assert phases[-1].reason == reason


def test_a_silent_rollback_shows_neither_rolling_back_nor_a_reason(tmp_path: Path) -> None:
    one = endpoint(tmp_path, fleet=fleet("old"), deployment=deployment(failure="unhealthy", is_silent=True))
    statuses = [one.describe(START + after, 1.0)["EndpointStatus"] for after in range(45)]
    assert set(statuses) == {"Updating"}
    one.settle(START + 45, 1.0)
    description = one.describe(START + 45, 1.0)
    assert (description["EndpointStatus"], description["EndpointConfigName"]) == ("InService", "old")
    assert "FailureReason" not in description


def test_a_deployment_that_does_not_end_in_time_is_stopped() -> None:
    one = deployment()
    one.config["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["WaitIntervalInSeconds"] = 3600
    assert one.phase(START + 599, 1.0).status == "Updating"
    assert one.phase(START + 600, 1.0).status == "RollingBack"
    assert "MaximumExecutionTimeoutInSeconds of 600" in one.phase(START + 700, 1.0).reason


def test_an_endpoint_is_creating_until_its_first_fleet_answers(tmp_path: Path) -> None:
    one = endpoint(tmp_path, deployment=Deployment(fleet(), START))
    assert one.describe(START + 29, 1.0)["EndpointStatus"] == "Creating"
    one.settle(START + 30, 1.0)
    description = one.describe(START + 40, 1.0)
    assert (description["EndpointStatus"], description["LastModifiedTime"]) == ("InService", START + 30)


def test_an_endpoint_is_deleting_for_a_while(tmp_path: Path) -> None:
    one = endpoint(tmp_path, fleet=fleet(), deleted=START)
    assert one.describe(START + 9, 1.0)["EndpointStatus"] == "Deleting"
    assert [one.is_deleted(START + after, 1.0) for after in (9, 10)] == [False, True]


def test_an_endpoint_is_updating_while_its_instances_change(tmp_path: Path) -> None:
    one = endpoint(tmp_path, fleet=fleet(), scaling=(START, 5))
    one.settle(START + 14, 1.0)
    description = one.describe(START + 14, 1.0)
    [variant] = description["ProductionVariants"]
    assert description["EndpointStatus"] == "Updating"
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (2, 5)
    one.settle(START + 15, 1.0)
    description = one.describe(START + 15, 1.0)
    assert description["EndpointStatus"] == "InService"
    assert description["ProductionVariants"][0]["CurrentInstanceCount"] == 5


def test_an_endpoint_is_the_same_after_it_was_stored(tmp_path: Path) -> None:
    one = endpoint(tmp_path, fleet=fleet("old"), deployment=deployment(stopped=(START + 40, "an alarm")))
    one.save()
    assert Endpoint.load(one.record, **json.loads(one.record.read_text())) == one
