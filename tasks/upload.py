"""Upload: put the channels where the training job will read them."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from shutil import rmtree

from prefect import task

from aws.storage import has_checksum, upload_file
from aws.training.request import ChannelInput
from aws.workspace import Workspace
from tasks.caching import work_folder
from tasks.caching.explain_rerun import CHANNEL_FACTS
from tasks.caching.policy import PERSISTED, RETRIES, ContentCachePolicy, Inputs, Result, fingerprint
from tasks.format import Formatted, FormattedFile

MAX_PARALLEL_UPLOADS = 4
"""Files; each goes up in parts, several at once, too."""


class UploadedFile(Result):
    """One file of a channel in S3."""

    channel: str
    uri: str
    rows: int
    size: int
    sha256: str


class Channel(Result):
    """One channel in S3: the prefix a training job is given, which holds these files and nothing else."""

    name: str
    files: tuple[UploadedFile, ...]

    @property
    def folder(self) -> str:
        return self.files[0].uri.rsplit("/", 1)[0] + "/"

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def sha256(self) -> str:
        """Stands for the channel's content and how it is cut into files."""
        if len(self.files) == 1:
            return self.files[0].sha256
        return fingerprint(*(file.sha256 for file in self.files))


class Uploaded(Result):
    """All channels in S3, and the features in the order of their columns."""

    content_type: str
    features: tuple[str, ...]
    channels: tuple[Channel, ...]

    @property
    def files(self) -> tuple[UploadedFile, ...]:
        return tuple(file for channel in self.channels for file in channel.files)

    @property
    def inputs(self) -> tuple[ChannelInput, ...]:
        """The channels as a training job is given them."""
        return tuple(
            ChannelInput(name=one.name, uri=one.folder, content_type=self.content_type, sha256=one.sha256)
            for one in self.channels
        )

    def __str__(self) -> str:
        return f"uploaded channels, {self.channels[0].folder.rsplit('/', 2)[0]}/"

    def __getitem__(self, channel: str) -> Channel:
        return next(one for one in self.channels if one.name == channel)


def _identity(inputs: Inputs) -> tuple[object, ...]:
    workspace, formatted = inputs["workspace"], inputs["formatted"]
    return workspace.uri(), *(file.key for file in formatted.files), *(file.sha256 for file in formatted.files)


def _missing(inputs: Inputs, uploaded: Uploaded) -> list[str]:
    return [file.uri for file in uploaded.files if not has_checksum(inputs["workspace"], file.uri, file.sha256)]


@task(
    task_run_name="upload to {workspace.bucket.bucket_name}",
    cache_policy=ContentCachePolicy(step="upload", identity=_identity, missing=_missing, depends_on=CHANNEL_FACTS),
    **PERSISTED,
    **RETRIES,
)
def upload(workspace: Workspace, formatted: Formatted) -> Uploaded:
    """Put each channel's files under the workspace's prefix, with their checksums; what is there already stays."""
    with ThreadPoolExecutor(MAX_PARALLEL_UPLOADS) as pool:
        files = list(pool.map(partial(_upload_file, workspace), formatted.files))
    rmtree(work_folder(formatted.identity), ignore_errors=True)
    channels = tuple(
        Channel(name=name, files=tuple(file for file in files if file.channel == name))
        for name in dict.fromkeys(file.channel for file in files)
    )
    return Uploaded(content_type=formatted.content_type, features=formatted.features, channels=channels)


def _upload_file(workspace: Workspace, file: FormattedFile) -> UploadedFile:
    stored = upload_file(workspace, file.path, workspace.uri(file.key), file.sha256)
    return UploadedFile(channel=file.channel, uri=stored.uri, rows=file.rows, size=file.size, sha256=file.sha256)
