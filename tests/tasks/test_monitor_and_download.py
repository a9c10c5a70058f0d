"""Jobs are followed and their failures are reported; models are downloaded once and can be opened."""

import json
import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterType
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort
from prefect.logging import disable_run_logger
from prefect.serializers import JSONSerializer
from prefect.settings import PREFECT_API_URL, temporary_settings

from aws.errors import NotFound, TrainingFailed
from aws.storage import stat_object
from aws.training.compute import Compute
from aws.training.cost import Bill
from aws.training.request import Channel, build_spec
from aws.training.stopping import stop_job
from aws.training.submission import Submission, start_or_adopt
from aws.workspace import Workspace
from linear_learner.errors import ArtifactError
from linear_learner.formats.artifact import read_model
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.logs.reader import EpochReport, LogReport
from linear_learner.model import LinearModel
from tasks.download import download
from tasks.fit import fit
from tasks.monitor import FinishedJob, TrainingLogSummary, monitor
from tasks.parameters import Dataset, Split
from tasks.prefect_ui.job_progress import JobProgress
from tasks.split import split_rows
from tasks.upload import Uploaded, upload
from tests.linear_learner.formats.files import write_archive
from tests.tasks.conftest import in_flow
from tests.tasks.encodings import encoding_of

pytestmark = pytest.mark.usefixtures("machine")

PutObject = Callable[[str, bytes], str]
ROWS = "".join(f"{3 * i + 1},{i},{i % 7}\n" for i in range(40)).encode()
ENDLESS = {"epochs": "1000000", "early_stopping_patience": "1000000"}
QUICK = {"predictor_type": "regressor", "mini_batch_size": "10", "epochs": "2", "num_models": "2"}


@pytest.fixture
def submit(workspace: Workspace, put_object: PutObject) -> Callable[..., Submission]:
    """A function that submits a job with a fingerprint of this test; its hyperparameters are not validated."""

    def submitted(rows: bytes = ROWS, **hyperparameters: str) -> Submission:
        put_object("train/rows.csv", rows)
        channel = Channel(name="train", uri=workspace.uri("train") + "/", rows=40, sha256=workspace.prefix)
        spec = build_spec(workspace, QUICK | hyperparameters, (channel,), Compute())
        return start_or_adopt(workspace, spec, uuid.uuid4().hex, {})  # a new flow run each time

    return submitted


@pytest.fixture
def finished(workspace: Workspace, put_object: PutObject, tmp_path: Path) -> FinishedJob:
    """A completed job whose model has known weights."""
    model = LinearModel("regressor", "squared_loss", np.array([[2.0], [-1.0]], np.float32), np.array([5.0], np.float32))
    write_archive(model, tmp_path / "made.tar.gz")
    uri = put_object("models/job-1/output/model.tar.gz", (tmp_path / "made.tar.gz").read_bytes())
    bill = Bill(
        instance_type="ml.m5.large", instance_count=1, spot=False, training_seconds=1, billable_seconds=1,
        price=None, usd=None,
    )  # fmt: skip
    log = TrainingLogSummary(summary=None, objection=None)
    stored = stat_object(workspace, uri)
    return FinishedJob(name="job-1", model=stored, metrics={}, created=datetime.now(UTC), bill=bill, log=log)


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """Return the messages of task runs at this level."""
    records = [record for record in caplog.records if record.name == "prefect.task_runs"]
    return [record.getMessage() for record in records if record.levelno == level]


def artifacts(kind: str) -> list[Artifact]:
    """Return the artifacts of a type, newest first."""
    of_type = ArtifactFilter(type=ArtifactFilterType(any_=[kind]))
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=of_type, sort=ArtifactSort.CREATED_DESC)


def shown_progress() -> float:
    """Return the percentage of the newest progress artifact."""
    return float(str(artifacts("progress")[0].data))


def test_a_completed_job_is_reported_with_its_metrics_bill_and_log(
    workspace: Workspace, submit: Callable[..., Submission], caplog: pytest.LogCaptureFixture
) -> None:
    submission = submit(epochs="5")
    job = monitor(workspace, submission)
    description = workspace.client("sagemaker").describe_training_job(TrainingJobName=submission.name)
    assert job.name == submission.name
    assert job.model.uri == description["ModelArtifacts"]["S3ModelArtifacts"]
    assert job.metrics == {m["MetricName"]: m["Value"] for m in description["FinalMetricDataList"]}
    assert job.metrics["train:progress"] == 100
    assert (job.created, job.bill.billable_seconds) == (
        description["CreationTime"],
        description["BillableTimeInSeconds"],
    )
    assert job.bill.usd == pytest.approx(job.bill.billable_seconds * 0.115 / 3600)
    log = messages(caplog, logging.INFO)
    phases = [line.partition(":")[0] for line in log if line.startswith(("Start", "Down", "Train", "Upload", "Compl"))]
    assert phases == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert {line.partition(":")[0] for line in log} >= {f"epoch {number}" for number in range(1, 6)}


