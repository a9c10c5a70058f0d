"""Objects in S3: equal content is not uploaded again, and a download is complete or leaves no file."""

import hashlib
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE

import pytest
from s3transfer.utils import OSUtils

from aws.errors import NotFound
from aws.storage import download_object, has_checksum, sha256_of, stat_object, upload_file
from aws.workspace import Workspace

Calls = Callable[[], Counter[str]]
PutObject = Callable[[str, bytes], str]


@pytest.fixture
def versioned(workspace: Workspace) -> Workspace:
    """A workspace with a versioned bucket, in which every PUT can be counted."""
    workspace.bucket.bucket_name = f"versioned-{workspace.prefix[-12:]}"
    s3 = workspace.client("s3")
    s3.create_bucket(Bucket=workspace.bucket.bucket_name)
    s3.put_bucket_versioning(Bucket=workspace.bucket.bucket_name, VersioningConfiguration={"Status": "Enabled"})
    return workspace


def write_file(path: Path, content: bytes) -> tuple[Path, str]:
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def versions(workspace: Workspace, name: str) -> int:
    response = workspace.client("s3").list_object_versions(
        Bucket=workspace.bucket.bucket_name, Prefix=workspace.key(name)
    )
    return len(response["Versions"])


def test_a_files_checksum_is_sha256(tmp_path: Path) -> None:
    path, sha256 = write_file(tmp_path / "file", random.Random(0).randbytes(3 << 20))  # noqa: S311 - not cryptographic
    assert sha256_of(path) == sha256


def test_an_uploaded_object_has_its_checksum(workspace: Workspace, tmp_path: Path) -> None:
    path, sha256 = write_file(tmp_path / "file", b"1,2\n")
    upload_file(workspace, path, workspace.uri("a b/ü.csv"), sha256)
    stored = stat_object(workspace, workspace.uri("a b/ü.csv"))
    assert (stored.sha256, stored.size, stored.version_id) == (sha256, 4, None)
    assert stored.etag == hashlib.md5(b"1,2\n").hexdigest()  # noqa: S324 - the ETag of S3
    assert has_checksum(workspace, stored.uri, sha256)
    assert not has_checksum(workspace, stored.uri, "0" * 64)


def test_an_object_of_another_program_has_no_checksum(workspace: Workspace, put_object: PutObject) -> None:
    uri = put_object("table", b"1,2\n")
    assert stat_object(workspace, uri).sha256 is None
    assert not has_checksum(workspace, uri, hashlib.sha256(b"1,2\n").hexdigest())


def test_only_changed_content_is_uploaded_again(versioned: Workspace, tmp_path: Path) -> None:
    uri = versioned.uri("table")
    upload_file(versioned, *reordered(write_file(tmp_path / "file", b"first"), uri))
    first = stat_object(versioned, uri)
    upload_file(versioned, *reordered(write_file(tmp_path / "file", b"first"), uri))
    assert stat_object(versioned, uri) == first
    assert versions(versioned, "table") == 1
    upload_file(versioned, *reordered(write_file(tmp_path / "file", b"other"), uri))
    second = stat_object(versioned, uri)
    assert versions(versioned, "table") == 2
    assert second.identity != first.identity


def reordered(file: tuple[Path, str], uri: str) -> tuple[Path, str, str]:
    path, sha256 = file
    return path, uri, sha256


def test_identity_depends_on_the_content_in_an_unversioned_bucket(workspace: Workspace, put_object: PutObject) -> None:
    first = stat_object(workspace, put_object("table", b"1"))
    assert stat_object(workspace, put_object("table", b"1")).identity == first.identity
    assert stat_object(workspace, put_object("elsewhere", b"1")).identity == first.identity
    assert stat_object(workspace, put_object("table", b"2")).identity != first.identity


