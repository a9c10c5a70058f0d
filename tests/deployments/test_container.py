"""Tests of the image and its work pools that need no container engine, ECS or Kubernetes."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, requires
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
"""The variables of prefect-kubernetes 0.8.0, which is not installed."""
IMPORTS = """
import sys
sys.path.insert(0, sys.argv[1])
import flows.train, flows.reap, flows.cli.main, deployments.automations, deployments.blocks, deployments.worker
print(*(f"{name}={getattr(module, '__file__', '')}" for name, module in list(sys.modules.items())), sep="\\n")
"""


def instructions(kind: str, image: str = "flow") -> list[str]:
    """The arguments of each instruction of a kind in an image and its base, with continued lines joined."""
    content = re.sub(r"\\\n\s*", "", DOCKERFILE)
    stages = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", content, re.MULTILINE | re.DOTALL))
    lines = (stages["base"] + stages[image]).splitlines()
    return [line.removeprefix(f"{kind} ") for line in lines if line.startswith(f"{kind} ")]


def copied_sources(image: str = "flow") -> list[str]:
    return [source for copy in instructions("COPY", image) for source in copy.split()[:-1]]


def required_packages(image: str) -> list[str]:
    """What the command of the image that writes requirements.txt prints."""
    [script] = [found for run in instructions("RUN", image) for found in re.findall(r'python -c "(.+?)" >', run)]
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()


def test_the_copied_files_exist_and_are_not_excluded_by_dockerignore() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == set(copied_sources())
    assert all((ROOT / source).exists() for source in copied_sources())


def test_the_copied_files_are_enough_for_flows_and_workers(tmp_path: Path) -> None:
    for source in copied_sources():
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, tmp_path / source)
    command = [sys.executable, "-I", "-c", IMPORTS, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    modules = dict(line.split("=", 1) for line in run.stdout.splitlines())
    packages = {path.name for path in tmp_path.iterdir() if (path / "__init__.py").exists()}
    own_modules = {name: file for name, file in modules.items() if name.split(".")[0] in packages}
    assert {"flows.train", "tasks.load", "aws.workspace"} <= set(own_modules)
    assert all(file.startswith(str(tmp_path)) for file in own_modules.values())
    extras = PROJECT["project"]["optional-dependencies"].values()
    names = {re.split(r"[^\w-]", one)[0].replace("-", "_") for extra in extras for one in extra}
    assert not names & {name.split(".")[0] for name in modules}, "imported, but installed only with an extra"


def test_the_image_installs_the_dependencies_in_the_tested_versions() -> None:
    requirements = required_packages("flow")
    assert requirements == PROJECT["project"]["dependencies"]
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {re.split(r"[^\w-]", one.lower().replace(".", "-", 1))[0] for one in requirements} <= pinned
    assert all("--constraint constraints.txt" in run for run in instructions("RUN") if "pip install" in run)


def test_every_package_is_installed_with_the_project() -> None:
    folders = [ROOT / source for source in copied_sources() if (ROOT / source).is_dir()]
    packages = {file.parent for folder in folders for file in folder.rglob("__init__.py")}
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    names = [".".join(package.relative_to(ROOT).parts) for package in packages]
    assert "tasks.data.rules" in names
    assert "automations.yaml" in PROJECT["tool"]["setuptools"]["package-data"]["deployments"]
    assert [name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)] == []


def test_the_container_is_not_root_logs_unbuffered_and_sends_no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dict(one.split("=") for line in instructions("ENV") for one in line.split())
    assert settings["PYTHONUNBUFFERED"] == settings["DO_NOT_TRACK"] == "1"
    assert settings["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert int(instructions("USER")[-1]) > 0
    (command,) = instructions("CMD")
    assert json.loads(command) == ["python", "-m", "deployments.worker", "--pool", "training"]
    name = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"
    assert _termination_intent() is None
    monkeypatch.setenv(name, settings[name])
    assert _termination_intent() == "reschedule", "without it, a first process ignores SIGTERM"


def test_the_flow_image_is_the_last_and_so_the_default() -> None:
    assert re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)[1:] == [("base", "serve"), ("base", "flow")]


def test_the_image_of_endpoints_has_what_the_server_imports_and_little_else(tmp_path: Path) -> None:
    names = [re.split(r"[^\w-]", one)[0] for one in required_packages("serve")]
    assert names == ["numpy", "pydantic", "uvicorn", "httptools", "uvloop"]
    assert all("--constraint constraints.txt" in run for run in instructions("RUN", "serve") if "pip install" in run)
    assert copied_sources("serve") == ["pyproject.toml", "constraints.txt", "linear_learner"]
    shutil.copytree(ROOT / "linear_learner", tmp_path / "linear_learner")
    script = "import sys, linear_learner.serving.server; print(*sys.modules)"
    environment = {"PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    imported = {name.split(".")[0] for name in run.stdout.split()} - set(sys.stdlib_module_names)
    installed = {*names, *(name for one in names for name in dependencies(one))}
    own = {"linear_learner", "__main__", "__mp_main__"}
    assert {name for name in imported - own if not name.startswith("_")} <= {one.replace("-", "_") for one in installed}


def dependencies(package: str) -> set[str]:
    """The packages that a package needs, and those that they need."""
    found = {re.split(r"[^\w-]", one)[0] for one in requires(package) or () if "extra ==" not in one}
    return found | {name for one in found if is_installed(one) for name in dependencies(one)}


def is_installed(package: str) -> bool:
    try:
        requires(package)
    except PackageNotFoundError:
        return False
    return True


def test_the_image_of_endpoints_keeps_sagemakers_contract() -> None:
    settings = dict(one.split("=") for line in instructions("ENV", "serve") for one in line.split())
    assert settings["PYTHONUNBUFFERED"] == "1"
    assert (settings["LINEAR_LEARNER_HOST"], settings["PYTHONPATH"]) == ("0.0.0.0", "/opt/linear-learner")  # noqa: S104
    assert int(instructions("USER", "serve")[-1]) > 0
    assert instructions("EXPOSE", "serve") == ["8080"]
    command = json.loads(instructions("ENTRYPOINT", "serve")[0]) + json.loads(instructions("CMD", "serve")[0])
    assert command == ["python", "-m", "linear_learner", "serve"]
    run = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (run.returncode, run.stderr.partition(" does not exist")[0]) == (2, "/opt/ml/model")


def template(pool: str) -> dict[str, Any]:
    return dict(json.loads((POOLS / f"{pool}.json").read_text()))


@pytest.mark.parametrize("pool", ["ecs", "kubernetes"])
def test_pools_have_only_variables_of_prefects_templates(pool: str) -> None:
    own_template = template(pool)
    validate_base_job_template(own_template)
    default = ECSWorker.get_default_base_job_template()
    allowed = set(default["variables"]["properties"]) if pool == "ecs" else KUBERNETES_VARIABLES
    assert set(own_template["variables"]["properties"]) <= allowed
    assert pool != "ecs" or set(own_template["job_configuration"]) <= set(default["job_configuration"])


@pytest.fixture
def ecs() -> tuple[dict[str, Any], dict[str, Any]]:
    """The task definition and the RunTask request that Prefect's worker creates for a flow run of the pool."""
    run = FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="nightly")
    pool = template("ecs")
    values = ECSJobConfiguration._get_base_config_defaults(pool["variables"]["properties"])
    values |= {"image": "linear-learner:2", "env": {"AWS_REGION": "eu-west-1"}}
    job = ECSJobConfiguration(**apply_values(pool["job_configuration"], values))
    job.prepare_for_flow_run(run)
    job.network_configuration = {"subnets": ["subnet-0a1b2c3d"]}  # without it, the worker asks EC2
    worker = ECSWorker(work_pool_name="training-ecs")
    definition = worker._prepare_task_definition(job, "eu-west-1", run)
    worker._validate_task_definition(definition, job)
    return definition, worker._prepare_task_run_request(job, definition, "linear-learner:2", False)


