"""Download: fetch the model, see that it is whole and opens, say what is in it."""

from pathlib import Path

from prefect import get_run_logger, task

from aws.storage import download_object, sha256_of, stat_object
from aws.training.submission import Submission
from aws.workspace import Workspace
from linear_learner.formats.artifact import list_archive_files, read_model
from tasks.caching.explain_rerun import record_input
from tasks.caching.policy import PERSISTED, RETRIES, ContentCachePolicy, Inputs, Result
from tasks.load import Table
from tasks.monitor import FinishedJob
from tasks.split import Rows
from tasks.upload import Uploaded


class ModelFile(Result):
    """A model on this machine: where, its size in bytes, its checksum, its parts, its shape."""

    uri: str
    path: Path
    size: int
    sha256: str
    parts: tuple[str, ...]
    features: int

    def __str__(self) -> str:
        return f"downloaded model, {self.path}"


def _path(model_dir: str, job: FinishedJob) -> Path:
    return Path(model_dir).expanduser().absolute() / job.name / "model.tar.gz"


def _identity(inputs: Inputs) -> tuple[object, ...]:
    job = inputs["job"]
    record_input({"training job": job.name})
    return stat_object(inputs["workspace"], job.model_uri).identity, str(_path(inputs["model_dir"], job))


def _missing(_: Inputs, model: ModelFile) -> list[str]:
    return [] if model.path.exists() and sha256_of(model.path) == model.sha256 else [str(model.path)]


@task(
    task_run_name="download {job.name}",
    cache_policy=ContentCachePolicy(
        step="download", identity=_identity, missing=_missing, depends_on=("training job",)
    ),
    **PERSISTED,
    **RETRIES,
)
def download(workspace: Workspace, job: FinishedJob, model_dir: str) -> ModelFile:
    """Fetch `model.tar.gz` into a folder named as the job; raises ArtifactError when it does not open as a model."""
    path = _path(model_dir, job)
    download_object(workspace, stat_object(workspace, job.model_uri), path)
    model = read_model(path)
    parts = list_archive_files(path)
    get_run_logger().info("%s holds %s", path.name, ", ".join(f"{part.name} ({part.size} bytes)" for part in parts))
    return ModelFile(
        uri=job.model_uri,
        path=path,
        size=path.stat().st_size,
        sha256=sha256_of(path),
        parts=tuple(part.name for part in parts),
        features=model.weights.shape[0],
    )


class TrainedModel(Result):
    """A model, and all that it was made of."""

    table: Table
    rows: Rows
    uploaded: Uploaded
    submission: Submission
    job: FinishedJob
    model: ModelFile
