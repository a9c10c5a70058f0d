"""Objects in S3. Transfers are streamed; an interrupted transfer leaves nothing under the final name."""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from boto3.s3.transfer import TransferConfig
from pydantic import BaseModel

from aws.errors import NotFound, translate_errors
from aws.workspace import Workspace, split_uri

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef


MAX_PUT_BYTES = 5 << 30
"""The largest object that S3 takes in one call."""


class StoredObject(BaseModel, frozen=True):
    """The properties of an object in S3."""

    uri: str
    size: int
    etag: str
    version_id: str | None = None
    sha256: str | None = None
    """Checksum that `upload_file` recorded; None for objects that another program uploaded."""

    @property
    def identity(self) -> str:
        """A string that changes with the content: the version if the bucket is versioned, otherwise ETag and size."""
        return f"{self.uri}@{self.version_id}" if self.version_id else f"{self.etag}-{self.size}"


def stat_object(workspace: Workspace, uri: str) -> StoredObject:
    """Return the properties of the object at `uri`; raises NotFound when the object or its bucket does not exist."""
    bucket, key = split_uri(uri)
    try:
        with translate_errors(f"looking for {uri}"):
            head = workspace.client("s3").head_object(Bucket=bucket, Key=key)
    except NotFound as error:
        # S3's response to a HEAD has no body, so its message is only "Not Found".
        raise NotFound(f"There is no object {uri}. Check the bucket's name, the key and the region.") from error
    return StoredObject(
        uri=uri,
        size=head["ContentLength"],
        etag=head["ETag"].strip('"'),
        version_id=None if head.get("VersionId") == "null" else head.get("VersionId"),
        sha256=head["Metadata"].get("sha256"),
    )


def list_objects(workspace: Workspace, uri: str) -> Iterator[StoredObject]:
    """Yield the objects whose URI begins with `uri`, in the order of their keys, without version and checksum."""
    bucket, prefix = split_uri(uri)
    with translate_errors(f"listing {uri}"):
        for page in workspace.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                item_uri = f"s3://{bucket}/{item['Key']}"
                yield StoredObject(uri=item_uri, size=item["Size"], etag=item["ETag"].strip('"'))


def has_checksum(workspace: Workspace, uri: str, sha256: str) -> bool:
    """Whether the object at `uri` exists and has this recorded checksum."""
    try:
        return stat_object(workspace, uri).sha256 == sha256
    except NotFound:
        return False


def download_object(workspace: Workspace, stored: StoredObject, path: Path) -> None:
    """Download to `path`, completely or not at all; raises NotFound when the object is missing or has changed.

    Processes that download to the same folder wait for each other; partial files of killed processes are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        _download(workspace, stored, path)
    finally:
        os.close(folder)


def _download(workspace: Workspace, stored: StoredObject, path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    # boto3 writes to this name with a random suffix, and renames the file once it is complete.
    for leftover in path.parent.glob(f"{escape(partial.name)}*"):
        leftover.unlink()
    bucket, key = split_uri(stored.uri)
    version = {"VersionId": stored.version_id} if stored.version_id else None
    with translate_errors(f"downloading {stored.uri}"):
        workspace.client("s3").download_file(bucket, key, str(partial), ExtraArgs=version)
    if not stored.version_id:  # an object from a listing has none, even if its bucket is versioned
        current = stat_object(workspace, stored.uri)
        if (current.etag, current.size) != (stored.etag, stored.size):
            partial.unlink()
            raise NotFound(f"{stored.uri} changed while it was downloaded. Run again to use the new object.")
    partial.replace(path)


class Encryption(TypedDict, total=False):
    """The parameters of S3's write operations that name the encryption of an object."""

    ServerSideEncryption: Literal["aws:kms"]
    SSEKMSKeyId: str


def write_encryption(workspace: Workspace) -> Encryption:
    """Return the parameters with which every object is written: the workspace's KMS key, if it has one.

    Bucket policies may demand the headers that S3 receives for them. Without a key the bucket's default applies.
    """
    key = workspace.kms_key_id
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}


def upload_file(workspace: Workspace, path: Path, uri: str, sha256: str) -> None:
    """Upload `path` with its checksum as metadata, unless the object at `uri` has that checksum already."""
    if not has_checksum(workspace, uri, sha256):
        write_file(workspace, path, uri, {"sha256": sha256})


def read_object(workspace: Workspace, uri: str) -> tuple[bytes, datetime]:
    """Return the content of a small object and the time of its last modification (UTC)."""
    bucket, key = split_uri(uri)
    with translate_errors(f"reading {uri}"):
        response = workspace.client("s3").get_object(Bucket=bucket, Key=key)
        return response["Body"].read(), response["LastModified"]


def read_start(workspace: Workspace, uri: str, size: int) -> bytes:
    """Return at most the first `size` bytes of an object that is not empty."""
    bucket, key = split_uri(uri)
    with translate_errors(f"reading {uri}"):
        return workspace.client("s3").get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{size - 1}")["Body"].read()


def write_object(workspace: Workspace, uri: str, content: bytes, metadata: Mapping[str, str] | None = None) -> None:
    """Write a small JSON object in one call: readers see either the previous or the complete new content."""
    bucket, key = split_uri(uri)
    with translate_errors(f"writing {uri}"):
        workspace.client("s3").put_object(
            Bucket=bucket,
            Key=key,
            Body=content,
            ContentType="application/json",
            Metadata=metadata or {},
            **write_encryption(workspace),
        )


def write_file(
    workspace: Workspace,
    path: Path,
    uri: str,
    metadata: Mapping[str, str] | None = None,
    part_threshold: int = 8 << 20,
) -> None:
    """Upload a file, in parts from `part_threshold` bytes on; the object is written completely or not at all.

    The parts of a process that was killed stay in the bucket, invisible, until its lifecycle rule removes them.
    """
    bucket, key = split_uri(uri)
    options = {"Metadata": metadata or {}, **write_encryption(workspace)}
    config = TransferConfig(multipart_threshold=part_threshold)
    with translate_errors(f"uploading {path.name} to {uri}"):
        workspace.client("s3").upload_file(str(path), bucket, key, ExtraArgs=options, Config=config)


def delete_objects(workspace: Workspace, uri: str) -> None:
    """Delete every object whose URI begins with `uri`."""
    bucket, prefix = split_uri(uri)
    s3 = workspace.client("s3")
    with translate_errors(f"removing {uri}"):
        # A page has at most as many objects as one call can delete.
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            if found := page.get("Contents"):
                keys: list[ObjectIdentifierTypeDef] = [{"Key": item["Key"]} for item in found]
                s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def sha256_of(path: Path) -> str:
    """Return the checksum of a file, which is read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file_with(path: Path, sha256: str) -> bool:
    """Return whether there is a file with this checksum; another process may remove it at any time."""
    try:
        return sha256_of(path) == sha256
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
