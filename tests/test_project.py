"""Rules for the whole project: layers, names, file sizes, start-up imports, and the files at the top."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("flows", "tasks", "linear_learner", "aws", "sandbox", "deployments")
ALGORITHM_NEEDS = {"numpy", "pydantic", "pydantic_core"}  # the last is pydantic's own and installed with it
WITH_EXTRAS = {
    Path("linear_learner/estimator.py"),  # needs scikit-learn; nothing imports it
    Path("linear_learner/serving/server.py"),  # needs uvicorn; only the command `serve` imports it
}
MAX_LINES = 400
STEPS = {
    *("load", "split", "check", "encode", "format", "upload", "fit"),
    *("monitor", "download", "evaluate", "record", "register", "report"),
}
PRIVATE_WORDS = re.compile(
    r"(?:^|_)(?:told|kept|gone|ahead|reigning|recount|story|suited|judgeable|came_to)(?:_|$)"
    r"|^_?(?:MOST|LONGEST|LEAST)_|(?:Told|Kept|Gone|Ahead|Recount|Story)(?![a-z])"
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(module: Path) -> set[str]:
    """Return the top-level names of all modules that a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            found.add((node.module or "").split(".")[0])
    return found


def test_imports_respect_the_layers_and_are_not_circular() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([lint_imports], capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    "module", [one for one in MODULES if one.parts[0] == "linear_learner" and one not in WITH_EXTRAS], ids=str
)
def test_the_algorithm_imports_only_numpy_and_pydantic(module: Path) -> None:
    foreign = imported(module) - set(sys.stdlib_module_names) - ALGORITHM_NEEDS - {"linear_learner"}
    assert not foreign, f"{module} imports {foreign}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_modules_have_at_most_400_lines(module: Path) -> None:
    assert len((ROOT / module).read_text().splitlines()) <= MAX_LINES


def test_tasks_contains_only_steps_and_parameters() -> None:
    assert {path.stem for path in (ROOT / "tasks").glob("*.py")} == {
        *(*STEPS, "predict", "deploy", "undeploy"),
        *("parameters", "model_source", "prediction_report", "__init__"),
    }


@pytest.mark.parametrize("step", sorted(STEPS))
def test_steps_import_only_types_from_other_steps(step: str) -> None:
    for node in ast.walk(ast.parse((ROOT / "tasks" / f"{step}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").removeprefix("tasks.") in STEPS:
            for name in node.names:
                assert isinstance(getattr(import_module(str(node.module)), name.name), type), name.name


def test_names_use_standard_terms() -> None:
    """No identifier contains a word that has no standard meaning in this field."""
    found = set()
    for path in [
        *(ROOT / module for module in MODULES),
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "benchmarks").glob("*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = (getattr(node, field, None) for field in ("id", "attr", "name", "arg", "asname"))
            found |= {(path.name, name) for name in names if isinstance(name, str) and PRIVATE_WORDS.search(name)}
    assert not found


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("flows.cli.main", {"prefect", "boto3", "polars", "pandas", "sklearn", "sandbox.server"}),
        ("deployments.blocks", {"prefect", "boto3", "polars", "pandas", "sklearn"}),
        ("sandbox.client", {"prefect", "boto3", "moto", "numpy"}),
        ("flows.train", {"sklearn", "polars", "pandas", "sagemaker", "moto", "matplotlib"}),
    ],
)
def test_slow_packages_are_not_imported_at_start_up(module: str, heavy: set[str]) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not heavy & set(run.stdout.split())


def test_constraints_are_exact_versions() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        assert name, line
        assert version[0].isdigit(), line


def test_every_dependency_has_a_comment_with_its_reason() -> None:
    requirements = [
        *PROJECT["dependencies"],
        *(one for extra in PROJECT["optional-dependencies"].values() for one in extra),
    ]
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    for requirement in requirements:
        line = next(line for line in lines if line.strip().startswith(f'"{requirement}"'))
        assert "#" in line, requirement


def test_the_readme_starts_with_two_targets_of_the_makefile() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.index("make run") < readme.index("make test")
    targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ":" in line}
    assert {"run", "test"} <= targets


def test_deployments_have_existing_flows_and_valid_parameters() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {one["name"] for one in deployments} >= {"nightly", "ad-hoc", "reaper"}
    assert {one["version"] for one in deployments} == {PROJECT["version"]}
    for deployment in deployments:
        module, flow = deployment["entrypoint"].split(":")
        assert module.startswith("flows.")
        getattr(import_module(module), flow).validate_parameters(deployment.get("parameters", {}))
