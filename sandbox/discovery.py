"""How a client finds, holds and starts the sandbox of a state folder; standard library only, hence at once."""

import fcntl
import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

ENDPOINT_FILE = "endpoint.json"
IN_USE_FILE = "in-use.lock"


def default_state_dir() -> Path:
    """The folder of the user's own sandbox, under `$XDG_CACHE_HOME` or `~/.cache`."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "train-linear-learner" / "sandbox"


def endpoint(state_dir: Path) -> str | None:
    """The URL of the sandbox that serves this folder and answers within a second, or None."""
    try:
        url = str(json.loads((state_dir / ENDPOINT_FILE).read_text())["endpoint_url"])
        status = _status(url)
        same = status["sandbox"] == "linear-learner" and Path(status["state_dir"]) == state_dir.resolve()
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    return url if same else None


def answers(url: str | None) -> bool:
    """Whether a sandbox, whichever folder it serves, answers at this URL within a second."""
    try:
        return url is not None and _status(url)["sandbox"] == "linear-learner"
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return False


def calls(url: str) -> dict[str, int]:
    """How often each API action was called since the server started, such as `sagemaker:DescribeTrainingJob`."""
    counts: dict[str, int] = _status(url)["calls"]
    return counts


def _status(url: str) -> dict[str, Any]:
    # http.client and not urllib: a proxy set in the environment must not stand between two processes of one machine.
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=1)
    try:
        connection.request("GET", "/_sandbox")
        status: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return status


def hold(state_dir: Path) -> TextIO:
    """Say that this process uses the sandbox of a folder, until the returned file is closed or the process dies.

    Hold first and look for the `endpoint` afterwards: while a server is on its way out this call waits for it.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    in_use = (state_dir / IN_USE_FILE).open("a")
    fcntl.flock(in_use, fcntl.LOCK_SH)
    return in_use


def launch(state_dir: Path) -> subprocess.Popen[bytes]:
    """Start `python -m sandbox.server` in a session of its own; what it has to complain about is in `server.log`.

    It ends by itself once nobody holds the folder. Where another process serves the folder it exits 0 at once.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "server.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "sandbox.server", "--state-dir", str(state_dir)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
