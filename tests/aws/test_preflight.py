"""The pre-flight against the sandbox: what it calls, what it finds, and what does not stop it."""

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
from aws.workspace import Workspace

Inject = Callable[..., None]
Calls = Callable[[], Counter[str]]
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
USUAL_CALLS = {
    "sts:GetCallerIdentity": 1,
    "s3:HeadBucket": 1,
    "s3:PutObject": 1,
    "s3:DeleteObject": 1,
    "iam:GetRole": 1,
}


def problem(workspace: Workspace) -> AwsError:
    """The error that the pre-flight ends with."""
    with pytest.raises(AwsError) as caught:
        check_workspace(workspace)
    return caught.value


def changed(workspace: Workspace, bucket: str = "", **fields: Any) -> Workspace:
    """The workspace with other fields, as if it had been saved so."""
    where = workspace.bucket.model_copy(update={"bucket_name": bucket}) if bucket else workspace.bucket
    return workspace.model_copy(update={"bucket": where} | fields)


def with_credentials(workspace: Workspace, **fields: Any) -> Workspace:
    credentials = workspace.bucket.credentials.model_copy(update=fields)
    return workspace.model_copy(update={"bucket": workspace.bucket.model_copy(update={"credentials": credentials})})


def make_role(workspace: Workspace, path: str = "/") -> str:
    """A role that nobody else has; its ARN."""
    policy, name = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]}), f"role-{uuid.uuid4().hex}"
    role = workspace.client("iam").create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=policy)
    return role["Role"]["Arn"]


def make_key(workspace: Workspace, **fields: Any) -> str:
    return workspace.client("kms").create_key(**fields)["KeyMetadata"]["KeyId"]


def probes(workspace: Workspace) -> list[int]:
    """The sizes of what the pre-flight left in the bucket."""
    listed = workspace.client("s3").list_objects_v2(Bucket=workspace.bucket.bucket_name, Prefix=workspace.key(""))
    return [item["Size"] for item in listed.get("Contents", [])]


def test_a_sound_workspace_takes_five_calls_no_warning_and_leaves_nothing(workspace: Workspace, calls: Calls) -> None:
    before = calls()
    assert check_workspace(workspace) == ()
    assert calls() - before == USUAL_CALLS
    assert probes(workspace) == []


def test_a_key_is_the_sixth_call(workspace: Workspace, calls: Calls) -> None:
    encrypted = changed(workspace, kms_key_id=make_key(workspace))
    before = calls()
    assert check_workspace(encrypted) == ()
    assert calls() - before == USUAL_CALLS | {"kms:DescribeKey": 1}


def test_everything_that_is_wrong_is_in_one_error(workspace: Workspace) -> None:
    broken = changed(
        workspace,
        bucket="never-made",
        role_arn="arn:aws:iam::123456789012:role/never-made",
        kms_key_id="alias/never-made",
        subnets=["subnet-0a1b2c3d", "vpc-0a1b2c3d"],
        security_group_ids=["default"],
    )
    error = problem(broken)
    assert type(error) is NotFound
    first, *numbered = str(error).split("\n")
    assert first == "5 things keep this workspace from training:"
    expected = (
        "1. There is no bucket never-made",
        "2. There is no role arn:aws:iam::123456789012:role/never-made",
        "3. There is no KMS key alias/never-made",
    )
    for line, start in zip(numbered, (*expected, "4. 'vpc-0a1b2c3d'", "5. 'default'"), strict=True):
        assert line.startswith(start)


def test_what_trying_again_would_not_help_decides_the_class(hasty: Workspace, inject: Inject) -> None:
    inject(kind="service-error", action="PutObject")
    assert type(problem(hasty)) is Unavailable
    inject(kind="service-error", action="PutObject")
    error = problem(changed(hasty, subnets=["one"], security_group_ids=["sg-1"]))
    assert type(error) is InvalidRequest
    assert "1. AWS failed while writing an empty object" in str(error)


def test_credentials_that_are_not_there_are_reported_with_what_needs_no_call(
    workspace: Workspace, calls: Calls
) -> None:
    nobodys = with_credentials(workspace, profile_name="nobody")
    before = calls()
    error = problem(changed(nobodys, subnets=["one"], security_group_ids=["sg-1"]))
    assert type(error) is AccessDenied
    assert calls() == before
    assert "Check the workspace's credentials" in str(error)
    assert "'one' is not an id such as subnet-" in str(error)


def test_no_finding_shows_a_secret(workspace: Workspace) -> None:
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
    said = str(problem(changed(session, bucket="never-made")))
    assert credentials.aws_secret_access_key.get_secret_value() not in said
    assert str(credentials.aws_session_token) not in said


