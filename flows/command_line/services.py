"""What `python -m flows.train` starts where it is missing: Prefect's server and the sandbox, both booting at once."""

import atexit
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path

from flows.command_line.prefect_server import OwnServer
from sandbox import discovery

PATIENCE = 30.0
"""Seconds for the sandbox's first answer."""


def start(*, sandboxed: bool) -> Callable[[], None]:
    """Begin to start what is needed; the returned function returns when all of it answers. All ends with the process.

    Call it before Prefect is imported: what is registered first with atexit ends last, after Prefect has reported what
    it still has to say. A server that ended earlier would keep this process waiting for more than a minute.
    """
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    running = ExitStack()
    atexit.register(running.close)
    server = None if "PREFECT_API_URL" in os.environ else OwnServer()
    if server:
        running.callback(server.close)
    state_dir = running.enter_context(_held_sandbox()) if sandboxed else None

    def ready() -> None:
        from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings  # while the servers boot

        if server and PREFECT_API_URL.value():
            server.close()  # the active profile names one
        elif server:
            _import_ahead()
            server.wait()
            settings = {PREFECT_API_URL: server.api_url, PREFECT_UI_URL: ""}  # this server has no pages to link to
            running.enter_context(temporary_settings(settings))
        if state_dir:
            _register_sandbox(state_dir)

    return ready


def _import_ahead() -> None:
    """Import what a new table will need, which takes three seconds, while a server boots, which takes as many."""
    for module in ("sklearn.model_selection", "sklearn.metrics", "tasks.table", "matplotlib.figure"):
        import_module(module)


@contextmanager
def _held_sandbox() -> Iterator[Path]:
    """The state folder of a sandbox that serves, or is about to, until the block ends."""
    state_dir = discovery.default_state_dir()
    with discovery.hold(state_dir):
        if discovery.endpoint(state_dir) is None:
            discovery.launch(state_dir)
        yield state_dir


def _register_sandbox(state_dir: Path) -> None:
    """Have the block `sandbox` name a sandbox that answers: the one it names already, else that of `state_dir`."""
    from aws.errors import Unavailable  # while the servers boot
    from sandbox.block import NAME, workspace

    if discovery.answers(_saved_endpoint(NAME)):
        return
    end = time.monotonic() + PATIENCE
    while (endpoint := discovery.endpoint(state_dir)) is None:
        if time.monotonic() > end:
            raise Unavailable(f"The sandbox does not answer. What it says is in {state_dir / 'server.log'}.")
        time.sleep(0.05)
    workspace(endpoint).save(NAME, overwrite=True)


def _saved_endpoint(name: str) -> str | None:
    from prefect_aws import AwsCredentials  # while the servers boot

    from aws.errors import NotFound
    from aws.workspace import load_workspace

    try:
        credentials = load_workspace(name).bucket.credentials
    except NotFound:
        return None
    return credentials.aws_client_parameters.endpoint_url if isinstance(credentials, AwsCredentials) else None
