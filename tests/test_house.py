"""The house's own rules: which room may import which, how long a module may be, what the files at the top promise."""

import ast
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("flows", "tasks", "linear_learner", "aws", "sandbox", "deployments")
MAY_IMPORT = {
    "flows": {"tasks", "aws", "linear_learner"},
    "tasks": {"aws", "linear_learner"},
    "linear_learner": set(),
    "aws": set(),
    "sandbox": {"linear_learner"},
    "deployments": {"flows", "tasks", "aws", "linear_learner"},
}
EXCEPTIONS = {
    ("flows/cli", "sandbox"),  # the command line starts the sandbox where none runs
    ("sandbox/client.py", "aws"),  # the block the sandbox hands out and registers
    ("sandbox/__init__.py", "aws"),  # its type
}
ALGORITHM_NEEDS = {"numpy", "pydantic"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted(path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imported(module: Path) -> set[str]:
    """Top-level names of everything the module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            found.add((node.module or "").split(".")[0])
    return found


def excepted(module: Path, room: str) -> bool:
    return any(module.is_relative_to(where) and room == what for where, what in EXCEPTIONS)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_run_one_way(module: Path) -> None:
    room = module.parts[0]
    wrong = {
        other for other in imported(module) & set(ROOMS) - MAY_IMPORT[room] - {room} if not excepted(module, other)
    }
    assert not wrong, f"{module} must not import {wrong}"


@pytest.mark.parametrize("exception", sorted(EXCEPTIONS), ids=str)
def test_every_exception_to_the_import_rule_is_needed(exception: tuple[str, str]) -> None:
    where, what = exception
    assert any(module.is_relative_to(where) and what in imported(module) for module in MODULES)


@pytest.mark.parametrize("module", [module for module in MODULES if module.parts[0] == "linear_learner"], ids=str)
def test_the_algorithm_needs_numpy_and_pydantic_only(module: Path) -> None:
    foreign = imported(module) - set(sys.stdlib_module_names) - ALGORITHM_NEEDS - {"linear_learner"}
    assert not foreign, f"{module} imports {foreign}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_modules_stay_short_enough_to_read(module: Path) -> None:
    assert len((ROOT / module).read_text().splitlines()) <= 250


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("flows.cli.main", {"prefect", "boto3", "polars", "pandas", "sklearn", "sandbox.server"}),
        ("deployments.blocks", {"prefect", "boto3", "polars", "pandas", "sklearn"}),
        ("sandbox.client", {"prefect", "boto3", "moto", "numpy"}),
        ("flows.train", {"sklearn", "polars", "pandas", "sagemaker", "moto", "matplotlib"}),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(module: str, heavy: set[str]) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not heavy & set(run.stdout.split())


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        assert name, line
        assert version[0].isdigit(), line


def test_every_dependency_is_justified_in_its_line() -> None:
    wanted = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    for requirement in wanted:
        line = next(line for line in lines if line.strip().startswith(f'"{requirement}"'))
        assert "#" in line, requirement


def test_the_readme_starts_with_two_commands_that_the_makefile_knows() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.index("make run") < readme.index("make test")
    targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ":" in line}
    assert {"run", "test"} <= targets


def test_deployments_name_flows_and_fit_their_parameters() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {one["name"] for one in deployments} >= {"nightly", "ad-hoc", "reaper"}
    assert {one["version"] for one in deployments} == {PROJECT["version"]}
    for deployment in deployments:
        module, flow = deployment["entrypoint"].rsplit(".", 1)
        assert module.startswith("flows.")
        getattr(import_module(module), flow).validate_parameters(deployment.get("parameters", {}))