def validate(operation: str, parameters: Mapping[str, Any]) -> None:
    """Validate parameters with boto3's model of the service."""
    model = ServiceModel(create_loader().load_service_model("ecs", "service-2"))
    shape = model.operation_model(operation).input_shape
    assert shape
    validate_parameters(parameters, shape)


def test_an_ecs_task_has_a_stop_timeout_the_flows_role_and_a_log(
    ecs: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    definition, request = ecs
    validate("RegisterTaskDefinition", definition)
    validate("RunTask", request)
    (container,) = definition["containerDefinitions"]
    assert container["image"] == "linear-learner:2"
    assert container["stopTimeout"] == 120, "the maximum of Fargate"
    assert container["logConfiguration"]["options"]["awslogs-group"] == "/prefect/linear-learner"
    assert definition["taskRoleArn"].endswith(":role/linear-learner-flow")
    assert (int(definition["cpu"]), int(definition["memory"])) == (1024, 4096)
    (overridden,) = request["overrides"]["containerOverrides"]
    assert overridden["command"] == ["prefect", "flow-run", "execute"]
    assert {"name": "AWS_REGION", "value": "eu-west-1"} in overridden["environment"]
    allowed = json.loads((ROOT / "deployments" / "policies" / "worker-ecs.json").read_text())["Statement"]
    (may_run,) = (one["Resource"] for one in allowed if one["Action"] == "ecs:RunTask")
    assert may_run.endswith(f":task-definition/{definition['family']}:*")


def test_a_kubernetes_pod_has_a_grace_period_and_is_not_retried() -> None:
    own_template = template("kubernetes")
    job = own_template["job_configuration"]["job_manifest"]["spec"]
    pod = job["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 120
    # Otherwise Kubernetes, not Prefect, would restart a run that got SIGTERM.
    assert (job["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    (container,) = pod["containers"]
    assert container["args"] == "{{ command }}"
    assert "command" not in container, "it would replace the image's entry point"
    assert pod["securityContext"] == {"runAsNonRoot": True}
    assert own_template["variables"]["properties"]["memory_request"]["default"] == "4Gi"