def test_the_callers_own_account_must_have_the_role(workspace: Workspace, calls: Calls) -> None:
    before = calls()
    error = problem(changed(workspace, role_arn="arn:aws:iam::210987654321:role/training"))
    assert type(error) is AccessDenied
    assert "user/sandbox cannot pass arn:aws:iam::210987654321:role/training, of another account" in str(error)
    assert not [call for call in calls() - before if call.startswith("iam:")]


def test_who_the_caller_is_may_remain_unknown(workspace: Workspace, inject: Inject) -> None:
    inject(kind="access-denied", action="GetCallerIdentity")
    (warning,) = check_workspace(workspace)
    assert warning.startswith("Not checked: whose credentials these are. AWS failed while ")


def test_a_bucket_that_is_not_there_is_not_written_to(workspace: Workspace, calls: Calls) -> None:
    before = calls()
    error = problem(changed(workspace, bucket="never-made"))
    assert type(error) is NotFound
    assert str(error).endswith("Correct its name in the workspace, or create it in us-east-1.")
    assert "s3:PutObject" not in calls() - before


def test_a_bucket_of_another_region_is_not_written_to(workspace: Workspace, calls: Calls) -> None:
    far = f"far-{uuid.uuid4().hex}"
    workspace.client("s3").create_bucket(Bucket=far, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    before = calls()
    error = problem(changed(workspace, bucket=far))
    assert type(error) is InvalidRequest
    assert f"Bucket {far} is in eu-west-1, the workspace in us-east-1" in str(error)
    assert "s3:PutObject" not in calls() - before


class Elsewhere(BaseHTTPRequestHandler):
    """S3 on a HEAD for a bucket of another region, wherever it is asked from; every other service refuses."""

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
def elsewhere() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [301, 400, 403])
def test_s3s_redirect_or_refusal_tells_the_region_too(
    workspace: Workspace, elsewhere: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(Elsewhere, "status", status)
    parameters = AwsClientParameters(endpoint_url=elsewhere, config={"retries": {"total_max_attempts": 1}})
    error = problem(with_credentials(workspace, aws_client_parameters=parameters))
    assert type(error) is InvalidRequest
    assert "is in eu-west-1, the workspace in us-east-1" in str(error)


def test_credentials_that_have_expired_are_reported_once_and_tried_on_nothing_else(
    workspace: Workspace, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Elsewhere, "code", "ExpiredToken")
    error = problem(with_credentials(workspace, aws_client_parameters=AwsClientParameters(endpoint_url=elsewhere)))
    assert type(error) is AccessDenied
    assert "ExpiredToken: no. Renew the session and give the workspace its new credentials." in str(error)
    assert "eu-west-1" not in str(error)


def test_a_role_that_the_credentials_begin_with_must_be_theirs_to_assume(
    workspace: Workspace, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", elsewhere)
    error = problem(with_credentials(workspace, assume_role_arn="arn:aws:iam::123456789012:role/deployer"))
    assert type(error) is AccessDenied
    assert str(error).startswith("AWS failed while preparing a connection to sts: AccessDenied")


def test_a_denied_look_at_the_bucket_is_a_warning_as_long_as_it_can_be_written(
    workspace: Workspace, inject: Inject
) -> None:
    inject(kind="access-denied", action="HeadBucket")
    (warning,) = check_workspace(workspace)
    assert "allow them s3:ListBucket on the bucket" in warning


def test_a_denied_write_is_an_error_that_names_the_permission(workspace: Workspace, inject: Inject) -> None:
    inject(kind="access-denied", action="PutObject")
    error = problem(workspace)
    assert type(error) is AccessDenied
    assert f"{workspace.uri('preflight')}, to see" in str(error)
    assert str(error).endswith("allow them s3:PutObject on the object.")


def test_where_nothing_may_be_deleted_one_empty_object_is_left_however_often_it_runs(
    workspace: Workspace, inject: Inject
) -> None:
    inject(kind="access-denied", action="DeleteObject", times=2)
    assert [check_workspace(workspace), check_workspace(workspace)] == [(), ()]
    assert probes(workspace) == [0]


def test_a_bucket_with_versions_keeps_none_of_the_probe(workspace: Workspace) -> None:
    s3, versioned = workspace.client("s3"), f"versioned-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=versioned)
    s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})
    assert check_workspace(changed(workspace, bucket=versioned)) == ()
    retained = s3.list_object_versions(Bucket=versioned)
    assert not retained.get("Versions")
    assert not retained.get("DeleteMarkers")


