"""The outcome of a creation or an update, by the state of the endpoint and SageMaker's FailureReason."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from aws.endpoints.deployment import find_started
from aws.endpoints.outcome import EndpointProblem, UpdateOutcome, judge
from aws.endpoints.settings import Hosting
from aws.endpoints.specification import EndpointSpec, ServedModel
from aws.endpoints.state import EndpointState, read_hosting, read_state
from aws.error_catalogue import read_catalogue
from aws.errors import InvalidRequest

pytestmark = pytest.mark.unit

OLD, NEW, OTHER = "churn-0000000000000000", "churn-1111111111111111", "churn-2222222222222222"
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def state(status: str, config: str | None, pending: str | None = None, reason: str = "") -> EndpointState:
    return EndpointState(
        name="churn",
        arn="arn:aws:sagemaker:us-east-1:123456789012:endpoint/churn",
        status=status,
        config=config,
        pending_config=pending,
        failure_reason=reason,
        created=NOW,
        modified=NOW,
        tags={},
    )


JUDGED: list[tuple[EndpointState | None, str, str | None]] = [  # state, kind and configuration of the outcome
    (None, "missing", None),
    (state("InService", NEW), "in service", NEW),
    (state("InService", NEW, reason="An earlier update to another configuration failed."), "in service", NEW),
    (state("InService", OLD), "rolled back", OLD),
    (state("InService", OLD, reason="Alarms went off."), "rolled back", OLD),
    (state("InService", None), "rolled back", None),
    (state("InService", OLD, NEW), "in progress", NEW),
    (state("Creating", NEW), "in progress", NEW),
    (state("Creating", OLD), "in progress", OLD),
    (state("Updating", OLD, NEW), "in progress", NEW),
    (state("Updating", OLD, OTHER), "in progress", OTHER),
    (state("Updating", NEW), "in progress", NEW),
    (state("SystemUpdating", OLD), "in progress", OLD),
    (state("RollingBack", OLD, NEW), "in progress", NEW),
    (state("Failed", NEW), "failed", None),
    (state("OutOfService", NEW), "failed", None),
    (state("UpdateRollbackFailed", OLD), "rollback failed", OLD),
    (state("UpdateRollbackFailed", NEW), "rollback failed", NEW),
    (state("Deleting", NEW), "deleting", None),
    (state("SomethingNew", NEW), "in progress", NEW),
]


@pytest.mark.parametrize(("given", "kind", "config"), JUDGED, ids=str)
def test_every_state_has_an_outcome_with_cause_and_remedy(
    given: EndpointState | None, kind: str, config: str | None
) -> None:
    outcome = judge(given, NEW)
    assert (outcome.kind, outcome.config) == (kind, config)
    assert outcome.cause.endswith(".")
    assert outcome.remedy.endswith(".")
    if given and given.failure_reason and kind == "rolled back":
        assert given.failure_reason in outcome.cause


def test_an_update_of_another_process_is_named() -> None:
    assert "This is not" in judge(state("Updating", OLD, OTHER), NEW).cause
    assert "This is not" not in judge(state("Updating", OLD, NEW), NEW).cause
    assert "being rolled back" in judge(state("RollingBack", OLD, NEW), NEW).cause


@pytest.mark.parametrize(
    ("given", "started"),
    [
        (state("Creating", "wanted"), "created"),
        (state("Creating", OTHER), "busy"),
        (state("Updating", OLD, "wanted"), "updating"),
        (state("Updating", OLD, OTHER), "busy"),
        (state("Updating", "wanted"), "updating"),
        (state("SystemUpdating", OLD), "busy"),
        (state("RollingBack", OLD, "wanted"), "busy"),
        (state("RollingBack", "wanted", OTHER), "busy"),
        (state("Deleting", "wanted"), "busy"),
        (state("InService", "wanted"), "unchanged"),
        (state("InService", OLD), None),
        (state("UpdateRollbackFailed", "wanted"), None),
        (state("Failed", "wanted"), None),
    ],
    ids=str,
)
def test_what_is_in_progress_or_done_is_not_started_again(given: EndpointState, started: str | None) -> None:
    own = {"linear-learner:endpoint": "churn"}
    model = ServedModel(image="image:1", model_uri="s3://data/model.tar.gz", sha256="a")
    spec = EndpointSpec(endpoint="churn", model=model, hosting=Hosting(), role_arn="role", capture_uri="s3://data/c")
    names = {"wanted": spec.config_name}
    changes = {"tags": own, "config": names.get(str(given.config), given.config)}
    changes["pending_config"] = names.get(str(given.pending_config), given.pending_config)
    assert find_started(given.model_copy(update=changes), spec) == started
    with pytest.raises(InvalidRequest, match="not created by this project"):
        find_started(given, spec)


REASONS = [
    (("Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using "
      "a different ML instance type."), "capacity", "another instance type"),
    (("CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance "
      "type."), "capacity", "another instance type"),
    (("The account-level service limit 'ml.m5.large for endpoint usage' is 2 Instances, with current utilization of 2 "
      "Instances and a request delta of 2 Instances."), "quota", "Service Quotas"),
    (("The primary container for production variant main did not pass the ping health check. Please check CloudWatch "
      "logs for this endpoint."), "unhealthy", "/aws/sagemaker/Endpoints/"),
    (("The customer:primary container for production variant main did not pass the ping health check. Please check "
      "CloudWatch logs for this endpoint."), "unhealthy", "/aws/sagemaker/Endpoints/"),
    ("Could not find model data at s3://data/model.tar.gz.", "model data", "s3:GetObject"),
    ("Failed to download model data for container from URL: s3://data/model.tar.gz.", "model data", "s3:GetObject"),
    ("One or more alarms went into ALARM state during the baking period: [churn-5xx].", "alarm", "alarms"),
    ("Request to service failed. If failure persists after retry, contact customer support.", "other", "log"),
    ("InternalServerError: We encountered an internal error.", "internal", "AWS support"),
    ("", "", "Look at the alarms"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "problem", "remedy"), REASONS)
def test_the_reason_of_a_rollback_has_a_problem_and_a_remedy(reason: str, problem: str, remedy: str) -> None:
    outcome = judge(state("InService", OLD, reason=reason), NEW)
    assert (outcome.kind, outcome.problem) == ("rolled back", problem)
    assert remedy in outcome.remedy
    assert (reason.rstrip(".") or "AWS gives no reason") in outcome.cause
    if problem:
        for status in ("Failed", "UpdateRollbackFailed"):
            assert judge(state(status, NEW, reason=reason), NEW).problem == problem


def test_the_problems_of_the_catalogue_are_those_of_an_outcome() -> None:
    listed = [problem for problem, _ in read_catalogue().endpoint_failures.values()]
    assert {*listed, ""} == set(get_args(EndpointProblem))
    assert list(read_catalogue().endpoint_failures)[-1] == ""


def describe_silent_rollback(number: int) -> tuple[dict[str, Any], str]:
    """A DescribeEndpoint response after a rollback of which nothing but the old configuration tells; the wanted one."""
    rng = random.Random(number)  # noqa: S311 - no secret
    endpoint = "".join(rng.choice("abc-") for _ in range(rng.randint(1, 46))).strip("-") or "a"
    old, wanted = (f"{endpoint}-{rng.getrandbits(64):016x}" for _ in range(2))
    if rng.random() < 0.3:  # names that differ in one character only
        wanted = old[:-1] + ("0" if old[-1] != "0" else "1")
    response: dict[str, Any] = {
        "EndpointName": endpoint,
        "EndpointArn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{endpoint}",
        "EndpointConfigName": old,
        "EndpointStatus": "InService",
        "CreationTime": NOW,
        "LastModifiedTime": NOW + timedelta(seconds=rng.randint(0, 9999)),
    }
    if rng.random() < 0.7:
        response["ProductionVariants"] = [{"VariantName": "main", "CurrentInstanceCount": rng.randint(1, 9)}]
    if rng.random() < 0.5:
        waits = {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 300}}
        response["LastDeploymentConfig"] = {"BlueGreenUpdatePolicy": waits}
    if rng.random() < 0.2:
        response["FailureReason"] = rng.choice([" ", ".", "x"])
    return response, wanted


def test_no_silent_rollback_is_taken_for_a_success() -> None:
    cases = [describe_silent_rollback(number) for number in range(100)]
    outcomes = [judge(read_state(response, {}), wanted) for response, wanted in cases]
    assert [outcome.kind for outcome in outcomes] == ["rolled back"] * 100
    for (response, _), outcome in zip(cases, outcomes, strict=True):
        assert outcome.config == response["EndpointConfigName"]
        succeeded = judge(read_state(response, {}), response["EndpointConfigName"])
        assert succeeded == UpdateOutcome(
            kind="in service",
            cause=f"It serves {response['EndpointConfigName']}.",
            remedy="Nothing needs to be done.",
            config=response["EndpointConfigName"],
        )


def test_the_state_has_what_sagemaker_describes() -> None:
    response, _ = describe_silent_rollback(1)
    response |= {
        "EndpointStatus": "Updating",
        "PendingDeploymentSummary": {"EndpointConfigName": NEW},
        "ProductionVariants": [{"VariantName": "main", "CurrentInstanceCount": 3}],
    }
    found = read_state(response, {"linear-learner:endpoint": response["EndpointName"]})
    assert (found.pending_config, found.instances, found.is_own, found.is_changing) == (NEW, 3, True, True)
    assert not read_state(response, {"linear-learner:endpoint": "another"}).is_own


def test_hosting_is_read_back_from_a_configuration() -> None:
    variant: dict[str, Any] = {"InstanceType": "ml.c5.xlarge", "InitialInstanceCount": 2}
    capture = {"EnableCapture": True, "InitialSamplingPercentage": 30}
    found = read_hosting({"ProductionVariants": [variant], "DataCaptureConfig": capture})
    assert (found.instance_type, found.min_instances, found.capture_percent) == ("ml.c5.xlarge", 2, 30)
    stopped = read_hosting({"ProductionVariants": [variant], "DataCaptureConfig": capture | {"EnableCapture": False}})
    assert stopped.capture_percent == 0
    serverless = {"ServerlessConfig": {"MemorySizeInMB": 3072, "MaxConcurrency": 7}}
    found = read_hosting({"ProductionVariants": [serverless]})
    assert (found.kind, found.memory_mb, found.max_concurrency) == ("serverless", 3072, 7)
