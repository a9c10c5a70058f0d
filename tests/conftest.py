"""Fixtures of all tests, which neither read nor change the user's AWS account, Prefect profile and caches."""

import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from sandbox import client

if TYPE_CHECKING:
    from prefect.blocks.core import Block

    from aws.workspace import Workspace

# The imported modules live as long as the process: looking for garbage among them takes a tenth of the tests' time.
gc.disable()

# Prefect reads its settings when it is imported, which happens when the first test module is collected.
_HOME = Path(tempfile.mkdtemp(prefix="train-linear-learner-tests-"))
# matplotlib's list of fonts is the same for all tests; in each new home directory it would be built again.
_USER_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
os.environ.setdefault("MPLCONFIGDIR", str(_USER_CACHE / "matplotlib"))
for _name in [name for name in os.environ if name.startswith(("AWS_", "PREFECT_"))]:
    del os.environ[_name]
os.environ |= {
    "DO_NOT_TRACK": "1",
    "PREFECT_HOME": str(_HOME / "prefect"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # No test queries logs or events on this server; without them a flow run takes a third less time.
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "XDG_CACHE_HOME": str(_HOME / "cache"),
}

PATIENCE = 60.0

# Hypothesis tries the same cases in every run, so that failures are reproducible: a few with plain `pytest`, thirty
# with `make test` (`--hypothesis-profile=steady`); `--hypothesis-profile=explore` tries new ones.
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=15)
settings.register_profile("steady", derandomize=True, deadline=None, max_examples=30)
settings.register_profile("explore", deadline=None)
settings.load_profile("quick")


MARKERS = {"unit", "sandbox", "e2e"}
SERVERS = {"prefect_server", "sandbox_url", "made", "processes"}
"""Fixtures that start a server."""
SLOWEST_FILES = (
    "flows/test_deploy.py",
    "deployments/test_end_to_end.py",
    "flows/cli/test_main.py",
    "flows/test_faults.py",
    "flows/test_verdicts.py",
    "deployments/test_cancellation.py",
    "docs/test_commands.py",
    "flows/test_killed_predictions.py",
)
"""They are run first: two workers share the files, and none should be left with a slow one at the end."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m e2e`, leave out the files without such tests: importing them takes longer than a slow test."""
    is_test = collection_path.match("test_*.py")
    return (config.option.markexpr == "e2e" and is_test and "mark.e2e" not in collection_path.read_text()) or None


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test without a marker as `sandbox` if one of its fixtures starts a server, otherwise as `unit`.

    The slowest files are moved to the front.
    """
    for item in items:
        if not MARKERS & {marker.name for marker in item.iter_markers()}:
            fixtures = getattr(item, "fixturenames", ())
            item.add_marker("sandbox" if SERVERS.intersection(fixtures) else "unit")
    slowest = {Path(__file__).parent / name: place for place, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: slowest.get(item.path, len(slowest)))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def empty_database(pytestconfig: pytest.Config) -> Path:
    """Prefect's database without runs. A server that finds a copy of it starts without seconds of migrations.

    It is created once for each version of Prefect, and stored in pytest's cache.
    """
    cache = getattr(pytestconfig, "cache", None)  # absent with -p no:cacheprovider
    folder = cache.mkdir(f"prefect-{version('prefect')}") if cache else _HOME
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of pytest-xdist share the cache
        if not (folder / "prefect.db").exists():
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
            migrated = _HOME / "migrated"
            subprocess.run(command, env={**os.environ, "PREFECT_HOME": str(migrated)}, capture_output=True, check=True)
            shutil.copy(migrated / "prefect.db", folder / "partial")
            (folder / "partial").rename(folder / "prefect.db")
    return folder / "prefect.db"


def once_for_each_class(has_secrets: Callable[["Block", str], bool]) -> Callable[["Block", str], bool]:
    """Remember the answers: for each field it saves, Prefect generates the schema of the block, which takes seconds."""
    known: dict[tuple[type, str], bool] = {}

    def has_secrets_as_before(block: "Block", field: str) -> bool:
        key = type(block), field
        if key not in known:
            known[key] = has_secrets(block, field)
        return known[key]

    return has_secrets_as_before


@pytest.fixture(scope="session")
def prefect_server(empty_database: Path) -> Iterator[None]:
    """A Prefect server without runs."""
    from prefect.blocks.core import Block
    from prefect.testing import utilities

    folder = tempfile.mkdtemp()  # removed by Prefect
    shutil.copy(empty_database, Path(folder) / "prefect-test.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utilities, "mkdtemp", lambda: folder)
        patch.setattr(Block, "_field_has_secrets", once_for_each_class(Block._field_has_secrets))
        with utilities.prefect_test_harness(server_startup_timeout=None):
            yield


@pytest.fixture(scope="session")
def api_url(prefect_server: None) -> str:
    """The URL of the API of the Prefect server."""
    del prefect_server
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value())


@pytest.fixture(scope="session")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a sandbox in another process, as moto has one state per process, which other tests use."""
    state_dir = tmp_path_factory.mktemp("sandbox")
    with client.mark_in_use(state_dir):
        server = client.start_server(state_dir)
        yield client.wait_for_endpoint(state_dir, PATIENCE)
    assert server.wait(PATIENCE) == 0
    assert (state_dir / "server.log").read_text() == ""


