"""The sandbox as a process serves it: one folder, one port on 127.0.0.1, until it is stopped.

`python -m sandbox.server` serves a folder for as long as clients hold it.
"""

import argparse
import fcntl
import os
import signal
import socket
import sys
import threading
import time
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from sandbox.account import KEY_ID, REGION, SECRET_KEY
from sandbox.client import ENDPOINT_FILE, IN_USE_FILE, default_state_dir, endpoint
from sandbox.storage import replace_file, replace_json

LOOK_SECONDS = 0.2
UNUSED_SECONDS = 10.0
"""How long a server that was started for clients waits for the first of them."""
PORT_FILE = "port"
BACKLOG = 128


class SandboxError(RuntimeError):
    """The sandbox cannot be started; the message says why and what to do."""


class FolderInUseError(SandboxError):
    """Another process serves the state folder."""


class Sandbox:
    """AWS on localhost over a state folder. One per process at a time, since moto's state is global to a process."""

    _serving = threading.Lock()
    _making_client = threading.Lock()

    def __init__(self, state_dir: Path, port: int = 0) -> None:
        self.state_dir = state_dir.resolve()
        self.endpoint_url = ""
        self._port = port

    def start(self) -> None:
        """Serve. What the services are to find again is put back in the background; `ready` waits for it.

        A folder or port in use, or a second sandbox in this process, is a `SandboxError`.
        """
        if not self._serving.acquire(blocking=False):
            raise SandboxError("this process serves a sandbox already; stop that one first")
        try:
            self._lock = _lock(self.state_dir)
            try:
                self._serve()
            except BaseException:
                self._lock.close()
                raise
        except BaseException:
            self._serving.release()
            raise

    def _serve(self) -> None:
        self._stopping = False
        self._clients: dict[str, Any] = {}
        self._socket = _listen(self._port) if self._port else _listen_again(self.state_dir / PORT_FILE)
        self.endpoint_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

        from sandbox.app import assemble, serve  # moto takes half a second to import

        self._front, self._jobs, self._trainer = assemble(self.state_dir, self.client)
        self._server = serve(self._front, self._socket)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="sandbox-server")
        self._warming = threading.Thread(target=self._warm_up, name="sandbox-warm-up")
        self._thread.start()
        self._warming.start()
        replace_json(self.state_dir / ENDPOINT_FILE, {"endpoint_url": self.endpoint_url, "pid": os.getpid()})

    def _warm_up(self) -> None:
        self._front.initialise("s3")
        self._jobs.resume()
        for service in ("sagemaker", "logs", "iam"):
            if not self._stopping:
                self._front.initialise(service)

    def ready(self) -> None:
        """Wait until everything the folder held is back."""
        self._warming.join()

    def stop(self) -> None:
        """End the jobs' processes, the server and its threads; unfinished jobs start again with the next server."""
        (self.state_dir / ENDPOINT_FILE).unlink(missing_ok=True)
        self._stopping = True
        self._warming.join()
        self._front.close()
        self._trainer.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._socket.close()
        self._lock.close()
        self._serving.release()

    def client(self, service: str) -> Any:
        """A boto3 client for the sandbox's own calls; threads share one per service."""
        from sandbox.api_call import OWN  # imports moto

        with self._making_client:
            if service not in self._clients:
                self._clients[service] = connect(service, self.endpoint_url, user_agent_extra=OWN)
            return self._clients[service]


def connect(service: str, endpoint_url: str, **config: Any) -> Any:
    """A boto3 client of the sandbox at this endpoint; no proxy of the environment comes between."""
    from botocore.config import Config  # a quarter of a second

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


def _lock(state_dir: Path) -> TextIO:
    state_dir.mkdir(parents=True, exist_ok=True)
    file = (state_dir / "lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        where = endpoint(state_dir) or "an endpoint that does not answer yet"
        raise FolderInUseError(
            f"{state_dir} is in use by the sandbox at {where}; use that one, or give this one another --state-dir"
        ) from None
    return file


def _listen_again(memory: Path) -> socket.socket:
    """On the port of last time where it is free, so that what was saved with the URL stays right; else on any."""
    try:
        listening = _listen(int(memory.read_text()))
    except (OSError, ValueError, OverflowError, SandboxError):
        listening = _listen(0)
    replace_file(memory, [str(listening.getsockname()[1]).encode()])
    return listening


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise SandboxError(f"port {port} of 127.0.0.1 cannot be used ({error.strerror}); choose another") from None
    listening.listen(BACKLOG)
    return listening


def isolate() -> None:
    """Forget the user's AWS variables: nothing that this process starts could reach a real account."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]


def ending() -> threading.Event:
    """An event that SIGINT and SIGTERM set."""
    event = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        event.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return event


def _serve_while_held(state_dir: Path, end: threading.Event) -> None:
    sandbox = Sandbox(state_dir)
    with (state_dir / IN_USE_FILE).open("a") as in_use:
        held = _is_held(in_use)
        fcntl.flock(in_use, fcntl.LOCK_UN)
        sandbox.start()
        impatient_at = time.monotonic() + UNUSED_SECONDS
        while not end.wait(LOOK_SECONDS):
            if _is_held(in_use):
                held = True
            elif held or time.monotonic() > impatient_at:
                break  # with the lock in hand: a client that comes now waits until this process is gone
            else:
                fcntl.flock(in_use, fcntl.LOCK_UN)
        sandbox.stop()


def _is_held(in_use: TextIO) -> bool:
    try:
        fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def main() -> int:
    """Serve a folder while clients hold it; 0 too where another process serves it already."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.server", description=main.__doc__)
    parser.add_argument("--state-dir", type=Path, default=default_state_dir())
    state_dir = parser.parse_args().state_dir
    isolate()
    end = ending()
    state_dir.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            _serve_while_held(state_dir, end)
        except FolderInUseError:
            if endpoint(state_dir):
                return 0
            time.sleep(LOOK_SECONDS)  # the other one is only just starting, or ending
        except SandboxError as error:
            print(f"sandbox: {error}", file=sys.stderr)  # noqa: T201 - a command line prints
            return 1
        else:
            return 0


if __name__ == "__main__":
    sys.exit(main())
