"""Invalid arguments are reported before servers or the flow are started."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from flows.cli.arguments import Arguments, parse_arguments
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
            "good.csv has no column 'prise' (did you mean 'price'?) to use as a category.",
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
        (["--colour", "blue"], "There is no option --colour. python -m flows.train --help shows the options."),
        (["--epochs", "9"], "There is no option --epochs. Did you mean --hyperparameters.epochs?"),
        (["--learning-rate", "9"], "Did you mean --hyperparameters.learning_rate?"),
        (["--margin=9"], "no option --margin. Did you mean --hyperparameters.margin or --gate.margin?"),
        (["--max-cost", "9"], "Did you mean --compute.max_cost_usd"),
        (["--instance", "ml.m5.large"], "Did you mean --compute.instance_type"),
        (["--hyperparameters.optimizer", "adams"], "found 'adams'. Did you mean adam?"),
        (["--target", "a", "b"], "'b' does not belong to an option"),
        (["--compute.fallback_instance_types", "m5"], "--compute.fallback_instance_types: String should match"),
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


@pytest.mark.parametrize(
    "line",
    [
        "--dataset.ignore a,b --model_dir m",
        "--dataset.ignore a b --model-dir m",
        "--dataset.ignore a --dataset.ignore b --model-dir=m",
        "--dataset.ignore=a b --Model-Dir m",
    ],
)
def test_lists_and_names_may_be_written_in_several_ways(line: str) -> None:
    given = Arguments(**parse_arguments(line.split()))
    assert (given.dataset.ignore, given.model_dir) == (("a", "b"), "m")


def test_negative_numbers_are_values() -> None:
    line = ["--dataset.missing", "-999", "-", "--hyperparameters.init_bias", "-1.5"]
    given = Arguments(**parse_arguments(line))
    assert given.dataset.missing == ("-999", "-")
    assert given.hyperparameters.init_bias == -1.5


def test_the_help_shows_the_common_options_and_help_all_every_one(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for option in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as end:
            parse_arguments([option])
        assert end.value.code == 0
        shown.append(capsys.readouterr().out)
    common, complete = shown
    assert len(common.splitlines()) <= 120
    assert "python -m flows.train --csv houses.csv --target price" in common
    assert "--hyperparameters.beta_1" not in common
    for fields in (type(value).model_fields for _, value in Arguments() if isinstance(value, BaseModel)):
        assert all(f"{name} " in complete for name in fields)
    for text in shown:
        assert not re.search(r"tuple\[|\bstr\b|\bint\b|\bfloat\b|\bNone\b", text)
        assert not re.search(r"[Dd]efault (\S+)\.? +\(?[Dd]efault", " ".join(text.split()))
    assert common.index("--csv") < common.index("--hyperparameters.epochs") < common.index("--compute.instance_type")


def test_environment_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE", "other")
    assert Arguments().workspace == "sandbox"
