"""A new home directory with a sandbox, for benchmarks that run command lines in child processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sandbox import client


@contextmanager
def new_home(prefix: str, hosting_speed: float | None = None) -> Iterator[tuple[Path, Path]]:
    """Yield a new home directory, which this process and its children use, and the state folder of its sandbox.

    The sandbox may not respond yet; it ends after the block. Variables of AWS and Prefect are removed.
    """
    for name in [name for name in os.environ if name.startswith(("AWS_", "PREFECT_"))]:
        del os.environ[name]
    with TemporaryDirectory(prefix=prefix) as home:
        os.environ |= {"HOME": home, "XDG_CACHE_HOME": f"{home}/cache", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        state_dir = client.default_state_dir()
        with client.start_server(state_dir, hosting_speed), client.mark_in_use(state_dir):
            yield Path(home), state_dir
