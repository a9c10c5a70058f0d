"""The contents of S3 survive a restart of the server."""

import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.account import BUCKET
from sandbox.storage import Emulator, ObjectStore, make_environ

Restart = Callable[[], Any]
UNUSUAL_KEYS = [
    "a b",
    "ü/é",
    "100%/%2F",
    "plus+and&?#=",
    "a//b",
    "dir/",
    "..",
    "a/../b",
    "'\"<>\\",
    "x" * 1024,
    "a:b|c*",
    "日本",
]


def state(user: Any, bucket: str = BUCKET) -> dict[str, Any]:
    """Content and attributes of all objects of a bucket, by key."""
    found = {}
    for key in user.object_keys(bucket):
        response = user.s3.get_object(Bucket=bucket, Key=key)
        fields = ("ETag", "ContentType", "Metadata", "ContentEncoding", "CacheControl", "TagCount")
        found[key] = {name: response.get(name) for name in fields} | {"bytes": response["Body"].read()}
    return found


def test_objects_with_unusual_keys_survive(restart: Restart) -> None:
    user = restart()
    for key in UNUSUAL_KEYS:
        user.s3.put_object(Bucket=BUCKET, Key=key, Body=f"under {key}".encode())
    before = state(user)
    assert set(UNUSUAL_KEYS) <= set(before)
    assert state(restart()) == before


def test_headers_metadata_and_tags_of_an_object_survive(restart: Restart) -> None:
    user = restart()
    user.s3.put_object(
        Bucket=BUCKET,
        Key="described",
        Body=b"a,b\n",
        ContentType="text/csv",
        ContentEncoding="identity",
        CacheControl="no-cache",
        Metadata={"row_count": "1", "made-by": "hand"},
        Tagging="team=blue&cost=7",
    )
    checksum = user.s3.put_object(Bucket=BUCKET, Key="checked", Body=b"x", ChecksumAlgorithm="SHA256")["ChecksumSHA256"]
    before = state(user)
    assert before["described"]["Metadata"] == {"row_count": "1", "made-by": "hand"}
    user = restart()
    assert state(user) == before
    tags = user.s3.get_object_tagging(Bucket=BUCKET, Key="described")["TagSet"]
    assert sorted((tag["Key"], tag["Value"]) for tag in tags) == [("cost", "7"), ("team", "blue")]
    head = user.s3.head_object(Bucket=BUCKET, Key="checked", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == checksum


def test_etags_of_objects_uploaded_in_one_or_many_parts_survive(restart: Restart) -> None:
    user = restart()
    sizes = [0, 1, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, (16 << 20) + 5]
    for size in sizes:
        user.s3.upload_fileobj(io.BytesIO(bytes(size)), BUCKET, f"size/{size}", ExtraArgs={"ContentType": "text/csv"})
    heads = [user.s3.head_object(Bucket=BUCKET, Key=f"size/{size}") for size in sizes]
    assert ["-" in head["ETag"] for head in heads] == [False, False, False, True, True, True]
    user = restart()
    restored = [user.s3.head_object(Bucket=BUCKET, Key=f"size/{size}") for size in sizes]
    for name in ("ETag", "ContentLength", "ContentType"):
        assert [head[name] for head in restored] == [head[name] for head in heads]


def test_all_operations_that_change_an_object_are_stored(restart: Restart) -> None:
    user = restart()
    s3 = user.s3
    for key in ("unchanged", "overwritten", "deleted", "purged/1", "purged/2 &<"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"first")
    s3.put_object(Bucket=BUCKET, Key="overwritten", Body=b"second")
    s3.copy_object(Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": "unchanged"})
    s3.delete_object(Bucket=BUCKET, Key="deleted")
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "purged/1"}, {"Key": "purged/2 &<"}], "Quiet": True})
    s3.put_object_tagging(Bucket=BUCKET, Key="unchanged", Tagging={"TagSet": [{"Key": "late", "Value": "tag"}]})
    before = state(user)
    assert {"unchanged", "overwritten", "copied"} <= set(before)
    assert not {"deleted", "purged/1", "purged/2 &<"} & set(before)
    assert state(restart()) == before


def test_of_concurrent_writes_to_a_key_the_last_one_survives(restart: Restart) -> None:
    user = restart()

    def write(number: int) -> None:
        user.s3.put_object(Bucket=BUCKET, Key=f"contended/{number % 3}", Body=str(number).encode() * 1000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(60)))
    before = state(user)
    assert state(restart()) == before


