"""Objects in S3: look, fetch, put. Transfers are streamed; a half-done one leaves nothing under the final name."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from aws.errors import NotFound, translated
from aws.workspace import Workspace, split_uri

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef


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


def under(workspace: Workspace, uri: str) -> Iterator[StoredObject]:
    """The objects whose URI begins with `uri`, in the order of their keys, as the listing describes them."""
    bucket, prefix = split_uri(uri)
    with translated(f"listing {uri}"):
        for page in workspace.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for found in page.get("Contents", []):
                at = f"s3://{bucket}/{found['Key']}"
                yield StoredObject(uri=at, size=found["Size"], etag=found["ETag"].strip('"'))


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
    if path.exists() and mark.exists() and mark.read_text() == f"{stored.identity} {_state(path)}":
        return
    mark.unlink(missing_ok=True)
    bucket, key = split_uri(stored.uri)
    version = {"VersionId": stored.version_id} if stored.version_id else None
    with translated(f"downloading {stored.uri}"):
        workspace.client("s3").download_file(bucket, key, str(path), ExtraArgs=version)
    if not stored.version_id and not _is_still(workspace, stored):
        path.unlink()
        raise NotFound(f"{stored.uri} changed while it was downloaded. Run again to take the new object.")
    mark.write_text(f"{stored.identity} {_state(path)}")


def _is_still(workspace: Workspace, stored: StoredObject) -> bool:
    now = look(workspace, stored.uri)
    return (now.etag, now.size) == (stored.etag, stored.size)  # a listing, where it may come from, tells no version


def _state(path: Path) -> str:
    """What changes when somebody writes to the file; reading all of it would cost as much as using it."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def put(workspace: Workspace, path: Path, uri: str, sha256: str) -> StoredObject:
    """Upload `path` with its checksum as metadata, unless the object is there already."""
    if not holds(workspace, uri, sha256):
        bucket, key = split_uri(uri)
        with translated(f"uploading {path.name} to {uri}"):
            workspace.client("s3").upload_file(str(path), bucket, key, ExtraArgs={"Metadata": {"sha256": sha256}})
    return look(workspace, uri)


def read_object(workspace: Workspace, uri: str) -> tuple[bytes, datetime]:
    """All of a small object, and when it was written (UTC)."""
    bucket, key = split_uri(uri)
    with translated(f"reading {uri}"):
        answer = workspace.client("s3").get_object(Bucket=bucket, Key=key)
        return answer["Body"].read(), answer["LastModified"]


def write_object(workspace: Workspace, uri: str, content: bytes) -> None:
    """Put a small JSON object in one call: readers see all of it, or what was there before."""
    bucket, key = split_uri(uri)
    with translated(f"writing {uri}"):
        workspace.client("s3").put_object(Bucket=bucket, Key=key, Body=content, ContentType="application/json")


def write_file(workspace: Workspace, path: Path, uri: str) -> None:
    """Upload a file, in parts when it is large; the object is there whole, or not at all."""
    bucket, key = split_uri(uri)
    with translated(f"writing {uri}"):
        workspace.client("s3").upload_file(str(path), bucket, key)


def remove_all(workspace: Workspace, uri: str) -> None:
    """Remove every object whose URI begins with `uri`."""
    bucket, _ = split_uri(uri)
    keys = [split_uri(found.uri)[1] for found in under(workspace, uri)]
    with translated(f"removing {uri}"):
        for start in range(0, len(keys), 1000):  # as many as one call takes
            chosen: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys[start : start + 1000]]
            workspace.client("s3").delete_objects(Bucket=bucket, Delete={"Objects": chosen, "Quiet": True})


def sha256_of(path: Path) -> str:
    """Checksum of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
