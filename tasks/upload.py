"""Upload: copy the channels to S3, where the training job reads them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from prefect import task

from aws.storage import has_checksum, upload_file
from aws.training.request import Channel
from aws.workspace import Workspace
from tasks.caching import work_folder
from tasks.caching.explain_rerun import Fact
from tasks.caching.policy import RETRIES, Inputs, cached, fingerprint
from tasks.environment.folders import remove
from tasks.format import ChannelFile, Formatted
from tasks.parameters import CHANNELS

MAX_PARALLEL_UPLOADS = 4
"""Number of files; each of them is uploaded in several parallel parts, too."""


class Uploaded(Formatted):
    """All channels in S3, each under a prefix that contains only its files."""

    def __getitem__(self, name: str) -> Channel:
        """Return the channel for a training job; its checksum depends on its content and on its division into files."""
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
        return [file for file in self.files if file.channel == name]

    def missing(self, workspace: Workspace) -> list[str]:
        """Return the URIs of the files that are not in the bucket."""
        return [file.uri for file in self.files if not has_checksum(workspace, file.uri, file.sha256)]

    def __str__(self) -> str:
        return f"uploaded channels, {self.files[0].uri.rsplit('/', 2)[0]}/"


def _facts(inputs: Inputs) -> dict[str, Fact]:
    formatted: Formatted = inputs["formatted"]
    files = [(file.uri, file.sha256) for file in formatted.files]
    return {**formatted.made_of, "channels.sha256": fingerprint(*files)}


@task(task_run_name="upload to {workspace.bucket.bucket_name}", **cached("upload", _facts), **RETRIES)
def upload(workspace: Workspace, formatted: Formatted) -> Uploaded:
    """Upload the files with their checksums under the workspace's prefix; files that exist there are not sent again."""

    def upload_one(file: ChannelFile) -> None:
        try:
            upload_file(workspace, formatted.path(file), file.uri, file.sha256)
        except FileNotFoundError:  # a simultaneous run with the same input may have uploaded and removed it
            if not has_checksum(workspace, file.uri, file.sha256):
                raise

    with ThreadPoolExecutor(MAX_PARALLEL_UPLOADS) as pool:
        list(pool.map(upload_one, formatted.files))
    # Only these files: a simultaneous run with the same input may still write to the folder.
    for file in formatted.files:
        remove(formatted.path(file))
    with suppress(OSError):
        work_folder(formatted.identity).rmdir()
    return Uploaded(**dict(formatted))
