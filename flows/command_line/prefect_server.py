"""A Prefect server for the life of one command, when none is configured.

Prefect starts one by itself, too; but Ctrl-C reaches that one before the flow has reported its end, which then waits
for more than a minute, and a kill leaves it running. This one stands in a session of its own and ends with its parent.
"""

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection, HTTPException

PATIENCE = 120.0
"""Seconds for the first answer; a cold start with a new database has taken more than 20."""


class ServerDied(Exception):
    """The server ended before it answered; the message is the end of what it said."""


class OwnServer:
    """The server's process: it listens from the start, answers some seconds later, and is to be closed."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address: str = f"127.0.0.1:{listener.getsockname()[1]}"
            # Its standard input is the thread it hangs on: the pipe closes when this process ends, in whatever way.
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=self._said,
                stderr=self._said,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    @property
    def api_url(self) -> str:
        """What PREFECT_API_URL is to be."""
        return f"http://{self.address}/api"

    def wait(self) -> None:
        """Return when it answers; raises ServerDied when it does not."""
        end = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < end:
            if _healthy(self.address):
                return
            time.sleep(0.05)
        self._said.seek(0)
        said = self._said.read()[-2000:].decode(errors="replace").strip()
        raise ServerDied(f"Prefect's server did not start. {said or f'It gave no answer in {PATIENCE:.0f} s.'}")

    def close(self) -> None:
        """End it, and wait until it is gone."""
        assert self._process.stdin is not None  # noqa: S101 - it was opened as a pipe
        self._process.stdin.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()


def _healthy(address: str) -> bool:
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
