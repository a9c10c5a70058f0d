"""A machine of the tests' own: no AWS account, no Prefect profile, no cache of the user's is read or touched."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from sandbox import client

if TYPE_CHECKING:
    from aws.workspace import Workspace

# Prefect reads its settings when it is imported, which collecting the first test module does.
_HOME = Path(tempfile.mkdtemp(prefix="train-linear-learner-tests-"))
for _name in [name for name in os.environ if name.startswith(("AWS_", "PREFECT_"))]:
    del os.environ[_name]
os.environ |= {
    "DO_NOT_TRACK": "1",
    "PREFECT_HOME": str(_HOME / "prefect"),
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Nobody asks this server for events; without them a flow run takes a tenth less.
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "XDG_CACHE_HOME": str(_HOME / "cache"),
}

PATIENCE = 60.0

# A change fails for what it changed, not for the day's luck: the cases are the same in every run. Plain `pytest` tries
# a few, `make test` (`--hypothesis-profile=steady`) a hundred; `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=15)
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("quick")


MARKERS = {"unit", "sandbox", "e2e"}
SERVERS = {"prefect_server", "sandbox_url", "made", "processes"}
"""Fixtures that start a server."""


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that does not say otherwise by whether one of its fixtures starts a server."""
    for item in items:
        if not MARKERS & {marker.name for marker in item.iter_markers()}:
            fixtures = getattr(item, "fixturenames", ())
            item.add_marker("sandbox" if SERVERS.intersection(fixtures) else "unit")


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server with an empty database."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=None):
        yield


@pytest.fixture(scope="session")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A sandbox in a process of its own, as moto's state is one per process and other tests have theirs in this one."""
    state_dir = tmp_path_factory.mktemp("sandbox")
    with client.mark_in_use(state_dir):
        server = client.start_server(state_dir)
        yield client.wait_for_endpoint(state_dir, PATIENCE)
    assert server.wait(PATIENCE) == 0
    assert (state_dir / "server.log").read_text() == ""


@pytest.fixture
def workspace(sandbox_url: str) -> "Workspace":
    """The sandbox's block, with a prefix that no other test writes under."""
    from sandbox import client

    own = client.make_workspace(sandbox_url)
    own.prefix = f"tests/{uuid.uuid4().hex}"
    return own


@pytest.fixture
def put_object(workspace: "Workspace") -> Callable[[str, bytes], str]:
    """Puts bytes under a name of the test's own prefix, as anybody might; returns the URI."""

    def put(name: str, content: bytes) -> str:
        workspace.client("s3").put_object(Bucket=workspace.bucket.bucket_name, Key=workspace.key(name), Body=content)
        return workspace.uri(name)

    return put


@pytest.fixture
def machine(prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine on which nothing ran before: the folder of its caches and of the results Prefect keeps."""
    del prefect_server
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Without heartbeats, for whose end every flow run waits a second.
    own = {PREFECT_LOCAL_STORAGE_PATH: tmp_path / "results", PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with temporary_settings(own):
        yield tmp_path


@pytest.fixture
def inject(sandbox_url: str) -> Iterator[Callable[..., None]]:
    """Asks the sandbox for a fault; afterwards none is left."""
    from sandbox import faults

    yield partial(faults.inject, sandbox_url)
    faults.clear(sandbox_url)


@pytest.fixture
def hasty(workspace: "Workspace") -> "Workspace":
    """The same workspace through clients that try each call once: boto3 tries no fault away."""
    from prefect_aws import AwsCredentials
    from prefect_aws.client_parameters import AwsClientParameters

    credentials = workspace.bucket.credentials
    assert isinstance(credentials, AwsCredentials)
    url = credentials.aws_client_parameters.endpoint_url
    once = AwsClientParameters(endpoint_url=url, config={"retries": {"max_attempts": 0}})
    bucket = workspace.bucket.model_copy(
        update={"credentials": credentials.model_copy(update={"aws_client_parameters": once})}
    )
    return workspace.model_copy(update={"bucket": bucket})