def test_the_described_version_is_downloaded(versioned: Workspace, put_object: PutObject, tmp_path: Path) -> None:
    old = stat_object(versioned, put_object("table", b"old"))
    put_object("table", b"new")
    download_object(versioned, old, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_download_replaces_an_existing_file(workspace: Workspace, put_object: PutObject, tmp_path: Path) -> None:
    for content in (b"first", b"second", b"third!"):
        download_object(workspace, stat_object(workspace, put_object("table", content)), tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == content


def test_downloading_a_deleted_object_leaves_no_file(
    workspace: Workspace, put_object: PutObject, tmp_path: Path
) -> None:
    stored = stat_object(workspace, put_object("table", b"content"))
    workspace.client("s3").delete_object(Bucket=workspace.bucket.bucket_name, Key=workspace.key("table"))
    with pytest.raises(NotFound):
        download_object(workspace, stored, tmp_path / "folder" / "file")
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize("later", [b"longer than before", b"CONTENT"])
def test_downloading_a_changed_object_raises_not_found(
    workspace: Workspace, put_object: PutObject, tmp_path: Path, later: bytes
) -> None:
    stored = stat_object(workspace, put_object("table", b"content"))
    put_object("table", later)
    with pytest.raises(NotFound, match="changed while"):
        download_object(workspace, stored, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_a_missing_object_or_bucket_raises_not_found_with_its_uri(workspace: Workspace) -> None:
    for uri in (workspace.uri("nothing"), "s3://missing-bucket/table.csv"):
        with pytest.raises(NotFound, match=uri):
            stat_object(workspace, uri)
        assert not has_checksum(workspace, uri, "0" * 64)


@pytest.mark.parametrize("name", ["table.csv", "table[1].csv", "t*.csv"])
def test_a_download_removes_only_partial_files_of_the_same_name(
    workspace: Workspace, put_object: PutObject, tmp_path: Path, name: str
) -> None:
    stored = stat_object(workspace, put_object("table", b"content"))
    leftover = Path(OSUtils().get_temp_filename(str(tmp_path / f".{name}.partial")))  # as boto3 names it
    other_files = [
        tmp_path / f".table1.csv.partial{leftover.suffix}",
        tmp_path / f"{name}.partial",
        tmp_path / "table.csv2",
    ]
    for path in (leftover, *other_files):
        path.write_bytes(b"cont")
    download_object(workspace, stored, tmp_path / name)
    assert set(tmp_path.iterdir()) == {tmp_path / name, *other_files}


DOWNLOAD_SCRIPT = """
import sys
from pathlib import Path
from aws.storage import download_object, stat_object
from sandbox import client

workspace = client.make_workspace(sys.argv[1])
print("ready", flush=True)
input()
download_object(workspace, stat_object(workspace, sys.argv[2]), Path(sys.argv[3]))
"""


def test_a_download_succeeds_after_another_process_was_killed_while_downloading(
    workspace: Workspace,
    put_object: PutObject,
    tmp_path: Path,
    calls: Calls,
    inject: Callable[..., None],
    sandbox_url: str,
) -> None:
    uri, path = put_object("table", bytes(1 << 20)), tmp_path / "file"
    line = [sys.executable, "-c", DOWNLOAD_SCRIPT, sandbox_url, uri, str(path)]
    inject(kind="slow-answer", action="GetObject", seconds=1)
    with ThreadPoolExecutor(1) as pool, subprocess.Popen(line, stdin=PIPE, stdout=PIPE, text=True) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        stored, before = stat_object(workspace, uri), calls()
        other.stdin.write("\n")
        other.stdin.flush()
        while not (calls() - before)["s3:GetObject"]:
            assert other.poll() is None
        download = pool.submit(download_object, workspace, stored, path)
        other.kill()
        download.result()
    assert path.read_bytes() == bytes(1 << 20)
    assert {found.name for found in tmp_path.iterdir()} == {"file"}


def test_a_multipart_upload_is_downloaded_unchanged(workspace: Workspace, tmp_path: Path) -> None:
    path, sha256 = write_file(tmp_path / "large", random.Random(1).randbytes((17 << 20) + 1))  # noqa: S311 - not cryptographic
    upload_file(workspace, path, workspace.uri("large"), sha256)
    stored = stat_object(workspace, workspace.uri("large"))
    assert (stored.sha256, stored.size) == (sha256, (17 << 20) + 1)
    assert stored.etag.endswith("-3")
    download_object(workspace, stored, tmp_path / "back")
    assert sha256_of(tmp_path / "back") == sha256
