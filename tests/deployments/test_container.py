"""What can be said of the image and of its work pools without a container engine, ECS or Kubernetes."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import create_loader
from botocore.model import ServiceModel
from botocore.validate import validate_parameters
from prefect.cli.flow_run import _termination_intent
from prefect.client.schemas.objects import FlowRun
from prefect.server.schemas.actions import validate_base_job_template
from prefect.utilities.templating import apply_values
from prefect_aws.workers.ecs_worker import ECSJobConfiguration, ECSWorker

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deployments" / "Dockerfile").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
POOLS = ROOT / "deployments" / "work_pools"
KUBERNETES_VARIABLES = {
    *("name", "env", "labels", "command", "annotations", "namespace", "image", "service_account_name"),
    *("image_pull_policy", "backoff_limit", "finished_job_ttl", "job_watch_timeout_seconds"),
    *("pod_watch_timeout_seconds", "stream_output", "cluster_config"),
    *("cpu_request", "cpu_limit", "memory_request", "memory_limit"),
}
"""Of prefect-kubernetes 0.8.0, which is not installed here."""
IMPORTS = """
import sys
sys.path.insert(0, sys.argv[1])
import flows.train, flows.reap, flows.cli.main, deployments.automations, deployments.blocks, deployments.worker
print(*(f"{name}={getattr(module, '__file__', '')}" for name, module in list(sys.modules.items())), sep="\\n")
"""


def instructions(kind: str) -> list[str]:
    """The arguments of each instruction of that kind, its lines joined."""
    whole = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return [line.removeprefix(f"{kind} ") for line in whole.splitlines() if line.startswith(f"{kind} ")]


def copied() -> list[str]:
    return [source for copy in instructions("COPY") for source in copy.split()[:-1]]


def test_everything_the_image_copies_is_there_and_reaches_the_engine() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == set(copied())
    assert all((ROOT / source).exists() for source in copied())


def test_the_copied_files_are_enough_for_flows_and_workers(tmp_path: Path) -> None:
    for source in copied():
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, tmp_path / source)
    command = [sys.executable, "-I", "-c", IMPORTS, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    modules = dict(line.split("=", 1) for line in run.stdout.splitlines())
    rooms = {path.name for path in tmp_path.iterdir() if (path / "__init__.py").exists()}
    own = {name: file for name, file in modules.items() if name.split(".")[0] in rooms}
    assert {"flows.train", "tasks.load", "aws.workspace"} <= set(own)
    assert all(file.startswith(str(tmp_path)) for file in own.values())
    extras = PROJECT["project"]["optional-dependencies"].values()
    names = {re.split(r"[^\w-]", one)[0].replace("-", "_") for extra in extras for one in extra}
    assert not names & {name.split(".")[0] for name in modules}, "needed, but of an extra that the image lacks"


def test_the_image_installs_what_the_project_depends_on_in_the_versions_it_is_tested_with() -> None:
    (script,) = re.findall(r'python -c "(.+?)" >', DOCKERFILE)
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    wanted = printed.stdout.splitlines()
    assert wanted == PROJECT["project"]["dependencies"]
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {re.split(r"[^\w-]", one.lower().replace(".", "-", 1))[0] for one in wanted} <= pinned
    assert all("--constraint constraints.txt" in run for run in instructions("RUN") if "pip install" in run)


def test_every_package_is_installed_with_the_project() -> None:
    folders = [ROOT / source for source in copied() if (ROOT / source).is_dir()]
    packages = {file.parent for folder in folders for file in folder.rglob("__init__.py")}
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    names = [".".join(package.relative_to(ROOT).parts) for package in packages]
    assert "tasks.data.rules" in names
    assert "automations.yaml" in PROJECT["tool"]["setuptools"]["package-data"]["deployments"]
    assert [name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)] == []


def test_the_container_is_nobody_special_says_all_and_tells_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dict(one.split("=") for line in instructions("ENV") for one in line.split())
    assert settings["PYTHONUNBUFFERED"] == settings["DO_NOT_TRACK"] == "1"
    assert settings["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert int(instructions("USER")[-1]) > 0
    (command,) = instructions("CMD")
    assert json.loads(command) == ["python", "-m", "deployments.worker", "--pool", "training"]
    name = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"
    assert _termination_intent() is None
    monkeypatch.setenv(name, settings[name])
    assert _termination_intent() == "reschedule", "else a first process would ignore SIGTERM"


def template(pool: str) -> dict[str, Any]:
    return dict(json.loads((POOLS / f"{pool}.json").read_text()))


@pytest.mark.parametrize("pool", ["ecs", "kubernetes"])
def test_pools_take_no_variable_that_prefects_own_do_not_know(pool: str) -> None:
    ours = template(pool)
    validate_base_job_template(ours)
    default = ECSWorker.get_default_base_job_template()
    known = set(default["variables"]["properties"]) if pool == "ecs" else KUBERNETES_VARIABLES
    assert set(ours["variables"]["properties"]) <= known
    assert pool != "ecs" or set(ours["job_configuration"]) <= set(default["job_configuration"])


@pytest.fixture
def ecs() -> tuple[dict[str, Any], dict[str, Any]]:
    """The task definition and the request to run it that Prefect's worker makes of the pool for a flow run."""
    run = FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="nightly")
    pool = template("ecs")
    values = ECSJobConfiguration._get_base_config_defaults(pool["variables"]["properties"])
    values |= {"image": "linear-learner:2", "env": {"AWS_REGION": "eu-west-1"}}
    job = ECSJobConfiguration(**apply_values(pool["job_configuration"], values))
    job.prepare_for_flow_run(run)
    job.network_configuration = {"subnets": ["subnet-0a1b2c3d"]}  # else it is looked for in EC2
    worker = ECSWorker(work_pool_name="training-ecs")
    definition = worker._prepare_task_definition(job, "eu-west-1", run)
    worker._validate_task_definition(definition, job)
    return definition, worker._prepare_task_run_request(job, definition, "linear-learner:2", False)


