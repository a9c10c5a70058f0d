"""The pre-flight check against the sandbox: its calls, errors and warnings."""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from prefect_aws import AwsCredentials
from prefect_aws.client_parameters import AwsClientParameters
from pydantic import SecretStr

from aws.errors import AccessDenied, AwsError, InvalidRequest, NotFound, Unavailable
from aws.preflight import check_workspace
from aws.training.compute import Compute
from aws.workspace import Workspace

Inject = Callable[..., None]
Calls = Callable[[], Counter[str]]
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
USUAL_CALLS = {
    "sts:GetCallerIdentity": 1,
    "s3:HeadBucket": 1,
    "s3:PutObject": 2,
    "s3:GetObject": 1,
    "s3:DeleteObject": 1,
    "pricing:GetProducts": 1,
    "iam:GetRole": 1,
    "logs:DescribeLogStreams": 1,
    "logs:GetLogEvents": 1,
}


def problem(workspace: Workspace) -> AwsError:
    """Return the error that the pre-flight check raises."""
    with pytest.raises(AwsError) as caught:
        check_workspace(workspace)
    return caught.value


def changed(workspace: Workspace, bucket: str = "", **fields: Any) -> Workspace:
    """Return a copy of the workspace with other fields."""
    bucket_block = workspace.bucket.model_copy(update={"bucket_name": bucket}) if bucket else workspace.bucket
    return workspace.model_copy(update={"bucket": bucket_block} | fields)


def with_credentials(workspace: Workspace, **fields: Any) -> Workspace:
    credentials = workspace.bucket.credentials.model_copy(update=fields)
    return workspace.model_copy(update={"bucket": workspace.bucket.model_copy(update={"credentials": credentials})})


def make_role(workspace: Workspace, path: str = "/") -> str:
    """Create a role that no other test uses; return its ARN."""
    policy, name = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]}), f"role-{uuid.uuid4().hex}"
    role = workspace.client("iam").create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=policy)
    return role["Role"]["Arn"]


def make_key(workspace: Workspace, **fields: Any) -> str:
    return workspace.client("kms").create_key(**fields)["KeyMetadata"]["KeyId"]


def probes(workspace: Workspace) -> list[int]:
    """Return the sizes of the objects that the check of the bucket left in it."""
    prefix = workspace.key("preflight")
    listed = workspace.client("s3").list_objects_v2(Bucket=workspace.bucket.bucket_name, Prefix=prefix)
    return [item["Size"] for item in listed.get("Contents", [])]


def test_a_valid_workspace_takes_ten_calls_and_gives_no_warning(workspace: Workspace, calls: Calls) -> None:
    before = calls()
    assert check_workspace(workspace) == ()
    assert calls() - before == USUAL_CALLS
    assert probes(workspace) == []


def test_an_unknown_instance_type_gets_three_close_names(workspace: Workspace) -> None:
    mistyped = Compute(instance_type="ml.m5.lagre", fallback_instance_types=("ml.m5.xlarge", "ml.x9.large"))
    with pytest.raises(InvalidRequest) as error:
        check_workspace(changed(workspace, prices={"ml.x9.large": 1.0}), mistyped)
    assert "no instance type ml.m5.lagre for training. Did you mean ml.m5.large or " in str(error.value)
    assert str(error.value).count("ml.m5.lagre") == 1
    assert len(str(error.value)) < 300


def test_a_kms_key_takes_another_call(workspace: Workspace, calls: Calls) -> None:
    encrypted = changed(workspace, kms_key_id=make_key(workspace))
    before = calls()
    assert check_workspace(encrypted) == ()
    assert calls() - before == USUAL_CALLS | {"kms:DescribeKey": 1}


def test_all_problems_are_listed_in_one_error(workspace: Workspace) -> None:
    broken = changed(
        workspace,
        bucket="does-not-exist",
        role_arn="arn:aws:iam::123456789012:role/does-not-exist",
        kms_key_id="alias/does-not-exist",
        subnets=["subnet-0a1b2c3d", "vpc-0a1b2c3d"],
        security_group_ids=["default"],
    )
    error = problem(broken)
    assert type(error) is NotFound
    first, *numbered = str(error).split("\n")
    assert first == "5 problems prevent training with this workspace:"
    expected = (
        "1. There is no bucket does-not-exist",
        "2. There is no role arn:aws:iam::123456789012:role/does-not-exist",
        "3. There is no KMS key alias/does-not-exist",
    )
    for line, start in zip(numbered, (*expected, "4. 'vpc-0a1b2c3d'", "5. 'default'"), strict=True):
        assert line.startswith(start)


