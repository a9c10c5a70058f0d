"""Writes to buckets whose policy demands encryption headers, which the sandbox enforces."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aws.errors import AccessDenied, AwsError
from aws.preflight import check_workspace
from aws.storage import sha256_of, stat_object, upload_file, write_file, write_object
from aws.training.request import TrainingJobSpec
from aws.training.submission import start_or_adopt
from aws.workspace import Workspace

ENCRYPTION = "s3:x-amz-server-side-encryption"
KEY = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
CONDITIONS: list[dict[str, Any]] = [
    {"Null": {ENCRYPTION: "true"}},
    {"StringNotEquals": {ENCRYPTION: "aws:kms"}},
    {"StringNotEqualsIfExists": {f"{ENCRYPTION}-aws-kms-key-id": KEY}},
    {"Null": {f"{ENCRYPTION}-aws-kms-key-id": "true"}},
]
Deny = Callable[[dict[str, Any]], None]


@pytest.fixture
def bucket(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace with a bucket of its own, whose policy is removed after the test."""
    workspace.bucket.bucket_name = f"encrypted-{uuid.uuid4().hex[:12]}"
    s3 = workspace.client("s3")
    s3.create_bucket(Bucket=workspace.bucket.bucket_name)
    yield workspace
    s3.delete_bucket_policy(Bucket=workspace.bucket.bucket_name)


@pytest.fixture
def deny(bucket: Workspace) -> Deny:
    """A function that denies writing to the bucket under a condition."""

    def put(condition: dict[str, Any]) -> None:
        name = bucket.bucket.bucket_name
        statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{name}/*"}
        policy = {"Version": "2012-10-17", "Statement": [statement | {"Condition": condition}]}
        bucket.client("s3").put_bucket_policy(Bucket=name, Policy=json.dumps(policy))

    return put


def make_key(workspace: Workspace) -> str:
    return workspace.client("kms").create_key()["KeyMetadata"]["Arn"]


def write_everything(workspace: Workspace, folder: Path) -> None:
    """Write with every function that writes: the preflight object, a result, a small file and one in several parts."""
    assert check_workspace(workspace) == ()
    write_object(workspace, workspace.uri("result"), b"{}")
    for name, size in (("small", 10), ("large", 9 << 20)):
        (folder / name).write_bytes(bytes(size))
        upload_file(workspace, folder / name, workspace.uri(name), sha256_of(folder / name))
    write_file(workspace, folder / "small", workspace.uri("work"))


@pytest.mark.parametrize("condition", CONDITIONS, ids="+".join)
def test_with_a_kms_key_all_writes_satisfy_the_policy(
    bucket: Workspace, deny: Deny, tmp_path: Path, condition: dict[str, Any]
) -> None:
    bucket.kms_key_id = key = make_key(bucket)
    deny(json.loads(json.dumps(condition).replace(KEY, key)))
    write_everything(bucket, tmp_path)
    for name in ("result", "small", "large", "work"):
        head = bucket.client("s3").head_object(Bucket=bucket.bucket.bucket_name, Key=bucket.key(name))
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
    assert stat_object(bucket, bucket.uri("large")).sha256 == sha256_of(tmp_path / "large")


def test_a_job_writes_its_model_with_the_key(
    bucket: Workspace, deny: Deny, make_spec: Callable[..., TrainingJobSpec], wait_for_end: Callable[[str], Any]
) -> None:
    spec = make_spec()  # writes its channel without a key
    bucket.kms_key_id = key = make_key(bucket)
    deny({"StringNotEquals": {ENCRYPTION: "aws:kms"}})
    job = wait_for_end(start_or_adopt(bucket, spec, "run", {}).name)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    model = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{bucket.bucket.bucket_name}/")
    assert bucket.client("s3").head_object(Bucket=bucket.bucket.bucket_name, Key=model)["SSEKMSKeyId"] == key


def test_without_a_key_the_message_names_the_header_and_the_key_of_the_workspace(
    bucket: Workspace, deny: Deny, tmp_path: Path
) -> None:
    deny(CONDITIONS[0])
    (tmp_path / "large").write_bytes(bytes(9 << 20))
    writes: tuple[Callable[[], object], ...] = (
        lambda: check_workspace(bucket),
        lambda: write_object(bucket, bucket.uri("result"), b"{}"),
        lambda: upload_file(bucket, tmp_path / "large", bucket.uri("large"), "0" * 64),
    )
    for write in writes:
        with pytest.raises(AccessDenied, match="explicit deny in a resource-based policy") as caught:
            write()
        message = str(caught.value)
        assert "x-amz-server-side-encryption, set the workspace's KMS key" in message
        assert "Otherwise remove the statement that denies s3:PutObject on arn:aws:s3:::encrypted-" in message


def test_a_denial_without_a_reason_names_the_header_too(workspace: Workspace, inject: Callable[..., None]) -> None:
    inject(kind="access-denied", action="PutObject")
    with pytest.raises(AwsError, match="x-amz-server-side-encryption, set the workspace's KMS key"):
        write_object(workspace, workspace.uri("result"), b"{}")
