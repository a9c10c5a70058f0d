"""Find, start and use a sandbox from another process, and save the Prefect block that points to it.

Importing this module imports only the standard library. `python -m sandbox.client URL` saves the block as `sandbox`.
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

from sandbox.account import BUCKET, KEY_ID, REGION, ROLE_ARN, SECRET_KEY, SERVING_IMAGE

if TYPE_CHECKING:
    from aws.workspace import Workspace

ENDPOINT_FILE = "endpoint.json"
IN_USE_FILE = "in-use.lock"
LOG_FILE = "server.log"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
NO_ANSWER_ERRORS = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError)


def default_state_dir() -> Path:
    """The folder of the user's sandbox, under `$XDG_CACHE_HOME` or `~/.cache`."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "train-linear-learner" / "sandbox"


def find_endpoint(state_dir: Path) -> str | None:
    """The URL of the sandbox that serves this folder, or None if none responds within a second."""
    try:
        url = str(json.loads((state_dir / ENDPOINT_FILE).read_text())["endpoint_url"])
        return url if Path(_status(url)["state_dir"]) == state_dir.resolve() else None
    except NO_ANSWER_ERRORS:
        return None


def bypass_proxies_on_loopback() -> None:
    """Make this process and its children reach servers on this machine directly, whatever proxy the environment sets.

    Call this before a client of httpx, requests or botocore is created.
    """
    if not any(name.lower() in {"http_proxy", "https_proxy", "all_proxy"} for name in os.environ):
        return
    current = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    for name, value in current.items():
        hosts = value or current["no_proxy"] or current["NO_PROXY"] or ""
        listed = [host.strip() for host in hosts.split(",") if host.strip()]
        if listed != ["*"]:
            os.environ[name] = ",".join([*listed, *(host for host in LOOPBACK_HOSTS if host not in listed)])


def wait_for_endpoint(state_dir: Path, seconds: float = 30.0, server: subprocess.Popen[bytes] | None = None) -> str:
    """Wait for the sandbox of this folder and return its URL.

    Raises TimeoutError after `seconds`, and ChildProcessError when the process `server` that serves it has failed.
    """
    end = time.monotonic() + seconds
    while (url := find_endpoint(state_dir)) is None:
        if server and server.poll():
            lines = (state_dir / LOG_FILE).read_text(errors="replace").strip().splitlines()
            reason = lines[-1].removeprefix("sandbox: ") if lines else f"It ended with code {server.returncode}."
            raise ChildProcessError(f"The sandbox did not start. {reason}")
        if time.monotonic() > end:
            raise TimeoutError(f"The sandbox did not respond within {seconds:g} s. Its log is {state_dir / LOG_FILE}.")
        time.sleep(0.05)
    return url


def is_running(url: str | None) -> bool:
    """Whether a sandbox of any folder responds at this URL within a second."""
    try:
        return url is not None and bool(_status(url))
    except NO_ANSWER_ERRORS:
        return False


def call_counts(url: str) -> dict[str, int]:
    """How often each API action was called since the server started, such as `sagemaker:DescribeTrainingJob`."""
    counts: dict[str, int] = _status(url)["calls"]
    return counts


def _status(url: str) -> Any:
    _, status = send_request(url, "GET", "/_sandbox", timeout=1)
    if status["sandbox"] != "linear-learner":
        raise ValueError(f"no sandbox listens on {url}")
    return status


def send_request(url: str, method: str, path: str, document: Any = None, timeout: float = 10) -> tuple[int, Any]:
    """Send a request to one of the sandbox's own paths; returns status and JSON document of the response."""
    # Not urllib, which would use a proxy set in the environment.
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        connection.request(method, path, json.dumps(document))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def mark_in_use(state_dir: Path) -> TextIO:
    """Mark the sandbox of a folder as in use by this process, until the returned file is closed or the process ends.

    Call this before `find_endpoint`: if a server is stopping, this call waits until it has exited.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    in_use = (state_dir / IN_USE_FILE).open("a")
    fcntl.flock(in_use, fcntl.LOCK_SH)
    return in_use


def start_server(state_dir: Path, hosting_speed: float | None = None) -> subprocess.Popen[bytes]:
    """Start `python -m sandbox --while-in-use` in a new session; its stderr is appended to `server.log`.

    It exits when no process uses the folder, and at once with 0 if another process serves the folder.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / LOG_FILE).open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "sandbox", "--while-in-use", "--state-dir", str(state_dir)),
                *(["--hosting-speed", str(hosting_speed)] if hosting_speed else []),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )


BLOCK_NAME = "sandbox"
PARTS_NAME = "linear-learner-sandbox"
"""Name of the blocks of its bucket and its credentials."""
RETRY_PAUSE_SECONDS = 2.0


def make_workspace(endpoint_url: str) -> "Workspace":
    """An unsaved block with the sandbox's bucket, keys, endpoint and role."""
    from prefect_aws import AwsCredentials, S3Bucket  # takes two seconds
    from prefect_aws.client_parameters import AwsClientParameters
    from pydantic import SecretStr

    from aws.workspace import Workspace

    credentials = AwsCredentials(
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SecretStr(SECRET_KEY),
        region_name=REGION,
        # Workers, too, must not look for this machine behind a proxy.
        aws_client_parameters=AwsClientParameters(endpoint_url=endpoint_url, config={"proxies": {}}),
    )
    bucket = S3Bucket(bucket_name=BUCKET, credentials=credentials)
    return Workspace(bucket=bucket, role_arn=ROLE_ARN, serving_image=SERVING_IMAGE)


def save_block(endpoint_url: str) -> int:
    """Save the block, waiting for Prefect's server if necessary; prints the result and returns the exit code."""
    from httpx import ConnectError

    workspace, problem = make_workspace(endpoint_url), "The sandbox runs but is not registered with Prefect"
    waiting = False
    while True:
        try:
            # In blocks of their own, as the page of a block shows the values of another one only as a link to it.
            workspace.bucket.credentials.save(PARTS_NAME, overwrite=True)
            workspace.bucket.save(PARTS_NAME, overwrite=True)
            workspace.save(BLOCK_NAME, overwrite=True)
        except ConnectError:
            if not waiting:
                print(f"{problem}: its server does not respond. Retrying.", flush=True)  # noqa: T201
            waiting = True
            time.sleep(RETRY_PAUSE_SECONDS)
        except Exception as error:  # noqa: BLE001 - no error of Prefect may stop the sandbox
            print(f"{problem}: {error}", flush=True)  # noqa: T201
            return 1
        else:
            print(f"Registered with Prefect as the block {BLOCK_NAME}.", flush=True)  # noqa: T201
            return 0


if __name__ == "__main__":
    bypass_proxies_on_loopback()
    sys.exit(save_block(sys.argv[1]))
