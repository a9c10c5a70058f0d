"""Command lines as a user types them, in a home directory of their own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import client

PRIVATE_VARIABLES = ("PREFECT_", "AWS_", "XDG_")
Shell = dict[str, str]


@contextmanager
def open_shell(home: Path, api_url: str) -> Iterator[Shell]:
    """The environment of a shell in this home directory; a Prefect server runs, and all commands share one sandbox."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE_VARIABLES)}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PREFECT_HOME": str(home / "prefect")}
    with client.mark_in_use(home / "cache/train-linear-learner/sandbox"):
        yield {**environment, "PREFECT_API_URL": api_url}


def run_shell(shell: Shell, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the documentation, or a printed one, which must succeed."""
    line = re.sub(r"(?<!\S)\.venv/bin/python", sys.executable, command)
    run = subprocess.run(
        ["sh", "-c", line], cwd=shell["HOME"], env=shell, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, f"{line}\n{run.stderr}"
    return run
