"""Record: what a run was made of and what it came to, as one JSON object beside the model; enough to repeat it."""

import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any, ClassVar, Self

from prefect import get_run_logger, task
from pydantic import ValidationError, model_validator

from aws.storage import has_checksum, sha256_of, upload_file
from aws.training.compute import Compute
from aws.training.following import describe_job
from aws.training.leases import job_tags
from aws.training.request import FINGERPRINT_TAG, TrainingJobSpec
from aws.training.submission import Submission
from aws.workspace import Workspace
from linear_learner.errors import ArtifactError
from tasks.caching.explain_rerun import DATA_FACTS, record_input
from tasks.caching.policy import PERSISTED, RETRIES, ContentCachePolicy, Inputs, Result
from tasks.data.source import Source
from tasks.download import ModelFile, TrainedModel
from tasks.evaluation.results import Evaluation
from tasks.load import Table
from tasks.parameters import RunParameters
from tasks.upload import Uploaded

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef


RECORD_FORMAT = 1
"""Of the record; a higher one may say what this version cannot read."""


class RecordedData(Result):
    """The tables as they were: the objects they consist of, with their ETags and versions, and what is in them."""

    source: Source
    holdout: Source | None
    rows: int
    columns: tuple[str, ...]
    target: str


class RecordedChannel(Result):
    """A channel: its prefix in S3, its rows, and the checksum that stands for its files."""

    name: str
    uri: str
    rows: int
    sha256: str


class RecordedModel(Result):
    """The model in S3; size in bytes."""

    uri: str
    sha256: str
    size: int


class RecordedMetric(Result):
    """A metric of the test set, its interval, and what the best constant prediction comes to."""

    value: float | None
    low: float | None
    high: float | None
    baseline: float | None


class RecordedMetrics(Result):
    """The job's own final metrics, and those of the test set."""

    job: dict[str, float | None]
    test: dict[str, RecordedMetric]


class RunRecord(Result):
    """The whole of `run.json`, in the folder of `model.tar.gz`, in S3 and on the machine that ran the flow."""

    FILE_NAME: ClassVar[str] = "run.json"

    format: int
    parameters: dict[str, dict[str, Any]]
    data: RecordedData
    features: tuple[str, ...]
    channels: tuple[RecordedChannel, ...]
    fingerprint: str
    training_job: str
    request: dict[str, Any]
    """What CreateTrainingJob was given, save its tags; with another name it can be sent again."""
    model: RecordedModel
    versions: dict[str, str]
    metrics: RecordedMetrics

    @classmethod
    def parse(cls, content: bytes, where: str) -> Self:
        """The record in `content`; raises ArtifactError when that is none, or one of a later version's."""
        found = _parse_object(content)
        written = found.get("format")
        if isinstance(written, int) and written > RECORD_FORMAT:
            raise ArtifactError(
                f"{where} has format {written}, and this version reads {RECORD_FORMAT} at most: "
                "update train-linear-learner"
            )
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            fault = error.errors()[0]
            what = ": ".join([".".join(map(str, fault["loc"])), fault["msg"]]).removeprefix(": ")
        raise ArtifactError(
            f"{where} is not a {cls.FILE_NAME} of this project ({what}); give the one beside a model.tar.gz"
        )

    @property
    def decisive(self) -> dict[str, Any]:
        """What the fingerprint is made of: image, hyperparameters, checksum of each channel, number of instances."""
        return {
            "image": self.request["AlgorithmSpecification"]["TrainingImage"],
            "hyperparameters": dict(self.request["HyperParameters"]),
            "channels": {channel.name: channel.sha256 for channel in self.channels},
            "instances": self.request["ResourceConfig"]["InstanceCount"],
        }

    @model_validator(mode="after")
    def _has_decisive_values(self) -> Self:
        try:
            self.decisive  # noqa: B018 - looks whether all of it is there
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"its request lacks {error}") from error
        return self


