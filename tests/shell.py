"""Command lines as a user types them, in a home directory of their own."""

import io
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from sandbox import client
from tests.conftest import PATIENCE, use_machine

PRIVATE_VARIABLES = ("PREFECT_", "AWS_", "XDG_")
Shell = dict[str, str]


@contextmanager
def open_shell(home: Path, api_url: str) -> Iterator[Shell]:
    """The environment of a shell in this home directory; a Prefect server runs, and all commands share one sandbox."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE_VARIABLES)}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PREFECT_HOME": str(home / "prefect")}
    state_dir = home / "cache/train-linear-learner/sandbox"
    with client.mark_in_use(state_dir):
        server = client.start_server(state_dir)
        client.wait_for_endpoint(state_dir, PATIENCE, server)
        yield {**environment, "PREFECT_API_URL": api_url}
    assert server.wait(PATIENCE) == 0


def run_shell(shell: Shell, command: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run a command of the documentation, or a printed one, which must end with this code."""
    line = re.sub(r"(?<!\S)\.venv/bin/python", sys.executable, command)
    run = subprocess.run(
        ["sh", "-c", line], cwd=shell["HOME"], env=shell, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == code, f"{line}\n{run.stderr}"
    return run


def run_here(shell: Shell, command: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run a command of the documentation, or a printed one, in this process: the imports of a new one take seconds.

    A shell expands the command, which is `python -m MODULE …` and may follow lines that set variables. It must end with
    this code.
    """
    script = re.sub(r"(?m)^\S*python\S* -m", r"printf '%s\\0'", command)
    expanded = subprocess.run(["sh", "-c", script], cwd=shell["HOME"], env=shell, capture_output=True, check=True)
    module, *arguments = expanded.stdout.decode().removesuffix("\0").split("\0")
    spec = find_spec(module if "." in module else f"{module}.__main__")
    assert spec
    assert spec.origin
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with (
        use_machine(Path(shell["HOME"])),
        pytest.MonkeyPatch.context() as patch,
        chdir(shell["HOME"]),
        ExitStack() as at_exit,
    ):
        patch.setattr("flows.cli.local_services.atexit", SimpleNamespace(register=at_exit.callback))
        for variable, value in shell.items():
            patch.setenv(variable, value)
        patch.setattr(sys, "argv", [module, *arguments])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            runpy.run_path(spec.origin, run_name="__main__")
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert (end.value.code or 0) == code, f"{command}\n{err.getvalue()}"
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