def test_the_error_has_the_class_of_the_first_problem_that_is_not_retryable(hasty: Workspace, inject: Inject) -> None:
    inject(kind="service-error", action="PutObject")
    assert type(problem(hasty)) is Unavailable
    inject(kind="service-error", action="PutObject")
    error = problem(changed(hasty, subnets=["one"], security_group_ids=["sg-1"]))
    assert type(error) is InvalidRequest
    assert "1. AWS failed while writing the empty object" in str(error)


def test_missing_credentials_are_reported_together_with_invalid_network_ids_and_a_missing_bucket(
    workspace: Workspace, calls: Calls
) -> None:
    without_credentials = with_credentials(workspace, profile_name="nobody")
    before = calls()
    error = problem(changed(without_credentials, bucket="no-such-bucket", subnets=["one"], security_group_ids=["sg-1"]))
    assert type(error) is AccessDenied
    assert calls() - before == {"s3:HeadBucket": 1}
    assert "There is no bucket no-such-bucket" in str(error)
    assert "Check the workspace's credentials" in str(error)
    assert "'one' is not an id such as subnet-" in str(error)


def test_no_error_contains_a_secret(workspace: Workspace) -> None:
    keys = workspace.client("sts").assume_role(RoleArn=make_role(workspace), RoleSessionName="nightly")["Credentials"]
    session = with_credentials(
        workspace,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=SecretStr(keys["SecretAccessKey"]),
        aws_session_token=keys["SessionToken"],
    )
    credentials = session.bucket.credentials
    assert isinstance(credentials, AwsCredentials)
    assert credentials.aws_secret_access_key
    message = str(problem(changed(session, bucket="does-not-exist")))
    assert credentials.aws_secret_access_key.get_secret_value() not in message
    assert str(credentials.aws_session_token) not in message


def test_the_role_must_belong_to_the_callers_account(workspace: Workspace, calls: Calls) -> None:
    before = calls()
    error = problem(changed(workspace, role_arn="arn:aws:iam::210987654321:role/training"))
    assert type(error) is AccessDenied
    assert "user/sandbox cannot pass arn:aws:iam::210987654321:role/training of another account" in str(error)
    assert not [call for call in calls() - before if call.startswith("iam:")]


def test_an_unknown_caller_is_a_warning(workspace: Workspace, inject: Inject) -> None:
    inject(kind="access-denied", action="GetCallerIdentity")
    (warning,) = check_workspace(workspace)
    assert warning.startswith("Not checked: the identity of the credentials. AWS failed while ")


def test_nothing_is_written_to_a_missing_bucket(workspace: Workspace, calls: Calls) -> None:
    before = calls()
    error = problem(changed(workspace, bucket="does-not-exist"))
    assert type(error) is NotFound
    assert str(error).endswith("Correct its name in the workspace, or create it in us-east-1.")
    assert "s3:PutObject" not in calls() - before


