"""Record: write the parameters, inputs and results of a run to a JSON file next to the model, to repeat the run."""

from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any, ClassVar, Self

from prefect import get_run_logger, task
from pydantic import Field, model_validator

from aws.storage import has_checksum, is_file_with, write_object
from aws.training.compute import Compute
from aws.training.following import describe_job
from aws.training.request import Channel, TrainingJobSpec
from aws.workspace import Workspace
from linear_learner.schema import Schema
from linear_learner.versioned_document import VersionedDocument
from tasks.caching.explain_rerun import Fact, flatten
from tasks.caching.policy import RETRIES, Inputs, Result, cached, fingerprint
from tasks.data.source import Source
from tasks.download import ModelFile, TrainedModel
from tasks.environment.folders import write_text
from tasks.evaluation.results import Evaluation
from tasks.parameters import RunParameters
from tasks.prefect_ui.display import warn_of_errors

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

RECORD_FORMAT = 1
"""Version of the record's format; a record with a higher one is refused."""


class RecordedData(Result):
    """The tables: their objects with ETags and versions, and their rows and columns."""

    source: Source
    holdout: Source | None
    rows: int
    columns: tuple[str, ...]
    target: str


class RunRecord(VersionedDocument, Result):
    """The content of `run.json`, next to `model.tar.gz` in S3 and on the machine that ran the flow."""

    FILE_NAME: ClassVar[str] = "run.json"
    LATEST_FORMAT: ClassVar[int] = RECORD_FORMAT

    format: int
    parameters: dict[str, dict[str, Any]]
    data: RecordedData
    features: tuple[str, ...]
    channels: tuple[Channel, ...]
    fingerprint: str
    training_job: str
    request: dict[str, Any]
    """The CreateTrainingJob request without its tags; with another job name it can be sent again."""
    model: dict[str, Any]
    """URI, SHA-256 and size in bytes of model.tar.gz in S3."""
    table_schema: dict[str, str] = Field(default_factory=dict)
    """URI and SHA-256 of schema.json in S3; empty in the record of an earlier version."""
    versions: dict[str, str]
    metrics: dict[str, Any]
    """The final metrics of the job, and those of the test set with their intervals and the baseline's."""

    @property
    def decisive(self) -> dict[str, Any]:
        """The inputs of the fingerprint: image, hyperparameters, checksums of channels and columns, instances."""
        return {
            "image": self.request["AlgorithmSpecification"]["TrainingImage"],
            "hyperparameters": dict(self.request["HyperParameters"]),
            "channels": {channel.name: channel.sha256 for channel in self.channels},
            "instances": self.request["ResourceConfig"]["InstanceCount"],
            "schema": self.table_schema.get("sha256"),
        }

    @model_validator(mode="after")
    def _has_decisive_values(self) -> Self:
        try:
            self.decisive  # noqa: B018 - raises when a value is missing
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"its request is incomplete: {error}") from error
        return self


RECORDED_PACKAGES = ("train-linear-learner", "prefect", "prefect-aws", "boto3", "numpy", "scikit-learn", "polars")


class Recorded(Result):
    """The record, and the schema of the table, in S3 and on this machine."""

    uri: str
    path: Path
    sha256: str
    schema_uri: str
    schema_sha256: str

    def missing(self, workspace: Workspace) -> list[str]:
        """Return the URIs and paths of the record and the schema, as far as they are missing or were changed."""
        schema_path = self.path.with_name(Schema.FILE_NAME)
        files = ((self.uri, self.path, self.sha256), (self.schema_uri, schema_path, self.schema_sha256))
        missing = [uri for uri, _, checksum in files if not has_checksum(workspace, uri, checksum)]
        for _, path, checksum in files:
            if not is_file_with(path, checksum):
                missing.append(str(path))
        return missing

    def __str__(self) -> str:
        return f"record of the run, {self.uri}"


