"""A sandbox whose endpoints change 300 times as fast as on AWS, models to serve, and names of endpoints."""

import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from aws.endpoints.deployment import ensure_model_and_config, start
from aws.endpoints.settings import Hosting, Traffic
from aws.endpoints.specification import EndpointSpec, ServedModel, build_spec
from aws.endpoints.state import CHANGING_STATUSES, EndpointState, describe_endpoint
from aws.training.request import image_uri
from aws.workspace import Workspace
from linear_learner.formats.artifact import pack_model, write_model
from linear_learner.model import LinearModel
from sandbox import client

HOSTING_SPEED = 300
PATIENCE = 60.0
SHORT = Traffic(minutes=3)
"""In this sandbox alarms are watched for 0.6 s after every step."""

MakeModel = Callable[[float], ServedModel]
MakeSpec = Callable[..., EndpointSpec]
Deploy = Callable[..., EndpointState]


@pytest.fixture(scope="session")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a sandbox in another process."""
    state_dir = tmp_path_factory.mktemp("hosting")
    command = [sys.executable, "-m", "sandbox", "--while-in-use", "--state-dir", str(state_dir)]
    log = state_dir / "server.log"
    with client.mark_in_use(state_dir), log.open("ab") as output:
        server = subprocess.Popen([*command, "--hosting-speed", str(HOSTING_SPEED)], stderr=output)
        yield client.wait_for_endpoint(state_dir, PATIENCE, server)
    assert server.wait(PATIENCE) == 0
    assert log.read_text() == ""


def pack(slope: float) -> bytes:
    """A model.tar.gz of a model with one feature, whose score is `slope` times the feature."""
    model = LinearModel("regressor", "squared_loss", np.array([[slope]], np.float32), np.zeros(1, np.float32))
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name) / "model.tar.gz"
        pack_model(write_model(model, Path(name)).read_bytes(), archive)
        return archive.read_bytes()


@pytest.fixture
def make_model(workspace: Workspace, put_object: Callable[[str, bytes], str]) -> MakeModel:
    """Makes models with one feature, by their slope."""

    def make(slope: float) -> ServedModel:
        uri = put_object(f"models/{slope}/model.tar.gz", pack(slope))
        return ServedModel(image=image_uri(workspace.region), model_uri=uri, sha256=f"{slope}", training_job="job")

    return make


@pytest.fixture
def endpoint() -> str:
    """The name of an endpoint that no other test uses."""
    return f"e{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make_spec(workspace: Workspace, make_model: MakeModel, endpoint: str) -> MakeSpec:
    """Makes specifications of the endpoint of the test, by the slope of the model."""

    def make(slope: float = 1.0, name: str = endpoint, **hosting: object) -> EndpointSpec:
        return build_spec(workspace, name, make_model(slope), Hosting.model_validate(hosting))

    return make


def wait_until_settled(workspace: Workspace, name: str) -> EndpointState | None:
    """Wait until no creation, update, rollback or deletion of the endpoint is in progress."""
    deadline, client = time.monotonic() + PATIENCE, workspace.client("sagemaker")
    while [
        one
        for one in client.list_endpoints(NameContains=name)["Endpoints"]
        if one["EndpointName"] == name and one["EndpointStatus"] in CHANGING_STATUSES | {"Deleting"}
    ]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return describe_endpoint(workspace, name)


@pytest.fixture
def deploy(workspace: Workspace) -> Deploy:
    """Creates or updates an endpoint, waits for the end of this, and returns the state."""

    def run(spec: EndpointSpec, traffic: Traffic = SHORT, alarms: tuple[str, ...] = ()) -> EndpointState:
        ensure_model_and_config(workspace, spec)
        assert start(workspace, spec, traffic, alarms) in {"created", "updating"}
        state = wait_until_settled(workspace, spec.endpoint)
        assert state
        return state

    return run
