"""Models at endpoints of the sandbox: guarded updates, what they refuse, faults, and removal."""

import json
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prefect import State

from aws.endpoints.invocation import invoke
from aws.endpoints.settings import Guard, Hosting, Traffic
from aws.endpoints.state import describe_endpoint
from aws.errors import EndpointUpdateFailed, InvalidRequest
from aws.registry import change_approval
from aws.storage import write_object
from aws.workspace import Workspace
from flows.deploy import deploy_model, undeploy_model
from flows.reap import reap_training_jobs
from flows.train import train_linear_learner
from linear_learner.errors import ArtifactError
from sandbox import client, faults
from tasks.model_source import find_version
from tasks.parameters import Dataset, Registry, RequestedHyperparameters
from tasks.report import TrainingRun
from tasks.serving.checks import Checker
from tasks.serving.page import EndpointRun
from tasks.serving.parameters import Deployment
from tests.conftest import PATIENCE, draw_coarse_plots, use_machine

pytestmark = pytest.mark.sandbox

SPEED = 60.0
"""A minute of SageMaker's time takes a second, so that a busy machine does not miss checks for two of them."""
TRAFFIC = Traffic(minutes=3)
HOSTED = ("endpoint", "endpoint_config", "model")


class Models(NamedTuple):
    """Two versions of a group, both Approved, and the runs that made them."""

    workspace: Workspace
    url: str
    group: str
    runs: tuple[TrainingRun, ...]


def people_table() -> bytes:
    numbers = random.Random(0)  # noqa: S311 - a table, not a secret
    lines = ["age,city,joined,pay"]
    for number in range(400):
        age, city = numbers.randint(20, 60), numbers.choice(["Bonn", "Köln", "Ulm"])
        pay = 3 * age + 20 * len(city) + numbers.gauss(0, 2)
        lines.append(f"{'' if number % 40 == 0 else age},{city},2024-{number % 12 + 1:02}-01,{pay:.3f}")
    return "\n".join(lines).encode()