def _facts(inputs: Inputs) -> dict[str, Fact]:
    trained: TrainedModel = inputs["trained"]
    job, model = trained.job, trained.model
    others = (RECORD_FORMAT, trained.uploaded, job.metrics, model, _figures(inputs["evaluation"]))
    chosen = inputs["parameters"].model_dump(mode="json")
    facts = flatten(
        {**chosen, "versions": _versions(), "training job": job.name, "run": {"sha256": fingerprint(*others)}}
    )
    return {**trained.table.made_of, **facts}


@task(task_run_name="record the run", **cached("record", _facts), **RETRIES)
def record(workspace: Workspace, trained: TrainedModel, parameters: RunParameters, evaluation: Evaluation) -> Recorded:
    """Write `run.json` and `schema.json` next to the model, in S3 and on this machine.

    The training job is paid for, and later runs read the object in S3: failing to write the local file is a warning.
    """
    job, uploaded, model = trained.job, trained.uploaded, trained.model
    description = describe_job(workspace, job.name)
    spec = TrainingJobSpec(
        image=description["AlgorithmSpecification"]["TrainingImage"],
        hyperparameters=description["HyperParameters"],
        channels=uploaded.channels,
        compute=Compute(instance_count=description["ResourceConfig"]["InstanceCount"]),
        schema_sha256=uploaded.schema_sha256,
    )
    schema = _write_beside(workspace, model, Schema.FILE_NAME, trained.encoding.table_schema.to_json())
    recorded = RunRecord(
        format=RECORD_FORMAT,
        parameters=parameters.model_dump(mode="json"),
        data=RecordedData.model_validate(trained.table, from_attributes=True),
        features=uploaded.features,
        channels=uploaded.channels,
        fingerprint=spec.fingerprint,
        training_job=job.name,
        request=_request(workspace, description),
        model=model.model_dump(include={"uri", "sha256", "size"}),
        table_schema=schema,
        versions={**_versions(), "image": spec.image},
        metrics={"job": job.metrics, "test": _figures(evaluation)},
    )
    written = _write_beside(workspace, model, RunRecord.FILE_NAME, recorded.model_dump_json(indent=2) + "\n")
    get_run_logger().info("recorded in %s; use it with --from-run to repeat this run", written["uri"])
    path = model.path.with_name(RunRecord.FILE_NAME)
    return Recorded(path=path, schema_uri=schema["uri"], schema_sha256=schema["sha256"], **written)


def _write_beside(workspace: Workspace, model: ModelFile, name: str, content: str) -> dict[str, str]:
    """Write a file next to the model, in S3 and on this machine; returns its URI and SHA-256."""
    uri, checksum = f"{model.uri.rsplit('/', 1)[0]}/{name}", sha256(content.encode()).hexdigest()
    if not has_checksum(workspace, uri, checksum):
        write_object(workspace, uri, content.encode(), {"sha256": checksum})
    with warn_of_errors(f"{name} was not written on this machine, only to {uri}"):
        write_text(model.path.with_name(name), content)
    return {"uri": uri, "sha256": checksum}


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    # Without those of the champion, which depend on the registry.
    return {one.name: one.model_dump(exclude={"name", "champion"}) for one in evaluation.metrics}


def _versions() -> dict[str, str]:
    found = {"python": python_version()}
    for package in RECORDED_PACKAGES:
        with suppress(PackageNotFoundError):  # the project itself need not be installed
            found[package] = version(package)
    return found


def _request(workspace: Workspace, description: "DescribeTrainingJobResponseTypeDef") -> dict[str, Any]:
    """Return the CreateTrainingJob request of a job: the parameters of its description that botocore's model lists."""
    call: Any = workspace.client("sagemaker").meta.service_model.operation_model("CreateTrainingJob").input_shape
    request: dict[str, Any] = {name: part for name, part in description.items() if name in call.members}
    # SageMaker adds these to the description of a built-in algorithm and refuses them in a request.
    algorithm = {**request["AlgorithmSpecification"]}
    algorithm.pop("MetricDefinitions", None)
    return request | {"AlgorithmSpecification": algorithm}
