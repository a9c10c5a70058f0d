"""Clients whose keys expire: renewed roles, keys that are read again from their source, and keys in the block."""

import pickle
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect_aws import AwsCredentials
from prefect_aws.client_parameters import AwsClientParameters
from pydantic import SecretStr

from aws.errors import AccessDenied, Unavailable, translate_errors
from aws.session import get_client
from aws.workspace import Workspace

Inject = Callable[..., None]
Calls = Callable[[], Counter[str]]
NO_KEYS = {"aws_access_key_id": None, "aws_secret_access_key": None}


def with_credentials(workspace: Workspace, **fields: Any) -> Workspace:
    credentials = workspace.bucket.credentials.model_copy(update=fields)
    return workspace.model_copy(update={"bucket": workspace.bucket.model_copy(update={"credentials": credentials})})


@pytest.fixture
def role_workspace(workspace: Workspace) -> Workspace:
    """The workspace with a role to assume that no other test uses."""
    return with_credentials(workspace, assume_role_arn=f"arn:aws:iam::123456789012:role/{uuid.uuid4().hex}")


@pytest.fixture
def session_keys(workspace: Workspace, inject: Inject) -> dict[str, Any]:
    """Fields of a credentials block with keys that have expired."""
    inject(kind="short-session", seconds=0.1)
    role = "arn:aws:iam::123456789012:role/nightly"
    keys = workspace.client("sts").assume_role(RoleArn=role, RoleSessionName="nightly")["Credentials"]
    wait_until(keys["Expiration"])
    return {
        "aws_access_key_id": keys["AccessKeyId"],
        "aws_secret_access_key": SecretStr(keys["SecretAccessKey"]),
        "aws_session_token": keys["SessionToken"],
    }


def wait_until(expiration: datetime) -> None:
    time.sleep(max(0, (expiration - datetime.now(UTC)).total_seconds()))


def write_profile(path: Path, key: str, secret: str, token: str = "") -> None:
    lines = ["[nightly]", f"aws_access_key_id={key}", f"aws_secret_access_key={secret}"]
    path.write_text("\n".join([*lines, f"aws_session_token={token}"] if token else lines))


def test_a_client_renews_the_keys_of_a_role_after_they_have_expired(
    role_workspace: Workspace, inject: Inject, calls: Calls
) -> None:
    inject(kind="short-session", seconds=1)
    before = calls()
    sts = role_workspace.client("sts")
    assert "assumed-role" in sts.get_caller_identity()["Arn"]
    time.sleep(1)
    assert "assumed-role" in sts.get_caller_identity()["Arn"]
    assert (calls() - before)["sts:AssumeRole"] == 2


def test_all_clients_of_a_workspace_assume_its_role_once(role_workspace: Workspace, calls: Calls) -> None:
    before = calls()
    for _ in range(2):
        role_workspace.client("s3").list_buckets()
        role_workspace.client("sagemaker").list_training_jobs()
        role_workspace.client("logs").describe_log_groups()
    assert (calls() - before)["sts:AssumeRole"] == 1


def test_threads_share_clients_while_the_keys_of_the_role_expire(role_workspace: Workspace, inject: Inject) -> None:
    inject(kind="short-session", seconds=1, times=2)
    operations = ("s3", "list_buckets"), ("sagemaker", "list_training_jobs"), ("sts", "get_caller_identity")

    def call_repeatedly(service: Any, operation: str) -> None:
        for _ in range(5):
            getattr(role_workspace.client(service), operation)()
            time.sleep(0.3)

    with ThreadPoolExecutor(6) as threads:
        for running in [threads.submit(call_repeatedly, *operation) for operation in operations * 2]:
            running.result()


