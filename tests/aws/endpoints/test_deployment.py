"""Create, adopt and update an endpoint in the sandbox; lost responses, rollbacks and resources of others."""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from aws.endpoints.cleanup import delete_superseded
from aws.endpoints.deployment import ensure_model_and_config, set_tags, start
from aws.endpoints.invocation import invoke
from aws.endpoints.outcome import judge
from aws.endpoints.settings import Hosting, Traffic
from aws.endpoints.specification import EndpointSpec
from aws.endpoints.state import EndpointState, describe_endpoint, describe_served, list_endpoints
from aws.errors import InvalidRequest, NotFound, QuotaExceeded
from aws.resource_tags import read_tags
from aws.workspace import Workspace
from tests.aws.endpoints.conftest import SHORT, wait_until_settled

pytestmark = pytest.mark.sandbox

Calls = Callable[[], Counter[str]]
Deploy = Callable[..., EndpointState]
Inject = Callable[..., None]
MakeSpec = Callable[..., EndpointSpec]


def score(workspace: Workspace, endpoint: str) -> float:
    """The endpoint's score for 2."""
    answer = json.loads(invoke(workspace, endpoint, b"2\n", "text/csv"))
    return float(answer["predictions"][0]["score"])


def resources(workspace: Workspace, endpoint: str) -> tuple[int, int]:
    """The number of the endpoint's models and configurations."""
    client = workspace.client("sagemaker")
    models = client.list_models(NameContains=endpoint)["Models"]
    return len(models), len(client.list_endpoint_configs(NameContains=endpoint)["EndpointConfigs"])


def test_an_endpoint_is_created_and_then_not_touched(
    workspace: Workspace, make_spec: MakeSpec, calls: Calls, endpoint: str
) -> None:
    spec = make_spec(3.0, expires_after="8h", capture_percent=20)
    ensure_model_and_config(workspace, spec)
    assert start(workspace, spec, SHORT, []) == "created"
    state = wait_until_settled(workspace, endpoint)
    assert state
    assert judge(state, spec.config_name).kind == "in service"
    assert (state.config, state.instances, state.is_own) == (spec.config_name, 1, True)
    expires = datetime.fromisoformat(state.tags["linear-learner:expires"])
    assert timedelta(hours=7) < expires - datetime.now(UTC) <= timedelta(hours=8)
    before = calls()
    ensure_model_and_config(workspace, spec)
    assert start(workspace, spec, SHORT, []) == "unchanged"
    assert not [action for action in calls() - before if "Create" in action or "Update" in action or "Add" in action]
    assert resources(workspace, endpoint) == (1, 1)
    assert score(workspace, endpoint) == pytest.approx(6)
    assert endpoint in [one.name for one in list_endpoints(workspace)]


@pytest.mark.parametrize(
    "hosting",
    [
        Hosting(instance_type="ml.c5.xlarge", min_instances=2, capture_percent=7),
        Hosting(kind="serverless", memory_mb=4096, max_concurrency=9),
    ],
    ids=["instances", "serverless"],
)
def test_what_is_served_is_read_back(workspace: Workspace, make_spec: MakeSpec, hosting: Hosting) -> None:
    spec = make_spec(1.0, **hosting.model_dump(exclude_unset=True))
    ensure_model_and_config(workspace, spec)
    served = describe_served(workspace, spec.config_name)
    assert served.model_name == spec.model_name
    assert served.model == spec.model
    assert served.hosting == spec.hosting == hosting
    with pytest.raises(NotFound):
        describe_served(workspace, f"{spec.endpoint}-0000000000000000")