@pytest.mark.parametrize("epochs", ["5", "150"])
def test_the_progress_of_a_completed_job_is_100_per_cent(
    workspace: Workspace,
    submit: Callable[..., Submission],
    caplog: pytest.LogCaptureFixture,
    epochs: str,
) -> None:
    monitor(workspace, submit(epochs=epochs, early_stopping_patience=epochs))
    assert [line for line in messages(caplog, logging.INFO) if line.startswith("epoch ")][-1].endswith(" 100 % done")
    assert shown_progress() == 100


def test_a_reused_job_is_reported_without_its_log(
    workspace: Workspace, submit: Callable[..., Submission], caplog: pytest.LogCaptureFixture
) -> None:
    first = monitor(workspace, submit())
    caplog.clear()
    again = submit()
    assert again.how == "reused"
    assert monitor(workspace, again) == first
    assert not any(line.startswith(("Starting", "epoch")) for line in messages(caplog, logging.INFO))


def test_a_failed_job_is_reported_with_its_reason_and_not_retried(
    workspace: Workspace, submit: Callable[..., Submission]
) -> None:
    submission = submit(epochs="none")
    with pytest.raises(TrainingFailed) as caught:
        monitor(workspace, submission)
    assert f"{submission.name} ended as Failed: ClientError: " in str(caught.value)
    assert "epochs" in str(caught.value)
    assert not caught.value.retryable


def test_a_stopped_job_is_reported_as_stopped(
    workspace: Workspace, submit: Callable[..., Submission], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aws.training.following.LATE_LOG_SECONDS", 1.0)
    submission = submit(ROWS * 500, **ENDLESS)
    stop_job(workspace, submission.name)
    with pytest.raises(TrainingFailed, match=f"{submission.name} ended as Stopped: Stopped"):
        monitor(workspace, submission)


def test_stop_when_diverging_stops_the_job_and_prevents_another_one(
    workspace: Workspace, submit: Callable[..., Submission]
) -> None:
    # Without normalisation the square of the labels, 1e60, exceeds a float32.
    diverging = {"normalize_data": "false", "normalize_label": "false", "learning_rate": "1e30", **ENDLESS}
    rows = "".join(f"{i}e30,{i}e9,{i % 7}\n" for i in range(1, 4001)).encode()
    submission = submit(rows, **diverging)
    with pytest.raises(TrainingFailed, match=r"was stopped because its loss is .* in epoch .*learning_rate"):
        monitor(workspace, submission, stop_when_diverging=True)
    job = workspace.client("sagemaker").describe_training_job(TrainingJobName=submission.name)
    assert job["TrainingJobStatus"] == "Stopped"
    with pytest.raises(TrainingFailed, match=r"had the same input\. It was stopped because its loss is"):
        submit(rows, **diverging)


def test_the_learning_curve_is_a_table_of_limited_length(
    workspace: Workspace, submit: Callable[..., Submission]
) -> None:
    submission = submit(epochs="120", early_stopping_patience="120")
    monitor(workspace, submission)
    [artifact] = [one for one in artifacts("table") if submission.name in (one.description or "")]
    rows = json.loads(str(artifact.data))
    assert len(rows) <= 50
    assert rows[-1]["epoch"] == 120
    assert all(isinstance(row["best mse_objective"], float) for row in rows)


@pytest.mark.filterwarnings("ignore:Artifact creation outside:FutureWarning")
def test_progress_is_stored_while_the_prefect_server_is_unavailable() -> None:
    line = "#early_stopping_criteria_metric: host=algo-1, epoch=0, criteria=mse_objective, value=1.5"
    throughput = "#throughput_metric: host=algo-1, train throughput=1.0 records/second"
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), disable_run_logger():
        display = JobProgress("a-job")
        for text in (line, "#progress_metric: host=algo-1, completed 50 % of epochs", throughput):
            display.on_line(text)
    assert [epoch.value for epoch in display.epochs] == [1.5]


