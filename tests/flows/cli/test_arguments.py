"""Invalid arguments are reported before servers or the flow are started."""

from pathlib import Path

import pytest

from flows.cli.arguments import Arguments
from flows.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "missing.csv"], "There is no file missing.csv. Check the path given with --csv."),
        (
            ["--csv", "good.csv", "--target", "prise"],
            "good.csv has no column 'prise' (did you mean 'price'?) to predict.",
        ),
        (
            ["--csv", "good.csv", "--target", "price", "--dataset.categorical", "prise"],
            "good.csv has no column 'prise' to use as a category. Did you mean 'price'?",
        ),
        (["--csv", "empty.csv", "--target", "price"], "empty.csv is empty."),
        (["--hyperparameters.epochs", "0"], "--hyperparameters.epochs: Input should be greater than 0; found '0'"),
        (
            ["--hyperparameters.loss", "hinge_loss", "--hyperparameters.predictor_type", "regressor"],
            "loss hinge_loss is invalid for regressor",
        ),
        (
            ["--hyperparameters.predictor_type", "multiclass_classifier", "--hyperparameters.num_classes", "2"],
            "num_classes must be at least 3",
        ),
        (["--split.test_size", "7"], "--split.test_size: Input should be less than 1; found '7'"),
        (["--csv", "good.csv", "--sample", "digits"], "--csv and --sample cannot be combined"),
        (["--csv", "good.csv", "--source", "t.csv"], "--csv and --source cannot be combined"),
        (["--csv", "good.csv", "--from-run", "run.json"], "--csv and --from-run cannot be combined"),
        (["--sample", "digits", "--from-run", "s3://b/run.json"], "--sample and --from-run cannot be combined"),
        (["--from-run", "missing.json"], "There is no file missing.json. Check the path given with --from-run."),
        (["--colour", "blue"], "unrecognized arguments: --colour blue"),
    ],
)
def test_an_invalid_argument_is_reported_in_one_line(
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
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert len(output.err.strip().splitlines()) == 1


def test_environment_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE", "other")
    assert Arguments().workspace == "sandbox"
