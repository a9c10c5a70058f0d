"""The server of a sandbox: one state folder, one port on 127.0.0.1."""

import fcntl
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any, TextIO

from werkzeug.serving import make_server

from sandbox.account import KEY_ID, REGION, SECRET_KEY
from sandbox.api_call import INTERNAL_USER_AGENT
from sandbox.app import Application, QuietRequestHandler
from sandbox.client import ENDPOINT_FILE, IN_USE_FILE, find_endpoint
from sandbox.storage import replace_file, replace_json

POLL_SECONDS = 0.2
MAX_UNUSED_SECONDS = 10.0
"""How long `serve_while_in_use` waits for the first process that uses the folder."""
BACKLOG = 128
HOSTING_SPEED = 30.0
CLIENT_LOCK = threading.Lock()


class SandboxError(RuntimeError):
    """The sandbox cannot be started; the message contains the reason and a remedy."""


class FolderInUseError(SandboxError):
    """Another process serves the state folder."""


class Sandbox:
    """A sandbox on a state folder. One per process at a time, because moto's state is global to a process."""

    _process_lock = threading.Lock()

    def __init__(self, state_dir: Path, port: int = 0, hosting_speed: float = HOSTING_SPEED) -> None:
        """An hour of SageMaker's hosting, such as a waiting time of an update, takes 3600 / `hosting_speed` seconds."""
        self.state_dir = state_dir.resolve()
        self.endpoint_url = ""
        self._port = port
        self._hosting_speed = hosting_speed
        self._running = ExitStack()

    def start(self) -> None:
        """Start the server. The saved state is restored in the background; `wait_until_ready` waits for it.

        Raises SandboxError if the folder or port is in use, or if this process already runs a sandbox.
        """
        if not self._process_lock.acquire(blocking=False):
            raise SandboxError("this process already runs a sandbox; stop it first")
        with ExitStack() as running:
            running.callback(self._process_lock.release)
            running.enter_context(_lock_state_dir(self.state_dir))
            port_file, endpoint_file = self.state_dir / "port", self.state_dir / ENDPOINT_FILE
            listening = running.enter_context(_listen(self._port) if self._port else _listen_on_last_port(port_file))
            self.endpoint_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            client = partial(make_client, endpoint_url=self.endpoint_url, user_agent_extra=INTERNAL_USER_AGENT)
            application = Application(self.state_dir, cache(client), self._hosting_speed)
            server = make_server(
                "127.0.0.1", 0, application, threaded=True, request_handler=QuietRequestHandler, fd=listening.fileno()
            )
            running.callback(server.server_close)
            threads = running.enter_context(ThreadPoolExecutor(thread_name_prefix="sandbox"))
            threads.submit(server.serve_forever, 0.05)
            running.callback(server.shutdown)
            self._warm_up = threads.submit(application.initialise_all)
            running.callback(application.close)
            replace_json(endpoint_file, {"endpoint_url": self.endpoint_url})
            running.callback(endpoint_file.unlink, missing_ok=True)
            self._running = running.pop_all()

    def wait_until_ready(self) -> None:
        """Wait until the saved state is restored."""
        self._warm_up.result()

    def stop(self) -> None:
        """Stop the server, its threads and the processes of jobs; the next server restarts unfinished jobs."""
        self._running.close()


def make_client(service: str, endpoint_url: str, **config: Any) -> Any:
    """A boto3 client of the sandbox at this endpoint; it ignores proxies set in the environment."""
    from botocore.config import Config  # takes a quarter of a second

    with CLIENT_LOCK:  # a session is not thread-safe
        return _session().client(
            service,
            region_name=REGION,
            endpoint_url=endpoint_url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET_KEY,
            config=Config(proxies={}, **config),
        )


@cache
def _session() -> Any:
    import boto3

    return boto3.session.Session()


def _lock_state_dir(state_dir: Path) -> TextIO:
    state_dir.mkdir(parents=True, exist_ok=True)
    file = (state_dir / "lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        where = find_endpoint(state_dir) or "an endpoint that does not respond yet"
        raise FolderInUseError(
            f"{state_dir} is in use by the sandbox at {where}; use it or choose another --state-dir"
        ) from None
    return file


def _listen_on_last_port(port_file: Path) -> socket.socket:
    """Listen on the last used port, because saved blocks contain it, or on a free one if it is taken."""
    try:
        listening = _listen(int(port_file.read_text()))
    except (OSError, ValueError, OverflowError, SandboxError):
        listening = _listen(0)
    replace_file(port_file, [str(listening.getsockname()[1]).encode()])
    return listening


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise SandboxError(f"port {port} of 127.0.0.1 cannot be used ({reason}); choose another") from None


def serve_while_in_use(state_dir: Path, stop: threading.Event, hosting_speed: float = HOSTING_SPEED) -> None:
    """Serve a folder while other processes use it; return at once if another process already serves it."""
    sandbox = Sandbox(state_dir, hosting_speed=hosting_speed)
    while True:
        try:
            sandbox.start()
            break
        except FolderInUseError:
            if find_endpoint(state_dir):
                return
            time.sleep(POLL_SECONDS)  # the other process is starting or stopping
    with (state_dir / IN_USE_FILE).open("a") as in_use:
        deadline = time.monotonic() + MAX_UNUSED_SECONDS
        while not stop.wait(POLL_SECONDS):
            try:
                fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # another process uses the folder
                deadline = 0
                continue
            if time.monotonic() > deadline:
                break  # this process holds the lock: one that marks the folder now waits until this one has exited
            fcntl.flock(in_use, fcntl.LOCK_UN)
        sandbox.stop()
