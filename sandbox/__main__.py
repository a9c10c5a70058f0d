"""`python -m sandbox`: run AWS on localhost until Ctrl-C, and register it with Prefect as the block `sandbox`."""

import argparse
import math
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from sandbox.account import BUCKET, KEY_ID, REGION, ROLE_ARN, SECRET_KEY
from sandbox.client import BLOCK_NAME, bypass_proxies_on_loopback, default_state_dir
from sandbox.server import HOSTING_SPEED, Sandbox, SandboxError, serve_while_in_use

WELCOME = f"""\
The sandbox serves at {{endpoint}} and keeps its state in {{state_dir}}

  bucket  {BUCKET}
  role    {ROLE_ARN}
  region  {REGION}
  keys    {KEY_ID} / {SECRET_KEY}

Next:
  python -m flows.train --workspace {BLOCK_NAME}
  AWS_ACCESS_KEY_ID={KEY_ID} AWS_SECRET_ACCESS_KEY={SECRET_KEY} AWS_REGION={REGION} \\
    aws --endpoint-url {{endpoint}} s3 ls s3://{BUCKET} --recursive
"""


def main() -> int:
    arguments = _parse_arguments()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]  # so that no child process can reach a real account
    bypass_proxies_on_loopback()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        if arguments.while_in_use:
            serve_while_in_use(arguments.state_dir, stop, arguments.hosting_speed)
        else:
            _serve_and_register(Sandbox(arguments.state_dir, arguments.port, arguments.hosting_speed), stop)
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # such as a full disk
        reason = error.strerror or str(error)
        print(
            f"sandbox: {arguments.state_dir} cannot be used: {reason}. Free space, change its permissions, or choose "
            "another folder with --state-dir or XDG_CACHE_HOME.",
            file=sys.stderr,
        )
        return 2
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--state-dir", type=Path, default=default_state_dir(), help="state folder (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (the last used or a free one)")
    parser.add_argument("--while-in-use", action="store_true", help="stop when no other process uses the folder")
    parser.add_argument(
        "--hosting-speed",
        type=float,
        default=HOSTING_SPEED,
        help="factor by which endpoints change faster (%(default)s)",
    )
    arguments = parser.parse_args()
    if not 0 < arguments.hosting_speed < math.inf:
        parser.error("--hosting-speed must be a positive number")
    return arguments


def _serve_and_register(sandbox: Sandbox, stop: threading.Event) -> None:
    sandbox.start()
    print(WELCOME.format(endpoint=sandbox.endpoint_url, state_dir=sandbox.state_dir), flush=True)
    # In a separate process: Prefect may start a server to save the block, which must not delay the exit of this one.
    registration = subprocess.Popen(
        [sys.executable, "-m", "sandbox.client", sandbox.endpoint_url],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    stop.wait()
    with suppress(ProcessLookupError):
        os.killpg(registration.pid, signal.SIGKILL)
    sandbox.stop()


if __name__ == "__main__":
    sys.exit(main())
