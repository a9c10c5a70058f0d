"""`python -m deployments.blocks` with the sandbox and a Prefect server: what it saves, refuses and keeps to itself."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import httpx
import pytest
from prefect.settings import PREFECT_API_URL
from prefect_aws import AwsCredentials

from aws.preflight import check_workspace
from aws.workspace import Workspace, load_workspace
from deployments.blocks import main
from sandbox.account import BUCKET, REGION, ROLE_ARN

pytestmark = pytest.mark.e2e

Command = Callable[..., tuple[int, list[str], str]]
ROOT = Path(__file__).resolve().parents[2]
SECRET, TOKEN = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "IQoJb3JpZ2luX2VjEXAMPLETOKEN"
KINDS = ("aws-credentials", "s3-bucket", "training-workspace")
NEW = ("--bucket", BUCKET, "--role-arn", ROLE_ARN)


@pytest.fixture(scope="module")
def shell(sandbox_url: str, prefect_server: None) -> dict[str, str]:
    """What a shell's environment says: a Prefect, an access key, a region and the sandbox for AWS."""
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
    """The Prefect that the environment names."""
    for variable, value in shell.items():
        monkeypatch.setenv(variable, value)
    return shell["PREFECT_API_URL"]


@pytest.fixture(scope="module")
def saved(shell: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """How three blocks named `saved` were saved, by a person who types the command."""
    command = [sys.executable, "-m", "deployments.blocks", "--name", "saved", *NEW, "--bucket-folder", "team"]
    own = {**os.environ, **shell}
    tags = ("--tags", "cost=7,team=x")
    return subprocess.run(
        [*command, *tags], cwd=ROOT, env=own, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def blocks(capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, in this process; its exit code, the lines it prints, and what it complains of."""

    def run(*arguments: str) -> tuple[int, list[str], str]:
        code = main(arguments)
        said = capsys.readouterr()
        assert SECRET not in said.out + said.err
        return code, said.out.splitlines(), said.err

    return run


def answers(server: str, name: str) -> dict[str, httpx.Response]:
    """The blocks of that name, by type, as Prefect tells them to its UI."""
    with httpx.Client(base_url=server, trust_env=False) as client:
        return {kind: client.get(f"/block_types/slug/{kind}/block_documents/name/{name}") for kind in KINDS}


def test_three_blocks_are_saved_that_refer_to_each_other_hold_no_key_and_can_train(
    saved: "subprocess.CompletedProcess[str]", server: str
) -> None:
    assert (saved.returncode, saved.stderr) == (0, "")
    assert saved.stdout.splitlines() == [
        f"Blocks in Prefect at {server}:",
        "AWS Credentials saved: saved",
        "S3 Bucket saved: saved",
        "Training Workspace saved: saved",
        f"Checked: bucket {BUCKET} in {REGION}, role {ROLE_ARN}",
        "Next: python -m flows.train --workspace saved --source KEY --target COLUMN",
    ]
    found = answers(server, "saved")
    assert all("AKIA" not in answer.text and SECRET not in answer.text for answer in found.values())
    workspace = load_workspace("saved")
    referred = [workspace.bucket.credentials, workspace.bucket, workspace]
    assert [str(block._block_document_id) for block in referred] == [answer.json()["id"] for answer in found.values()]
    assert check_workspace(workspace) == ()
    assert workspace.client("sagemaker").list_training_jobs(NameContains="nobodys")["TrainingJobSummaries"] == []


@pytest.mark.usefixtures("saved")
def test_what_is_given_changes_and_the_rest_stays(blocks: Command) -> None:
    before = load_workspace("saved")
    code, _, complaints = blocks("--name", "saved", "--tags", "", "--prefix", "nightly")
    assert (code, complaints) == (0, "")
    after = load_workspace("saved")
    assert (after.prefix, after.tags) == ("nightly", {})
    assert after.key("x") == "team/nightly/x"
    assert after.model_dump(exclude={"prefix", "tags"}) == before.model_dump(exclude={"prefix", "tags"})


def test_all_that_is_wrong_or_missing_is_said_at_once_and_nothing_is_saved(
    blocks: Command, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = "arn:aws:iam::123456789012:role/nobody"
    code, lines, complaints = blocks("--name", "wrong", "--bucket", "nobodys", "--role-arn", role)
    assert (code, lines) == (2, [])
    assert complaints.splitlines() == [
        "2 problems prevent training with this workspace:",
        "1. There is no bucket nobodys. Correct its name in the workspace, or create it in us-east-1.",
        f"2. There is no role {role}. Create it, or correct the workspace's execution role.",
    ]
    monkeypatch.delenv("AWS_REGION")
    code, lines, complaints = blocks("--name", "wrong", "--bucket", BUCKET)
    assert (code, lines) == (2, [])
    assert complaints == "Give --role-arn and --region too: no saved block named 'wrong' has them yet.\n"
    assert not any(answer.is_success for answer in answers(server, "wrong").values())


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--role-arn training", r"--role-arn: String should match pattern .*; found 'training'"),
        ("--name Production", r"--name: String should match pattern .*; found 'Production'"),
        ("--credentials mine --dask-scheduler 10.0.0.7", "--credentials: .*'mine'\n--dask-scheduler: .*'10.0.0.7'"),
        ("--aws-secret-access-key x", r"error parsing CLI: unrecognized arguments: --aws-secret-access-key x"),
    ],
)
def test_a_mistake_on_the_line_is_a_sentence(capsys: pytest.CaptureFixture[str], line: str, complaint: str) -> None:
    assert main(line.split()) == 2
    assert re.fullmatch(complaint + "\n", capsys.readouterr().err)


@pytest.mark.usefixtures("saved")
def test_keys_are_stored_when_asked_for_shown_nowhere_and_taken_out_again(
    blocks: Command, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    code, lines, complaints = blocks("--name", "saved", "--credentials", "keys")
    assert code == 0
    assert "they expire" in complaints
    assert TOKEN not in "".join(lines) + complaints
    workspace = load_workspace("saved")
    assert SECRET not in repr(workspace)
    assert keys(workspace) == ("AKIAHIDDEN", SECRET, TOKEN, None)
    assert all(SECRET not in answer.text for answer in answers(server, "saved").values())
    code, lines, complaints = blocks("--name", "saved", "--credentials", "machine")
    assert (code, complaints) == (0, "")
    workspace = load_workspace("saved")
    assert (keys(workspace), workspace.region) == ((None, None, None, None), REGION)


@pytest.mark.usefixtures("saved")
def test_a_profile_is_stored_by_its_name_or_read_for_its_keys(
    blocks: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id=AKIATEAM\naws_secret_access_key=hush\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert blocks("--name", "saved", "--profile", "team")[0] == 0
    assert keys(load_workspace("saved")) == (None, None, None, "team")
    assert blocks("--name", "saved", "--profile", "team", "--credentials", "keys")[0] == 0
    assert keys(load_workspace("saved")) == ("AKIATEAM", "hush", None, None)
    code, _, complaints = blocks("--name", "saved", "--profile", "nobody")
    assert code == 2
    assert "The config profile (nobody) could not be found" in complaints


def test_a_block_that_has_the_name_by_chance_is_used_as_it_is_and_never_changed(blocks: Command) -> None:
    AwsCredentials(region_name="eu-west-1").save("by-chance")
    code, lines, complaints = blocks("--name", "by-chance", *NEW, "--region", REGION)
    assert (code, lines) == (2, [])
    assert complaints.startswith("There is a block AWS Credentials by-chance already, which no Training Workspace")
    assert "Take another --name." in complaints
    assert cast("AwsCredentials", AwsCredentials.load("by-chance")).region_name == "eu-west-1"


@pytest.mark.usefixtures("saved")
def test_what_only_the_form_lets_through_is_named_without_what_else_is_in_the_block(
    blocks: Command, server: str
) -> None:
    data = {"role_arn": "training", "bucket": {"bucket_name": BUCKET, "credentials": {"aws_secret_access_key": SECRET}}}
    saved = answers(server, "saved")["training-workspace"].json()
    kind = {name: saved[name] for name in ("block_type_id", "block_schema_id")}
    with httpx.Client(base_url=server, trust_env=False) as client:
        client.post("/block_documents/", json={"name": "mistaken", "data": data, **kind}).raise_for_status()
    code, lines, complaints = blocks("--name", "mistaken")
    assert (code, lines) == (2, [])
    assert complaints.startswith("Correct the Training Workspace block 'mistaken' in the UI under Blocks: role_arn: ")


def keys(workspace: Workspace) -> tuple[str | None, ...]:
    """The secrets of a workspace as the clients use them, and its profile."""
    stored = cast("AwsCredentials", workspace.bucket.credentials)
    secret = stored.aws_secret_access_key.get_secret_value() if stored.aws_secret_access_key else None
    return stored.aws_access_key_id, secret, stored.aws_session_token, stored.profile_name