def test_nothing_is_written_to_a_bucket_of_another_region(workspace: Workspace, calls: Calls) -> None:
    far = f"far-{uuid.uuid4().hex}"
    workspace.client("s3").create_bucket(Bucket=far, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    before = calls()
    error = problem(changed(workspace, bucket=far))
    assert type(error) is InvalidRequest
    assert f"Bucket {far} is in eu-west-1, but the workspace is in us-east-1" in str(error)
    assert "s3:PutObject" not in calls() - before


class OtherRegionHandler(BaseHTTPRequestHandler):
    """Responds to a HEAD as S3 does for a bucket of another region; rejects all requests to other services."""

    status, code = 301, "AccessDenied"

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.send_header("x-amz-bucket-region", "eu-west-1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = f"<ErrorResponse><Error><Code>{self.code}</Code><Message>no</Message></Error></ErrorResponse>".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other_region() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherRegionHandler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [301, 400, 403])
def test_the_region_is_read_from_a_redirect_or_denial_of_s3(
    workspace: Workspace, other_region: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(OtherRegionHandler, "status", status)
    parameters = AwsClientParameters(endpoint_url=other_region, config={"retries": {"total_max_attempts": 1}})
    error = problem(with_credentials(workspace, aws_client_parameters=parameters))
    assert type(error) is InvalidRequest
    assert "is in eu-west-1, but the workspace is in us-east-1" in str(error)


def test_expired_credentials_are_reported_once_with_what_an_unsigned_request_finds_out_about_the_bucket(
    workspace: Workspace, other_region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OtherRegionHandler, "code", "ExpiredToken")
    error = problem(with_credentials(workspace, aws_client_parameters=AwsClientParameters(endpoint_url=other_region)))
    assert type(error) is AccessDenied
    assert "ExpiredToken: no. If the workspace's AWS Credentials block contains the keys, store new ones" in str(error)
    assert str(error).startswith("2 problems ")
    assert "is in eu-west-1, but the workspace is in us-east-1" in str(error)


def test_credentials_that_cannot_assume_their_role_are_an_error(workspace: Workspace, inject: Inject) -> None:
    inject(kind="access-denied", action="AssumeRole")
    error = problem(with_credentials(workspace, assume_role_arn="arn:aws:iam::123456789012:role/deployer"))
    assert type(error) is AccessDenied
    assert str(error).startswith("AWS failed while looking up the identity of the credentials: AccessDenied")
    assert "The role of the workspace's credentials could not be assumed" in str(error)


def test_a_denied_head_bucket_is_a_warning_if_the_bucket_is_writable(workspace: Workspace, inject: Inject) -> None:
    inject(kind="access-denied", action="HeadBucket")
    (warning,) = check_workspace(workspace)
    assert "grant them s3:ListBucket on the bucket" in warning


def test_a_denied_write_is_an_error_that_names_the_permission(workspace: Workspace, inject: Inject) -> None:
    inject(kind="access-denied", action="PutObject")
    error = problem(workspace)
    assert type(error) is AccessDenied
    assert f"{workspace.uri('preflight')} to check the permission" in str(error)
    assert "grant them s3:PutObject on the object." in str(error)


def test_without_permission_to_delete_one_empty_object_remains(workspace: Workspace, inject: Inject) -> None:
    inject(kind="access-denied", action="DeleteObject", times=2)
    assert [check_workspace(workspace), check_workspace(workspace)] == [(), ()]
    assert probes(workspace) == [0]


def test_no_version_remains_in_a_versioned_bucket(workspace: Workspace) -> None:
    s3, versioned = workspace.client("s3"), f"versioned-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=versioned)
    s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})
    assert check_workspace(changed(workspace, bucket=versioned)) == ()
    remaining = s3.list_object_versions(Bucket=versioned, Prefix=workspace.key("preflight"))
    assert not remaining.get("Versions")
    assert not remaining.get("DeleteMarkers")


def test_a_deleted_role_is_not_found(workspace: Workspace) -> None:
    arn = make_role(workspace)
    assert check_workspace(changed(workspace, role_arn=arn)) == ()
    workspace.client("iam").delete_role(RoleName=arn.rpartition("/")[2])
    error = problem(changed(workspace, role_arn=arn))
    assert type(error) is NotFound
    assert str(error) == f"There is no role {arn}. Create it, or correct the workspace's execution role."


def test_a_role_arn_without_its_path_is_corrected_in_the_message(workspace: Workspace) -> None:
    arn = make_role(workspace, path="/service-role/")
    error = problem(changed(workspace, role_arn=arn.replace("/service-role/", "/")))
    assert type(error) is NotFound
    assert str(error).endswith(f"Set the workspace's execution role to {arn}.")
    assert check_workspace(changed(workspace, role_arn=arn)) == ()


@pytest.mark.parametrize("kind", ["access-denied", "service-error"])
def test_a_failed_iam_call_is_a_warning(workspace: Workspace, inject: Inject, kind: str) -> None:
    inject(kind=kind, action="GetRole", times=2)
    (warning,) = check_workspace(workspace)
    assert warning.startswith("Not checked: whether the execution role exists. ")


def test_a_kms_key_may_be_an_id_an_arn_an_alias_or_the_arn_of_an_alias(workspace: Workspace) -> None:
    name, alias = make_key(workspace), f"alias/{uuid.uuid4().hex}"
    workspace.client("kms").create_alias(AliasName=alias, TargetKeyId=name)
    here = "arn:aws:kms:us-east-1:123456789012"
    for key in (name, f"{here}:key/{name}", alias, f"{here}:{alias}"):
        assert check_workspace(changed(workspace, kms_key_id=key)) == ()


@pytest.mark.parametrize(
    "key",
    [
        "alias/does-not-exist",
        "12345678-1234-1234-1234-123456789012",
        "my key",
        "arn:aws:kms:eu-west-1:123456789012:key/12345678-1234-1234-1234-123456789012",
    ],
)
def test_a_missing_kms_key_is_not_found(workspace: Workspace, key: str) -> None:
    error = problem(changed(workspace, kms_key_id=key))
    assert type(error) is NotFound
    assert str(error).startswith(f"There is no KMS key {key} in us-east-1. ")


def test_an_unusable_kms_key_is_an_error_with_the_reason(workspace: Workspace) -> None:
    kms = workspace.client("kms")
    disabled, pending_deletion = make_key(workspace), make_key(workspace)
    kms.disable_key(KeyId=disabled)
    kms.schedule_key_deletion(KeyId=pending_deletion, PendingWindowInDays=7)
    signing = make_key(workspace, KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")
    asymmetric = make_key(workspace, KeyUsage="ENCRYPT_DECRYPT", KeySpec="RSA_2048")
    for key, message in (
        (disabled, "is Disabled, not Enabled. Enable it"),
        (pending_deletion, "is PendingDeletion, not Enabled. Enable it"),
        (signing, "is for SIGN_VERIFY with RSA_2048. Choose a symmetric encryption key"),
        (asymmetric, "is for ENCRYPT_DECRYPT with RSA_2048. Choose a symmetric encryption key"),
    ):
        error = problem(changed(workspace, kms_key_id=key))
        assert type(error) is InvalidRequest
        assert f"KMS key {key} {message}" in str(error)


def test_the_key_of_the_volumes_is_checked_as_well(workspace: Workspace) -> None:
    keys = {"kms_key_id": make_key(workspace), "volume_kms_key_id": "alias/does-not-exist"}
    error = problem(changed(workspace, **keys))
    assert str(error).startswith("There is no KMS key alias/does-not-exist in us-east-1. ")
    assert check_workspace(changed(workspace, **keys | {"volume_kms_key_id": make_key(workspace)})) == ()


def test_a_denied_kms_call_is_a_warning(workspace: Workspace, inject: Inject) -> None:
    key = make_key(workspace)
    inject(kind="access-denied", action="DescribeKey")
    (warning,) = check_workspace(changed(workspace, kms_key_id=key))
    assert warning.startswith(f"Not checked: whether KMS key {key} can be used. ")


@pytest.mark.parametrize(
    ("subnet", "group", "invalid_id"),
    [
        ("subnet-0a1b2c3d4e5f60718", "sg-0a1b2c3d", ""),
        ("sg-0a1b2c3d", "sg-0a1b2c3d", "sg-0a1b2c3d"),
        ("subnet-", "sg-0a1b2c3d", "subnet-"),
        ("subnet-0a1b2c3d", " sg-0a1b2c3d", " sg-0a1b2c3d"),
        ("subnet-0a1b2c3d", "subnet-0a1b2c3d", "subnet-0a1b2c3d"),
    ],
)
def test_network_ids_are_checked_by_their_format(
    workspace: Workspace, subnet: str, group: str, invalid_id: str
) -> None:
    private = changed(workspace, subnets=[subnet], security_group_ids=[group])
    if not invalid_id:
        assert check_workspace(private) == ()
    else:
        error = problem(private)
        assert type(error) is InvalidRequest
        assert str(error).startswith(f"{invalid_id!r} is not an id such as ")


@pytest.mark.parametrize("action", ["DescribeLogStreams", "GetLogEvents"])
def test_a_log_that_cannot_be_read_is_a_warning_with_the_permission(
    workspace: Workspace, inject: Inject, action: str
) -> None:
    inject(kind="access-denied", action=action)
    [warning] = check_workspace(workspace)
    assert warning.startswith("Training jobs will be followed without their log, progress and learning curve. AWS")
    assert f"Allow logs:{action}" in warning


def test_a_region_without_the_algorithm_is_an_error(workspace: Workspace) -> None:
    elsewhere = with_credentials(workspace, region_name="mx-central-1")
    assert "Linear Learner has no image in region 'mx-central-1'" in str(problem(elsewhere))


def test_a_budget_that_pays_for_no_instance_type_is_an_error_together_with_all_others(workspace: Workspace) -> None:
    compute = Compute(max_cost_usd=0.001, fallback_instance_types=("ml.c5.xlarge",))
    with pytest.raises(AwsError) as caught:
        check_workspace(changed(workspace, role_arn=f"{workspace.role_arn}-missing"), compute)
    assert str(caught.value).startswith("3 problems prevent training with this workspace:")
    assert "max_cost_usd 0.001 pays for 0 s of 1 x ml.m5.large" in str(caught.value)
    assert "max_cost_usd 0.001 pays for 0 s of 1 x ml.c5.xlarge" in str(caught.value)


def test_a_budget_that_does_not_pay_for_every_instance_type_is_a_warning(workspace: Workspace) -> None:
    compute = Compute(max_cost_usd=0.01, fallback_instance_types=("ml.r5.24xlarge",))
    [warning] = check_workspace(workspace, compute)
    assert "ml.r5.24xlarge" in warning


def test_an_unknown_price_is_a_warning_that_names_the_permission(workspace: Workspace, inject: Inject) -> None:
    inject(kind="access-denied", action="GetProducts")
    [warning] = check_workspace(with_credentials(workspace, region_name="us-east-1"))
    assert "Allow pricing:GetProducts" in warning
