"""The log and the exit code of a run from the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.cli.test_main import jobs
from tests.shell import Shell, open_shell, run_here, run_shell

pytestmark = pytest.mark.e2e

TRAIN = ".venv/bin/python -m flows.train --sample diabetes"

MAX_INFO_LINES = 20


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, api_url: str) -> Iterator[Shell]:
    with open_shell(tmp_path_factory.mktemp("home"), api_url) as shell:
        yield shell


def info_lines(log: str) -> list[str]:
    return [line for line in log.splitlines() if "| INFO " in line]


def test_a_first_and_a_reused_run_log_at_most_twenty_lines(shell: Shell) -> None:
    first, reused = (run_shell(shell, TRAIN) for _ in range(2))
    (job,) = jobs(Path(shell["HOME"]))
    for run in (first, reused):
        lines = info_lines(run.stderr)
        assert 5 < len(lines) <= MAX_INFO_LINES, run.stderr
        assert not any("Finished in state" in line for line in lines)
        assert sum(job in line for line in lines) < len(lines) / 2
    assert f"started: training job {job}, at most 0.12 USD" in first.stderr
    assert "100 % done" in first.stderr
    assert f"reused: training job {job}" in reused.stderr


def test_verbose_logs_all_states_and_scripts_can_ask_for_an_exit_code_of_rejected_models(shell: Shell) -> None:
    run = run_shell(shell, f"{TRAIN} --gate.margin 0.9 --fail-if-rejected --verbose", code=3)
    assert "Finished in state Completed()" in run.stderr
    assert "Finished in state Rejected(" in run.stderr


def test_a_mistyped_instance_type_is_refused_although_the_job_could_be_reused(shell: Shell) -> None:
    before = jobs(Path(shell["HOME"]))
    run = run_here(shell, f"{TRAIN} --compute.instance-type ml.m5.lagre", code=2)
    assert "AWS has no instance type ml.m5.lagre for training. Did you mean ml.m5.large or" in run.stderr
    assert jobs(Path(shell["HOME"])) == before
