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
from typing import Any, TypeVar

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
Seen = TypeVar("Seen")


def readme_commands(section: str) -> list[list[str]]:
    """The commands of the first shell block below a heading, as argument lists for this Python's environment."""
    text = (ROOT / "README.md").read_text().split(section, 1)[1]
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block
    commands = [shlex.split(line, comments=True) for line in block[1].splitlines()]
    assert {str(Path(name).parent) for name, *_ in commands} == {".venv/bin"}
    return [[str(Path(sys.executable).with_name(Path(name).name)), *rest] for name, *rest in commands]


@dataclass
class Production:
    """What a person can do: type a command in a home of its own, and ask Prefect's API as the UI does."""

    home: Path
    port: int
    worker_command: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_", "XDG_"))}
        return {
            **kept,
            "HOME": str(self.home),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }

    def run(self, *command: str) -> str:
        run = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    @contextmanager
    def running(self, *command: str, log: str) -> Iterator[subprocess.Popen[bytes]]:
        with (
            (self.home / log).open("wb") as said,
            subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=said, stderr=said) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()

    def said(self, log: str) -> str:
        return (self.home / log).read_text()

    def ask(self, method: str, path: str, **body: Any) -> Any:
        with httpx.Client(base_url=self.environment["PREFECT_API_URL"], trust_env=False) as client:
            answer = client.request(method, path, json=body or None)
            while answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:  # its database is locked for a moment
                time.sleep(0.5)
                answer = client.request(method, path, json=body or None)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    @staticmethod
    def until(condition: Callable[[], Seen], seconds: float = 60, otherwise: Callable[[], str] = str) -> Seen:
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


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """The servers run, the sandbox's block is saved, the deployments are there; no worker runs, no schedule fires."""
    with create_server(("127.0.0.1", 0)) as free:
        there = Production(tmp_path_factory.mktemp("home"), free.getsockname()[1])
    prefect = str(Path(sys.executable).with_name("prefect"))
    with ExitStack() as stack:
        server = (prefect, "server", "start", "--host", "127.0.0.1", "--port", str(there.port))
        stack.enter_context(there.running(*server, log="server.log"))
        there.until(there.healthy, 120, lambda: there.said("server.log"))
        stack.enter_context(there.running(sys.executable, "-m", "sandbox", log="sandbox.log"))
        create, deploy, there.worker_command = readme_commands("### On a schedule, and from the UI")
        there.run(*create)
        there.run(*deploy)
        there.until(
            lambda: "Registered with Prefect" in there.said("sandbox.log"), 60, lambda: there.said("sandbox.log")
        )
        for deployment in there.ask("POST", "/deployments/filter", limit=200):
            for schedule in deployment["schedules"]:
                there.ask("DELETE", f"/deployments/{deployment['id']}/schedules/{schedule['id']}")
        yield there