@pytest.fixture(scope="module")
def models(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    del prefect_server
    state_dir, machine = tmp_path_factory.mktemp("hosting"), tmp_path_factory.mktemp("machine")
    with closing(client.mark_in_use(state_dir)):
        server = client.start_server(state_dir, hosting_speed=SPEED)
        url = client.wait_for_endpoint(state_dir, PATIENCE)
        workspace = client.make_workspace(url)
        workspace.save("serving")
        source = workspace.uri("people.csv")
        write_object(workspace, source, people_table())
        group, runs = "linear-learner-pay", []
        with use_machine(machine), draw_coarse_plots():
            for l1 in (0.0, 1.0):
                run: Any = train_linear_learner(
                    Dataset(source=source, target="pay"),
                    "serving",
                    hyperparameters=RequestedHyperparameters(epochs=3, num_models=1, l1=l1),
                    registry=Registry(group=group),
                    model_dir=str(machine / "models"),
                )
                runs.append(run)
        for version in (1, 2):
            change_approval(workspace, find_version(workspace, group, version), "Approved", "for tests")
        yield Models(workspace, url, group, tuple(runs))
    assert server.wait(PATIENCE) == 0


@pytest.fixture(autouse=True)
def _fast_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.deploy.CHECK_SECONDS", 0.2)
    monkeypatch.setattr("tasks.deploy.POLLS_WITHOUT_CHECKS_SECONDS", 0.05)
    monkeypatch.setattr("aws.endpoints.cleanup.POLL_SECONDS", 0.05)


@pytest.fixture
def endpoint(models: Models, machine: Path) -> Iterator[str]:
    """The name of an endpoint of this test, which is removed afterwards."""
    del machine
    name = f"linear-learner-{uuid.uuid4().hex[:8]}"
    yield name
    faults.clear(models.url)
    undeploy_model(name, "serving")


@pytest.fixture
def deploy(models: Models, endpoint: str) -> Callable[..., State[Any]]:
    """A function that deploys a version and returns the state of the run."""

    def run(
        version: int | None = None, hosting: Hosting | None = None, guard: Guard | None = None, **chosen: Any
    ) -> State[Any]:
        model = models.group if version is None else f"{models.group}/{version}"
        state: Any = deploy_model(
            Deployment(model=model, endpoint=endpoint, **chosen),
            "serving",
            hosting=hosting or Hosting(),
            traffic=TRAFFIC,
            guard=guard or Guard(max_changed=1),
            return_state=True,
        )
        return state

    return run


def result(state: State[Any]) -> EndpointRun:
    run = state.result()
    assert isinstance(run, EndpointRun)
    return run


def rows() -> list[dict[str, Any]]:
    return [
        {"age": 31, "city": "Bonn", "joined": "2024-03-01"},
        {"age": None, "city": "Köln", "joined": "2024-01-01"},
        {"age": "58", "city": "Paris", "joined": "2024-12-01"},
    ]


def ask(models: Models, endpoint: str) -> list[float]:
    """The endpoint's predictions for raw rows."""
    body = json.dumps({"instances": rows()}).encode()
    answer = invoke(models.workspace, endpoint, body, "application/json")
    return [one["score"] for one in json.loads(answer)["predictions"]]


def offline(models: Models, version: int) -> list[float]:
    import pandas as pd

    return list(models.runs[version - 1].predict(pd.DataFrame(rows()))["prediction"])


def serves(models: Models, endpoint: str, version: int) -> bool:
    return ask(models, endpoint) == pytest.approx(offline(models, version), rel=1e-5)


def hosted(models: Models, endpoint: str) -> dict[str, list[str]]:
    """The names of all resources of an endpoint in the account."""
    sagemaker: Any = models.workspace.client("sagemaker")
    found = {}
    for kind in HOSTED:
        name = "".join(part.capitalize() for part in kind.split("_"))
        pages = sagemaker.get_paginator(f"list_{kind}s").paginate(NameContains=endpoint)
        found[kind] = [one[f"{name}Name"] for page in pages for one in page[f"{name}s"]]
    alarms = models.workspace.client("cloudwatch").describe_alarms(AlarmNamePrefix=endpoint)["MetricAlarms"]
    found["alarm"] = [one["AlarmName"] for one in alarms]
    targets = models.workspace.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    found["target"] = [one["ResourceId"] for one in targets["ScalableTargets"] if endpoint in one["ResourceId"]]
    return found


def test_an_endpoint_serves_raw_rows_is_updated_and_removed(
    models: Models, endpoint: str, deploy: Callable[..., State[Any]]
) -> None:
    created = deploy(1, hosting=Hosting(min_instances=2, max_instances=3))
    assert created.name == "Completed", created.message
    assert serves(models, endpoint, 1)
    updated = result(deploy(2))
    assert updated.deployed is not None
    assert updated.deployed.how == "updated"
    assert updated.plan.spec.hosting.max_instances == 3  # settings that are not given stay
    assert updated.comparison.rows > 30
    assert updated.deployed.checks["new"] + updated.deployed.checks.get("both", 0) >= 3
    assert "wrong" not in updated.deployed.checks
    assert serves(models, endpoint, 2)
    assert {kind: len(names) for kind, names in hosted(models, endpoint).items()} == {
        "endpoint": 1,
        "endpoint_config": 2,
        "model": 2,
        "alarm": 2,
        "target": 1,
    }
    unchanged = result(deploy(2))
    assert unchanged.deployed is not None
    assert unchanged.deployed.how == "unchanged"
    deleted = undeploy_model(endpoint, "serving")
    assert len(deleted) >= 8
    assert not any(hosted(models, endpoint).values())


def test_a_dry_run_and_refused_deployments_create_nothing(
    models: Models, endpoint: str, deploy: Callable[..., State[Any]]
) -> None:
    assert deploy(1, dry_run=True).message.startswith("planned: ")
    for hosting, message in (
        (Hosting(max_usd_per_month=10), "more than max_usd_per_month"),
        (Hosting(kind="serverless", capture_percent=10), "capture"),
        (Hosting(instance_type="ml.m5.larg"), "Did you mean ml.m5.large"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            deploy(1, hosting=hosting).result()
    change_approval(models.workspace, find_version(models.workspace, models.group, 1), "Rejected", "for this test")
    try:
        with pytest.raises(ArtifactError, match="Rejected"):
            deploy(1).result()
    finally:
        change_approval(models.workspace, find_version(models.workspace, models.group, 1), "Approved", "for tests")
    assert "nothing to do" in str(deploy(1, create=False).message)
    assert not any(hosted(models, endpoint).values())


def test_a_candidate_with_too_many_other_decisions_is_not_served(
    models: Models, endpoint: str, deploy: Callable[..., State[Any]]
) -> None:
    deploy(1)
    with pytest.raises(ArtifactError, match="max_changed"):
        deploy(2, guard=Guard(max_changed=0)).result()
    assert serves(models, endpoint, 1)
    assert len(hosted(models, endpoint)["model"]) == 1


def test_failed_updates_end_in_their_states_with_the_model_before_answering(
    models: Models, endpoint: str, deploy: Callable[..., State[Any]]
) -> None:
    deploy(1)
    guard = Guard(max_changed=1, max_latency_ms=100)
    for kind in ("endpoint-unhealthy", "endpoint-no-capacity", "wrong-answers", "slow-answers", "silent-rollback"):
        faults.inject(models.url, kind=kind, **({"seconds": 0.3} if kind == "slow-answers" else {}))
        state = deploy(2, guard=guard, retry_rolled_back=True)
        assert state.name == "RolledBack", (kind, state.message)
        assert serves(models, endpoint, 1)
    assert "--retry-rolled-back" in str(deploy(2).message)
    faults.inject(models.url, kind="rollback-fails")
    failed = deploy(2, retry_rolled_back=True)
    assert (failed.name, "rollback" in str(failed.message)) == ("Failed", True)
    assert serves(models, endpoint, 1)
    completed = deploy(2)
    assert completed.name == "Completed", completed.message
    assert serves(models, endpoint, 2)


def test_a_lost_answer_is_no_error(models: Models, endpoint: str, deploy: Callable[..., State[Any]]) -> None:
    for action in ("CreateModel", "CreateEndpointConfig", "CreateEndpoint"):
        faults.inject(models.url, kind="lost-answer", action=action)
    completed = deploy(1)
    assert completed.name == "Completed", completed.message
    faults.inject(models.url, kind="lost-answer", action="UpdateEndpoint")
    completed = deploy(2)
    assert completed.name == "Completed", completed.message
    assert serves(models, endpoint, 2)
    assert len(hosted(models, endpoint)["model"]) == 2


def test_an_interrupted_update_is_rolled_back_and_the_next_run_completes(
    models: Models, endpoint: str, deploy: Callable[..., State[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(1)
    send = Checker.send

    def interrupt_while_updating(checker: Checker) -> str:
        state = describe_endpoint(models.workspace, endpoint)
        if state and state.status == "Updating":
            raise KeyboardInterrupt
        return send(checker)

    monkeypatch.setattr(Checker, "send", interrupt_while_updating)
    with pytest.raises(KeyboardInterrupt):
        deploy(2)
    monkeypatch.undo()
    end = time.monotonic() + PATIENCE
    while (state := describe_endpoint(models.workspace, endpoint)) and state.is_changing:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert serves(models, endpoint, 1)  # no checks arrived
    completed = deploy(2)
    assert completed.name == "Completed", completed.message
    assert serves(models, endpoint, 2)


def test_an_endpoint_that_cannot_be_created_is_created_by_the_next_run(
    models: Models, endpoint: str, deploy: Callable[..., State[Any]]
) -> None:
    faults.inject(models.url, kind="endpoint-no-capacity")
    with pytest.raises(EndpointUpdateFailed, match="capacity"):
        deploy(1).result()
    completed = deploy(1)
    assert completed.name == "Completed", completed.message
    assert serves(models, endpoint, 1)


SEQUENCES = int(os.environ.get("SEQUENCES", "4"))
"""Number of random sequences; 200 take a quarter of an hour."""


def test_what_is_not_approved_is_never_served(models: Models, endpoint: str, deploy: Callable[..., State[Any]]) -> None:
    """After each random sequence of decisions, a deployment serves the newest Approved version, or fails."""
    numbers = random.Random(0)  # noqa: S311 - no secrets
    serving = 0
    try:
        for number in range(SEQUENCES):
            approved = {1, 2} if number == 0 else _decide_at_random(models, numbers)
            state = deploy(create=number == 0)
            if approved:
                assert state.name == "Completed", state.message
                serving = max(approved)
            else:
                assert "was not changed" in str(state.message)
            assert serves(models, endpoint, serving), (number, approved)
    finally:
        for version in (1, 2):
            _set_status(models, "Approved", version)


def _decide_at_random(models: Models, numbers: random.Random) -> set[int]:
    """Approve and reject versions, and return those that are Approved."""
    for _ in range(numbers.randint(1, 4)):
        _set_status(models, numbers.choice(("Approved", "Rejected")), numbers.choice((1, 2)))
    found = (find_version(models.workspace, models.group, version) for version in (1, 2))
    return {one.version for one in found if one.status == "Approved"}


def _set_status(models: Models, status: Any, version: int) -> None:
    change_approval(models.workspace, find_version(models.workspace, models.group, version), status, "for this test")


def test_the_reaper_removes_what_has_expired_and_lists_what_is_idle(
    models: Models, endpoint: str, deploy: Callable[..., State[Any]]
) -> None:
    deploy(1, hosting=Hosting(expires_after="1h"))
    assert endpoint not in reap_training_jobs("serving")
    state = describe_endpoint(models.workspace, endpoint)
    assert state is not None
    tag = {"Key": "linear-learner:expires", "Value": "2026-01-01T00:00:00Z"}
    models.workspace.client("sagemaker").add_tags(ResourceArn=state.arn, Tags=[tag])
    assert reap_training_jobs("serving") == [endpoint]
    assert not any(hosted(models, endpoint).values())
