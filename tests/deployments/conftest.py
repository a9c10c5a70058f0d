"""Production on one machine: a Prefect server, the sandbox, and the deployments that the README's commands put up."""

import os
import re
import shlex
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
STRANGE = ("PREFECT_", "AWS_", "XDG_", "PYTHON", "VIRTUAL_ENV")
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
Seen = TypeVar("Seen")


class Command(NamedTuple):
    """A command of the README's; one that `stays` has a terminal of its own."""

    words: tuple[str, ...]
    stays: bool


def readme_commands() -> list[Command]:
    """The commands below the README's heading on schedules and the UI, but for the export of the server's URL."""
    export, *lines = shell_lines("README.md", "## On a schedule and from Prefect's UI")
    assert export == "export PREFECT_API_URL=http://127.0.0.1:4200/api"
    return [Command(tuple(shlex.split(line, comments=True)), bool(re.search("# in a", line))) for line in lines]


def _free_port() -> int:
    with create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@dataclass
class Production:
    """What a person can do: type a command in a home of its own, and ask Prefect's API as the UI does."""

    home: Path
    port: int = field(default_factory=_free_port)
    checkout: Path = ROOT
    programs: Path = Path(sys.executable).parent

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        retained = {name: value for name, value in os.environ.items() if not name.startswith(STRANGE)}
        return {
            **retained,
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
        """What a command says, once it has succeeded; a variable that is empty is not set."""
        own = {name: value for name, value in {**self.environment, **variables}.items() if value}
        run = subprocess.run(
            self._typed(words),
            cwd=self.checkout,
            env=own,
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
            (self.home / log).open("wb") as said,
            subprocess.Popen(
                self._typed(words), cwd=self.checkout, env={**self.environment, **variables}, stdout=said, stderr=said
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

    def _typed(self, words: tuple[str, ...]) -> list[str]:
        program = Path(words[0])
        here = str(self.programs / program.name) if str(program.parent) == ".venv/bin" else words[0]
        return [here, *words[1:]]

    def said(self, log: str) -> str:
        return (self.home / log).read_text()

    def says(self, log: str, words: str) -> None:
        """Waits until a command that runs has said so."""
        self.until(lambda: words in self.said(log), 120, lambda: self.said(log))

    def ask(self, method: str, path: str, **body: Any) -> Any:
        with httpx.Client(base_url=self.environment["PREFECT_API_URL"], trust_env=False, timeout=100) as client:
            answer = client.request(method, path, json=body or None)
            while answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:  # its database is locked for a moment
                time.sleep(0.5)
                answer = client.request(method, path, json=body or None)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def deployments(self) -> dict[str, Any]:
        return {one["name"]: one for one in self.ask("POST", "/deployments/filter", limit=200)}

    def start(self, deployment: str, **parameters: Any) -> str:
        path = f"/deployments/{self.deployments()[deployment]['id']}/create_flow_run"
        return str(self.ask("POST", path, parameters=parameters)["id"])

    def ended(self, run: str, seconds: float = 200) -> Any:
        """The flow run, once it has ended."""

        def found() -> Any:
            seen = self.ask("GET", f"/flow_runs/{run}")
            return seen if seen["state_type"] in ENDED else None

        return self.until(found, seconds, lambda: f"run {run} has not ended:\n{self.log_of(run)}")

    def log_of(self, run: str, **those: Any) -> str:
        """What a run has logged so far, in time's order."""
        wanted = {"logs": {"flow_run_id": {"any_": [run]}, **those}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return "\n".join(line["message"] for line in self.ask("POST", "/logs/filter", **wanted))

    @staticmethod
    def until(condition: Callable[[], Seen], seconds: float = 120, otherwise: Callable[[], str] = str) -> Seen:
        """What the condition comes to, once it is true; fails when it is not within so many seconds."""
        end = time.monotonic() + seconds
        while not (seen := condition()):
            assert time.monotonic() < end, otherwise()
            time.sleep(0.1)
        return seen

    def healthy(self) -> bool:
        try:
            return bool(self.ask("GET", "/health"))
        except httpx.HTTPError:
            return False

    def unscheduled(self) -> None:
        """Lets nothing run by itself any more."""
        for deployment in self.deployments().values():
            for schedule in deployment["schedules"]:
                self.ask("DELETE", f"/deployments/{deployment['id']}/schedules/{schedule['id']}")


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """The servers run, the sandbox's block is saved, the deployments are there; no worker runs, no schedule fires."""
    there = Production(tmp_path_factory.mktemp("home"))
    with ExitStack() as stack:
        stack.enter_context(there.running(".venv/bin/prefect", "server", "start", log="server.log"))
        stack.enter_context(there.running(".venv/bin/python", "-m", "sandbox", log="sandbox.log"))
        there.until(there.healthy, 120, lambda: there.said("server.log"))
        for words, _ in readme_commands():
            if {"work-pool", "deploy"} & set(words):
                there.run(*words)
        there.says("sandbox.log", "Registered with Prefect")
        there.unscheduled()
        yield there
