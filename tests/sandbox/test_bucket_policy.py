"""Bucket policies that deny writes by their encryption headers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.account import BUCKET
from sandbox.bucket_policy import denies_write

ENCRYPTION = "s3:x-amz-server-side-encryption"
KEY_ID = f"{ENCRYPTION}-aws-kms-key-id"
ARN = "arn:aws:s3:::data/a/b.csv"
DENY: dict[str, Any] = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::data/*"}
NONE: dict[str, str] = {}
AES = {"x-amz-server-side-encryption": "AES256"}
KMS = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "1234"}


@pytest.mark.parametrize(
    ("condition", "denied"),
    [
        ({}, (True, True, True)),
        ({"Null": {ENCRYPTION: "true"}}, (True, False, False)),
        ({"Null": {ENCRYPTION: True}}, (True, False, False)),
        ({"Null": {ENCRYPTION: "false"}}, (False, True, True)),
        ({"StringNotEquals": {ENCRYPTION: "aws:kms"}}, (True, True, False)),
        ({"StringNotEquals": {ENCRYPTION: ["aws:kms", "AES256"]}}, (True, False, False)),
        ({"StringNotEqualsIfExists": {ENCRYPTION: "aws:kms"}}, (True, True, False)),
        ({"StringNotEqualsIfExists": {KEY_ID: "5678"}}, (True, True, True)),
        ({"StringEquals": {ENCRYPTION: "AES256"}}, (False, True, False)),
        ({"Null": {ENCRYPTION: "false"}, "StringNotEquals": {ENCRYPTION: "aws:kms"}}, (False, True, False)),
        ({"Bool": {"aws:SecureTransport": "false"}}, (False, False, False)),
        ({"Null": {"s3:x-amz-acl": "true"}}, (False, False, False)),
    ],
    ids=str,
)
def test_a_condition_on_the_headers_decides(condition: dict[str, Any], denied: tuple[bool, ...]) -> None:
    policy = {"Statement": [DENY | {"Condition": condition}]}
    assert tuple(denies_write(policy, ARN, headers) for headers in (NONE, AES, KMS)) == denied


@pytest.mark.parametrize(
    ("change", "denied"),
    [
        ({"Action": "s3:*"}, True),
        ({"Action": ["s3:GetObject", "s3:Put*"]}, True),
        ({"Action": "s3:GetObject"}, False),
        ({"Effect": "Allow"}, False),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": "arn:aws:iam::123456789012:role/x"}}, False),
        ({"Resource": ["arn:aws:s3:::other/*", "arn:aws:s3:::data/a/*"]}, True),
        ({"Resource": "arn:aws:s3:::data/c/*"}, False),
    ],
    ids=str,
)
def test_a_statement_applies_to_its_action_principal_and_resource(change: dict[str, Any], *, denied: bool) -> None:
    assert denies_write({"Statement": DENY | change}, ARN, NONE) is denied


@pytest.fixture
def policy(user: Any) -> Iterator[dict[str, Any]]:
    """The policy of the bucket: it denies writing without encryption below protected/."""
    resource = f"arn:aws:s3:::{BUCKET}/protected/*"
    statement = DENY | {"Resource": resource, "Condition": {"Null": {ENCRYPTION: "true"}}}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    user.s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(document))
    yield document
    user.s3.delete_bucket_policy(Bucket=BUCKET)


def test_a_write_without_the_header_is_denied_as_by_s3(user: Any, policy: dict[str, Any]) -> None:
    assert json.loads(user.s3.get_bucket_policy(Bucket=BUCKET)["Policy"]) == policy
    place = {"Bucket": BUCKET, "Key": "protected/a b"}
    for write in (lambda: user.s3.put_object(**place, Body=b"x"), lambda: user.s3.create_multipart_upload(**place)):
        with pytest.raises(ClientError) as caught:
            write()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        assert caught.value.response["Error"]["Code"] == "AccessDenied"
        assert caught.value.response["Error"]["Message"] == (
            "User: arn:aws:iam::123456789012:user/sandbox is not authorized to perform: s3:PutObject on resource: "
            f'"arn:aws:s3:::{BUCKET}/protected/a b" with an explicit deny in a resource-based policy'
        )
    assert "protected/a b" not in user.object_keys()


@pytest.mark.usefixtures("policy")
def test_other_writes_are_performed(user: Any) -> None:
    user.s3.put_object(Bucket=BUCKET, Key="protected/a", Body=b"x", ServerSideEncryption="AES256")
    user.s3.put_object_tagging(Bucket=BUCKET, Key="protected/a", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    user.s3.put_object(Bucket=BUCKET, Key="elsewhere", Body=b"x")
    user.s3.delete_bucket_policy(Bucket=BUCKET)
    user.s3.put_object(Bucket=BUCKET, Key="protected/b", Body=b"x")
    assert {"protected/a", "protected/b", "elsewhere"} <= set(user.object_keys())
