"""AWS on localhost: S3, STS, IAM, KMS, CloudWatch Logs, and SageMaker training jobs that really train Linear Learner.

`python -m sandbox` serves it and registers it with Prefect; `with sandbox() as workspace:` serves it for a test.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws.workspace import Workspace


@contextmanager
def sandbox(state_dir: Path | None = None) -> Iterator["Workspace"]:
    """Serve a sandbox in this process and yield the (unsaved) workspace block that points at it.

    Without a `state_dir` its state is temporary. At the end all its processes are stopped.
    """
    # Not at the top: `sandbox.client` must be importable without moto.
    from sandbox.client import make_workspace
    from sandbox.server import Sandbox

    with TemporaryDirectory(prefix="sandbox-") as temporary:
        server = Sandbox(state_dir or Path(temporary))
        server.start()
        try:
            server.wait_until_ready()
            yield make_workspace(server.endpoint_url)
        finally:
            server.stop()
