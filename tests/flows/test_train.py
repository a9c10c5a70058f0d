"""The flow in the sandbox: its model, and reuse of earlier results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from aws.errors import NotFound
from aws.storage import delete_objects
from aws.training.compute import Compute
from aws.workspace import Workspace
from flows.train import train_linear_learner
from linear_learner.errors import DataError
from linear_learner.formats.artifact import read_model
from tasks.parameters import Dataset, Split
from tasks.report import TrainingRun

PutObject = Callable[[str, bytes], str]
STEPS = ("load", "split", "encode", "format", "upload", "training job", "read log", "download", "evaluate", "record")


def run_name(flow_run_state: State[Any]) -> str:
    flow_run_id = flow_run_state.state_details.flow_run_id
    assert flow_run_id is not None
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run_id).name


def task_states(flow_run_state: State[Any]) -> dict[str, str]:
    """Return the state of each task run on Prefect's server by the first word of its name."""
    flow_run_id = flow_run_state.state_details.flow_run_id
    assert flow_run_id is not None
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
    return {run.name.split()[0]: run.state_name or "" for run in runs}


def test_a_run_trains_a_model_the_next_run_reuses_it_and_a_changed_hyperparameter_or_a_deleted_model_starts_one_job(
    parameters: dict[str, Any], jobs: Callable[[], list[str]], machine: Path, workspace: Workspace
) -> None:
    first = train_linear_learner(**parameters)
    assert isinstance(first, TrainingRun)
    assert first.reused == ()
    assert (first.table.rows, first.rows.train, first.submission.how) == (300, 210, "started")
    assert first.model.path == machine / "models" / first.job.name / "model.tar.gz"
    scores = read_model(first.model.path).predict([[20, 0.0], [50, 0.5]]).scores
    assert scores.tolist() == pytest.approx([60, 155], abs=5)
    assert first.job.metrics["validation:mse"] < 10
    assert jobs() == [first.job.name]

    again: State[Any] = train_linear_learner(**parameters, return_state=True)
    name = f"pay from {Path(parameters['dataset'].source).name}"
    name += ", epochs 20, mini_batch_size 10, num_models 16, 1 more change"
    assert run_name(again) == f"{name} → {again.message}"
    second = again.result()
    assert second.reused == STEPS
    assert second.submission.how == "reused"
    assert second.model_dump(exclude={"submission", "reused"}) == first.model_dump(exclude={"submission", "reused"})
    assert jobs() == [first.job.name]
    assert {name: state for name, state in task_states(again).items() if state != "Completed"} == dict.fromkeys(
        [step.split()[0] for step in STEPS if step != "training job"], "Cached"
    )

    changed = {**parameters, "hyperparameters": parameters["hyperparameters"].model_copy(update={"epochs": 3})}
    third = train_linear_learner(**changed)
    assert third.reused == ("load", "split", "encode", "format", "upload")
    assert third.submission.how == "started"
    assert third.uploaded == first.uploaded
    assert sorted(jobs()) == sorted({first.job.name, third.job.name})
    assert len(jobs()) == 2

    delete_objects(workspace, first.job.model.uri)
    repeated = train_linear_learner(**parameters)
    assert repeated.submission.how == "started"
    assert repeated.job.name == f"{first.job.name}-2"
    assert repeated.model.sha256 == first.model.sha256
    assert sorted(jobs()) == sorted({first.job.name, third.job.name, repeated.job.name})


def test_several_instances_share_the_files_of_the_train_channel(
    parameters: dict[str, Any], put_object: PutObject, workspace: Workspace
) -> None:
    rows = [(age, number / 300) for number in range(300) for age in [20 + number * 7 % 40]]
    for number in range(3):
        lines = "".join(f"{age},{3 * age + 5},{score}\n" for age, score in rows[number * 100 : number * 100 + 100])
        uri = put_object(f"shared/{number}.csv", f"age,pay,score\n{lines}".encode())
    changes = {
        "dataset": Dataset(source=uri.removesuffix("2.csv"), target="pay", format="recordio"),
        "split": Split(method="time", column="score"),
        "compute": Compute(instance_count=2),
    }
    run = train_linear_learner(**parameters | changes)
    assert [len(run.uploaded.files_of(channel.name)) for channel in run.uploaded.channels] == [2, 1, 1]
    assert run.uploaded.features == ("age",)
    job = workspace.client("sagemaker").describe_training_job(TrainingJobName=run.job.name)
    channels = {one["ChannelName"]: one for one in job["InputDataConfig"]}
    assert {one["ContentType"] for one in channels.values()} == {"application/x-recordio-protobuf"}
    train, validation = (channels[name]["DataSource"]["S3DataSource"] for name in ("train", "validation"))
    assert train["S3DataDistributionType"] == "ShardedByS3Key"
    assert validation["S3DataDistributionType"] == "FullyReplicated"
    assert read_model(run.model.path).predict([[20], [50]]).scores.tolist() == pytest.approx([65, 155], abs=5)


def test_an_invalid_table_fails_before_a_job_is_started(
    parameters: dict[str, Any], jobs: Callable[[], list[str]], put_object: PutObject
) -> None:
    bad = Dataset(source=put_object("bad.csv", b"pay,age\n1,2\n3,x\n" + b"1,2\n" * 40), target="pay")
    with pytest.raises(DataError, match=r"column 'age', row 2: .*'x' in row 2"):
        train_linear_learner(**{**parameters, "dataset": bad})
    assert jobs() == []


@pytest.mark.usefixtures("prefect_server")
def test_an_unknown_workspace_raises_not_found() -> None:
    with pytest.raises(NotFound, match="unknown-workspace"):
        train_linear_learner(workspace="unknown-workspace")
