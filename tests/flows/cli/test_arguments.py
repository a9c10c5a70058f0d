"""Mistakes that are found before anything is started."""

from pathlib import Path

import pytest

from flows.cli.arguments import Arguments
from flows.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "nowhere.csv"], "There is no file nowhere.csv. Check the path given with --csv."),
        (
            ["--csv", "good.csv", "--target", "prise"],
            "good.csv has no column 'prise' to predict. Did you mean 'price'?",
        ),
        (["--csv", "empty.csv", "--target", "price"], "empty.csv is empty."),
        (["--hyperparameters.epochs", "0"], "--hyperparameters.epochs: Input should be greater than 0; found '0'"),
        (["--hyperparameters.loss", "hinge_loss"], "hinge_loss"),
        (["--hyperparameters.predictor_type", "multiclass_classifier"], "num_classes must be given"),
        (["--split.test_size", "7"], "--split.test_size: Input should be less than 1; found '7'"),
        (["--csv", "good.csv", "--sample", "digits"], "--csv and --sample exclude each other"),
        (["--csv", "good.csv", "--source", "t.csv"], "--csv and --source exclude each other"),
        (["--csv", "good.csv", "--from-run", "run.json"], "--csv and --from-run exclude each other"),
        (["--sample", "digits", "--from-run", "s3://b/run.json"], "--sample and --from-run exclude each other"),
        (["--from-run", "nowhere.json"], "There is no file nowhere.json. Check the path given with --from-run."),
        (["--colour", "blue"], "unrecognized arguments: --colour blue"),
    ],
)
def test_a_users_mistake_ends_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text("area,price\n1,2\n3,4\n")
    Path("empty.csv").write_text("")
    assert main(lambda: pytest.fail("the flow is loaded"), arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert len(shown.err.strip().splitlines()) == 1


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE", "elsewhere")
    assert Arguments().workspace == "sandbox"
