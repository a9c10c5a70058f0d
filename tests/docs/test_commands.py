"""The example commands of the documentation run without changes, in an empty home directory."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, shell_lines
from tests.shell import Shell, open_shell, run_here, run_shell

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("coarse_plots")]

HOUSES = "rooms,area,price\n" + "".join(f"{i % 5 + 1},{40 + i},{1000 * (40 + i) + 500 * (i % 5)}\n" for i in range(300))


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, api_url: str) -> Iterator[Shell]:
    """A shell with a table in its home."""
    home = tmp_path_factory.mktemp("home")
    (home / "houses.csv").write_text(HOUSES)
    with open_shell(home, api_url) as shell:
        yield shell


def test_a_local_table_and_a_sample_are_trained_on(shell: Shell) -> None:
    local_table, sample, show_help = (run_shell(shell, line) for line in shell_lines("README.md", "## Your own table"))
    assert "Linear Learner predicts price" in local_table.stdout
    assert "mini_batch_size is 4, and epochs at most 60 for 210 training rows" in local_table.stderr
    assert "Linear Learner predicts target" in sample.stdout
    assert "--dataset.target" in show_help.stdout


def test_another_split_and_format_are_trained_on(shell: Shell) -> None:
    [line] = shell_lines("docs/data.md", "## The split")
    assert "Linear Learner predicts target" in run_here(shell, line).stdout


def test_hyperparameters_are_set_and_the_model_is_inspected(shell: Shell) -> None:
    train, inspect = shell_lines("docs/hyperparameters.md")
    assert "Linear Learner predicts bonus" in run_here(shell, train).stdout
    assert "huber_loss" in run_here(shell, inspect).stdout


def test_new_rows_are_predicted(shell: Shell) -> None:
    first, *_ = shell_lines("README.md", "## Predict and serve")
    same, evaluated = shell_lines("docs/predictions.md", "# Predictions")
    assert "45,000 of s3://" in run_here(shell, first).stdout
    assert len(Path(shell["HOME"], "predictions.csv").read_text().splitlines()) == 45_001
    assert "nothing has changed" in run_here(shell, same).stdout
    assert "RMSE" in run_here(shell, evaluated).stdout


def test_a_run_is_repeated_from_its_record(shell: Shell) -> None:
    newest, same, changed = shell_lines("docs/evaluation.md", "## Repeat a run")
    assert "reproduction  yes" in run_here(shell, f"{newest}\n{same}").stdout
    assert "reproduction  no" in run_here(shell, f"{newest}\n{changed}").stdout


def test_registered_models_are_listed_compared_decided_on_and_downloaded(shell: Shell) -> None:
    lines = shell_lines("docs/evaluation.md", "## Registered models")
    outputs = [run_here(shell, line).stdout for line in lines]
    expected = (
        "first model",
        "l1: ",
        "is Approved",
        "is Rejected",
        "is Approved",
        "model.tar.gz, run.json, schema.json",
    )
    assert all(part in output for part, output in zip(expected, outputs, strict=True)), outputs


def test_the_flow_is_called_from_python(shell: Shell) -> None:
    """In a home directory in which a command has saved the workspace."""
    python = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    script = Path(shell["HOME"]) / "example.py"
    script.write_text(python)
    assert run_shell(shell, f".venv/bin/python {script}").stdout.partition("This model: RMSE ")[2]


def test_a_model_is_served_updates_are_rolled_back_and_the_endpoint_is_removed(shell: Shell) -> None:
    run_here(shell, ".venv/bin/python -m flows.train")
    _, deploy, undeploy = shell_lines("README.md", "## Predict and serve")
    created = run_here(shell, deploy).stdout
    served = re.search(r"was created and serves (\S+)/(\d+)", created)
    assert served, created
    dry_run, again, *_ = shell_lines("docs/endpoints.md", "# Endpoints")
    run_here(shell, f".venv/bin/python -m flows.models approve {served[1]} {served[2]}")
    assert "serves exactly this already" in run_here(shell, dry_run).stdout
    assert "serves, unchanged" in run_here(shell, again).stdout
    fault, update = shell_lines("docs/endpoints.md", "## Rehearse failures")
    run_here(shell, fault)
    assert "was rolled back" in run_here(shell, update, code=1).stdout
    assert "endpoint linear-learner-bonus-transformed-data" in run_here(shell, undeploy).stdout
