"""The record of a run has its parameters, inputs and results, is reproducible, and contains no secret."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from prefect import State
from prefect_aws import AwsCredentials
from pydantic import SecretStr

from aws.resource_tags import read_tags
from aws.storage import read_object, stat_object, write_object
from aws.training.compute import Compute
from aws.training.request import FINGERPRINT_TAG
from aws.training.submission import Submission
from aws.workspace import Workspace, split_uri
from linear_learner.errors import ArtifactError
from sandbox.client import make_workspace
from tasks.check import CheckedData, find_treatments
from tasks.download import ModelFile, TrainedModel, download
from tasks.encode import Encoding
from tasks.evaluation.results import Evaluation
from tasks.fit import fit
from tasks.format import format_channels
from tasks.load import Table, find, load
from tasks.monitor import FinishedJob, monitor
from tasks.parameters import Dataset, RequestedHyperparameters, RunParameters, Split
from tasks.record import Recorded, RunRecord, record
from tasks.split import Rows, split_rows
from tasks.upload import Uploaded, upload
from tests.conftest import use_machine
from tests.tasks.conftest import EVALUATION, in_flow, make_csv
from tests.tasks.encodings import encoding_of

pytestmark = pytest.mark.usefixtures("machine")

HYPERPARAMETERS = RequestedHyperparameters(mini_batch_size=4, epochs=2, num_models=2)
SECRET, TOKEN = "wJalrXUtnFEMI/K7MDENG", "IQoJb3JpZ2luX2VjEXAMPLE"


@dataclass(frozen=True)
class Steps:
    """The results of the steps before the record."""

    workspace: Workspace
    parameters: RunParameters
    table: Table
    rows: Rows
    checked: CheckedData
    encoding: Encoding
    uploaded: Uploaded
    submission: Submission
    job: FinishedJob
    model: ModelFile
    evaluation: Evaluation = EVALUATION

    def recorded(self) -> tuple[str, Recorded]:
        """Run the step; return the name of its state and its result."""
        trained = {name: getattr(self, name) for name in TrainedModel.model_fields}
        arguments = self.workspace, TrainedModel(**trained), self.parameters, self.evaluation
        state: State[Any] = in_flow(self.workspace, lambda: record(*arguments, return_state=True))
        return state.name or "", state.result()

    @property
    def local_path(self) -> Path:
        return self.model.path.with_name("run.json")


def with_secrets(workspace: Workspace) -> Workspace:
    """The workspace with credentials that occur nowhere else."""
    credentials = workspace.bucket.credentials
    assert isinstance(credentials, AwsCredentials)
    changed = credentials.model_copy(
        update={
            "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
            "aws_secret_access_key": SecretStr(SECRET),
            "aws_session_token": TOKEN,
        }
    )
    return workspace.model_copy(update={"bucket": workspace.bucket.model_copy(update={"credentials": changed})})


@pytest.fixture(scope="module")
def trained(sandbox_url: str, prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """The steps of one run, whose record each test writes again."""
    del prefect_server
    folder, workspace = tmp_path_factory.mktemp("trained"), with_secrets(make_workspace(sandbox_url))
    workspace.prefix = f"tests/{uuid.uuid4().hex}"
    dataset = Dataset(source=workspace.uri("table.csv"), target="pay")
    write_object(workspace, dataset.source, make_csv(workspace.prefix))
    with use_machine(folder):
        table = load(workspace, find(workspace, dataset), dataset)
        rows = split_rows(workspace, table, Split())
        chosen = RunParameters(dataset=dataset, hyperparameters=HYPERPARAMETERS)
        checked = find_treatments(table, rows, chosen)
        encoding = encoding_of(workspace, table, rows, dataset)
        uploaded = upload(workspace, format_channels(workspace, table, rows, encoding))
        submission = fit(workspace, uploaded, checked.hyperparameters, Compute()).submission
        job = monitor(workspace, submission)
        model = download(workspace, job, str(folder / "models"))
    return Steps(workspace, chosen, table, rows, checked, encoding, uploaded, submission, job, model)


@pytest.fixture
def steps(trained: Steps) -> Steps:
    """The steps of a run that has no record yet."""
    trained.local_path.unlink(missing_ok=True)
    bucket, key = split_uri(trained.job.model.uri.replace("model.tar.gz", "run.json"))
    trained.workspace.client("s3").delete_object(Bucket=bucket, Key=key)
    return trained


def test_the_record_is_next_to_the_model_and_has_parameters_inputs_and_results(steps: Steps) -> None:
    _, recorded = steps.recorded()
    assert recorded.uri == steps.job.model.uri.replace("model.tar.gz", "run.json")
    content, _ = read_object(steps.workspace, recorded.uri)
    assert steps.local_path.read_bytes() == content
    parsed = RunRecord.parse(content, recorded.uri)
    assert json.loads(content)["format"] == 1
    assert RunParameters.model_validate(parsed.parameters) == steps.parameters
    assert parsed.data.source == steps.table.source
    assert parsed.data.source.parts[0].etag == stat_object(steps.workspace, steps.table.source.uri).etag
    assert (parsed.data.rows, parsed.data.columns, parsed.data.target) == (40, ("pay", "age", "score"), "pay")
    assert parsed.data.holdout is None
    assert parsed.features == ("age", "score")
    assert [(one.name, one.rows) for one in parsed.channels] == [("train", 28), ("validation", 8), ("test", 4)]
    assert [one.sha256 for one in parsed.channels] == [one.sha256 for one in steps.uploaded.channels]
    assert parsed.training_job == steps.job.name
    expected = {"uri": steps.job.model.uri, "sha256": steps.model.sha256, "size": steps.model.size}
    assert parsed.model == expected
    assert set(parsed.versions) == {
        "python", "train-linear-learner", "prefect", "prefect-aws", "boto3", "numpy", "scikit-learn", "polars", "image",
    }  # fmt: skip
    assert "linear-learner" in parsed.versions["image"]
    assert parsed.metrics["job"] == steps.job.metrics
    assert parsed.metrics["test"]["rmse"] == {"value": 1.25, "low": 1.0, "high": 1.5, "baseline": 4.0}
    assert parsed.metrics["test"]["r2"]["value"] is None


def test_the_fingerprint_is_that_of_the_job_even_without_its_tags(steps: Steps) -> None:
    tagged = read_tags(steps.workspace, steps.submission.arn)[FINGERPRINT_TAG]
    steps.recorded()
    assert RunRecord.parse(steps.local_path.read_bytes(), "").fingerprint == tagged
    steps.workspace.client("sagemaker").delete_tags(ResourceArn=steps.submission.arn, TagKeys=[FINGERPRINT_TAG])
    steps.local_path.unlink()
    steps.recorded()
    assert RunRecord.parse(steps.local_path.read_bytes(), "").fingerprint == tagged


def test_the_recorded_request_trains_the_same_model_again(steps: Steps, machine: Path) -> None:
    steps.recorded()
    request = RunRecord.parse(steps.local_path.read_bytes(), "").request
    assert request["TrainingJobName"] == steps.job.name
    again = {**request, "TrainingJobName": f"{steps.job.name}-again"}
    arn = steps.workspace.client("sagemaker").create_training_job(**again)["TrainingJobArn"]
    job = monitor(steps.workspace, Submission(name=again["TrainingJobName"], arn=arn, how="started"))
    assert download(steps.workspace, job, str(machine / "again")).sha256 == steps.model.sha256


def test_the_record_contains_no_secret_of_the_workspace(steps: Steps) -> None:
    _, recorded = steps.recorded()
    content = read_object(steps.workspace, recorded.uri)[0].decode()
    assert steps.workspace.role_arn in content, "the request has the role"
    for secret in ("AKIAIOSFODNN7EXAMPLE", SECRET, TOKEN, "127.0.0.1"):
        assert secret not in content


def test_an_unchanged_run_does_not_write_the_record_again(steps: Steps) -> None:
    first = steps.recorded()
    bucket, key = split_uri(first[1].uri)
    written = steps.workspace.client("s3").head_object(Bucket=bucket, Key=key)["LastModified"]
    modified = steps.local_path.stat().st_mtime_ns
    assert (first[0], steps.recorded()) == ("Completed", ("Cached", first[1]))
    assert steps.workspace.client("s3").head_object(Bucket=bucket, Key=key)["LastModified"] == written
    assert steps.local_path.stat().st_mtime_ns == modified


def test_another_champion_does_not_change_the_record(steps: Steps) -> None:
    steps.recorded()
    metrics = tuple(one.model_copy(update={"champion": 0.1}) for one in EVALUATION.metrics)
    evaluation = EVALUATION.model_copy(update={"metrics": metrics, "champion_objection": "another target"})
    assert replace(steps, evaluation=evaluation).recorded()[0] == "Cached"


def test_a_missing_or_changed_record_is_written_again(steps: Steps) -> None:
    _, recorded = steps.recorded()
    content = steps.local_path.read_bytes()
    bucket, key = split_uri(recorded.uri)
    s3 = steps.workspace.client("s3")
    damages: list[Callable[[], object]] = [
        steps.local_path.unlink,
        lambda: steps.local_path.write_text("{}"),
        lambda: s3.delete_object(Bucket=bucket, Key=key),
        lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"{}"),
    ]
    for damage in damages:
        damage()
        assert steps.recorded() == ("Completed", recorded)
        assert steps.local_path.read_bytes() == read_object(steps.workspace, recorded.uri)[0] == content


def test_a_changed_parameter_is_recorded_for_the_same_job(steps: Steps) -> None:
    _, first = steps.recorded()
    chosen = steps.parameters.model_copy(update={"compute": Compute(max_runtime_seconds=600)})
    state, second = replace(steps, parameters=chosen).recorded()
    assert (state, second.uri) == ("Completed", first.uri)
    assert second.sha256 != first.sha256
    assert RunRecord.parse(steps.local_path.read_bytes(), "").parameters["compute"]["max_runtime_seconds"] == 600


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


def test_a_record_has_the_inputs_of_the_fingerprint() -> None:
    assert RunRecord.parse(json.dumps(RECORD).encode(), "x").decisive == {
        "image": "linear-learner:1", "hyperparameters": {"epochs": "2"}, "channels": {}, "instances": 1, "schema": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a valid run.json"),
        (b"\x1f\x8b\x08\x00", "is not a valid run.json"),
        (b"[" * 100_000, "is not a valid run.json"),
        (b'["format"]', "is not a valid run.json"),
        ({"format": 2, "data": 3}, r"\(format: 2, but this version reads only up to 1: update"),
        ({**RECORD, "format": None}, r"\(format: "),
        ({**RECORD, "data": 3}, r"\(data: "),
        ({**RECORD, "channels": [{"name": "train"}]}, r"\(channels: 0: uri: Field required\)"),
        ({**RECORD, "request": {}}, "its request is incomplete: 'AlgorithmSpecification'"),
        ({**RECORD, "request": {**REQUEST, "ResourceConfig": 1}}, "its request is incomplete"),
        ({**RECORD, "request": {**REQUEST, "HyperParameters": "all"}}, "its request is incomplete"),
    ],
)
def test_an_invalid_record_is_refused_with_the_reason(content: bytes | dict[str, Any], words: str) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(ArtifactError, match=rf"^x/run\.json .*{words}"):
        RunRecord.parse(raw, "x/run.json")
