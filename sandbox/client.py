"""Find, start and use a sandbox from another process, and the Prefect block that points at one.

Importing this module imports the standard library only. `python -m sandbox.client URL` saves the block as `sandbox`.
"""

import fcntl
import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit

from sandbox.account import BUCKET, KEY_ID, REGION, ROLE_ARN, SECRET_KEY

if TYPE_CHECKING:
    from aws.workspace import Workspace


ENDPOINT_FILE = "endpoint.json"
IN_USE_FILE = "in-use.lock"


def default_state_dir() -> Path:
    """The folder of the user's own sandbox, under `$XDG_CACHE_HOME` or `~/.cache`."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "train-linear-learner" / "sandbox"


def find_endpoint(state_dir: Path) -> str | None:
    """The URL of the sandbox that serves this folder and answers within a second, or None."""
    try:
        url = str(json.loads((state_dir / ENDPOINT_FILE).read_text())["endpoint_url"])
        status = _status(url)
        same = status["sandbox"] == "linear-learner" and Path(status["state_dir"]) == state_dir.resolve()
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    return url if same else None


def is_running(url: str | None) -> bool:
    """Whether a sandbox, whichever folder it serves, answers at this URL within a second."""
    try:
        return url is not None and _status(url)["sandbox"] == "linear-learner"
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return False


def call_counts(url: str) -> dict[str, int]:
    """How often each API action was called since the server started, such as `sagemaker:DescribeTrainingJob`."""
    counts: dict[str, int] = _status(url)["calls"]
    return counts


def _status(url: str) -> dict[str, Any]:
    # http.client and not urllib, which would use a proxy of the environment.
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=1)
    try:
        connection.request("GET", "/_sandbox")
        status: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return status


def mark_in_use(state_dir: Path) -> TextIO:
    """Mark the sandbox of a folder as in use by this process, until the returned file is closed or the process ends.

    Call this before `find_endpoint`: while a server is ending, this call waits until it has ended.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    in_use = (state_dir / IN_USE_FILE).open("a")
    fcntl.flock(in_use, fcntl.LOCK_SH)
    return in_use


def start_server(state_dir: Path) -> subprocess.Popen[bytes]:
    """Start `python -m sandbox.server` in a session of its own; its errors are written to `server.log`.

    It ends by itself once no process uses the folder. When another process serves the folder it exits with 0 at once.
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


def wait_for_endpoint(state_dir: Path, seconds: float = 30.0) -> str:
    """The URL of the sandbox that serves this folder; raises TimeoutError when none answers within so many seconds."""
    end = time.monotonic() + seconds
    while (endpoint := find_endpoint(state_dir)) is None:
        if time.monotonic() > end:
            raise TimeoutError(f"The sandbox does not answer. What it says is in {state_dir / 'server.log'}.")
        time.sleep(0.05)
    return endpoint


BLOCK_NAME = "sandbox"
RETRY_PAUSE_SECONDS = 2.0
"""Between two attempts to reach Prefect's server."""


def make_workspace(endpoint_url: str) -> "Workspace":
    """The unsaved block: the sandbox's bucket, keys, endpoint and role."""
    from prefect_aws import AwsCredentials, S3Bucket  # two seconds
    from prefect_aws.client_parameters import AwsClientParameters
    from pydantic import SecretStr

    from aws.workspace import Workspace

    credentials = AwsCredentials(
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SecretStr(SECRET_KEY),
        region_name=REGION,
        aws_client_parameters=AwsClientParameters(endpoint_url=endpoint_url),
    )
    return Workspace(bucket=S3Bucket(bucket_name=BUCKET, credentials=credentials), role_arn=ROLE_ARN)


def save_block(endpoint_url: str) -> None:
    """Save the block; while no Prefect server answers, print that once and try again, as one may be starting."""
    from httpx import ConnectError

    workspace, waiting = make_workspace(endpoint_url), False
    while True:
        try:
            workspace.save(BLOCK_NAME, overwrite=True)
        except ConnectError:
            if not waiting:
                print("its server does not answer", flush=True)  # noqa: T201 - for whoever started this process
            waiting = True
            time.sleep(RETRY_PAUSE_SECONDS)
        else:
            return


if __name__ == "__main__":
    save_block(sys.argv[1])
