"""Registered models are listed, compared, approved, rejected and downloaded from the command line."""

import json
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from prefect import flow

from aws.registry import describe_package, newest_approved
from aws.storage import write_object
from aws.workspace import Workspace
from flows.cli.next_steps import list_next_steps
from flows.models import main
from flows.train import train_linear_learner
from linear_learner.predictor import Predictor
from sandbox import client
from tasks.evaluation.results import Verdict
from tasks.model_report.effects import Effects, ReportFigures
from tasks.parameters import Dataset, Registry
from tasks.report import PAGE, TrainingRun, report
from tests.conftest import use_machine
from tests.flows.conftest import HYPERPARAMETERS, linear_table

Models = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> list[TrainingRun]:
    """Two models of a group of their own, of which the second has another `l1`; both wait for approval."""
    machine, source = tmp_path_factory.mktemp("machine"), workspace.uri(f"{uuid.uuid4().hex}.csv")
    write_object(workspace, source, linear_table(source))
    runs = []
    for l1 in (0.0, 0.01):
        with use_machine(machine):
            run = train_linear_learner(
                Dataset(source=source, target="pay"),
                "flows",
                hyperparameters=HYPERPARAMETERS.model_copy(update={"l1": l1}),
                registry=Registry(group=f"models-{source[-16:-4]}"),
                model_dir=str(machine / "models"),
            )
        assert isinstance(run, TrainingRun)
        runs.append(run)
    return runs


@pytest.fixture
def group(trained: list[TrainingRun]) -> str:
    assert trained[0].registered
    return trained[0].registered.group


@pytest.fixture
def models(machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Models:
    """A function that runs the command in an empty folder; returns the exit code, stdout and stderr."""
    monkeypatch.setenv("PREFECT_API_URL", "set")  # so that no server is started
    monkeypatch.chdir(machine)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([*map(str, arguments), "--workspace", "flows"])
        except SystemExit as end:  # of the parser
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


def test_versions_are_listed_newest_first_with_their_verdicts_and_changes(
    trained: list[TrainingRun], group: str, models: Models
) -> None:
    code, out, _ = models("list", group)
    _, newest, first = out.splitlines()
    assert code == 0
    assert newest.startswith("2 ")
    assert newest.endswith("l1: 0.0 → 0.01")
    assert first.startswith("1 ")
    value = trained[0].evaluation.value("rmse")
    assert all(part in first for part in ("PendingManualApproval", "first model", f"RMSE {value:.6g}"))
    assert trained[0].job.name in first
    assert group in models("list")[1].splitlines()


def test_two_versions_are_compared_by_metrics_and_changes(group: str, models: Models) -> None:
    code, out, _ = models("compare", group, 1, 2)
    assert code == 0
    assert "RMSE" in out
    assert "l1: 0.0 → 0.01" in out
    assert "test rows may differ" not in out
    assert "nothing was changed" in models("compare", group, 2, 2)[1]


def test_a_person_decides_and_the_champion_is_the_newest_approved_version(
    trained: list[TrainingRun], group: str, models: Models, workspace: Workspace
) -> None:
    def champion() -> int | None:
        found = newest_approved(workspace, group)
        return found and found.version

    assert trained[1].registered
    code, out, _ = models("approve", f"{group}/1")
    assert (code, champion()) == (0, 1)
    assert "The champion is now version 1" in out
    assert "already" in models("approve", group, 1)[1]
    assert "no champion now" in models("reject", group, 1, "--reason", "made with a wrong table")[1]
    assert champion() is None
    code, _, error = models("approve", group, 1)
    assert code == 2
    assert "--although-rejected" in error
    assert "now version 2" in models("approve", group, 2)[1]
    code, out, _ = models("approve", group, 1, "--although-rejected", "--reason", "the newest is wrong")
    assert code == 0
    assert "The champion is still version 2" in out
    arn = describe_package(workspace, trained[1].registered.arn).arn.rpartition("/")[0] + "/1"
    description = workspace.client("sagemaker").describe_model_package(ModelPackageName=arn)["ApprovalDescription"]
    assert description == ("the newest is wrong; a person approved it although it was Rejected (first model)")


def test_a_downloaded_model_is_complete_and_has_the_recorded_checksum(
    trained: list[TrainingRun], group: str, models: Models
) -> None:
    code, _, _ = models("download", group, 2, "--out", "here")
    assert code == 0
    assert sorted(path.name for path in Path("here").iterdir()) == ["model.tar.gz", "run.json", "schema.json"]
    model = Path("here/model.tar.gz")
    assert sha256(model.read_bytes()).hexdigest() == trained[1].model.sha256
    assert json.loads(Path("here/run.json").read_text())["training_job"] == trained[1].job.name
    assert Predictor.read(model).predict([{"age": 30, "score": 0.5}])


def test_a_changed_model_is_not_downloaded(
    trained: list[TrainingRun], group: str, models: Models, workspace: Workspace
) -> None:
    uri, content = trained[0].model.uri, trained[0].model.path.read_bytes()
    write_object(workspace, uri, b"changed")
    try:
        code, _, error = models("download", group, 1, "--out", "here")
    finally:
        write_object(workspace, uri, content, {"sha256": trained[0].model.sha256})
    assert code == 2
    assert "SHA-256 differs" in error
    assert list(Path("here").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("approve {group}x 1", "Did you mean '{group}'?"),
        ("approve {group} 9", "has no version 9: it has versions 2, 1"),
        ("approve {group} one", "'one' is not a version"),
        ("approve", "approve needs a VERSION"),
        ("compare {group} 1", "'{group}' is not a version"),
        ("list {group} 1 2", "list needs one GROUP or none"),
        ("aprove {group} 1", "invalid choice: 'aprove'"),
        ("download {group} 1 --reason x", "--reason is not an option of download"),
        ("list {group} --workspac flows", "unrecognized arguments"),
    ],
)
def test_a_mistake_is_one_sentence(line: str, said: str, group: str, models: Models) -> None:
    code, out, error = models(*line.format(group=group).split())
    assert (code, out) == (2, "")
    assert said.format(group=group) in error
    assert len(error.splitlines()) == 1


