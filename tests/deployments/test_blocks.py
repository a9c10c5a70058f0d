"""`python -m deployments.blocks` with the sandbox and a Prefect server: what it saves, rejects and hides."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import httpx
import pytest
from prefect.settings import PREFECT_API_URL
from prefect_aws import AwsCredentials

from aws.preflight import check_workspace
from aws.workspace import Workspace, load_workspace
from deployments.blocks import main
from deployments.first_use import may_be_saved
from sandbox.account import BUCKET, REGION, ROLE_ARN

pytestmark = pytest.mark.e2e

Command = Callable[..., tuple[int, list[str], str]]
ROOT = Path(__file__).resolve().parents[2]
SECRET, TOKEN = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "IQoJb3JpZ2luX2VjEXAMPLETOKEN"
KINDS = ("aws-credentials", "s3-bucket", "training-workspace")
NEW = ("--bucket", BUCKET, "--role-arn", ROLE_ARN)


@pytest.fixture(scope="module")
def shell(sandbox_url: str, prefect_server: None) -> dict[str, str]:
    """Environment variables: Prefect's API, an access key, a region and the sandbox as AWS endpoint."""
    del prefect_server
    return {
        "AWS_ACCESS_KEY_ID": "AKIAHIDDEN",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": sandbox_url,
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
    }


