"""Models are compared with the best constant and the champion, registered once and reported."""

import json
import random
import re
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from aws.registry import newest_approved
from aws.storage import read_object
from aws.workspace import Workspace
from flows.train import train_linear_learner
from linear_learner.errors import DataError, HyperparameterError
from linear_learner.formats.artifact import read_model
from tasks.data.numbers import format_number
from tasks.data.row_assignment import assign_rows
from tasks.parameters import Dataset, Gate, Registry, RequestedHyperparameters, Split
from tasks.report import TrainingRun

Table = Callable[..., Dataset]
QUICK = RequestedHyperparameters(mini_batch_size=10, epochs=20, num_models=16, learning_rate=0.1)
WEAK = RequestedHyperparameters(mini_batch_size=10, epochs=2, num_models=1, learning_rate=0.02)


@pytest.fixture
def table(put_object: Callable[[str, bytes], str]) -> Table:
    """A function that stores a table of 300 rows: `pay` depends on age, score and `noise`; from 1000 on noise alone."""

    def make(noise: float = 1.0, seed: int = 0, names: str = "town,age,score,pay,old,third") -> Dataset:
        numbers = random.Random(seed)  # noqa: S311 - a table, not a secret
        lines = [names]
        for row in range(300):
            age, score = numbers.randint(20, 60), numbers.random()
            pay = 3 * age + 10 * score + numbers.gauss(0, noise) if noise < 1000 else numbers.gauss(100, 30)
            cells = {"town": ("Rome", "Oslo")[row % 2], "age": age, "years": age, "score": f"{score:.4f}"}
            cells |= {"pay": f"{pay:.4f}", "old": int(pay > 120), "third": min(max(int(pay // 45), 1), 3) - 1}
            lines.append(",".join(str(cells[name]) for name in names.split(",")))
        source = put_object(f"{uuid.uuid4().hex}.csv", "\n".join(lines).encode())
        return Dataset(source=source, target="pay", ignore=("town", "old", "third"))

    return make


@pytest.fixture
def train(machine: Path) -> Callable[..., State[TrainingRun]]:
    """A function that runs the flow with a model package group of the test and approval; returns the final state."""
    registry = Registry(group=f"tests-{uuid.uuid4().hex[:12]}", approve=True)

    def run(dataset: Dataset, **chosen: Any) -> State[TrainingRun]:
        common = {"hyperparameters": QUICK, "registry": registry, "workspace": "flows"}
        parameters = common | {"model_dir": str(machine / "models")} | chosen
        state: State[TrainingRun] = train_linear_learner(dataset, **parameters, return_state=True)
        return state

    return run


def packages(workspace: Workspace, run: TrainingRun) -> list[tuple[int, str]]:
    """Return version and status of every package in the group of the run, newest first."""
    assert run.registered
    response = workspace.client("sagemaker").list_model_packages(ModelPackageGroupName=run.registered.group)
    return sorted(
        ((one["ModelPackageVersion"], one["ModelApprovalStatus"]) for one in response["ModelPackageSummaryList"]),
        reverse=True,
    )


def artifacts_of(state: State[TrainingRun]) -> dict[str, str]:
    """Return the artifacts of a flow run by key."""
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        return {str(one.key): str(one.data) for one in client.read_artifacts(artifact_filter=of_run)}


def test_the_first_model_is_registered_once_waits_for_approval_and_is_reported(
    table: Table, train: Callable[..., State[TrainingRun]], workspace: Workspace
) -> None:
    dataset, registry = table(), Registry(group=f"tests-{uuid.uuid4().hex[:12]}")
    first, second = (train(dataset, registry=registry) for _ in range(2))
    run = first.result()
    assert (first.name, second.name) == ("Completed", "Completed")
    assert run.verdict.outcome == "first model"
    assert packages(workspace, run) == [(1, "PendingManualApproval")]
    assert second.result().registered == run.registered
    package = workspace.client("sagemaker").describe_model_package(ModelPackageName=run.registered.arn)
    assert package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] == run.job.model.uri
    assert package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"] == run.recorded.uri
    assert package["CustomerMetadataProperties"]["sha256:train"] == run.uploaded["train"].sha256
    assert package["CustomerMetadataProperties"]["verdict"] == "first model"
    assert package["CustomerMetadataProperties"]["sha256:model"] == run.model.sha256
    assert package["CustomerMetadataProperties"]["sha256:schema"] == run.encoding.table_schema.sha256
    assert package["CustomerMetadataProperties"]["schema"] == run.recorded.schema_uri
    shown = artifacts_of(first)
    report = shown["model-report"]
    assert report.index(run.job.name) < report.index("First model") < report.index("RMSE")
    assert f"--from-run {run.recorded.uri} --workspace flows" in report
    assert f"/runs/flow-run/{first.state_details.flow_run_id})" in report.split("## Verdict")[0]
    page = run.model.path.with_name("report.html").read_text()
    assert all(f"<h2>{title}</h2>" in page for title in re.findall("^## (.*)$", report, re.MULTILINE))
    number, actual = re.findall(r"^\| ([\d,]+) \| ([\d.]+) \|", report.split("largest errors")[1], re.MULTILINE)[0]
    cells = read_object(workspace, run.table.source.uri)[0].decode().splitlines()[int(number)].split(",")
    assert format_number(float(cells[3])) == actual
    assert "RMSE" in shown["model-metrics"]
    (version,) = json.loads(shown["model-history"])
    assert (version["version"], version["status"], version["verdict"]) == (1, "PendingManualApproval", "first model")
    assert version["gate metric"] == f"RMSE {run.evaluation.value('rmse'):.6g}"
    assert version["training job"] == run.job.name
    assert len(report) < 300_000
    approved = train(dataset).result()
    assert approved.registered
    assert approved.registered.group != registry.group


def test_only_a_better_model_replaces_the_champion_and_a_copy_of_it_is_rejected(
    table: Table, train: Callable[..., State[TrainingRun]], workspace: Workspace
) -> None:
    dataset = table()
    weak = train(dataset, hyperparameters=WEAK, gate=Gate(margin=0)).result()
    assert (weak.verdict.outcome, packages(workspace, weak)) == ("first model", [(1, "Approved")])
    strong = train(dataset).result()
    assert strong.verdict.outcome == "promoted"
    assert packages(workspace, strong) == [(2, "Approved"), (1, "Approved")]
    again = train(dataset)
    assert (again.name, again.message) == ("Completed", again.result().verdict.headline)
    assert again.result().verdict.outcome == "unchanged"
    figure = f"RMSE {format_number(strong.evaluation.value('rmse'))}"
    assert again.result().verdict.headline == f"unchanged: still champion, version 2 ({figure})"
    copied = train(dataset, if_exists="new")
    copy = copied.result()
    assert copy.job.name != strong.job.name
    assert (copied.name, copy.verdict.outcome) == ("Rejected", "no better than the champion")
    assert copied.is_completed()
    assert packages(workspace, copy) == [(3, "Rejected"), (2, "Approved"), (1, "Approved")]
    worse = train(dataset, hyperparameters=WEAK, gate=Gate(margin=0))
    assert (worse.name, worse.result().verdict.outcome) == ("Rejected", "no better than the champion")
    # The flow does not revoke the earlier approval of the weak model.
    assert packages(workspace, strong) == [(3, "Rejected"), (2, "Approved"), (1, "Approved")]
    champion = newest_approved(workspace, strong.registered.group)
    assert champion
    assert champion.training_job == strong.job.name


def test_a_model_no_better_than_the_baseline_stays_rejected(
    table: Table,
    train: Callable[..., State[TrainingRun]],
    workspace: Workspace,
    inject: Callable[..., None],
) -> None:
    dataset = table(noise=1000)
    inject(kind="lost-answer", action="CreateModelPackage")
    state = train(dataset)
    run = state.result()
    assert (state.name, state.is_completed()) == ("Rejected", True)
    assert run.verdict.outcome == "no better than the baseline"
    assert state.message == run.verdict.headline
    assert state.message.startswith("rejected: RMSE ")
    assert packages(workspace, run) == [(1, "Rejected")]
    again = train(dataset, gate=Gate(margin=0, tolerance=0.5))
    assert again.result().registered.status == "Rejected"
    assert packages(workspace, run) == [(1, "Rejected")]


def test_a_run_after_a_failed_registration_creates_one_package(
    table: Table, train: Callable[..., State[TrainingRun]], workspace: Workspace, inject: Callable[..., None]
) -> None:
    dataset = table()
    inject(kind="access-denied", action="CreateModelPackage")
    failed = train(dataset)
    assert failed.is_failed()
    assert "CreateModelPackage" in (failed.message or "")
    run = train(dataset).result()
    assert run.submission.how == "reused"
    assert packages(workspace, run) == [(1, "Approved")]


def test_columns_of_the_champion_are_matched_by_name_and_a_table_without_one_is_an_objection(
    table: Table, train: Callable[..., State[TrainingRun]], workspace: Workspace
) -> None:
    champion = train(table()).result()
    swapped = train(table(names="town,score,age,pay,old,third")).result()
    assert champion.uploaded.features == ("age", "score")
    assert swapped.uploaded.features == ("score", "age")
    assert swapped.evaluation["rmse"].champion == pytest.approx(champion.evaluation["rmse"].value, rel=1e-5)
    state = train(table(seed=1, names="town,years,score,pay,old,third"))
    assert state.name == "Rejected"
    run = state.result()
    assert run.verdict.outcome == "no better than the champion"
    assert f"it uses 'age', and {run.table.source.uri} has no such column" in run.verdict.reason
    assert packages(workspace, run) == [(3, "Rejected"), (2, "Rejected"), (1, "Approved")]


def staff(towns: Sequence[str], seed: int = 0) -> pl.DataFrame:
    """300 rows with two columns of text, a date and missing numbers, on which `pay` and `level` depend."""
    random = np.random.default_rng(seed)
    town, job = random.choice(towns, 300), random.choice(["cook", "nurse"], 300)
    age, days = random.integers(20, 60, 300), random.integers(0, 700, 300)
    pay = 2 * age + 20 * (town == "Rome") + 9 * (job == "cook") + days / 50 + random.normal(0, 2, 300)
    return pl.DataFrame(
        {
            "town": town.tolist(),
            "job": job.tolist(),
            "age": [None if row % 11 == 0 else int(one) for row, one in enumerate(age)],
            "since": (np.datetime64("2024-01-01") + days).astype(str).tolist(),
            "pay": pay.round(3),
            "level": np.where(pay > np.median(pay), "high", "low").tolist(),
        }
    )


@pytest.mark.usefixtures("coarse_plots")
def test_a_champion_is_compared_on_the_same_rows_through_its_own_schema(
    put_object: Callable[[str, bytes], str], train: Callable[..., State[TrainingRun]]
) -> None:
    def store(frame: pl.DataFrame) -> str:
        return put_object(f"{uuid.uuid4().hex}.csv", frame.write_csv().encode())

    dataset = Dataset(source=store(staff(["Rome", "Oslo"])), target="pay", ignore=("level",))
    champion = train(dataset).result()
    schema = champion.encoding.table_schema
    package = champion.registered
    assert (package.version, package.status) == (1, "Approved")
    fewer = train(dataset.model_copy(update={"ignore": ("level", "town")})).result()
    assert "town=Rome" in set(schema.features) - set(fewer.encoding.table_schema.features)
    for metric in champion.evaluation.metrics:
        assert fewer.evaluation[metric.name].champion == pytest.approx(metric.value, rel=1e-6)
    assert fewer.verdict.outcome == "no better than the champion"
    frame = staff(["Rome", "Oslo", "Bonn", "Ulm"], seed=1)
    more = train(dataset.model_copy(update={"source": store(frame[:, ::-1])})).result()
    assert "town=Bonn" in more.encoding.table_schema.features
    rows = frame[assign_rows(frame.height, Split())["test"]]
    predicted = read_model(champion.model.path).predict(schema.encode(rows.to_dicts())).scores
    rmse = float(np.sqrt(np.mean((predicted - rows["pay"].to_numpy()) ** 2)))
    assert more.evaluation["rmse"].champion == pytest.approx(rmse, rel=1e-6)
    assert more.evaluation.champion_objection is None


@pytest.mark.usefixtures("coarse_plots")
def test_a_champion_with_another_positive_class_is_compared(
    put_object: Callable[[str, bytes], str], train: Callable[..., State[TrainingRun]]
) -> None:
    source = put_object(f"{uuid.uuid4().hex}.csv", staff(["Rome", "Oslo"]).write_csv().encode())
    dataset = Dataset(source=source, target="level", ignore=("pay",), positive="high")
    champion = train(dataset, hyperparameters=RequestedHyperparameters(epochs=4, num_models=4)).result()
    model = {"hyperparameters": RequestedHyperparameters(epochs=3, num_models=2)}
    other = train(dataset.model_copy(update={"positive": "low", "ignore": ("pay", "since")}), **model).result()
    assert (champion.evaluation.class_names, other.evaluation.class_names) == (("low", "high"), ("high", "low"))
    for name in ("accuracy", "balanced_accuracy", "roc_auc", "log_loss"):
        assert other.evaluation[name].champion == pytest.approx(champion.evaluation[name].value, rel=1e-6)


@pytest.mark.parametrize(
    ("target", "chosen", "shown"),
    [
        ("old", {"predictor_type": "binary_classifier"}, "ROC-AUC"),
        ("third", {"predictor_type": "multiclass_classifier", "num_classes": 3}, "log loss"),
    ],
)
def test_classifiers_are_evaluated_by_the_values_of_an_ignored_column_and_have_a_verdict_without_the_registry(
    target: str, chosen: dict[str, Any], shown: str, table: Table, train: Callable[..., State[TrainingRun]]
) -> None:
    columns = {"town", "old", "third", "pay"} - {target}
    dataset = table().model_copy(update={"target": target, "ignore": tuple(sorted(columns))})
    changed = QUICK.model_copy(update=chosen)
    options = {"gate": Gate(slice_by="town"), "split": Split(method="stratified")}
    run = train(dataset, hyperparameters=changed, registry=Registry(register_model=False), **options).result()
    assert run.registered is None
    assert run.verdict.outcome == "first model"
    assert {one.value for one in run.evaluation.slices} == {"Oslo", "Rome"}
    assert sum(one.rows for one in run.evaluation.slices) == run.evaluation.rows == run.rows.test
    page = (run.model.path.parent / "report.html").read_text()
    assert shown in page
    assert page.count("data:image/png;base64,") >= 4


def test_an_invalid_gate_is_refused_before_a_job_is_started(
    table: Table, train: Callable[..., State[TrainingRun]], jobs: Callable[[], list[str]]
) -> None:
    metric = train(table(), gate=Gate(metric="roc_auc"))
    column = train(table(), gate=Gate(slice_by="village"))
    assert isinstance(metric.result(raise_on_failure=False), HyperparameterError)
    assert isinstance(error := column.result(raise_on_failure=False), DataError)
    assert "'village'" in str(error)
    assert jobs() == []
