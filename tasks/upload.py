"""Upload: put the channels where the training job will read them."""

from shutil import rmtree

from prefect import task

from aws.storage import holds, put
from aws.workspace import Workspace
from tasks.format import Formatted
from tasks.reuse import KEPT, RETRIES, Inputs, Result, WhileItExists, work_folder

CONTENT_TYPE = "text/csv"


class UploadedFile(Result):
    """One channel in S3."""

    channel: str
    uri: str
    rows: int
    size: int
    sha256: str

    @property
    def folder(self) -> str:
        """The prefix a training job is given; it holds this one file."""
        return self.uri.rsplit("/", 1)[0] + "/"


class Uploaded(Result):
    """All channels in S3, and the features in the order of their columns."""

    features: tuple[str, ...]
    files: tuple[UploadedFile, ...]

    def __str__(self) -> str:
        return f"uploaded channels, {self.files[0].folder.rsplit('/', 2)[0]}/"

    def __getitem__(self, channel: str) -> UploadedFile:
        return next(file for file in self.files if file.channel == channel)


def _identity(inputs: Inputs) -> tuple[object, ...]:
    workspace, formatted = inputs["workspace"], inputs["formatted"]
    return workspace.uri(), *(file.key for file in formatted.files), *(file.sha256 for file in formatted.files)


def _exists(inputs: Inputs, uploaded: Uploaded) -> bool:
    return all(holds(inputs["workspace"], file.uri, file.sha256) for file in uploaded.files)


@task(
    task_run_name="upload to {workspace.bucket.bucket_name}",
    cache_policy=WhileItExists(step="upload", identity=_identity, exists=_exists),
    **KEPT,
    **RETRIES,
)
def upload(workspace: Workspace, formatted: Formatted) -> Uploaded:
    """Put each channel's file under the workspace's prefix, with its checksum; what is there already stays."""
    files = []
    for file in formatted.files:
        stored = put(workspace, file.path, workspace.uri(file.key), file.sha256)
        files.append(
            UploadedFile(channel=file.channel, uri=stored.uri, rows=file.rows, size=file.size, sha256=file.sha256)
        )
    rmtree(work_folder(formatted.identity), ignore_errors=True)
    return Uploaded(features=formatted.features, files=tuple(files))