@pytest.fixture(autouse=True)
def server(shell: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of Prefect's API; the environment is set."""
    for variable, value in shell.items():
        monkeypatch.setenv(variable, value)
    return shell["PREFECT_API_URL"]


@pytest.fixture(scope="module")
def saved(shell: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """The result of the command that saved three blocks named `saved`."""
    command = [sys.executable, "-m", "deployments.blocks", "--name", "saved", *NEW, "--bucket-folder", "team"]
    environment = {**os.environ, **shell}
    tags = ("--tags", "cost=7,team=x")
    return subprocess.run(
        [*command, *tags], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def blocks(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process; returns its exit code, the lines of its output, and its error output."""

    def run(*arguments: str) -> tuple[int, list[str], str]:
        code = main(arguments)
        output = capsys.readouterr()
        assert SECRET not in output.out + output.err
        return code, output.out.splitlines(), output.err

    return run


def block_responses(server: str, name: str) -> dict[str, httpx.Response]:
    """The responses of Prefect's API for the blocks of a name, by type, as the UI gets them."""
    with httpx.Client(base_url=server, trust_env=False) as client:
        return {kind: client.get(f"/block_types/slug/{kind}/block_documents/name/{name}") for kind in KINDS}


def test_three_linked_blocks_without_keys_are_saved(saved: "subprocess.CompletedProcess[str]", server: str) -> None:
    assert (saved.returncode, saved.stderr) == (0, "")
    assert saved.stdout.splitlines() == [
        f"Blocks in Prefect at {server}:",
        "AWS Credentials saved: saved",
        "S3 Bucket saved: saved",
        "Training Workspace saved: saved",
        f"Checked: bucket {BUCKET} in {REGION}, role {ROLE_ARN}",
        "Next: python -m flows.train --workspace saved --source KEY --target COLUMN",
    ]
    responses = block_responses(server, "saved")
    assert all("AKIA" not in response.text and SECRET not in response.text for response in responses.values())
    workspace = load_workspace("saved")
    blocks = [workspace.bucket.credentials, workspace.bucket, workspace]
    assert [str(block._block_document_id) for block in blocks] == [one.json()["id"] for one in responses.values()]
    assert check_workspace(workspace) == ()
    assert workspace.client("sagemaker").list_training_jobs(NameContains="missing")["TrainingJobSummaries"] == []


@pytest.mark.usefixtures("saved")
def test_only_given_values_change(blocks: Command) -> None:
    before = load_workspace("saved")
    code, _, errors = blocks("--name", "saved", "--tags", "", "--prefix", "nightly")
    assert (code, errors) == (0, "")
    after = load_workspace("saved")
    assert (after.prefix, after.tags) == ("nightly", {})
    assert after.key("x") == "team/nightly/x"
    assert after.model_dump(exclude={"prefix", "tags"}) == before.model_dump(exclude={"prefix", "tags"})


@pytest.mark.usefixtures("saved")
def test_isolation_encryption_and_a_volume_key_are_saved_and_can_be_removed(blocks: Command) -> None:
    key = load_workspace("saved").client("kms").create_key()["KeyMetadata"]["Arn"]
    demands = ("--network-isolation", "true", "--encrypt-inter-container-traffic", "true", "--volume-kms-key-id", key)
    assert blocks("--name", "saved", *demands)[0] == 0
    demanding = load_workspace("saved")
    assert (demanding.network_isolation, demanding.encrypt_inter_container_traffic) == (True, True)
    assert demanding.volume_kms_key_id == key
    assert blocks("--name", "saved", *(value if value.startswith("--") else "" for value in demands))[0] == 0
    relaxed = load_workspace("saved")
    assert (relaxed.network_isolation, relaxed.encrypt_inter_container_traffic) == (False, False)
    assert relaxed.volume_kms_key_id is None


@pytest.mark.parametrize("bucket", ["s3://data/team", "arn:aws:s3:us-east-1:123456789012:accesspoint/my-ap"])
def test_a_bucket_that_is_no_name_is_rejected_with_the_name_to_give(blocks: Command, bucket: str) -> None:
    code, lines, errors = blocks("--name", "no-name", "--bucket", bucket, "--role-arn", ROLE_ARN)
    assert (code, lines) == (2, [])
    assert errors.startswith(bucket)
    assert len(errors.splitlines()) == 1


def test_all_invalid_values_are_reported_together_and_nothing_is_saved(
    blocks: Command, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = "arn:aws:iam::123456789012:role/missing"
    code, lines, errors = blocks("--name", "incomplete", "--bucket", "missing-bucket", "--role-arn", role)
    assert (code, lines) == (2, [])
    assert errors.splitlines() == [
        "2 problems prevent training with this workspace:",
        "1. There is no bucket missing-bucket. Correct its name in the workspace, or create it in us-east-1.",
        f"2. There is no role {role}. Create it, or correct the workspace's execution role.",
    ]
    monkeypatch.delenv("AWS_REGION")
    code, lines, errors = blocks("--name", "incomplete", "--bucket", BUCKET)
    assert (code, lines) == (2, [])
    assert errors == "Give --role-arn and --region too: no saved block named 'incomplete' has them yet.\n"
    assert not any(response.is_success for response in block_responses(server, "incomplete").values())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--role-arn training", r"--role-arn: String should match pattern .*; found 'training'"),
        ("--name Production", r"--name: String should match pattern .*; found 'Production'"),
        (
            "--credentials mine --dask-scheduler 10.0.0.7",
            "--credentials: .*'mine'. Did you mean machine[?]\n--dask-scheduler: .*'10.0.0.7'",
        ),
        ("--tags a;=1,aws:x=2", r"the key of tag 'a;' contains ';': .*; the key of tag 'aws:x' begins with aws:, .*"),
        ("--aws-secret-access-key x", r"There is no option --aws-secret-access-key\. .*"),
    ],
)
def test_an_invalid_argument_is_reported(capsys: pytest.CaptureFixture[str], line: str, message: str) -> None:
    assert main(line.split()) == 2
    assert re.fullmatch(message + "\n", capsys.readouterr().err)


@pytest.mark.usefixtures("saved")
def test_keys_are_stored_on_request_never_shown_and_can_be_removed(
    blocks: Command, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    code, lines, errors = blocks("--name", "saved", "--credentials", "keys")
    assert code == 0
    assert "they expire" in errors
    assert TOKEN not in "".join(lines) + errors
    workspace = load_workspace("saved")
    assert SECRET not in repr(workspace)
    assert keys(workspace) == ("AKIAHIDDEN", SECRET, TOKEN, None)
    assert all(SECRET not in response.text for response in block_responses(server, "saved").values())
    code, lines, errors = blocks("--name", "saved", "--credentials", "machine")
    assert (code, errors) == (0, "")
    workspace = load_workspace("saved")
    assert (keys(workspace), workspace.region) == ((None, None, None, None), REGION)


@pytest.mark.usefixtures("saved")
def test_a_profile_is_stored_by_name_or_its_keys_are_stored(
    blocks: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id=AKIATEAM\naws_secret_access_key=secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert blocks("--name", "saved", "--profile", "team")[0] == 0
    assert keys(load_workspace("saved")) == (None, None, None, "team")
    assert blocks("--name", "saved", "--profile", "team", "--credentials", "keys")[0] == 0
    assert keys(load_workspace("saved")) == ("AKIATEAM", "secret", None, None)
    code, _, errors = blocks("--name", "saved", "--profile", "missing")
    assert code == 2
    assert "The config profile (missing) could not be found" in errors


def test_a_block_without_a_workspace_of_its_name_is_not_changed(blocks: Command) -> None:
    AwsCredentials(region_name="eu-west-1").save("unrelated")
    code, lines, errors = blocks("--name", "unrelated", *NEW, "--region", REGION)
    assert (code, lines) == (2, [])
    assert errors.startswith(
        "The block AWS Credentials unrelated already exists with other values, and no Training Workspace"
    )
    assert "Choose another --name." in errors
    assert cast("AwsCredentials", AwsCredentials.load("unrelated")).region_name == "eu-west-1"


@pytest.mark.usefixtures("saved")
def test_an_invalid_saved_field_is_reported_without_the_secrets_of_the_block(blocks: Command, server: str) -> None:
    data = {"role_arn": "training", "bucket": {"bucket_name": BUCKET, "credentials": {"aws_secret_access_key": SECRET}}}
    saved = block_responses(server, "saved")["training-workspace"].json()
    kind = {name: saved[name] for name in ("block_type_id", "block_schema_id")}
    with httpx.Client(base_url=server, trust_env=False) as client:
        client.post("/block_documents/", json={"name": "invalid", "data": data, **kind}).raise_for_status()
    code, lines, errors = blocks("--name", "invalid")
    assert (code, lines) == (2, [])
    assert errors.startswith("Correct the Training Workspace block 'invalid' in the UI under Blocks: role_arn: ")


def keys(workspace: Workspace) -> tuple[str | None, ...]:
    """The secrets of a workspace as the clients use them, and its profile."""
    stored = cast("AwsCredentials", workspace.bucket.credentials)
    secret = stored.aws_secret_access_key.get_secret_value() if stored.aws_secret_access_key else None
    return stored.aws_access_key_id, secret, stored.aws_session_token, stored.profile_name


@pytest.mark.parametrize("has_database", [False, True])
def test_missing_flags_are_reported_without_starting_a_server(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    empty_database: Path,
    has_database: bool,
) -> None:
    for variable in ("PREFECT_API_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "PREFECT_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    if has_database:
        shutil.copy(empty_database, tmp_path / "prefect.db")
    monkeypatch.setattr("flows.cli.local_services.start", lambda **_: pytest.fail("a server is started"))
    assert main(["--bucket", "b", "--name", "new"]) == 2
    expected = "Give --role-arn and --region too: no saved block named 'new' has them yet.\n"
    assert capsys.readouterr().err == expected


def test_blocks_in_the_local_database_are_not_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with closing(sqlite3.connect(tmp_path / "prefect.db")) as database, database:
        database.execute("CREATE TABLE block_document (name TEXT)")
        database.execute("INSERT INTO block_document VALUES ('saved')")
    assert [may_be_saved(name) for name in ("saved", "other")] == [True, False]


def test_without_credentials_the_remedy_names_what_to_set_and_the_other_checks_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No Prefect server is started for blocks that cannot be checked."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PREFECT_API_URL"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr("flows.cli.local_services.start", lambda **_: pytest.fail("a server is started"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")  # another block than those whose clients this process keeps
    for variable in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    new = [*NEW, "--bucket", "no-such-bucket"]
    assert main(["--name", "nobody", *new, "--subnets", "one", "--security-group-ids", "sg-1"]) == 2
    error = capsys.readouterr().err
    assert "There is no bucket no-such-bucket." in error
    assert "Set AWS_PROFILE to a profile of this machine, or run `aws configure`" in error
    assert "'one' is not an id such as subnet-" in error
