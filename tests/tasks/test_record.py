"""The record of a run says all that the run was made of, the same whenever and wherever it is made, and no secret."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from prefect import State
from prefect_aws import AwsCredentials
from pydantic import SecretStr

from aws.storage import read_object, stat_object
from aws.training.compute import Compute
from aws.training.leases import job_tags
from aws.training.request import FINGERPRINT_TAG
from aws.training.submission import Submission
from aws.workspace import Workspace, split_uri
from linear_learner.errors import ArtifactError
from linear_learner.hyperparameters import Hyperparameters
from tasks.download import ModelFile, TrainedModel, download
from tasks.evaluation.results import Evaluation
from tasks.fit import fit
from tasks.format import format_channels
from tasks.load import Table, find, load
from tasks.monitor import FinishedJob, monitor
from tasks.parameters import Dataset, RunParameters, Split
from tasks.record import Recorded, RunRecord, record
from tasks.split import Rows, split_rows
from tasks.upload import Uploaded, upload
from tests.tasks.conftest import EVALUATION, in_flow

pytestmark = pytest.mark.usefixtures("machine")

HYPERPARAMETERS = Hyperparameters(mini_batch_size=4, epochs=2, num_models=2)
SECRET, TOKEN = "wJalrXUtnFEMI/K7MDENG", "IQoJb3JpZ2luX2VjEXAMPLE"


@dataclass(frozen=True)
class Steps:
    """What the steps before came to."""

    workspace: Workspace
    parameters: RunParameters
    table: Table
    rows: Rows
    uploaded: Uploaded
    submission: Submission
    job: FinishedJob
    model: ModelFile
    evaluation: Evaluation = EVALUATION

    def recorded(self) -> tuple[str, Recorded]:
        """The state of the step, and what it returned."""
        made = {name: getattr(self, name) for name in TrainedModel.model_fields}
        given = self.workspace, TrainedModel(**made), self.parameters, self.evaluation
        state: State[Any] = in_flow(self.workspace, lambda: record(*given, return_state=True))
        return state.name or "", state.result()

    @property
    def here(self) -> Path:
        return self.model.path.with_name("run.json")


@pytest.fixture
def with_secrets(workspace: Workspace) -> Workspace:
    """The same workspace with credentials that can be told from anything else."""
    credentials = workspace.bucket.credentials
    assert isinstance(credentials, AwsCredentials)
    own = credentials.model_copy(
        update={
            "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
            "aws_secret_access_key": SecretStr(SECRET),
            "aws_session_token": TOKEN,
        }
    )
    return workspace.model_copy(update={"bucket": workspace.bucket.model_copy(update={"credentials": own})})


@pytest.fixture
def steps(with_secrets: Workspace, make_table: Callable[..., Dataset], machine: Path) -> Steps:
    workspace, dataset = with_secrets, make_table()
    chosen = RunParameters(dataset=dataset, hyperparameters=HYPERPARAMETERS)
    table = load(workspace, find(workspace, dataset), dataset)
    rows = split_rows(workspace, table, Split())
    uploaded = upload(workspace, format_channels(workspace, table, rows))
    submission = fit(workspace, uploaded, HYPERPARAMETERS, Compute()).submission
    job = monitor(workspace, submission)
    model = download(workspace, job, str(machine / "models"))
    return Steps(workspace, chosen, table, rows, uploaded, submission, job, model)


def test_it_lies_beside_the_model_in_s3_and_here_and_says_what_the_run_was_made_of(steps: Steps) -> None:
    _, recorded = steps.recorded()
    assert recorded.uri == steps.job.model.uri.replace("model.tar.gz", "run.json")
    content, _ = read_object(steps.workspace, recorded.uri)
    assert steps.here.read_bytes() == content
    said = RunRecord.parse(content, recorded.uri)
    assert json.loads(content)["format"] == 1
    assert RunParameters.model_validate(said.parameters) == steps.parameters
    assert said.data.source == steps.table.source
    assert said.data.source.parts[0].etag == stat_object(steps.workspace, steps.table.source.uri).etag
    assert (said.data.rows, said.data.columns, said.data.target) == (40, ("pay", "age", "score"), "pay")
    assert said.data.holdout is None
    assert said.features == ("age", "score")
    assert [(one.name, one.rows) for one in said.channels] == [("train", 28), ("validation", 8), ("test", 4)]
    assert [one.sha256 for one in said.channels] == [one.sha256 for one in steps.uploaded.channels]
    assert said.training_job == steps.job.name
    expected = {"uri": steps.job.model.uri, "sha256": steps.model.sha256, "size": steps.model.size}
    assert said.model == expected
    assert set(said.versions) == {
        "python", "train-linear-learner", "prefect", "prefect-aws", "boto3", "numpy", "scikit-learn", "polars", "image",
    }  # fmt: skip
    assert "linear-learner" in said.versions["image"]
    assert said.metrics["job"] == steps.job.metrics
    assert said.metrics["test"]["rmse"] == {"value": 1.25, "low": 1.0, "high": 1.5, "baseline": 4.0}
    assert said.metrics["test"]["r2"]["value"] is None


def test_its_fingerprint_is_the_jobs_even_when_somebody_took_its_tags_off(steps: Steps) -> None:
    tagged = job_tags(steps.workspace, steps.submission.arn)[FINGERPRINT_TAG]
    steps.recorded()
    assert RunRecord.parse(steps.here.read_bytes(), "").fingerprint == tagged
    steps.workspace.client("sagemaker").delete_tags(ResourceArn=steps.submission.arn, TagKeys=[FINGERPRINT_TAG])
    steps.here.unlink()
    steps.recorded()
    assert RunRecord.parse(steps.here.read_bytes(), "").fingerprint == tagged


def test_its_request_can_be_sent_again_and_trains_the_same_model(steps: Steps, machine: Path) -> None:
    steps.recorded()
    request = RunRecord.parse(steps.here.read_bytes(), "").request
    assert request["TrainingJobName"] == steps.job.name
    again = {**request, "TrainingJobName": f"{steps.job.name}-again"}
    arn = steps.workspace.client("sagemaker").create_training_job(**again)["TrainingJobArn"]
    job = monitor(steps.workspace, Submission(name=again["TrainingJobName"], arn=arn, how="started"))
    assert download(steps.workspace, job, str(machine / "again")).sha256 == steps.model.sha256


def test_no_secret_of_the_workspace_is_in_it(steps: Steps) -> None:
    _, recorded = steps.recorded()
    content = read_object(steps.workspace, recorded.uri)[0].decode()
    assert steps.workspace.role_arn in content, "that much of the workspace is in the request"
    for secret in ("AKIAIOSFODNN7EXAMPLE", SECRET, TOKEN, "127.0.0.1"):
        assert secret not in content


def test_an_unchanged_run_writes_nothing(steps: Steps) -> None:
    first = steps.recorded()
    bucket, key = split_uri(first[1].uri)
    written = steps.workspace.client("s3").head_object(Bucket=bucket, Key=key)["LastModified"]
    touched = steps.here.stat().st_mtime_ns
    assert (first[0], steps.recorded()) == ("Completed", ("Cached", first[1]))
    assert steps.workspace.client("s3").head_object(Bucket=bucket, Key=key)["LastModified"] == written
    assert steps.here.stat().st_mtime_ns == touched


def test_another_champion_is_no_reason_to_write_it_anew(steps: Steps) -> None:
    steps.recorded()
    metrics = tuple(one.model_copy(update={"champion": 0.1}) for one in EVALUATION.metrics)
    evaluation = EVALUATION.model_copy(update={"metrics": metrics, "champion_objection": "another target"})
    assert replace(steps, evaluation=evaluation).recorded()[0] == "Cached"


def test_one_that_is_missing_or_was_changed_is_put_back(steps: Steps) -> None:
    _, recorded = steps.recorded()
    whole = steps.here.read_bytes()
    bucket, key = split_uri(recorded.uri)
    s3 = steps.workspace.client("s3")
    damages: list[Callable[[], object]] = [
        steps.here.unlink,
        lambda: steps.here.write_text("{}"),
        lambda: s3.delete_object(Bucket=bucket, Key=key),
        lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"{}"),
    ]
    for damage in damages:
        damage()
        assert steps.recorded() == ("Completed", recorded)
        assert steps.here.read_bytes() == read_object(steps.workspace, recorded.uri)[0] == whole


def test_another_choice_is_recorded_though_the_job_is_the_same(steps: Steps) -> None:
    _, first = steps.recorded()
    chosen = steps.parameters.model_copy(update={"compute": Compute(max_runtime_seconds=600)})
    state, second = replace(steps, parameters=chosen).recorded()
    assert (state, second.uri) == ("Completed", first.uri)
    assert second.sha256 != first.sha256
    assert RunRecord.parse(steps.here.read_bytes(), "").parameters["compute"]["max_runtime_seconds"] == 600


REQUEST = {
    "AlgorithmSpecification": {"TrainingImage": "linear-learner:1"},
    "HyperParameters": {"epochs": "2"},
    "ResourceConfig": {"InstanceCount": 1},
}
RECORD = {
    "format": 1,
    "parameters": {},
    "data": {
        "source": {"uri": "s3://b/t.csv", "parts": []}, "holdout": None, "rows": 1, "columns": ["a"], "target": "a",
    },
    "features": [],
    "channels": [],
    "fingerprint": "0",
    "training_job": "job",
    "request": REQUEST,
    "model": {"uri": "s3://b/model.tar.gz", "sha256": "0", "size": 1},
    "versions": {},
    "metrics": {"job": {"validation:mse": None}, "test": {}},
}  # fmt: skip


def test_what_a_fingerprint_is_made_of_can_be_read_off_a_record() -> None:
    assert RunRecord.parse(json.dumps(RECORD).encode(), "x").decisive == {
        "image": "linear-learner:1", "hyperparameters": {"epochs": "2"}, "channels": {}, "instances": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no run.json that can be read"),
        (b"\x1f\x8b\x08\x00", "is no run.json that can be read"),
        (b"[" * 100_000, "is no run.json that can be read"),
        (b'["format"]', "is no run.json that can be read"),
        ({"format": 2, "data": 3}, r"\(format: 2, this version reads 1 at most: update"),
        ({**RECORD, "format": None}, r"\(format: "),
        ({**RECORD, "data": 3}, r"\(data: "),
        ({**RECORD, "channels": [{"name": "train"}]}, r"\(channels: 0: uri: Field required\)"),
        ({**RECORD, "request": {}}, "its request lacks 'AlgorithmSpecification'"),
        ({**RECORD, "request": {**REQUEST, "ResourceConfig": 1}}, "its request lacks"),
        ({**RECORD, "request": {**REQUEST, "HyperParameters": "all"}}, "its request lacks"),
    ],
)
def test_what_is_no_record_is_refused_with_what_is_wrong(content: bytes | dict[str, Any], words: str) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(ArtifactError, match=rf"^x/run\.json .*{words}"):
        RunRecord.parse(raw, "x/run.json")
