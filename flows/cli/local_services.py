"""What `python -m flows.train` starts where it is missing: a Prefect server and a sandbox, both as child processes.

Prefect starts a server by itself, too; but Ctrl-C reaches that one before the flow has reported its end, which then
waits for more than a minute, and a kill leaves it running. This one has a session of its own and ends with its parent.
"""

import atexit
import fcntl
import gc
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import client

if TYPE_CHECKING:
    from aws.workspace import Workspace

START_SECONDS = 120.0
"""Seconds for a server's first answer; Prefect's cold start with a new database has taken more than 20."""
PRELOADED = (
    "fastapi.encoders",
    "markdown_it",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "prefect.utilities.visualization",
    "sklearn.model_selection",
    "tasks.data.measurement",
    "tasks.data.writer",
    "tasks.evaluation.assessment",
    "tasks.model_report.plots",
)
"""What Prefect, and the steps for a new table, import only when they are at it."""
NO_TELEMETRY = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


class ServerStartError(Exception):
    """A server ended before it answered, or did not answer in time; the message says what it has written."""


def start(*, sandboxed: bool) -> Callable[[], None]:
    """Begin to start what is needed; the returned function returns when all of it answers. All ends with the process.

    Call it before Prefect is imported: what is registered first with atexit ends last, after Prefect has reported what
    it still has to say. A server that ended earlier would keep this process waiting for more than a minute.
    """
    for variable, value in NO_TELEMETRY.items():
        os.environ.setdefault(variable, value)
    for thread in ("EventsWorker", "APILogWorker"):  # they warn, after the last line, of what they have not delivered
        logging.getLogger(thread).setLevel(logging.ERROR)
    running = ExitStack()
    atexit.register(running.close)
    # The collections of garbage while hundreds of modules are imported, and the last one, take more than a second.
    gc.disable()
    running.callback(gc.freeze)
    server = None if "PREFECT_API_URL" in os.environ else running.enter_context(closing(LocalPrefectServer()))
    state_dir = client.default_state_dir() if sandboxed else None
    if state_dir:
        running.enter_context(client.mark_in_use(state_dir))
        if client.find_endpoint(state_dir) is None:
            client.start_server(state_dir)
    return partial(_wait_until_ready, running, server, state_dir)


def _wait_until_ready(running: ExitStack, server: "LocalPrefectServer | None", state_dir: Path | None) -> None:
    from prefect import settings  # while the servers boot
    from prefect.plugins import load_prefect_collections

    if server and settings.PREFECT_API_URL.value():  # of the active profile
        server.close()
        server = None
    if server:
        # Imports what a run needs later, which takes four seconds, while the servers start, which takes longer.
        load_prefect_collections()  # as loading a block does
        for module in PRELOADED:
            import_module(module)
    workspace = _sandbox_workspace(state_dir) if state_dir else None
    if server:
        server.wait()
        own = {
            settings.PREFECT_API_URL: server.api_url,
            settings.PREFECT_UI_URL: "",  # this server has no pages to link to
            settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # nor anybody who watches heartbeats
        }
        running.enter_context(settings.temporary_settings(own))
    if workspace:
        _register_sandbox(workspace)
    gc.freeze()
    gc.enable()


def _sandbox_workspace(state_dir: Path) -> "Workspace":
    """The block for the sandbox of this folder once it answers; it prepares the clients that every run needs."""
    try:
        workspace = client.make_workspace(client.wait_for_endpoint(state_dir, START_SECONDS))
    except TimeoutError as error:
        raise ServerStartError(error) from error
    for service in ("s3", "sagemaker", "logs"):
        workspace.client(service)
    return workspace


def _register_sandbox(workspace: "Workspace") -> None:
    """Have the block `sandbox` name a sandbox that answers: the one it names already, else this one."""
    from aws.errors import NotFound  # while the servers boot
    from aws.workspace import load_workspace

    with suppress(NotFound):
        credentials: Any = load_workspace(client.BLOCK_NAME).bucket.credentials
        if client.is_running(credentials.aws_client_parameters.endpoint_url):
            return
    workspace.save(client.BLOCK_NAME, overwrite=True)


class LocalPrefectServer:
    """The server's process: it listens from the start, answers some seconds later, and is to be closed."""

    def __init__(self) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._address = f"127.0.0.1:{listener.getsockname()[1]}"
            self.api_url: str = f"http://{self._address}/api"
            """What PREFECT_API_URL is to be."""
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(listener.fileno())],
                env=NO_TELEMETRY | os.environ,
                stdin=subprocess.PIPE,  # closed when this process ends, in whatever way: the server then ends, too
                stdout=self._output,
                stderr=self._output,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    def wait(self) -> None:
        """Return when it answers; raises ServerStartError when it does not."""
        # The first request waits in the listening socket's queue for as long as the server starts.
        with (
            suppress(OSError, HTTPException),
            closing(HTTPConnection(self._address, timeout=START_SECONDS)) as connection,
        ):
            connection.request("GET", "/api/health")
            if connection.getresponse().status == 200:
                return
        self._output.seek(0)
        output = self._output.read()[-2000:].decode(errors="replace").strip()
        raise ServerStartError(
            f"Prefect's server did not start. {output or f'It gave no answer in {START_SECONDS:.0f} s.'}"
        )

    def close(self) -> None:
        """End it, and wait until it is gone; SQLite keeps what was committed."""
        with self._process, self._output:
            self._process.kill()


def _serve(listener: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.disable()  # until all is imported, as above
    import uvicorn  # only this process needs it
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_HOME

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            # Starting makes the database; of two that make the same one at once, one would fail.
            with (PREFECT_HOME.value() / "server-start.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                await super().startup(sockets)
            gc.freeze()
            gc.enable()

    app = create_app(ephemeral=True, final=True)
    Server(uvicorn.Config(app, log_level="error")).run(sockets=[socket.socket(fileno=listener)])


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # not through Python's buffer, whose lock must be free when the process ends
    os._exit(0)  # at once: whoever wanted an answer is gone, and SQLite keeps what was committed


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
