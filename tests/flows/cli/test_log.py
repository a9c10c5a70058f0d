"""The log and the exit code of a run from the command line."""

from pathlib import Path

import pytest

from tests.flows.cli.test_main import PYTHON, SMALL, home, jobs, run_command

__all__ = ["home"]
pytestmark = pytest.mark.e2e

MAX_INFO_LINES = 20


def info_lines(log: str) -> list[str]:
    return [line for line in log.splitlines() if "| INFO " in line]


def test_a_first_and_a_reused_run_log_at_most_twenty_lines(api_url: str, home: Path) -> None:
    first, reused = (run_command(home, *PYTHON, "flows.train", *SMALL, PREFECT_API_URL=api_url) for _ in range(2))
    (job,) = jobs(home)
    for run in (first, reused):
        lines = info_lines(run.stderr)
        assert 5 < len(lines) <= MAX_INFO_LINES, run.stderr
        assert not any("Finished in state" in line for line in lines)
        assert sum(job in line for line in lines) < len(lines) / 2
    assert f"started: training job {job}, at most 0.12 USD" in first.stderr
    assert "100 % done" in first.stderr
    assert f"reused: training job {job}" in reused.stderr


def test_verbose_logs_all_states_and_scripts_can_ask_for_an_exit_code_of_rejected_models(
    api_url: str, home: Path
) -> None:
    options = ("--gate.margin", "0.9", "--fail-if-rejected", "--verbose")
    run = run_command(home, *PYTHON, "flows.train", *SMALL, *options, PREFECT_API_URL=api_url)
    assert run.returncode == 3
    assert "Finished in state Completed()" in run.stderr
    assert "Finished in state Rejected(" in run.stderr


def test_a_mistyped_instance_type_is_refused_although_the_job_could_be_reused(api_url: str, home: Path) -> None:
    before = jobs(home)
    mistyped = ("--compute.instance-type", "ml.m5.lagre")
    run = run_command(home, *PYTHON, "flows.train", *SMALL, *mistyped, PREFECT_API_URL=api_url)
    assert run.returncode == 2
    assert "AWS has no instance type ml.m5.lagre for training. Did you mean ml.m5.large or" in run.stderr
    assert jobs(home) == before