def _parse_object(content: bytes) -> dict[str, Any]:
    """The JSON object in `content`; an empty one, which lacks everything, where there is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


RECORDED_PACKAGES = ("train-linear-learner", "prefect", "prefect-aws", "boto3", "numpy", "scikit-learn", "polars")
DEPENDS_ON = (*DATA_FACTS, "hyperparameters", "compute", "gate", "training job", "versions")


class Recorded(Result):
    """The record in S3."""

    uri: str
    sha256: str

    def __str__(self) -> str:
        return f"record of the run, {self.uri}"


def _identity(inputs: Inputs) -> tuple[object, ...]:
    trained: TrainedModel = inputs["trained"]
    job, model = trained.job, trained.model
    record_input({f"versions.{name}": number for name, number in _versions().items()})
    return (
        (RECORD_FORMAT, _versions(), inputs["parameters"], _data(trained.table), trained.uploaded),
        (job.name, job.metrics, model.uri, model.sha256, str(_path(model)), _figures(inputs["evaluation"])),
    )


def _missing(inputs: Inputs, recorded: Recorded) -> list[str]:
    here = _path(inputs["trained"].model)
    missing = [] if has_checksum(inputs["workspace"], recorded.uri, recorded.sha256) else [recorded.uri]
    return missing if here.exists() and sha256_of(here) == recorded.sha256 else [*missing, str(here)]


@task(
    task_run_name="record {trained.job.name}",
    cache_policy=ContentCachePolicy(step="record", identity=_identity, missing=_missing, depends_on=DEPENDS_ON),
    **PERSISTED,
    **RETRIES,
)
def record(workspace: Workspace, trained: TrainedModel, parameters: RunParameters, evaluation: Evaluation) -> Recorded:
    """Write `run.json` beside the model, in S3 and on this machine."""
    job, uploaded, model = trained.job, trained.uploaded, trained.model
    description = describe_job(workspace, job.name)
    image = description["AlgorithmSpecification"]["TrainingImage"]
    written = RunRecord(
        format=RECORD_FORMAT,
        parameters=parameters.model_dump(mode="json"),
        data=_data(trained.table),
        features=uploaded.features,
        channels=tuple(
            RecordedChannel(name=one.name, uri=one.folder, rows=one.rows, sha256=one.sha256)
            for one in uploaded.channels
        ),
        fingerprint=_fingerprint(workspace, trained.submission, description, uploaded),
        training_job=job.name,
        request=_request(workspace, description),
        model=RecordedModel(uri=model.uri, sha256=model.sha256, size=model.size),
        versions={**_versions(), "image": image},
        metrics=RecordedMetrics(job=dict(job.metrics), test=_figures(evaluation)),
    )
    return _write_record(workspace, written, model)


def _write_record(workspace: Workspace, written: RunRecord, model: ModelFile) -> Recorded:
    path = _path(model)
    path.write_text(written.model_dump_json(indent=2) + "\n", encoding="utf-8")
    uri, sha256 = f"{model.uri.rsplit('/', 1)[0]}/{RunRecord.FILE_NAME}", sha256_of(path)
    upload_file(workspace, path, uri, sha256)
    get_run_logger().info("recorded in %s; --from-run repeats it", uri)
    return Recorded(uri=uri, sha256=sha256)


def _path(model: ModelFile) -> Path:
    return model.path.parent / RunRecord.FILE_NAME


def _data(table: Table) -> RecordedData:
    return RecordedData(
        source=table.source, holdout=table.holdout, rows=table.rows, columns=table.columns, target=table.target
    )


def _figures(evaluation: Evaluation) -> dict[str, RecordedMetric]:
    # Without the champion's, which change with the registry.
    return {
        one.name: RecordedMetric(value=one.value, low=one.low, high=one.high, baseline=one.baseline)
        for one in evaluation.metrics
    }


def _versions() -> dict[str, str]:
    found = {"python": python_version()}
    for package in RECORDED_PACKAGES:
        with suppress(PackageNotFoundError):  # the project itself may be used without being installed
            found[package] = version(package)
    return found


def _fingerprint(
    workspace: Workspace,
    submission: Submission,
    description: "DescribeTrainingJobResponseTypeDef",
    uploaded: Uploaded,
) -> str:
    tagged = job_tags(workspace, submission.arn).get(FINGERPRINT_TAG)
    return tagged or _spec_of_description(description, uploaded).fingerprint


def _spec_of_description(description: "DescribeTrainingJobResponseTypeDef", uploaded: Uploaded) -> TrainingJobSpec:
    """What the job was made from, for a job whose tags somebody took off."""
    return TrainingJobSpec(
        image=description["AlgorithmSpecification"]["TrainingImage"],
        hyperparameters=description["HyperParameters"],
        channels=uploaded.inputs,
        compute=Compute(instance_count=description["ResourceConfig"]["InstanceCount"]),
    )


def _request(workspace: Workspace, description: "DescribeTrainingJobResponseTypeDef") -> dict[str, Any]:
    """What of the job's description CreateTrainingJob takes, by boto's own model of the call."""
    call = workspace.client("sagemaker").meta.service_model.operation_model("CreateTrainingJob")
    request: dict[str, Any] = _known_members(description, call.input_shape)
    # The algorithm's own, which the description adds and a request must not have.
    request["AlgorithmSpecification"].pop("MetricDefinitions", None)
    return request


def _known_members(value: Any, shape: Any) -> Any:
    if shape.type_name == "structure":
        return {
            name: _known_members(part, shape.members[name]) for name, part in value.items() if name in shape.members
        }
    return [_known_members(part, shape.member) for part in value] if shape.type_name == "list" else value
