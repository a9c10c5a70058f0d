"""The command line on a machine with a full disk, read-only folders, a proxy, or without Prefect's server.

Every error of the environment is one sentence and exit code 2, without a traceback, and leaves nothing behind.
"""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from aws.workspace import Workspace

pytestmark = pytest.mark.e2e

PYTHON = (sys.executable, "-m")
CLOSED = "http://127.0.0.1:9"  # no server listens on the discard port


class Finished(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.err.strip().splitlines()[-1]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path


def environment(home: Path, **variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_", "XDG_"))}
    own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PREFECT_HOME": str(home / "prefect")}
    return inherited | own | {"MPLCONFIGDIR": str(home)} | variables


def run(home: Path, *command: str, **variables: str) -> Finished:
    done = subprocess.run(
        command, cwd=home, env=environment(home, **variables), capture_output=True, text=True, timeout=180, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@cache
def can_mount() -> bool:
    command = ("unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run_mounted(home: Path, mounts: str, *command: str, **variables: str) -> Finished:
    """Run a command after shell commands that mount file systems, which only it sees; then list the files left."""
    if not can_mount():
        pytest.skip("this machine does not allow mounts in a user namespace")
    script = f"{mounts}; {shlex.join(command)}; code=$?; find {home}/cache -type f -printf 'left %P\\n' >&2; exit $code"
    return run(home, "unshare", "-rm", "sh", "-c", script, **variables)


def write_table(path: Path, rows: int) -> Path:
    numbers = random.Random(rows)  # noqa: S311 - a table, not a secret
    lines = (f"{numbers.randint(20, 60)},{numbers.random():.12f},{numbers.random():.12f}\n" for _ in range(rows))
    path.write_text("age,pay,score\n" + "".join(lines))
    return path


def test_a_table_that_does_not_fit_into_the_cache_is_reported_with_needed_and_free_bytes(
    home: Path, api_url: str, workspace: Workspace
) -> None:
    del workspace  # saved as flows
    table = write_table(home / "table.csv", 115_000)
    mounts = f"mount -t tmpfs -o size=2m tmpfs {home}/cache"
    train = (*PYTHON, "flows.train", "--source", f"file://{table}", "--target", "pay", "--workspace", "flows")
    done = run_mounted(home, mounts, *train, PREFECT_API_URL=api_url)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert "left " not in done.err
    assert "Awaiting retry" not in done.err.replace("AwaitingRetry", "Awaiting retry")
    assert f"The disk space of {home}/cache/train-linear-learner/work" in done.last
    assert re.search(r"\d\.\d MB are needed and 2\.\d MB are free", done.last)
    assert "set XDG_CACHE_HOME to another folder" in done.last


def test_folders_that_cannot_be_written_to_are_reported_together_before_anything_starts(home: Path) -> None:
    (home / "models").mkdir()
    mounts = "; ".join(f"mount -t tmpfs -o ro tmpfs {home}/{name}" for name in ("cache", "models"))
    done = run_mounted(home, mounts, *PYTHON, "flows.train")
    assert (done.code, done.out) == (2, "")
    models, cache = done.err.strip().splitlines()
    assert f"{home}/models cannot be used: Read-only file system" in models
    assert "choose another folder with model_dir" in models
    assert f"{home}/cache cannot be used: Read-only file system" in cache
    assert "set XDG_CACHE_HOME to another folder" in cache
    assert not (home / "prefect").exists()


@pytest.mark.parametrize("proxy", [None, "http://user:secret@127.0.0.1:9"])
def test_an_unreachable_prefect_server_is_reported_with_its_url_and_the_proxy(home: Path, proxy: str | None) -> None:
    variables = {"http_proxy": proxy, "PREFECT_API_URL": "http://prefect.invalid:4200/api"} if proxy else {}
    done = run(home, *PYTHON, "flows.train", **{"PREFECT_API_URL": f"{CLOSED}/api", **variables})
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.strip().splitlines()
    where = f"http://prefect.invalid:4200/api/health cannot be reached through the proxy {CLOSED}: "
    assert (where if proxy else f"{CLOSED}/api/health cannot be reached: ") in line
    assert "PREFECT_API_URL" in line
    assert "secret" not in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "module", ["flows.train", "flows.compare", "flows.models", "deployments.blocks", "deployments.automations"]
)
def test_a_signal_while_the_command_is_imported_ends_it_without_a_traceback(
    home: Path, module: str, number: signal.Signals
) -> None:
    """The signal is sent when the command opens the first file of this package that it imports slowly."""
    hook = f"""
import os, runpy, sys
sent = []
def send(event, arguments):
    if event == "import" and arguments[0] == "pydantic" and not sent:
        sent.append(os.kill(os.getpid(), {int(number)}))
sys.addaudithook(send)
sys.argv = ["command", "list"]
runpy.run_module("{module}", run_name="__main__")
"""
    done = run(home, sys.executable, "-c", hook)
    assert (done.code, done.out) == (128 + number, "")
    assert done.err.startswith("Interrupted.")
    assert len(done.err.splitlines()) == 1
