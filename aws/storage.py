"""Objects in S3: look, fetch, put. Transfers are streamed; a half-done one leaves nothing under the final name."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from aws.errors import NotFound, translated
from aws.workspace import Workspace, split_uri


class StoredObject(BaseModel):
    """An object as S3 describes it."""

    model_config = ConfigDict(frozen=True)

    uri: str
    size: int
    etag: str
    version_id: str | None = None
    sha256: str | None = None
    """Checksum this project recorded when it put the object there; None for objects of others."""

    @property
    def identity(self) -> str:
        """What changes when the content does: the version where the bucket keeps versions, else ETag and size."""
        return f"{self.uri}@{self.version_id}" if self.version_id else f"{self.etag}-{self.size}"


def look(workspace: Workspace, uri: str) -> StoredObject:
    """The object at `uri`; raises NotFound when it, or its bucket, does not exist."""
    bucket, key = split_uri(uri)
    try:
        with translated(f"looking for {uri}"):
            head = workspace.client("s3").head_object(Bucket=bucket, Key=key)
    except NotFound as error:
        # S3 answers a HEAD without a body, so its own message would say no more than "Not Found".
        raise NotFound(f"There is no object {uri}. Check the bucket's name, the key and the region.") from error
    version = head.get("VersionId")
    return StoredObject(
        uri=uri,
        size=head["ContentLength"],
        etag=head["ETag"].strip('"'),
        version_id=None if version == "null" else version,
        sha256=head["Metadata"].get("sha256"),
    )


def holds(workspace: Workspace, uri: str, sha256: str) -> bool:
    """Whether an object with this recorded checksum is at `uri`."""
    try:
        return look(workspace, uri).sha256 == sha256
    except NotFound:
        return False


def fetch(workspace: Workspace, stored: StoredObject, path: Path) -> None:
    """Download to `path`, unless a file of that object's identity is there already; whole, or not at all.

    Of several processes that want the same file one downloads it; what a killed one left behind is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(path.parent):
        _fetch(workspace, stored, path)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fetch(workspace: Workspace, stored: StoredObject, path: Path) -> None:
    mark = path.with_name(f"{path.name}.identity")
    # boto3 writes under a name of its own, this one and a random suffix, and renames what is complete.
    for left in path.parent.glob(f"{escape(path.name)}.{'[0-9A-Fa-f]' * 8}"):
        left.unlink()
    if path.exists() and mark.exists() and mark.read_text() == f"{stored.identity} {sha256_of(path)}":
        return
    mark.unlink(missing_ok=True)
    bucket, key = split_uri(stored.uri)
    version = {"VersionId": stored.version_id} if stored.version_id else None
    with translated(f"downloading {stored.uri}"):
        workspace.client("s3").download_file(bucket, key, str(path), ExtraArgs=version)
    if not stored.version_id and look(workspace, stored.uri).identity != stored.identity:
        path.unlink()
        raise NotFound(f"{stored.uri} changed while it was downloaded. Run again to take the new object.")
    mark.write_text(f"{stored.identity} {sha256_of(path)}")


def put(workspace: Workspace, path: Path, uri: str, sha256: str) -> StoredObject:
    """Upload `path` with its checksum as metadata, unless the object is there already."""
    if not holds(workspace, uri, sha256):
        bucket, key = split_uri(uri)
        with translated(f"uploading {path.name} to {uri}"):
            workspace.client("s3").upload_file(str(path), bucket, key, ExtraArgs={"Metadata": {"sha256": sha256}})
    return look(workspace, uri)


def sha256_of(path: Path) -> str:
    """Checksum of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
