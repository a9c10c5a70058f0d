"""The commands of the deployment page put the names of an account, of any partition, into the files of deployments/."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, shell_lines

STUB = """#!/bin/sh
case "$*" in
    *Account*) echo 210987654321 ;;
    *) echo arn:PARTITION:sts::210987654321:assumed-role/admin/me ;;
esac
"""
"""Prints what the AWS CLI prints for the two questions of the page."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("policies", "work_pools"):
        shutil.copytree(ROOT / "deployments" / name, tmp_path / "deployments" / name)
    return tmp_path


@pytest.mark.skipif(not shutil.which("sed"), reason="the commands call sed")
@pytest.mark.parametrize(
    ("partition", "region", "domain"),
    [
        ("aws", "us-east-2", "amazonaws.com"),
        ("aws-us-gov", "us-gov-west-1", "amazonaws.com"),
        ("aws-cn", "cn-north-1", "amazonaws.com.cn"),
    ],
)
def test_the_names_of_an_account_replace_the_placeholders(
    project: Path, partition: str, region: str, domain: str
) -> None:
    command = project / "aws"
    command.write_text(STUB.replace("PARTITION", partition))
    command.chmod(0o755)
    *names, china = shell_lines("docs/deployment.md", "## 1. Names")
    script = "\n".join(names).replace("YOUR-BUCKET", "a-bucket").replace("YOUR-REGION", region)
    script += f"\n{china}" * (partition == "aws-cn")
    subprocess.run(["sh", "-ec", script], cwd=project, env={"PATH": f"{project}:{os.environ['PATH']}"}, check=True)
    files = sorted(project.glob("deployments/*/*.json"))
    assert len(files) == len(list(ROOT.glob("deployments/policies/*.json"))) + 2
    for file in files:
        text = file.read_text()
        json.loads(text)
        assert not re.search("my-bucket|eu-west-1|123456789012", text)
        assert set(re.findall(r"\barn:([a-z-]+):", text)) <= {partition}
        assert {found[1] for found in re.findall(r"(dkr\.ecr\.[\w-]+)\.([\w.]+)/", text)} <= {domain}
        assert all(
            re.fullmatch(r"(sagemaker|application-autoscaling|ecs-tasks)\.amazonaws\.com", one)
            for one in re.findall(r'[\w-]+\.amazonaws[\w.]+(?=")', text)
        )


@pytest.mark.parametrize(
    "policy", sorted((ROOT / "deployments" / "policies").glob("*.json")), ids=lambda path: path.name
)
def test_every_resource_of_a_policy_is_an_arn_with_the_placeholder_of_the_partition(policy: Path) -> None:
    for statement in json.loads(policy.read_text())["Statement"]:
        resources = statement.get("Resource", "*")
        for resource in resources if isinstance(resources, list) else [resources]:
            assert resource == "*" or re.match(r"arn:aws:[a-z0-9]+:", resource)