def test_an_update_is_adopted_while_it_is_in_progress(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str
) -> None:
    old, new, other = (make_spec(slope, min_instances=2) for slope in (1.0, 2.0, 3.0))
    traffic = Traffic(shift="canary", minutes=60)  # 24 s here: it is in progress until the end of the test
    deploy(old)
    for spec in (new, other):
        ensure_model_and_config(workspace, spec)
    assert start(workspace, new, traffic, []) == "updating"
    assert start(workspace, new, traffic, []) == "updating"
    assert start(workspace, other, traffic, []) == "busy"
    assert start(workspace, old, traffic, []) == "busy"
    state = describe_endpoint(workspace, endpoint)
    outcome = judge(state, new.config_name)
    assert (outcome.kind, outcome.config) == ("in progress", new.config_name)
    assert judge(state, other.config_name).config == new.config_name
    assert delete_superseded(workspace, endpoint, [other.config_name]) == []
    assert score(workspace, endpoint) in {2.0, 4.0}


@pytest.mark.parametrize(
    "traffic", [SHORT, Traffic(shift="canary", minutes=3), Traffic(shift="linear", percent=50, minutes=3)], ids=str
)
def test_an_update_moves_all_requests_in_the_end(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str, traffic: Traffic
) -> None:
    old, new = (make_spec(slope, min_instances=2) for slope in (1.0, 2.0))
    deploy(old)
    state = deploy(new, traffic)
    assert judge(state, new.config_name).kind == "in service"
    assert start(workspace, new, traffic, []) == "unchanged"
    assert score(workspace, endpoint) == pytest.approx(4)


@pytest.mark.parametrize("has_retries", [True, False])
@pytest.mark.parametrize("action", ["CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint"])
def test_what_was_created_by_a_call_without_response_is_adopted(
    workspace: Workspace, hasty: Workspace, make_spec: MakeSpec, deploy: Deploy, inject: Inject, action: str,
    has_retries: bool,
) -> None:  # fmt: skip
    old, new = make_spec(1.0), make_spec(2.0)
    if action == "UpdateEndpoint":
        deploy(old)
    used = workspace if has_retries else hasty
    inject(kind="lost-answer", action=action)
    ensure_model_and_config(used, new)
    expected = "updating" if action == "UpdateEndpoint" else "created"
    assert start(used, new, SHORT, []) == expected
    state = wait_until_settled(workspace, new.endpoint)
    assert judge(state, new.config_name).kind == "in service"
    assert resources(workspace, new.endpoint) == ((2, 2) if action == "UpdateEndpoint" else (1, 1))


def test_processes_that_create_the_same_endpoint_at_once_create_it_once(
    workspace: Workspace, make_spec: MakeSpec, endpoint: str
) -> None:
    spec, barrier = make_spec(1.0), Barrier(4)

    def create(_: int) -> str:
        barrier.wait()
        ensure_model_and_config(workspace, spec)
        return start(workspace, spec, SHORT, [])

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(create, range(4))) <= {"created", "unchanged"}
    assert resources(workspace, endpoint) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "kind", "problem"),
    [
        ("silent-rollback", "rolled back", ""),
        ("endpoint-unhealthy", "rolled back", "unhealthy"),
        ("endpoint-no-capacity", "rolled back", "capacity"),
        ("rollback-fails", "rollback failed", "unhealthy"),
    ],
)
def test_a_failed_update_is_recognised_and_can_be_repeated(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, inject: Inject, fault: str, kind: str, problem: str
) -> None:
    old, new = make_spec(1.0), make_spec(2.0)
    deploy(old)
    inject(kind=fault, endpoint=old.endpoint)
    outcome = judge(deploy(new), new.config_name)
    assert (outcome.kind, outcome.problem, outcome.config) == (kind, problem, old.config_name)
    assert score(workspace, old.endpoint) == pytest.approx(2)
    assert judge(deploy(new), new.config_name).kind == "in service"
    assert score(workspace, old.endpoint) == pytest.approx(4)


def test_an_endpoint_whose_creation_failed_is_deleted_and_created_again(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, inject: Inject, endpoint: str
) -> None:
    spec = make_spec(1.0)
    inject(kind="endpoint-no-capacity", endpoint=endpoint)
    outcome = judge(deploy(spec), spec.config_name)
    assert (outcome.kind, outcome.problem) == ("failed", "capacity")
    assert "another instance type" in outcome.remedy
    assert start(workspace, spec, SHORT, []) == "busy"
    assert wait_until_settled(workspace, endpoint) is None
    assert judge(None, spec.config_name).kind == "missing"
    assert judge(deploy(spec), spec.config_name).kind == "in service"


