"""Starts a Prefect server and a sandbox as child processes of `python -m flows.train` if none are running.

The temporary server that Prefect would start is not used: Ctrl-C stops it before the flow has reported its final state,
which then takes more than a minute, and after SIGKILL it keeps running. This one has its own session and exits with
its parent.
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
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import client
from sandbox.client import bypass_proxies_on_loopback
from tasks.environment.folders import require_space

__all__ = ["LocalPrefectServer", "ServerStartError", "bypass_proxies_on_loopback", "open_sandbox", "start"]

if TYPE_CHECKING:
    from aws.workspace import Workspace

START_SECONDS = 120.0
"""Timeout of a server's first response; Prefect's cold start with a new database has taken more than 20 seconds."""
PREFECT_RESPONSE_SECONDS = 10.0
"""Timeout of the first request to a Prefect server that is already running."""
SANDBOX_BYTES = 4 << 20
"""Free space that a sandbox needs at least: for the sample table, and for the channels and the model of a run."""
NO_TELEMETRY = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


class ServerStartError(Exception):
    """A server exited before it responded, or did not respond in time; the message contains its output."""


def start(*, sandboxed: bool, preloaded: Sequence[str] = ()) -> Callable[[], None]:
    """Start the missing services, which stop with this process; the returned function waits until they respond.

    While it waits, it imports the modules `preloaded`, which are needed later.

    Raises OSError or ExternalError when the sandbox's folder cannot be written to. The returned function raises
    ServerStartError, or an error of httpx when the Prefect server at PREFECT_API_URL does not respond.

    Call this before Prefect is imported: atexit runs the first registered function last, so that the server stops after
    Prefect has sent its last events. Without a server, Prefect would wait for more than a minute.
    """
    for variable, value in NO_TELEMETRY.items():
        os.environ.setdefault(variable, value)
    bypass_proxies_on_loopback()
    for thread in ("EventsWorker", "APILogWorker"):  # their warnings would follow the summary
        logging.getLogger(thread).setLevel(logging.ERROR)
    running = ExitStack()
    atexit.register(running.close)
    # Garbage collection while hundreds of modules are imported, and at exit, takes more than a second.
    gc.disable()
    running.callback(gc.freeze)
    server = None if "PREFECT_API_URL" in os.environ else running.enter_context(closing(LocalPrefectServer()))
    state_dir = client.default_state_dir() if sandboxed else None
    sandbox = _start_sandbox(state_dir, running) if state_dir else None
    return partial(_wait_until_ready, running, server, state_dir, sandbox, preloaded)


def open_sandbox() -> "Workspace":
    """Return the workspace of the user's sandbox, which is started if it does not run; without a Prefect server.

    A sandbox that this call starts exits with this process. Raises as `start` and the function that it returns.
    """
    state_dir, running = client.default_state_dir(), ExitStack()
    atexit.register(running.close)
    bypass_proxies_on_loopback()
    return _sandbox_workspace(state_dir, _start_sandbox(state_dir, running))


def _start_sandbox(state_dir: Path, running: ExitStack) -> "subprocess.Popen[bytes] | None":
    """Mark the sandbox of this folder as in use until `running` is closed, and start it if it does not run."""
    running.enter_context(client.mark_in_use(state_dir))
    if client.find_endpoint(state_dir) is not None:
        return None
    require_space(state_dir, SANDBOX_BYTES)
    return client.start_server(state_dir)


def _wait_until_ready(
    running: ExitStack,
    server: "LocalPrefectServer | None",
    state_dir: Path | None,
    sandbox: "subprocess.Popen[bytes] | None",
    preloaded: Sequence[str],
) -> None:
    from prefect import settings  # slow: imported while the servers start
    from prefect.plugins import load_prefect_collections

    if server and settings.PREFECT_API_URL.value():  # of the active profile
        server.close()
        server = None
    if server:
        # Import modules that a run needs later. This takes four seconds, less than the start of the servers.
        load_prefect_collections()  # as loading a block does
        for module in preloaded:
            import_module(module)
    else:
        _require_prefect_server()
    workspace = _sandbox_workspace(state_dir, sandbox) if state_dir else None
    if server:
        server.wait()
        server_settings = {
            settings.PREFECT_API_URL: server.api_url,
            settings.PREFECT_UI_URL: "",  # this server has no UI to link to
            settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # no automation needs heartbeats
        }
        running.enter_context(settings.temporary_settings(server_settings))
    if workspace:
        _register_sandbox(workspace)
    gc.freeze()
    gc.enable()


def _require_prefect_server() -> None:
    """Raise the error of a Prefect server that does not respond: otherwise each of many requests would wait for it."""
    from httpx import HTTPStatusError
    from prefect import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    options = {"timeout": PREFECT_RESPONSE_SECONDS}
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True, httpx_settings=options) as prefect,
    ):
        error = prefect.api_healthcheck()
    # Another status than an error of the server is explained by the first request that needs its response.
    if error and not (isinstance(error, HTTPStatusError) and error.response.status_code < 500):
        raise error


def _sandbox_workspace(state_dir: Path, sandbox: "subprocess.Popen[bytes] | None") -> "Workspace":
    """Wait for the sandbox of this folder and return its block, with the clients that every run needs."""
    try:
        workspace = client.make_workspace(client.wait_for_endpoint(state_dir, START_SECONDS, sandbox))
    except (TimeoutError, ChildProcessError) as error:
        raise ServerStartError(error) from error
    for service in ("s3", "sagemaker", "logs"):
        workspace.client(service)
    return workspace


def _register_sandbox(workspace: "Workspace") -> None:
    """Save the block `sandbox`, unless the saved one points to a sandbox that responds."""
    from prefect.exceptions import ObjectAlreadyExists  # slow: imported while the servers start

    from aws.errors import NotFound
    from aws.workspace import load_workspace

    with suppress(NotFound):
        credentials: Any = load_workspace(client.BLOCK_NAME).bucket.credentials
        if client.is_running(credentials.aws_client_parameters.endpoint_url):
            return
    for pause in (0.2, 0.5, 1.0, None):
        try:
            workspace.save(client.BLOCK_NAME, overwrite=True)
        except ObjectAlreadyExists:  # another process registers the type of the block for the first time
            if pause is None:
                raise
            time.sleep(pause)
        else:
            return


class LocalPrefectServer:
    """A Prefect server process. Its port is open at once; it responds some seconds later. Call `close` at the end."""

    def __init__(self, port: int = 0) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with socket.create_server(("127.0.0.1", port)) as listener:
            self.port: int = listener.getsockname()[1]
            self._address = f"127.0.0.1:{self.port}"
            self.api_url: str = f"http://{self._address}/api"
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(listener.fileno())],
                env=NO_TELEMETRY | os.environ,
                stdin=subprocess.PIPE,  # closed when this process exits for any reason; the server then exits too
                stdout=self._output,
                stderr=self._output,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until the server responds; raises ServerStartError if it does not."""
        # The first request waits in the listening socket's queue for as long as the server starts.
        with (
            suppress(OSError, HTTPException),
            closing(HTTPConnection(self._address, timeout=START_SECONDS)) as connection,
        ):
            connection.request("GET", "/api/health")
            if connection.getresponse().status == 200:
                return
        raise ServerStartError(f"Prefect's server did not start. {self._last_output()}")

    def _last_output(self) -> str:
        """Return the reason in the server's output: its last line, which is the message of a traceback."""
        self._output.seek(0)
        lines = self._output.read()[-2000:].decode(errors="replace").strip().splitlines()
        reason = lines[-1].strip() if lines else f"It did not respond within {START_SECONDS:.0f} s."
        return f"{reason} Check PREFECT_HOME, its free space and the settings of Prefect."

    def close(self) -> None:
        """Kill the server and wait until it has exited; SQLite keeps committed data."""
        with self._process, self._output:
            self._process.kill()


def _serve(listener: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.disable()  # during the imports, as in `start`
    import uvicorn  # only this process needs it
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_HOME

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            # The first start creates the database; if two servers created it at the same time, one would fail.
            with (PREFECT_HOME.value() / "server-start.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                await super().startup(sockets)
            gc.freeze()
            gc.enable()

    app = create_app(ephemeral=True, final=True)
    Server(uvicorn.Config(app, log_level="error")).run(sockets=[socket.socket(fileno=listener)])


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # not through sys.stdin, whose lock must be free when the process exits
    os._exit(0)  # at once: the only client has exited, and SQLite keeps committed data


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
