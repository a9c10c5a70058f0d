"""Errors of the user that a run finds are reported in the last line, with exit code 2."""

from pathlib import Path

import pytest

from flows.cli.main import main
from flows.train import train_linear_learner


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--workspace", "flows", "--source", "missing.csv"],
            (
                "There is no object s3://linear-learner-sandbox/missing.csv. Check the bucket's name, the key and the "
                "region. On the machine that runs this step there is no file {machine}/missing.csv either."
            ),
        ),
        (["--workspace", "missing"], "There is no Training Workspace block named 'missing' on this Prefect server."),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_an_error_of_the_user_is_reported_in_the_last_line(
    machine: Path,
    api_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(machine)
    monkeypatch.setenv("PREFECT_API_URL", api_url)
    assert main(lambda: train_linear_learner, arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message.format(machine=machine) in output.err.strip().splitlines()[-1]