@pytest.mark.usefixtures("models")
def test_an_unknown_workspace_is_named_with_the_command_that_saves_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--workspace", "nowhere"]) == 2
    error = capsys.readouterr().err
    assert "'nowhere'" in error
    assert "deployments.blocks" in error


@pytest.mark.usefixtures("trained")
def test_a_denied_decision_is_one_sentence(group: str, models: Models, inject: Callable[..., None]) -> None:
    inject(kind="access-denied", action="UpdateModelPackage")
    code, _, error = models("reject", group, 2)
    assert code == 2
    assert "UpdateModelPackage" in error
    assert len(error.splitlines()) == 1


def test_next_steps_apply_to_the_state_of_the_model(trained: list[TrainingRun], group: str) -> None:
    steps = list_next_steps(trained[1], "flows", "my rows.csv")
    words = {what: shlex.split(command)[2:] for what, command in steps.items()}
    assert words["approve"] == ["flows.models", "approve", group, "2", "--workspace", "flows"]
    assert words["compare"][:5] == ["flows.models", "compare", group, "1", "2"]
    assert words["predict"][:3] == ["flows.predict", "--data", "my rows.csv"]
    assert words["change"][-4:] == ["--hyperparameters.l1", "0.001", "--workspace", "flows"]
    rejected = trained[1].model_copy(
        update={
            "verdict": Verdict(outcome="no better than the champion", headline="rejected: RMSE 2", reason="RMSE 2."),
            "registered": trained[1].registered.model_copy(update={"status": "Rejected"}),  # type: ignore[union-attr]
        }
    )
    assert {"open report", "change", "compare"} <= list_next_steps(rejected, "sandbox", "rows.csv").keys()
    assert not {"predict", "approve"} & list_next_steps(rejected, "sandbox", "rows.csv").keys()
    assert "--workspace" not in " ".join(list_next_steps(trained[0], "sandbox", "rows.csv").values())
    assert "compare" not in list_next_steps(trained[0], "sandbox", "rows.csv")


def test_a_history_that_cannot_be_read_is_a_warning(
    trained: list[TrainingRun], machine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del machine
    nowhere = client.make_workspace("http://127.0.0.1:9").with_short_timeouts()
    figures = ReportFigures(effects=Effects(listed=(), columns=0), closed_form=None, plots={})

    @flow
    def reporting() -> str:
        return report(nowhere, trained[0], None, "flows", figures)

    assert reporting().startswith("#")
    assert trained[0].model.path.with_name(PAGE).is_file()
    assert "The artifact model-history was not created" in caplog.text


def test_help_imports_nothing_slow() -> None:
    code = "import sys, runpy; sys.argv[1:] = ['--help']\n"
    code += "try: runpy.run_module('flows.models', run_name='__main__')\nexcept SystemExit as end: status = end.code\n"
    code += "print(status, sorted({'prefect', 'boto3', 'pydantic', 'polars'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
