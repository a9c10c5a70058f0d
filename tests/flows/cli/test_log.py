"""The log and the exit code of a run from the command line."""

from pathlib import Path

import pytest

from tests.flows.cli.test_main import PYTHON, SMALL, home, jobs, run_command

__all__ = ["home"]
pytestmark = pytest.mark.e2e

MAX_INFO_LINES = 20


def info_lines(log: str) -> list[str]:
    return [line for line in log.splitlines() if "| INFO " in line]


def test_a_first_and_a_reused_run_log_at_most_twenty_lines_and_verbose_brings_back_the_states(
    api_url: str, home: Path
) -> None:
    first, reused, verbose = (
        run_command(home, *PYTHON, "flows.train", *SMALL, *more, PREFECT_API_URL=api_url)
        for more in ((), (), ("--verbose",))
    )
    (job,) = jobs(home)
    for run in (first, reused):
        lines = info_lines(run.stderr)
        assert 5 < len(lines) <= MAX_INFO_LINES, run.stderr
        assert not any("Finished in state" in line for line in lines)
        assert sum(job in line for line in lines) < len(lines) / 2
    assert f"started: training job {job}, at most 0.12 USD" in first.stderr
    assert "100 % done" in first.stderr
    assert f"reused: training job {job}" in reused.stderr
    assert "Finished in state Completed()" in verbose.stderr


def test_scripts_can_ask_for_an_exit_code_of_rejected_models(api_url: str, home: Path) -> None:
    rejected = [*PYTHON, "flows.train", *SMALL, "--gate.margin", "0.9"]
    codes = [
        run_command(home, *rejected, *more, PREFECT_API_URL=api_url).returncode
        for more in ((), ("--fail-if-rejected",))
    ]
    assert codes == [0, 3]


def test_a_mistyped_instance_type_is_refused_although_the_job_could_be_reused(api_url: str, home: Path) -> None:
    run_command(home, *PYTHON, "flows.train", *SMALL, PREFECT_API_URL=api_url)
    before = jobs(home)
    mistyped = ("--compute.instance-type", "ml.m5.lagre")
    run = run_command(home, *PYTHON, "flows.train", *SMALL, *mistyped, PREFECT_API_URL=api_url)
    assert run.returncode == 2
    assert "AWS has no instance type ml.m5.lagre for training. Did you mean ml.m5.large or" in run.stderr
    assert jobs(home) == before
