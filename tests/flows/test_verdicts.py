"""What becomes of a model: judged against guessing and against the champion, registered once, reported."""

import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from aws.registry import newest_approved
from aws.workspace import Workspace
from flows.train import train_linear_learner
from linear_learner.errors import DataError, HyperparameterError
from linear_learner.hyperparameters import Hyperparameters
from tasks.parameters import Dataset, Gate, Registry, Split
from tasks.report import TrainingRun

Table = Callable[..., Dataset]
QUICK = Hyperparameters(mini_batch_size=10, epochs=20, num_models=16, learning_rate=0.1)
LAZY = Hyperparameters(mini_batch_size=10, epochs=2, num_models=1, learning_rate=0.02)


@pytest.fixture
def table(put_object: Callable[[str, bytes], str]) -> Table:
    """Puts a table of 300 people: `pay` follows age and score, as far as `noise` lets it."""

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
    """Runs the flow in a model package group of the test's own, approving what passes; returns its final state."""
    registry = Registry(group=f"tests-{uuid.uuid4().hex[:12]}", approve=True)

    def run(dataset: Dataset, **chosen: Any) -> State[TrainingRun]:
        common = {"hyperparameters": QUICK, "registry": registry, "workspace": "flows"}
        parameters = common | {"model_dir": str(machine / "models")} | chosen
        state: State[TrainingRun] = train_linear_learner(dataset, **parameters, return_state=True)
        return state

    return run


def packages(workspace: Workspace, run: TrainingRun) -> list[tuple[int, str]]:
    """Version and status of every package of the run's group, the newest first."""
    assert run.registered
    answer = workspace.client("sagemaker").list_model_packages(ModelPackageGroupName=run.registered.group)
    return sorted(
        ((one["ModelPackageVersion"], one["ModelApprovalStatus"]) for one in answer["ModelPackageSummaryList"]),
        reverse=True,
    )


def test_the_first_model_waits_for_a_person_and_is_registered_once(
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
    approved = train(dataset).result()
    assert approved.registered
    assert approved.registered.group != registry.group


def test_the_champion_stays_until_a_better_model_comes(
    table: Table, train: Callable[..., State[TrainingRun]], workspace: Workspace
) -> None:
    dataset = table()
    weak = train(dataset, hyperparameters=LAZY, gate=Gate(margin=0)).result()
    assert (weak.verdict.outcome, packages(workspace, weak)) == ("first model", [(1, "Approved")])
    strong = train(dataset).result()
    assert strong.verdict.outcome == "promoted"
    assert packages(workspace, strong) == [(2, "Approved"), (1, "Approved")]
    again = train(dataset)
    assert again.name == "Completed"
    assert again.result().verdict.outcome == "promoted"
    assert "champion already" in again.result().verdict.reason
    back = train(dataset, hyperparameters=LAZY, gate=Gate(margin=0))
    assert (back.name, back.result().verdict.outcome) == ("Rejected", "no better than the champion")
    # The weak model was approved once; that is for people to take back.
    assert packages(workspace, strong) == [(2, "Approved"), (1, "Approved")]
    champion = newest_approved(workspace, strong.registered.group)
    assert champion
    assert champion.training_job == strong.job.name


def test_a_copy_does_not_displace_the_champion(
    table: Table, train: Callable[..., State[TrainingRun]], workspace: Workspace
) -> None:
    dataset = table()
    champion = train(dataset).result()
    state = train(dataset, if_exists="new")
    copy = state.result()
    assert copy.job.name != champion.job.name
    assert (state.name, copy.verdict.outcome) == ("Rejected", "no better than the champion")
    assert state.is_completed()
    assert packages(workspace, copy) == [(2, "Rejected"), (1, "Approved")]


def test_a_model_that_only_guesses_is_rejected_and_stays_so(
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
    assert run.verdict.reason in (state.message or "")
    assert packages(workspace, run) == [(1, "Rejected")]
    again = train(dataset, gate=Gate(margin=0, tolerance=0.5))
    assert again.result().registered.status == "Rejected"
    assert packages(workspace, run) == [(1, "Rejected")]


def test_a_run_that_failed_before_it_registered_goes_on_without_a_second_package(
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


def test_a_champion_with_other_features_is_left_to_a_person(
    table: Table, train: Callable[..., State[TrainingRun]], workspace: Workspace
) -> None:
    train(table())
    state = train(table(seed=1, names="town,years,score,pay,old,third"))
    assert state.name == "Rejected"
    run = state.result()
    assert run.verdict.outcome == "no better than the champion"
    assert "uses 'age' and lacks 'years'" in run.verdict.reason
    assert packages(workspace, run) == [(2, "Rejected"), (1, "Approved")]


def test_a_champion_scores_columns_by_their_names(table: Table, train: Callable[..., State[TrainingRun]]) -> None:
    champion = train(table()).result()
    swapped = train(table(names="town,score,age,pay,old,third")).result()
    assert champion.uploaded.features == ("age", "score")
    assert swapped.uploaded.features == ("score", "age")
    assert swapped.evaluation["rmse"].champion == pytest.approx(champion.evaluation["rmse"].value, rel=1e-5)


@pytest.mark.parametrize(
    ("target", "chosen", "shown"),
    [
        ("old", {"predictor_type": "binary_classifier"}, "ROC-AUC"),
        ("third", {"predictor_type": "multiclass_classifier", "num_classes": 3}, "log loss"),
    ],
)
def test_classifiers_are_judged_reported_and_distinguished_by_an_ignored_column(
    target: str, chosen: dict[str, Any], shown: str, table: Table, train: Callable[..., State[TrainingRun]]
) -> None:
    columns = {"town", "old", "third", "pay"} - {target}
    dataset = table().model_copy(update={"target": target, "ignore": tuple(sorted(columns))})
    own = QUICK.model_copy(update=chosen)
    run = train(dataset, hyperparameters=own, gate=Gate(slice_by="town"), split=Split(method="stratified")).result()
    assert run.verdict.outcome == "first model"
    assert {one.value for one in run.evaluation.slices} == {"Oslo", "Rome"}
    assert sum(one.rows for one in run.evaluation.slices) == run.evaluation.rows == run.rows.test
    page = (run.model.path.parent / "report.html").read_text()
    assert shown in page
    assert page.count("data:image/png;base64,") >= 4


def test_a_run_leaves_its_report_where_people_look(table: Table, train: Callable[..., State[TrainingRun]]) -> None:
    state = train(table())
    run = state.result()
    with get_client(sync_client=True) as client:
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        shown = {one.key: str(one.data) for one in client.read_artifacts(artifact_filter=of_run)}
    said = shown["model-report"]
    assert said.index("First model") < said.index("RMSE") < said.index(run.job.name)
    assert f"--from-run {run.recorded.uri} --workspace flows" in said
    assert "RMSE" in shown["model-metrics"]
    assert len(said) < 300_000


def test_what_cannot_be_judged_is_refused_before_a_job_is_started(
    table: Table, train: Callable[..., State[TrainingRun]], jobs: Callable[[], list[str]]
) -> None:
    metric = train(table(), gate=Gate(metric="roc_auc"))
    column = train(table(), gate=Gate(slice_by="village"))
    assert isinstance(metric.result(raise_on_failure=False), HyperparameterError)
    assert isinstance(error := column.result(raise_on_failure=False), DataError)
    assert "'village'" in str(error)
    assert jobs() == []


def test_without_the_registry_a_run_only_judges(table: Table, train: Callable[..., State[TrainingRun]]) -> None:
    run = train(table(), registry=Registry(register_model=False)).result()
    assert (run.verdict.outcome, run.registered) == ("first model", None)