def test_a_rejected_conditional_write_changes_nothing(restart: Restart) -> None:
    user = restart()
    user.s3.put_object(Bucket=BUCKET, Key="once", Body=b"first")
    with pytest.raises(user.s3.exceptions.ClientError):
        user.s3.put_object(Bucket=BUCKET, Key="once", Body=b"second", IfNoneMatch="*")
    assert restart().read("once") == b"first"


def test_an_unfinished_multipart_upload_is_not_an_object(restart: Restart) -> None:
    user = restart()
    upload = user.s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    user.s3.upload_part(Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")
    assert "parts" not in restart().object_keys()


def test_buckets_survive_with_the_latest_version_of_each_object(restart: Restart) -> None:
    user = restart()
    for bucket in ("new", "deleted", "versioned"):
        user.s3.create_bucket(Bucket=bucket)
    user.s3.delete_bucket(Bucket="deleted")
    user.s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    user.s3.put_object(Bucket="versioned", Key="k", Body=b"old")
    user.s3.put_object(Bucket="versioned", Key="k", Body=b"new")
    user = restart()
    assert [b["Name"] for b in user.s3.list_buckets()["Buckets"]] == [BUCKET, "new", "versioned"]
    assert user.s3.get_object(Bucket="versioned", Key="k")["Body"].read() == b"new"


def test_a_sandbox_starts_with_a_sample_table_also_after_it_was_deleted(restart: Restart) -> None:
    user = restart()
    table = user.read("output/transformed_data.csv")
    assert table.startswith(b"age,")
    user.s3.delete_object(Bucket=BUCKET, Key="output/transformed_data.csv")
    assert restart().read("output/transformed_data.csv") == table


def test_a_table_of_the_user_is_not_overwritten(restart: Restart) -> None:
    restart().s3.put_object(Bucket=BUCKET, Key="output/transformed_data.csv", Body=b"mine")
    assert restart().read("output/transformed_data.csv") == b"mine"


def test_a_damaged_file_is_reported_and_the_others_are_restored(
    restart: Restart, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restart().s3.put_object(Bucket=BUCKET, Key="good", Body=b"good")
    damaged = state_dir / "s3" / BUCKET / hashlib.sha256(b"bad").hexdigest()
    damaged.write_bytes(b"not what it should be")
    assert "good" in restart().object_keys()
    assert str(damaged) in capsys.readouterr().err
    assert damaged.exists()


def test_a_write_that_fails_on_disk_is_an_error_response(restart: Restart) -> None:
    user = restart()
    bucket = user.sandbox.state_dir / "s3" / "full"
    user.s3.create_bucket(Bucket="full")
    bucket.rmdir()
    bucket.write_text("a file where the folder was")
    url = user.s3.generate_presigned_url("put_object", Params={"Bucket": "full", "Key": "k"})
    with pytest.raises(HTTPError, match="500"):
        urlopen(Request(url, data=b"lost", method="PUT"))  # noqa: S310
    bucket.unlink()


def test_a_presigned_upload_survives(restart: Restart) -> None:
    url = restart().s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "signed"})
    urlopen(Request(url, data=b"content", method="PUT", headers={"Content-Type": "text/csv"})).close()  # noqa: S310
    assert restart().read("signed") == b"content"


# Without line breaks: moto ends the path of a request there.
KEYS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
changes = st.lists(st.tuples(st.sampled_from(["PUT", "DELETE"]), KEYS, st.binary(max_size=20)), max_size=12)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=changes)
def test_disk_and_emulator_are_equal_after_any_changes(
    tmp_path_factory: Any, changes: list[tuple[str, str, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("s3")
    store = ObjectStore(folder, Emulator())
    store.put("bucket")
    expected: dict[str, bytes] = {}
    for method, key, body in changes:
        if store.perform(make_environ("s3", method, f"/bucket/{key}", body=body)).status_code >= 300:
            continue
        expected = {k: v for k, v in expected.items() if k != key} | ({key: body} if method == "PUT" else {})
    restored = Emulator()
    ObjectStore(folder, restored).restore()
    for key in {key for _, key, _ in changes}:
        response = restored.request("s3", "GET", f"/bucket/{key}")
        assert (response.get_data() if response.status_code == 200 else None) == expected.get(key)