@pytest.fixture
def workspace(sandbox_url: str) -> "Workspace":
    """The workspace of the sandbox, with a prefix that no other test uses."""
    from sandbox import client

    sandbox_workspace = client.make_workspace(sandbox_url)
    sandbox_workspace.prefix = f"tests/{uuid.uuid4().hex}"
    return sandbox_workspace


@pytest.fixture
def put_object(workspace: "Workspace") -> Callable[[str, bytes], str]:
    """A function that stores bytes as an object under the prefix of the test and returns its URI."""

    def put(name: str, content: bytes) -> str:
        workspace.client("s3").put_object(Bucket=workspace.bucket.bucket_name, Key=workspace.key(name), Body=content)
        return workspace.uri(name)

    return put


@contextmanager
def use_machine(folder: Path) -> Iterator[None]:
    """Use an empty folder for the caches of the project and the results that Prefect stores."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    # With heartbeats, every flow run waits a second for the end of the last one.
    changes = {PREFECT_LOCAL_STORAGE_PATH: folder / "results", PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with pytest.MonkeyPatch.context() as patch, temporary_settings(changes):
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield


@pytest.fixture
def machine(prefect_server: None, tmp_path: Path) -> Iterator[Path]:
    """An empty folder, used for the caches of the project and the results that Prefect stores."""
    del prefect_server
    with use_machine(tmp_path):
        yield tmp_path


@contextmanager
def draw_coarse_plots() -> Iterator[None]:
    """Draw the plots of reports in half the time, for tests that do not look at them."""
    from tasks.model_report.style import STYLE

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STYLE, "figure.dpi", 50)
        patch.setitem(STYLE, "figure.constrained_layout.use", False)
        yield


@pytest.fixture
def coarse_plots() -> Iterator[None]:
    with draw_coarse_plots():
        yield


@pytest.fixture
def inject(sandbox_url: str) -> Iterator[Callable[..., None]]:
    """A function that injects a fault into the sandbox; after the test all faults are removed."""
    from sandbox import faults

    yield partial(faults.inject, sandbox_url)
    faults.clear(sandbox_url)


@pytest.fixture
def hasty(workspace: "Workspace") -> "Workspace":
    """The workspace with clients that do not retry, as boto3's retries would hide faults."""
    from prefect_aws import AwsCredentials
    from prefect_aws.client_parameters import AwsClientParameters

    credentials = workspace.bucket.credentials
    assert isinstance(credentials, AwsCredentials)
    url = credentials.aws_client_parameters.endpoint_url
    no_retries = AwsClientParameters(endpoint_url=url, config={"retries": {"max_attempts": 0}})
    bucket = workspace.bucket.model_copy(
        update={"credentials": credentials.model_copy(update={"aws_client_parameters": no_retries})}
    )
    return workspace.model_copy(update={"bucket": bucket})
