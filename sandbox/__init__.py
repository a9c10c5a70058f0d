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

    Without a `state_dir` its state is temporary. At the end nothing of it runs any more, and a temporary state is gone.
    """
    from sandbox.client import workspace  # clients of `sandbox.client` must not wait for moto
    from sandbox.server import Sandbox

    with TemporaryDirectory(prefix="sandbox-") as temporary:
        served = Sandbox(state_dir or Path(temporary))
        served.start()
        try:
            served.ready()
            yield workspace(served.endpoint_url)
        finally:
            served.stop()
