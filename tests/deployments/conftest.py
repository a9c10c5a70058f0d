"""Production on one machine: a Prefect server, the sandbox, and the deployments of the README's commands."""

import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_server
from typing import Any, NamedTuple, TypeVar

import httpx
import pytest

from sandbox import client
from tests.docs.pages import shell_lines

ROOT = Path(__file__).resolve().parents[2]
IGNORED_PREFIXES = ("PREFECT_", "AWS_", "XDG_", "PYTHON", "VIRTUAL_ENV")
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of servers on this machine: reading the certificates takes longer than a request."""
DEPLOYMENTS = (
    "train-linear-learner/nightly",
    "train-linear-learner/ad-hoc",
    "predict-batch/predict",
    "reap-training-jobs/reaper",
)
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
Value = TypeVar("Value")


class Command(NamedTuple):
    """A command of the README; one that `keeps_running` has its own terminal."""

    words: tuple[str, ...]
    keeps_running: bool


def readme_commands() -> list[Command]:
    """The commands of the README's section on schedules and the UI, without the export of the server's URL."""
    export, *lines = shell_lines("README.md", "## On a schedule and from Prefect's UI")
    assert export == "export PREFECT_API_URL=http://127.0.0.1:4200/api"
    return [Command(tuple(shlex.split(line, comments=True)), bool(re.search("# in a", line))) for line in lines]


def _free_port() -> int:
    with create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@dataclass
class Production:
    """Runs commands with their own home directory, and calls Prefect's API as the UI does."""

    home: Path
    port: int = field(default_factory=_free_port)
    checkout: Path = ROOT
    programs: Path = Path(sys.executable).parent
    deployed: str = ""
    """The output of the command that deployed DEPLOYMENTS."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(IGNORED_PREFIXES)}
        return {
            **inherited,
            "HOME": str(self.home),
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }

    @property
    def sandbox_url(self) -> str | None:
        return client.find_endpoint(self.home / ".cache" / "train-linear-learner" / "sandbox")

    def run(self, *words: str, seconds: float = 180, **variables: str) -> str:
        """Run a command, which must succeed, and return its output; empty variables are not set."""
        environment = {name: value for name, value in {**self.environment, **variables}.items() if value}
        run = subprocess.run(
            self._resolve(words),
            cwd=self.checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert run.returncode == 0, f"{words}\n{run.stdout}\n{run.stderr}"
        return run.stdout + run.stderr

    @contextmanager
    def running(self, *words: str, log: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        with (
            (self.home / log).open("wb") as output,
            subprocess.Popen(
                self._resolve(words),
                cwd=self.checkout,
                env={**self.environment, **variables},
                stdout=output,
                stderr=output,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()

    def _resolve(self, words: tuple[str, ...]) -> list[str]:
        program = Path(words[0])
        executable = str(self.programs / program.name) if str(program.parent) == ".venv/bin" else words[0]
        return [executable, *words[1:]]

    def output(self, log: str) -> str:
        return (self.home / log).read_text()

    def wait_for_output(self, log: str, text: str) -> None:
        """Wait until the output of a running command contains a text."""
        self.wait_until(lambda: text in self.output(log), 120, lambda: self.output(log))

    def call_api(self, method: str, path: str, **body: Any) -> Any:
        with httpx.Client(base_url=f"{self.url}/api", trust_env=False, verify=NO_CERTIFICATES, timeout=100) as client:
            response = client.request(method, path, json=body or None)
            while response.status_code == httpx.codes.SERVICE_UNAVAILABLE:  # the database is temporarily locked
                time.sleep(0.5)
                response = client.request(method, path, json=body or None)
        assert response.is_success, response.text
        return response.json() if response.content else None

    def deployments(self) -> dict[str, Any]:
        return {one["name"]: one for one in self.call_api("POST", "/deployments/filter", limit=200)}

    def start(self, deployment: str, **parameters: Any) -> str:
        path = f"/deployments/{self.deployments()[deployment]['id']}/create_flow_run"
        return str(self.call_api("POST", path, parameters=parameters)["id"])

    def wait_for_end(self, run: str, seconds: float = 200) -> Any:
        """Wait until a flow run has ended; returns the run."""

        def ended_run() -> Any:
            found = self.call_api("GET", f"/flow_runs/{run}")
            return found if found["state_type"] in ENDED else None

        return self.wait_until(ended_run, seconds, lambda: f"run {run} has not ended:\n{self.log_of(run)}")

    def log_of(self, run: str, **filters: Any) -> str:
        """The log lines of a run so far, by time."""
        query = {"logs": {"flow_run_id": {"any_": [run]}, **filters}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return "\n".join(line["message"] for line in self.call_api("POST", "/logs/filter", **query))

    @staticmethod
    def wait_until(condition: Callable[[], Value], seconds: float = 120, message: Callable[[], str] = str) -> Value:
        """Wait until the condition is true and return its value; fails after `seconds`."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, message()
            time.sleep(0.5)  # more requests would slow the servers down
        return value

    def is_healthy(self) -> bool:
        try:
            return bool(self.call_api("GET", "/health"))
        except httpx.HTTPError:
            return False

    def delete_schedules(self) -> None:
        for deployment in self.deployments().values():
            for schedule in deployment["schedules"]:
                self.call_api("DELETE", f"/deployments/{deployment['id']}/schedules/{schedule['id']}")


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Production]:
    """Running servers, a saved sandbox block and deployments without schedules; no worker."""
    production = Production(tmp_path_factory.mktemp("home"))
    (production.home / ".prefect").mkdir()
    shutil.copy(empty_database, production.home / ".prefect" / "prefect.db")
    with ExitStack() as stack:
        stack.enter_context(production.running(".venv/bin/prefect", "server", "start", log="server.log"))
        # A proxy of the environment, which does not work, must not be used for servers of this machine.
        proxy = {"HTTP_PROXY": "http://127.0.0.1:9"}
        stack.enter_context(production.running(".venv/bin/python", "-m", "sandbox", log="sandbox.log", **proxy))
        production.wait_until(production.is_healthy, 120, lambda: production.output("server.log"))
        for words, _ in readme_commands():
            if "work-pool" in words:
                production.run(*words)
        selected = (word for name in DEPLOYMENTS for word in ("-n", name))
        production.deployed = production.run(".venv/bin/prefect", "--no-prompt", "deploy", *selected)
        production.wait_for_output("sandbox.log", "Registered with Prefect")
        production.delete_schedules()
        yield production
