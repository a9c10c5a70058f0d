"""Delete an endpoint with all its parts, or only the parts that are no longer used."""

from collections.abc import Callable
from typing import Any

import pytest

from aws.endpoints import cleanup
from aws.endpoints.alarms import put_alarms
from aws.endpoints.cleanup import delete_all, delete_superseded, own_configs, own_models
from aws.endpoints.deployment import ensure_model_and_config, start
from aws.endpoints.scaling import apply_scaling, describe_scaling
from aws.endpoints.settings import Guard
from aws.endpoints.specification import EndpointSpec
from aws.endpoints.state import EndpointState, describe_endpoint
from aws.errors import AccessDenied, InvalidRequest
from aws.workspace import Workspace
from tests.aws.endpoints.conftest import SHORT, wait_until_settled

pytestmark = pytest.mark.sandbox

Deploy = Callable[..., EndpointState]
Inject = Callable[..., None]
MakeSpec = Callable[..., EndpointSpec]


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "POLL_SECONDS", 0.1)


def parts(workspace: Workspace, endpoint: str) -> list[Any]:
    """What exists of an endpoint."""
    alarms = workspace.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{endpoint}-")["MetricAlarms"]
    return [
        *filter(None, [describe_scaling(workspace, endpoint), describe_endpoint(workspace, endpoint)]),
        *(alarm["AlarmName"] for alarm in alarms),
        *own_configs(workspace, endpoint),
        *own_models(workspace, endpoint),
    ]


def test_everything_is_deleted_in_order_and_again_without_error(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str
) -> None:
    scaled = {"min_instances": 1, "max_instances": 3}
    specs = [make_spec(slope, **scaled) for slope in (1.0, 2.0)]
    for spec in specs:
        deploy(spec)
    apply_scaling(workspace, endpoint, specs[0].hosting)
    put_alarms(workspace, endpoint, Guard())
    assert len(parts(workspace, endpoint)) == 1 + 1 + 4 + 2 + 2
    deleted = delete_all(workspace, endpoint)
    kinds = list(dict.fromkeys(text.rpartition(" ")[0] for text in deleted))
    assert kinds == ["scaling of", "alarm", "endpoint", "endpoint configuration", "model"]
    assert set(deleted) == {
        f"scaling of endpoint/{endpoint}/variant/main",
        *(f"alarm {endpoint}-{kind}" for kind in ("5xx", "latency", "wrong-answers", "no-checks")),
        f"endpoint {endpoint}",
        *(f"endpoint configuration {spec.config_name}" for spec in specs),
        *(f"model {spec.model_name}" for spec in specs),
    }
    assert parts(workspace, endpoint) == []
    assert delete_all(workspace, endpoint) == []


def test_an_update_in_progress_is_waited_for(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str
) -> None:
    deploy(make_spec(1.0))
    new = make_spec(2.0)
    ensure_model_and_config(workspace, new)
    assert start(workspace, new, SHORT, []) == "updating"
    assert f"endpoint {endpoint}" in delete_all(workspace, endpoint)
    assert parts(workspace, endpoint) == []


@pytest.mark.parametrize(
    "action", ["DeleteAlarms", "DeleteEndpoint", "DeleteEndpointConfig", "DeleteModel", "ListModels"]
)
def test_a_deletion_that_was_interrupted_is_completed(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str, inject: Inject, action: str
) -> None:
    deploy(make_spec(1.0))
    put_alarms(workspace, endpoint, Guard())
    inject(kind="access-denied", action=action)
    with pytest.raises(AccessDenied):
        delete_all(workspace, endpoint)
    assert parts(workspace, endpoint) != []
    delete_all(workspace, endpoint)
    assert parts(workspace, endpoint) == []


@pytest.mark.parametrize(
    "action",
    ["DeregisterScalableTarget", "DeleteAlarms", "DeleteEndpoint", "DeleteEndpointConfig", "DeleteModel"],
)
def test_calls_without_response_are_no_error(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str, inject: Inject, action: str
) -> None:
    spec = make_spec(1.0, max_instances=2)
    deploy(spec)
    apply_scaling(workspace, endpoint, spec.hosting)
    put_alarms(workspace, endpoint, Guard())
    inject(kind="lost-answer", action=action)
    delete_all(workspace, endpoint)
    assert parts(workspace, endpoint) == []


def test_waiting_can_be_interrupted(workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str) -> None:
    deploy(make_spec(1.0))

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        delete_all(workspace, endpoint, interrupt)
    wait_until_settled(workspace, endpoint)
    assert len(delete_all(workspace, endpoint)) == 2
    assert parts(workspace, endpoint) == []


def test_parts_without_an_endpoint_are_found(workspace: Workspace, make_spec: MakeSpec, endpoint: str) -> None:
    spec = make_spec(1.0)
    ensure_model_and_config(workspace, spec)
    assert delete_superseded(workspace, endpoint, [spec.config_name]) == []
    assert delete_all(workspace, endpoint) == [
        f"endpoint configuration {spec.config_name}",
        f"model {spec.model_name}",
    ]


def test_endpoints_with_similar_names_keep_their_parts(
    workspace: Workspace, make_spec: MakeSpec, endpoint: str
) -> None:
    long = f"{endpoint}-{'x' * 40}"
    names = [endpoint, f"{endpoint}-b", f"{endpoint}-0123456789abcdef", f"{long}a", f"{long}b"]
    specs = [make_spec(1.0, name) for name in names]
    for spec in specs:
        ensure_model_and_config(workspace, spec)
    for number, spec in enumerate(specs):
        assert own_configs(workspace, spec.endpoint) == [spec.config_name]
        assert own_models(workspace, spec.endpoint) == [spec.model_name]
        delete_superseded(workspace, spec.endpoint)
        for other in specs[number + 1 :]:
            assert own_models(workspace, other.endpoint) == [other.model_name]


def test_what_is_superseded_is_deleted_and_what_serves_is_not(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str
) -> None:
    first, second, third = (make_spec(slope) for slope in (1.0, 2.0, 3.0))
    more = make_spec(3.0, capture_percent=5)
    for spec in (first, second, third, more):  # the last two have the same model
        deploy(spec)
    assert third.model_name == more.model_name
    assert delete_superseded(workspace, endpoint, [second.config_name, third.config_name]) == [
        f"endpoint configuration {first.config_name}",
        f"model {first.model_name}",
    ]
    deleted = delete_superseded(workspace, endpoint)
    assert set(deleted) == {
        f"endpoint configuration {second.config_name}",
        f"endpoint configuration {third.config_name}",
        f"model {second.model_name}",
    }
    assert own_configs(workspace, endpoint) == [more.config_name]
    assert own_models(workspace, endpoint) == [more.model_name]


def test_an_endpoint_of_others_is_not_deleted(workspace: Workspace, make_spec: MakeSpec, endpoint: str) -> None:
    spec = make_spec(1.0)
    ensure_model_and_config(workspace, spec)
    workspace.client("sagemaker").create_endpoint(EndpointName=endpoint, EndpointConfigName=spec.config_name)
    with pytest.raises(InvalidRequest, match="It is not deleted"):
        delete_all(workspace, endpoint)
    assert own_configs(workspace, endpoint) == [spec.config_name]