@pytest.fixture(params=["role", "environment", "profile", "web identity"])
def renewable(
    request: pytest.FixtureRequest, role_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    """A workspace whose credentials can be read again from their source."""
    if request.param == "role":
        return role_workspace
    monkeypatch.setenv("AWS_ENDPOINT_URL", role_workspace.client("s3").meta.endpoint_url)
    if request.param == "environment":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", uuid.uuid4().hex)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    elif request.param == "profile":
        write_profile(tmp_path / "credentials", uuid.uuid4().hex, "secret")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_PROFILE", "nightly")
    else:
        (tmp_path / "token").write_text("a token")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod")
    # The region makes the content of the block unique, as clients are cached.
    return with_credentials(role_workspace, **NO_KEYS, assume_role_arn=None, region_name=f"us-{uuid.uuid4().hex}-1")


def test_a_call_with_rejected_keys_is_repeated_once_with_keys_read_again(
    renewable: Workspace, inject: Inject, calls: Calls
) -> None:
    sagemaker = renewable.client("sagemaker")
    before = calls()
    inject(kind="expired-credentials", action="ListTrainingJobs")
    sagemaker.list_training_jobs()
    assert (calls() - before)["sagemaker:ListTrainingJobs"] == 2
    inject(kind="expired-credentials", action="ListTrainingJobs", times=2)
    with pytest.raises(AccessDenied, match="AWS Credentials block"), translate_errors("listing jobs"):
        sagemaker.list_training_jobs()


def test_a_profile_with_new_keys_is_read_again_after_the_old_keys_have_expired(
    workspace: Workspace, session_keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credentials"
    key, secret, token = session_keys.values()
    write_profile(path, key, secret.get_secret_value(), token)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    profile = with_credentials(workspace, **NO_KEYS, profile_name="nightly")
    s3, bucket = profile.client("s3"), workspace.bucket.bucket_name
    with pytest.raises(AccessDenied, match="ExpiredToken"), translate_errors("listing buckets"):
        s3.list_buckets()
    write_profile(path, "new", "keys")
    s3.head_bucket(Bucket=bucket)  # S3's response to a HEAD with expired keys has no code
    s3.list_buckets()


def test_expired_keys_in_the_block_are_reported_with_the_block_and_new_ones_are_used(
    workspace: Workspace, session_keys: dict[str, Any], calls: Calls
) -> None:
    before = calls()
    with pytest.raises(AccessDenied, match=r"ExpiredTokenException: .* AWS Credentials block contains the keys, store"):
        list_jobs(with_credentials(workspace, **session_keys))
    assert (calls() - before)["sagemaker:ListTrainingJobs"] == 1
    list_jobs(with_credentials(workspace, aws_access_key_id="new"))


def list_jobs(workspace: Workspace) -> None:
    with translate_errors("listing jobs"):
        workspace.client("sagemaker").list_training_jobs()


def test_a_role_that_can_no_longer_be_assumed_is_named_without_a_traceback(
    role_workspace: Workspace, inject: Inject, caplog: pytest.LogCaptureFixture
) -> None:
    inject(kind="short-session", seconds=0.1)
    list_jobs(role_workspace)
    time.sleep(0.1)
    inject(kind="access-denied", action="AssumeRole")
    with pytest.raises(AccessDenied) as caught:
        list_jobs(role_workspace)
    assert "while listing jobs: AccessDenied: User: arn:aws:iam::123456789012:user/sandbox" in str(caught.value)
    assert "The role of the workspace's credentials could not be assumed. Allow sts:AssumeRole on" in str(caught.value)
    assert not [record for record in caplog.records if record.exc_info]
    list_jobs(role_workspace)


def test_a_role_with_expired_keys_of_its_own_source_is_reported(
    role_workspace: Workspace, session_keys: dict[str, Any]
) -> None:
    with pytest.raises(AccessDenied, match=r"ExpiredToken: .* could not be assumed\. If the workspace's AWS Cred"):
        list_jobs(with_credentials(role_workspace, **session_keys))


def test_a_slow_answer_to_assume_role_is_retryable(role_workspace: Workspace, inject: Inject) -> None:
    url = role_workspace.client("s3").meta.endpoint_url
    config = {"read_timeout": 0.2, "retries": {"total_max_attempts": 1}}
    hasty = with_credentials(role_workspace, aws_client_parameters=AwsClientParameters(endpoint_url=url, config=config))
    inject(kind="slow-answer", action="AssumeRole", seconds=1)
    with pytest.raises(Unavailable, match="Read timeout"):
        list_jobs(hasty)


def test_a_missing_token_file_is_an_error_of_the_credentials(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "missing"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod")
    without_token = with_credentials(workspace, **NO_KEYS, region_name="us-east-2")
    with pytest.raises(AccessDenied, match="No such file or directory"):
        list_jobs(without_token)


def block(**fields: Any) -> AwsCredentials:
    keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": SecretStr("first"), "region_name": "eu-west-1"}
    return AwsCredentials(**keys | fields)


def test_blocks_share_a_client_only_if_their_content_is_equal() -> None:
    first = get_client(block(), "sts")
    assert get_client(block(), "sts") is first
    others: list[dict[str, Any]] = [
        {"aws_secret_access_key": SecretStr("second")},
        {"aws_session_token": "token"},
        {"region_name": "eu-west-2"},
        {"aws_client_parameters": {"endpoint_url": "http://127.0.0.1:9"}},
        {"aws_client_parameters": {"config": {"read_timeout": 1}}},
        {"assume_role_arn": "arn:aws:iam::123456789012:role/one"},
        {"assume_role_arn": "arn:aws:iam::123456789012:role/one", "assume_role_kwargs": {"ExternalId": "one"}},
    ]
    assert len({id(client) for client in [first, *(get_client(block(**fields), "sts") for fields in others)]}) == 8


def test_a_block_whose_keys_are_changed_in_place_has_another_client() -> None:
    changed = block()
    first = get_client(changed, "sts")
    changed.aws_secret_access_key = SecretStr("second")
    assert get_client(changed, "sts") is not first


def test_a_workspace_with_clients_can_be_sent_to_another_process(workspace: Workspace) -> None:
    workspace.client("s3")
    received: Workspace = pickle.loads(pickle.dumps(workspace))  # noqa: S301
    list_jobs(received)


def test_a_missing_profile_is_found_once_it_exists(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    profile = with_credentials(workspace, **NO_KEYS, profile_name="nightly", region_name="us-west-1")
    with pytest.raises(AccessDenied, match="nightly"):
        list_jobs(profile)
    write_profile(path, "new", "keys")
    list_jobs(profile)