def test_a_quota_is_named_and_not_waited_for(
    workspace: Workspace, make_spec: MakeSpec, inject: Inject, endpoint: str
) -> None:
    spec = make_spec(1.0)
    ensure_model_and_config(workspace, spec)
    inject(kind="endpoint-quota", endpoint=endpoint)
    with pytest.raises(QuotaExceeded, match=r"request a higher quota .ml\.m5\.large for endpoint usage") as caught:
        start(workspace, spec, SHORT, [])
    assert not caught.value.waiting_helps
    assert describe_endpoint(workspace, endpoint) is None


def test_missing_model_data_is_named(workspace: Workspace, make_spec: MakeSpec, deploy: Deploy) -> None:
    spec = make_spec(1.0)
    missing = spec.model.model_copy(update={"model_uri": workspace.uri("nowhere", "model.tar.gz")})
    spec = spec.model_copy(update={"model": missing})
    outcome = judge(deploy(spec), spec.config_name)
    assert (outcome.kind, outcome.problem) == ("failed", "model data")


def test_resources_of_others_are_neither_adopted_nor_updated(
    workspace: Workspace, make_spec: MakeSpec, endpoint: str
) -> None:
    spec, client = make_spec(1.0), workspace.client("sagemaker")
    client.create_model(
        ModelName=spec.model_name,
        PrimaryContainer={"Image": spec.model.image, "ModelDataUrl": spec.model.model_uri},
        ExecutionRoleArn=workspace.role_arn,
    )
    with pytest.raises(InvalidRequest, match=r"did not create it for this content\. Delete it, or deploy to"):
        ensure_model_and_config(workspace, spec)
    client.delete_model(ModelName=spec.model_name)
    ensure_model_and_config(workspace, spec)
    client.create_endpoint(EndpointName=endpoint, EndpointConfigName=spec.config_name)
    with pytest.raises(InvalidRequest, match="not created by this project"):
        start(workspace, spec, SHORT, [])
    assert endpoint not in [one.name for one in list_endpoints(workspace)]
    variants = client.describe_endpoint_config(EndpointConfigName=spec.config_name)["ProductionVariants"]
    client.create_endpoint_config(EndpointConfigName=f"{endpoint}-other", ProductionVariants=variants)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="not created by this project"):
        describe_served(workspace, f"{endpoint}-other")


def test_an_adopted_model_has_the_tags_of_its_newest_package(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(1.0)
    for version in (1, 2):
        arn = f"arn:aws:sagemaker:us-east-1:123456789012:model-package/churn/{version}"
        spec = spec.model_copy(update={"model": spec.model.model_copy(update={"package_arn": arn})})
        ensure_model_and_config(workspace, spec)
        assert describe_served(workspace, spec.config_name).model == spec.model


def test_tags_are_added_and_removed(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(1.0)
    ensure_model_and_config(workspace, spec)
    arn = workspace.client("sagemaker").describe_model(ModelName=spec.model_name)["ModelArn"]
    before = read_tags(workspace, arn)
    set_tags(workspace, arn, {"linear-learner:rolled-back": "a", "linear-learner:expires": "b"})
    set_tags(workspace, arn, {"linear-learner:rolled-back": "c", "linear-learner:expires": None, "missing": None})
    assert read_tags(workspace, arn) == before | {"linear-learner:rolled-back": "c"}
    set_tags(workspace, arn, {})


def test_an_update_changes_when_the_endpoint_expires(make_spec: MakeSpec, deploy: Deploy) -> None:
    key = "linear-learner:expires"
    first = deploy(make_spec(1.0, expires_after="1h")).tags[key]
    assert deploy(make_spec(2.0)).tags[key] == first  # not given: it stays
    assert deploy(make_spec(1.0, expires_after="2d")).tags[key] > first
