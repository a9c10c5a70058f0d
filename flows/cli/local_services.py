"""What `python -m flows.train` starts where it is missing: a Prefect server and a sandbox, both as child processes.

Prefect starts a server by itself, too; but Ctrl-C reaches that one before the flow has reported its end, which then
waits for more than a minute, and a kill leaves it running. This one has a session of its own and ends with its parent.
"""

import atexit
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from importlib import import_module
from pathlib import Path

from sandbox import client

SANDBOX_START_SECONDS = 30.0
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
    server = None if "PREFECT_API_URL" in os.environ else LocalPrefectServer()
    if server:
        running.callback(server.close)
    state_dir = running.enter_context(_sandbox_in_use()) if sandboxed else None

    def ready() -> None:
        from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings  # while the servers boot

        if server and PREFECT_API_URL.value():
            server.close()  # the active profile names one
        elif server:
            _preload()
            server.wait()
            settings = {PREFECT_API_URL: server.api_url, PREFECT_UI_URL: ""}  # this server has no pages to link to
            running.enter_context(temporary_settings(settings))
        if state_dir:
            _register_sandbox(state_dir)

    return ready


def _preload() -> None:
    """Import what a new table will need, which takes three seconds, while a server boots, which takes as many."""
    for module in ("sklearn.model_selection", "sklearn.metrics", "tasks.data.measurement", "matplotlib.figure"):
        import_module(module)


@contextmanager
def _sandbox_in_use() -> Iterator[Path]:
    """The state folder of a sandbox that serves, or is about to, until the block ends."""
    state_dir = client.default_state_dir()
    with client.mark_in_use(state_dir):
        if client.find_endpoint(state_dir) is None:
            client.start_server(state_dir)
        yield state_dir


def _register_sandbox(state_dir: Path) -> None:
    """Have the block `sandbox` name a sandbox that answers: the one it names already, else that of `state_dir`."""
    from aws.errors import Unavailable  # while the servers boot
    from sandbox.client import BLOCK_NAME, make_workspace

    if client.is_running(_saved_endpoint(BLOCK_NAME)):
        return
    end = time.monotonic() + SANDBOX_START_SECONDS
    while (endpoint := client.find_endpoint(state_dir)) is None:
        if time.monotonic() > end:
            raise Unavailable(f"The sandbox does not answer. What it says is in {state_dir / 'server.log'}.")
        time.sleep(0.05)
    make_workspace(endpoint).save(BLOCK_NAME, overwrite=True)


def _saved_endpoint(name: str) -> str | None:
    from prefect_aws import AwsCredentials  # while the servers boot

    from aws.errors import NotFound
    from aws.workspace import load_workspace

    try:
        credentials = load_workspace(name).bucket.credentials
    except NotFound:
        return None
    return credentials.aws_client_parameters.endpoint_url if isinstance(credentials, AwsCredentials) else None


PREFECT_START_SECONDS = 120.0
"""Seconds for the first answer; a cold start with a new database has taken more than 20."""


class ServerStartError(Exception):
    """The server ended before it answered; the message is the end of its output."""


class LocalPrefectServer:
    """The server's process: it listens from the start, answers some seconds later, and is to be closed."""

    def __init__(self) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address: str = f"127.0.0.1:{listener.getsockname()[1]}"
            # Its standard input is the thread it hangs on: the pipe closes when this process ends, in whatever way.
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    @property
    def api_url(self) -> str:
        """What PREFECT_API_URL is to be."""
        return f"http://{self.address}/api"

    def wait(self) -> None:
        """Return when it answers; raises ServerDied when it does not."""
        end = time.monotonic() + PREFECT_START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            if _is_healthy(self.address):
                return
            time.sleep(0.05)
        self._output.seek(0)
        output = self._output.read()[-2000:].decode(errors="replace").strip()
        raise ServerStartError(
            f"Prefect's server did not start. {output or f'It gave no answer in {PREFECT_START_SECONDS:.0f} s.'}"
        )

    def close(self) -> None:
        """End it, and wait until it is gone."""
        assert self._process.stdin is not None  # noqa: S101 - it was opened as a pipe
        self._process.stdin.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


def _is_healthy(address: str) -> bool:
    connection = HTTPConnection(address, timeout=1)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _serve(listener: int) -> None:
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import uvicorn  # only this process needs it
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_HOME

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            # Starting makes the database; of two that make the same one at once, one would fail.
            with (PREFECT_HOME.value() / "server-start.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                await super().startup(sockets)

    app = create_app(ephemeral=True, final=True)
    Server(uvicorn.Config(app, log_level="error")).run(sockets=[socket.socket(fileno=listener)])


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # not through Python's buffer, whose lock must be free when the process ends
    # At once and without ceremony: whoever wanted an answer is gone, and SQLite keeps what was committed.
    os._exit(0)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
