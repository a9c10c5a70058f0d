"""The example commands of the documentation run without changes, in an empty home directory."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import client
from tests.docs.pages import ROOT, shell_lines

pytestmark = pytest.mark.e2e

HOUSES = "rooms,area,price\n" + "".join(f"{i % 5 + 1},{40 + i},{1000 * (40 + i) + 500 * (i % 5)}\n" for i in range(300))
PRIVATE_VARIABLES = ("PREFECT_", "AWS_", "XDG_")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, api_url: str) -> Iterator[dict[str, str]]:
    """The environment of a shell with a table in its home; a Prefect server runs, and commands start a sandbox."""
    home = tmp_path_factory.mktemp("home")
    (home / "houses.csv").write_text(HOUSES)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE_VARIABLES)}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PREFECT_HOME": str(home / "prefect")}
    with client.mark_in_use(home / "cache/train-linear-learner/sandbox"):  # all commands share one sandbox
        yield {**environment, "PREFECT_API_URL": api_url}


def run_shell(shell: dict[str, str], command: str) -> subprocess.CompletedProcess[str]:
    line = command.replace(".venv/bin/python", sys.executable)
    run = subprocess.run(
        ["sh", "-c", line], cwd=shell["HOME"], env=shell, capture_output=True, text=True, timeout=180, check=False
    )
    assert run.returncode == 0, f"{line}\n{run.stderr}"
    return run


def test_a_local_table_and_a_sample_are_trained_on(shell: dict[str, str]) -> None:
    local_table, sample, show_help = (run_shell(shell, line) for line in shell_lines("README.md", "## Your own table"))
    assert "Linear Learner predicts price" in local_table.stdout
    assert "mini_batch_size is 4 for 210 training rows" in local_table.stderr
    assert "Linear Learner predicts target" in sample.stdout
    assert "--dataset.target" in show_help.stdout


def test_another_split_and_format_are_trained_on(shell: dict[str, str]) -> None:
    [line] = shell_lines("docs/data.md", "## The split")
    assert "Linear Learner predicts target" in run_shell(shell, line).stdout


def test_hyperparameters_are_set_and_the_model_is_inspected(shell: dict[str, str]) -> None:
    train, inspect = shell_lines("docs/hyperparameters.md")
    assert "Linear Learner predicts bonus" in run_shell(shell, train).stdout
    assert "huber_loss" in run_shell(shell, inspect).stdout


def test_new_rows_are_predicted(shell: dict[str, str]) -> None:
    [first] = shell_lines("README.md", "## Predict")
    same, evaluated = shell_lines("docs/predictions.md", "# Predictions")
    assert "45,000 of s3://" in run_shell(shell, first).stdout
    assert len(Path(shell["HOME"], "predictions.csv").read_text().splitlines()) == 45_001
    assert "nothing has changed" in run_shell(shell, same).stdout
    assert "RMSE" in run_shell(shell, evaluated).stdout


def test_a_run_is_repeated_from_its_record(shell: dict[str, str]) -> None:
    newest, same, changed = shell_lines("docs/evaluation.md", "## Repeat a run")
    assert "reproduction  yes" in run_shell(shell, f"{newest}\n{same}").stdout
    assert "reproduction  no" in run_shell(shell, f"{newest}\n{changed}").stdout


def test_registered_models_are_listed_compared_decided_on_and_downloaded(shell: dict[str, str]) -> None:
    lines = shell_lines("docs/evaluation.md", "## Registered models")
    outputs = [run_shell(shell, line).stdout for line in lines]
    expected = (
        "first model",
        "l1: ",
        "is Approved",
        "is Rejected",
        "is Approved",
        "model.tar.gz, run.json, schema.json",
    )
    assert all(part in output for part, output in zip(expected, outputs, strict=True)), outputs


def test_the_flow_is_called_from_python(shell: dict[str, str]) -> None:
    run_shell(shell, ".venv/bin/python -m flows.train")  # saves the workspace
    python = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    script = Path(shell["HOME"]) / "example.py"
    script.write_text(python)
    assert run_shell(shell, f".venv/bin/python {script}").stdout.partition("This model: RMSE ")[2]