def test_fit_sends_the_hyperparameters_and_warns_of_those_without_effect(
    workspace: Workspace, uploaded: Uploaded, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = Hyperparameters(mini_batch_size=7, epochs=1, num_models=1, margin=2.0)
    submission = fit(workspace, uploaded, chosen, Compute()).submission
    request = workspace.client("sagemaker").describe_training_job(TrainingJobName=submission.name)
    assert request["HyperParameters"] == {
        "predictor_type": "regressor", "mini_batch_size": "7", "epochs": "1", "num_models": "1", "margin": "2.0",
    }  # fmt: skip
    assert [channel["ChannelName"] for channel in request["InputDataConfig"]] == ["train", "validation", "test"]
    warnings = messages(caplog, logging.WARNING)
    assert any(line.startswith("margin has no effect") for line in warnings)
    assert monitor(workspace, submission).name == submission.name


def test_what_a_log_says_survives_being_stored_though_it_is_not_finite() -> None:
    epoch = EpochReport(index=0, train={0: inf}, value=-inf)
    log = TrainingLogSummary(summary=LogReport(epochs=(epoch,), scores={"test": {"mse": inf}}), objection=None)
    assert JSONSerializer[TrainingLogSummary]().loads(JSONSerializer().dumps(log)) == log
    assert TrainingLogSummary.model_validate_json(log.model_dump_json()) == log


@pytest.fixture
def uploaded(workspace: Workspace, make_table: Callable[..., Dataset]) -> Uploaded:
    from tasks.format import format_channels
    from tasks.load import find, load

    dataset = make_table()
    table = load(workspace, find(workspace, dataset), dataset)
    rows = split_rows(workspace, table, Split())
    return upload(workspace, format_channels(workspace, table, rows, encoding_of(workspace, table, rows)))


def test_a_model_is_downloaded_to_a_folder_named_after_its_job(
    workspace: Workspace, machine: Path, finished: FinishedJob, caplog: pytest.LogCaptureFixture
) -> None:
    model = download(workspace, finished, str(machine / "models"))
    assert model.path == machine / "models" / "job-1" / "model.tar.gz"
    assert (model.uri, model.features, model.size) == (finished.model.uri, 2, model.path.stat().st_size)
    assert messages(caplog, logging.INFO)[0] == f"{model.path}: {model.size} bytes, a model with 2 features"
    assert read_model(model.path).predict([[1, 1], [0, 3]]).scores.tolist() == [6.0, 2.0]


def test_an_existing_model_is_not_downloaded_again(workspace: Workspace, machine: Path, finished: FinishedJob) -> None:
    first = in_flow(workspace, lambda: download(workspace, finished, str(machine)))
    modified = first.path.stat().st_mtime_ns
    again: State[Any] = in_flow(workspace, lambda: download(workspace, finished, str(machine), return_state=True))
    assert (again.name, again.result()) == ("Cached", first)
    assert first.path.stat().st_mtime_ns == modified


@pytest.mark.parametrize("damage", ["cut short", "overwritten", "removed", "folder removed"])
def test_a_damaged_or_missing_file_is_downloaded_again(
    workspace: Workspace, machine: Path, finished: FinishedJob, damage: str
) -> None:
    path = in_flow(workspace, lambda: download(workspace, finished, str(machine))).path
    content = path.read_bytes()
    if damage == "cut short":
        path.write_bytes(content[:-20])
    elif damage == "overwritten":
        path.write_bytes(bytes(len(content)))
    elif damage == "removed":
        path.unlink()
    else:
        path.parent.rename(machine / "renamed")
    again: State[Any] = in_flow(workspace, lambda: download(workspace, finished, str(machine), return_state=True))
    assert again.name == "Completed"
    assert path.read_bytes() == content


def test_another_model_folder_gets_its_own_file(workspace: Workspace, machine: Path, finished: FinishedJob) -> None:
    first = download(workspace, finished, str(machine / "a"))
    second = download(workspace, finished, str(machine / "b"))
    assert first.path != second.path
    assert first.path.read_bytes() == second.path.read_bytes()


def test_an_invalid_archive_is_refused(
    workspace: Workspace, machine: Path, finished: FinishedJob, put_object: PutObject
) -> None:
    other = stat_object(workspace, put_object("models/job-1/output/model.tar.gz", b"not an archive"))
    with pytest.raises(ArtifactError):
        download(workspace, finished.model_copy(update={"model": other}), str(machine))


def test_a_deleted_model_raises_not_found_with_its_uri(
    workspace: Workspace, machine: Path, finished: FinishedJob
) -> None:
    removed = finished.model_copy(
        update={"model": finished.model.model_copy(update={"uri": workspace.uri("deleted.tar.gz")})}
    )
    with pytest.raises(NotFound, match=r"deleted\.tar\.gz"):
        download(workspace, removed, str(machine))