def validate(operation: str, parameters: Mapping[str, Any]) -> None:
    """As boto3 does, by AWS's own model of the service."""
    model = ServiceModel(create_loader().load_service_model("ecs", "service-2"))
    shape = model.operation_model(operation).input_shape
    assert shape
    validate_parameters(parameters, shape)


def test_a_task_of_ecs_has_time_to_stop_its_job_the_flows_identity_and_a_log(
    ecs: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    definition, request = ecs
    validate("RegisterTaskDefinition", definition)
    validate("RunTask", request)
    (container,) = definition["containerDefinitions"]
    assert container["image"] == "linear-learner:2"
    assert container["stopTimeout"] == 120, "the most that Fargate grants"
    assert container["logConfiguration"]["options"]["awslogs-group"] == "/prefect/linear-learner"
    assert definition["taskRoleArn"].endswith(":role/linear-learner-flow")
    assert (int(definition["cpu"]), int(definition["memory"])) == (1024, 4096)
    (overridden,) = request["overrides"]["containerOverrides"]
    assert overridden["command"] == ["prefect", "flow-run", "execute"]
    assert {"name": "AWS_REGION", "value": "eu-west-1"} in overridden["environment"]
    allowed = json.loads((ROOT / "deployments" / "policies" / "worker-ecs.json").read_text())["Statement"]
    (may_run,) = (one["Resource"] for one in allowed if one["Action"] == "ecs:RunTask")
    assert may_run.endswith(f":task-definition/{definition['family']}:*")


def test_a_pod_of_kubernetes_has_time_to_stop_its_job_and_is_tried_once() -> None:
    ours = template("kubernetes")
    job = ours["job_configuration"]["job_manifest"]["spec"]
    pod = job["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 120
    # With retries of its own Kubernetes, not Prefect, begins a run again that got SIGTERM.
    assert (job["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    (container,) = pod["containers"]
    assert container["args"] == "{{ command }}"
    assert "command" not in container, "it would take the place of the image's entry point"
    assert pod["securityContext"] == {"runAsNonRoot": True}
    assert ours["variables"]["properties"]["memory_request"]["default"] == "4Gi"
