"""AWS on localhost: S3, STS, IAM, KMS, CloudWatch, and SageMaker, which trains and serves Linear Learner models.

`python -m sandbox` runs it and registers it with Prefect; `with sandbox() as workspace:` runs it for a test.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws.workspace import Workspace


@contextmanager
def sandbox(state_dir: Path | None = None, hosting_speed: float = 30.0) -> Iterator["Workspace"]:
    """Run a sandbox in this process and yield an unsaved workspace block that points to it.

    Without `state_dir` the state is temporary. An hour of SageMaker's hosting, such as a waiting time of an update,
    takes 3600 / `hosting_speed` seconds. On exit all processes of the sandbox are stopped.
    """
    # Imported here: `sandbox.client` must be importable without moto.
    from sandbox.client import make_workspace
    from sandbox.server import Sandbox

    with TemporaryDirectory(prefix="sandbox-") as temporary:
        server = Sandbox(state_dir or Path(temporary), hosting_speed=hosting_speed)
        server.start()
        try:
            server.wait_until_ready()
            yield make_workspace(server.endpoint_url)
        finally:
            server.stop()