def test_a_role_that_was_deleted_is_not_found(workspace: Workspace) -> None:
    arn = make_role(workspace)
    assert check_workspace(changed(workspace, role_arn=arn)) == ()
    workspace.client("iam").delete_role(RoleName=arn.rpartition("/")[2])
    error = problem(changed(workspace, role_arn=arn))
    assert type(error) is NotFound
    assert str(error) == f"There is no role {arn}. Create it, or correct the workspace's execution role."


def test_a_role_whose_path_was_left_out_is_named_with_it(workspace: Workspace) -> None:
    arn = make_role(workspace, path="/service-role/")
    error = problem(changed(workspace, role_arn=arn.replace("/service-role/", "/")))
    assert type(error) is NotFound
    assert str(error).endswith(f"Set the workspace's execution role to {arn}.")
    assert check_workspace(changed(workspace, role_arn=arn)) == ()


@pytest.mark.parametrize("kind", ["access-denied", "service-error"])
def test_iam_that_does_not_answer_stops_nobody(workspace: Workspace, inject: Inject, kind: str) -> None:
    inject(kind=kind, action="GetRole", times=2)
    (warning,) = check_workspace(workspace)
    assert warning.startswith("Not checked: whether the execution role exists. ")


def test_a_key_may_be_given_as_an_id_an_arn_an_alias_or_an_aliass_arn(workspace: Workspace) -> None:
    name, alias = make_key(workspace), f"alias/{uuid.uuid4().hex}"
    workspace.client("kms").create_alias(AliasName=alias, TargetKeyId=name)
    here = "arn:aws:kms:us-east-1:123456789012"
    for key in (name, f"{here}:key/{name}", alias, f"{here}:{alias}"):
        assert check_workspace(changed(workspace, kms_key_id=key)) == ()


@pytest.mark.parametrize(
    "key",
    [
        "alias/never-made",
        "12345678-1234-1234-1234-123456789012",
        "my key",
        "arn:aws:kms:eu-west-1:123456789012:key/12345678-1234-1234-1234-123456789012",
    ],
)
def test_a_key_that_is_not_there_is_not_found(workspace: Workspace, key: str) -> None:
    error = problem(changed(workspace, kms_key_id=key))
    assert type(error) is NotFound
    assert str(error).startswith(f"There is no KMS key {key} in us-east-1. ")


def test_a_key_that_cannot_encrypt_is_an_error_that_says_why(workspace: Workspace) -> None:
    kms = workspace.client("kms")
    disabled, doomed = make_key(workspace), make_key(workspace)
    kms.disable_key(KeyId=disabled)
    kms.schedule_key_deletion(KeyId=doomed, PendingWindowInDays=7)
    signing = make_key(workspace, KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")
    asymmetric = make_key(workspace, KeyUsage="ENCRYPT_DECRYPT", KeySpec="RSA_2048")
    for key, said in (
        (disabled, "is Disabled. See that it is Enabled again"),
        (doomed, "is PendingDeletion. See that it is Enabled again"),
        (signing, "is for SIGN_VERIFY with RSA_2048. Choose a symmetric one"),
        (asymmetric, "is for ENCRYPT_DECRYPT with RSA_2048. Choose a symmetric one"),
    ):
        error = problem(changed(workspace, kms_key_id=key))
        assert type(error) is InvalidRequest
        assert f"KMS key {key} {said}" in str(error)


def test_a_key_that_may_not_be_looked_at_is_a_warning(workspace: Workspace, inject: Inject) -> None:
    key = make_key(workspace)
    inject(kind="access-denied", action="DescribeKey")
    (warning,) = check_workspace(changed(workspace, kms_key_id=key))
    assert warning.startswith(f"Not checked: whether KMS key {key} can be used. ")


@pytest.mark.parametrize(
    ("subnet", "group", "wrong"),
    [
        ("subnet-0a1b2c3d4e5f60718", "sg-0a1b2c3d", ""),
        ("sg-0a1b2c3d", "sg-0a1b2c3d", "sg-0a1b2c3d"),
        ("subnet-", "sg-0a1b2c3d", "subnet-"),
        ("subnet-0a1b2c3d", " sg-0a1b2c3d", " sg-0a1b2c3d"),
        ("subnet-0a1b2c3d", "subnet-0a1b2c3d", "subnet-0a1b2c3d"),
    ],
)
def test_network_ids_are_read_not_looked_up(workspace: Workspace, subnet: str, group: str, wrong: str) -> None:
    private = changed(workspace, subnets=[subnet], security_group_ids=[group])
    if not wrong:
        assert check_workspace(private) == ()
    else:
        error = problem(private)
        assert type(error) is InvalidRequest
        assert str(error).startswith(f"{wrong!r} is not an id such as ")
