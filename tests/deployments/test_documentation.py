"""The way from zero to production as it is written down: its commands do what they say, its cures are the program's."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aws.error_catalogue import DIAGNOSIS_BY_CODE, diagnose_error
from aws.errors import AwsError
from aws.training.outcome import job_outcome
from linear_learner.errors import LinearLearnerError

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
README, PRODUCTION = (ROOT / "README.md").read_text(), (ROOT / "deployments" / "README.md").read_text()
AWS = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox", "AWS_DEFAULT_REGION": "eu-west-1"}


def commands(text: str, after: str, program: str) -> list[list[str]]:
    """The lines of the shell blocks below a heading that call this program."""
    blocks = re.findall(r"```sh\n(.*?)```", text.split(after, 1)[1], re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if program in line]


def perform(client: Any, operation: str, arguments: list[str]) -> None:
    """What the AWS CLI does with `--some-name value`: a parameter SomeName, a file's text, or a structure."""
    method = operation.replace("-", "_")
    shape = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method]).input_shape
    said = {}
    for flag, value in zip(arguments[::2], arguments[1::2], strict=True):
        name = "".join(part.title() for part in flag.removeprefix("--").split("-"))
        text = (ROOT / value.removeprefix("file://")).read_text() if value.startswith("file://") else value
        if shape.members[name].type_name == "structure":
            said[name] = ast.literal_eval(text) if value.startswith("file://") else dict([value.split("=")])
        else:
            said[name] = text
    getattr(client, method)(**said)


@pytest.fixture(scope="module")
def account(sandbox_url: str) -> dict[str, str]:
    """An account in which the page's AWS commands have been run; the environment of a shell that is at home there."""
    import boto3

    shell = {**AWS, "AWS_ENDPOINT_URL": sandbox_url}
    session = boto3.Session(aws_access_key_id="sandbox", aws_secret_access_key="sandbox", region_name="eu-west-1")
    for line in commands(PRODUCTION, "**2. Bucket and roles**", "aws "):
        service, operation, *arguments = line[1:]
        if service in {"s3api", "iam"}:
            client = session.client(service.removesuffix("api"), endpoint_url=sandbox_url)
            # The sandbox brings the execution role along.
            if arguments[:2] != ["--role-name", "linear-learner-training"] or operation != "create-role":
                perform(client, operation, arguments)
            client.close()
    return shell


def test_the_pages_aws_commands_and_the_readmes_lead_to_a_model(
    account: dict[str, str], machine: Path, sandbox_url: str
) -> None:
    import boto3
    from prefect.settings import PREFECT_API_URL

    from sandbox.samples import SAMPLES

    s3 = boto3.Session(aws_access_key_id="sandbox", aws_secret_access_key="sandbox", region_name="eu-west-1").client(
        "s3", endpoint_url=sandbox_url
    )
    s3.put_object(Bucket="my-bucket", Key="output/transformed_data.csv", Body=SAMPLES["employees"].csv())
    rules = s3.get_bucket_lifecycle_configuration(Bucket="my-bucket")["Rules"]
    assert [rule["ID"] for rule in rules] == ["UploadsThatWereKilled", "WhatADaskClusterLeftWhenItWasKilled"]
    s3.close()
    shown = commands(README, "## On AWS", ".venv/bin/python")[:2]
    assert shown == commands(PRODUCTION, "**3. The workspace**", ".venv/bin/python")[:2], "both pages say the same"
    shell = {**os.environ, **account, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "HOME": str(machine)}
    for _, *arguments in shown:
        run = subprocess.run(
            [sys.executable, *arguments],
            cwd=machine,
            env=shell,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert run.returncode == 0, run.stderr
    assert "s3://my-bucket/linear-learner/models/" in run.stdout


def rows() -> list[tuple[str, str, str]]:
    """Of the table of errors: what one reads, what it means, what to do."""
    table = PRODUCTION.split("## When something goes wrong")[1].split("And what is no error")[0]
    cells = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return [(read.strip(" `"), means.strip(), remedy.strip(" |")) for read, means, remedy in cells]


def classes(root: type[Exception]) -> set[str]:
    return {one for kind in root.__subclasses__() for one in ({kind.__name__} | classes(kind))}


def strings() -> str:
    """Every piece of text in the product's code, one after the other."""
    found = []
    for room in ("aws", "flows", "linear_learner", "tasks"):
        for module in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(module.read_text())):
                if isinstance(node, ast.JoinedStr):
                    found.append("".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


def answer_of(read: str) -> tuple[str, str]:
    """The code and the message of an answer of AWS's, as the table quotes it."""
    code, _, message = read.partition(": ")
    return (code, message) if code in DIAGNOSIS_BY_CODE else ("", read)


def test_every_error_there_is_has_a_row() -> None:
    named = {re.match(r"\*(\w+)\*", means)[1] for _, means, _ in rows()}  # type: ignore[index]
    assert named == classes(AwsError) | classes(LinearLearnerError)


@pytest.mark.parametrize(("read", "means", "remedy"), rows(), ids=[read[:60] for read, _, _ in rows()])
def test_each_row_says_what_the_program_says(read: str, means: str, remedy: str) -> None:
    kind = means.split("*")[1]
    if kind == "TrainingFailed" and "it trained for longer" not in read:
        failed: Any = {"TrainingJobStatus": "Failed", "FailureReason": read}
        assert job_outcome(failed).remedy == remedy
    elif kind in {"AccessDenied", "NotFound", "InvalidRequest", "QuotaExceeded", "Unavailable"} and (
        diagnose_error(*answer_of(read), 0, "CreateTrainingJob").remedy == remedy
    ):
        assert diagnose_error(*answer_of(read), 0, "CreateTrainingJob").kind == kind
    else:  # the program's own words
        said = strings()
        assert all(part.strip(" .") in said for part in read.split("…") if part.strip(" .")), read
