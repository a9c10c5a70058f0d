"""Upload: put the channels where the training job will read them."""

from concurrent.futures import ThreadPoolExecutor
from shutil import rmtree

from prefect import task

from aws.storage import has_checksum, upload_file
from aws.training.request import Channel
from aws.workspace import Workspace
from tasks.caching import work_folder
from tasks.caching.explain_rerun import Fact
from tasks.caching.policy import RETRIES, Inputs, cached, fingerprint
from tasks.format import ChannelFile, Formatted
from tasks.parameters import CHANNELS

MAX_PARALLEL_UPLOADS = 4
"""Files; each is uploaded in parts, several at once, too."""


class Uploaded(Formatted):
    """All channels in S3, each under a prefix that holds its files and nothing else."""

    def __getitem__(self, name: str) -> Channel:
        """The channel as a training job is given it; the checksum stands for its content and for its files."""
        files = self.files_of(name)
        checksums = [file.sha256 for file in files]
        return Channel(
            name=name,
            uri=files[0].uri.rsplit("/", 1)[0] + "/",
            content_type=self.content_type,
            rows=sum(file.rows for file in files),
            sha256=checksums[0] if len(files) == 1 else fingerprint(*checksums),
        )

    @property
    def channels(self) -> tuple[Channel, ...]:
        return tuple(self[name] for name in CHANNELS)

    def files_of(self, name: str) -> list[ChannelFile]:
        """The files of one channel."""
        return [file for file in self.files if file.channel == name]

    def missing(self, workspace: Workspace) -> list[str]:
        """The files that are not in the bucket."""
        return [file.uri for file in self.files if not has_checksum(workspace, file.uri, file.sha256)]

    def __str__(self) -> str:
        return f"uploaded channels, {self.files[0].uri.rsplit('/', 2)[0]}/"


def _facts(inputs: Inputs) -> dict[str, Fact]:
    formatted: Formatted = inputs["formatted"]
    files = [(file.uri, file.sha256) for file in formatted.files]
    return {**formatted.made_of, "channels.sha256": fingerprint(*files)}


@task(task_run_name="upload to {workspace.bucket.bucket_name}", **cached("upload", _facts), **RETRIES)
def upload(workspace: Workspace, formatted: Formatted) -> Uploaded:
    """Put each channel's files under the workspace's prefix, with their checksums; what is there already stays."""

    def upload_one(file: ChannelFile) -> None:
        upload_file(workspace, formatted.path(file), file.uri, file.sha256)

    with ThreadPoolExecutor(MAX_PARALLEL_UPLOADS) as pool:
        list(pool.map(upload_one, formatted.files))
    rmtree(work_folder(formatted.identity), ignore_errors=True)
    return Uploaded(**dict(formatted))
