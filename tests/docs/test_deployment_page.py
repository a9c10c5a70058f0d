"""The commands of the deployment page train a model in the sandbox."""

import ast
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT, commands
from tests.shell import run_here

pytestmark = pytest.mark.e2e

PAGE = "docs/deployment.md"
AWS = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox", "AWS_DEFAULT_REGION": "eu-west-1"}


def perform(client: Any, operation: str, arguments: list[str]) -> None:
    """Call an operation as the AWS CLI does: `--some-name value` is the parameter SomeName; file:// reads a file."""
    method = operation.replace("-", "_")
    shape = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method]).input_shape
    parameters = {}
    for flag, value in zip(arguments[::2], arguments[1::2], strict=True):
        name = "".join(part.title() for part in flag.removeprefix("--").split("-"))
        text = (ROOT / value.removeprefix("file://")).read_text() if value.startswith("file://") else value
        if shape.members[name].type_name == "structure":
            parameters[name] = ast.literal_eval(text) if value.startswith("file://") else dict([value.split("=")])
        else:
            parameters[name] = text
    getattr(client, method)(**parameters)


@pytest.fixture(scope="module")
def account(sandbox_url: str) -> dict[str, str]:
    """The environment of a shell with an account in which the AWS commands of the page have been run."""
    import boto3

    shell = {**AWS, "AWS_ENDPOINT_URL": sandbox_url}
    session = boto3.Session(aws_access_key_id="sandbox", aws_secret_access_key="sandbox", region_name="eu-west-1")
    for line in commands(PAGE, "## 2. Bucket and roles", "aws "):
        service, operation, *arguments = line[1:]
        if service in {"s3api", "iam"}:
            client = session.client(service.removesuffix("api"), endpoint_url=sandbox_url)
            # The sandbox already has the execution role.
            if arguments[:2] != ["--role-name", "linear-learner-training"] or operation != "create-role":
                perform(client, operation, arguments)
            client.close()
    return shell


def test_the_commands_of_the_page_and_the_readme_train_a_model(
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
    assert [rule["ID"] for rule in rules] == ["AbortIncompleteUploads", "ExpireWorkFilesOfDaskClusters"]
    s3.close()
    shown = commands(PAGE, "## 3. The workspace", ".venv/bin/python")
    assert shown == commands("README.md", "## On AWS", ".venv/bin/python"), "the commands of both pages must be equal"
    shell = {**os.environ, **account, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "HOME": str(machine)}
    for words in shown:
        run = run_here(shell, shlex.join(words))
    assert "s3://my-bucket/linear-learner/models/" in run.stdout


def test_the_first_run_uses_an_existing_deployment() -> None:
    deployments = {
        f"train-linear-learner/{one['name']}"
        for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    }
    [[*_, run, deployment, watch]] = commands(PAGE, "## 5. The first run")
    assert (run, watch) == ("run", "--watch")
    assert deployment in deployments
