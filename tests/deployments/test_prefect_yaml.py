"""The deployments as the README puts them up: a real server, a real worker, the sandbox, and the commands it gives."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from socket import create_server

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))


def readme_commands(section: str) -> list[list[str]]:
    """The commands of the first shell block below a heading, as argument lists."""
    text = (ROOT / "README.md").read_text().split(section, 1)[1]
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block
    return [shlex.split(line, comments=True) for line in block[1].splitlines()]


@contextmanager
def running(*command: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as said,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(said: str, log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while said not in log.read_text():
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.2)


def wait_for_server(port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        connection = HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/api/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    pytest.fail("the server did not answer")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Prefect server of its own with the sandbox's block saved in it, as variables for commands."""
    home = tmp_path_factory.mktemp("home")
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_", "XDG_"))}
    variables = {
        **kept,
        "HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    with ExitStack() as stack:
        server = (PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port))
        stack.enter_context(running(*server, environment=variables, log=home / "server.log"))
        wait_for_server(port)
        sandbox = (sys.executable, "-m", "sandbox")
        stack.enter_context(running(*sandbox, environment=variables, log=home / "sandbox.log"))
        wait_for("Registered with Prefect", home / "sandbox.log")
        yield variables


def prefect(*arguments: str, environment: dict[str, str]) -> str:
    run = subprocess.run(
        [PREFECT, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_readmes_commands_put_up_deployments_that_a_worker_runs(environment: dict[str, str]) -> None:
    create, deploy, work = readme_commands("### On a schedule, and from the UI")
    for command in (create, deploy):
        assert command[0] == ".venv/bin/prefect"
        prefect(*command[1:], environment=environment)
    listed = prefect("deployment", "ls", environment=environment)
    assert "nightly" in listed
    assert "ad-hoc" in listed
    log = Path(environment["HOME"]) / "worker.log"
    with running(PREFECT, *work[1:], environment=environment, log=log):
        for name in ("ad-hoc", "nightly"):
            run = prefect("deployment", "run", f"train-linear-learner/{name}", "--watch", environment=environment)
            assert "Completed" in run, run + log.read_text()[-5000:]
    said = log.read_text()
    assert "started: training job linear-learner-" in said
    assert "reused: training job linear-learner-" in said, "the second deployment has the same input"
