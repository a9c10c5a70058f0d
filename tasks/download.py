"""Download: fetch the model of a training job and check that it can be read."""

from pathlib import Path

from prefect import get_run_logger, task

from aws.storage import download_object, is_file_with, sha256_of
from aws.training.submission import Submission
from aws.workspace import Workspace
from linear_learner.formats.artifact import read_model
from tasks.caching.explain_rerun import Fact
from tasks.caching.policy import RETRIES, Inputs, Result, cached
from tasks.check import CheckedData
from tasks.encode import Encoding
from tasks.environment.errors import ExternalError
from tasks.environment.folders import explain_disk_errors, model_folder
from tasks.load import Table
from tasks.monitor import FinishedJob
from tasks.split import Rows
from tasks.upload import Uploaded


class ModelFile(Result):
    """A model on this machine: its path, its size in bytes, its SHA-256 and its number of features."""

    uri: str
    path: Path
    size: int
    sha256: str
    features: int

    def missing(self, workspace: Workspace) -> list[str]:
        """The path of the file, if it was changed or removed."""
        del workspace
        return [] if is_file_with(self.path, self.sha256) else [str(self.path)]

    def __str__(self) -> str:
        return f"downloaded model, {self.path}"


def _facts(inputs: Inputs) -> dict[str, Fact]:
    job: FinishedJob = inputs["job"]
    folder = str(model_folder(inputs["model_dir"]))
    return {"training job": job.name, "model.identity": job.model.identity, "model folder": folder}


@task(task_run_name="download the model", **cached("download", _facts), **RETRIES)
def download(workspace: Workspace, job: FinishedJob, model_dir: str) -> ModelFile:
    """Fetch `model.tar.gz` into a folder with the name of the job; raises ArtifactError when it is not a model.

    The model is needed on this machine for the evaluation: raises ExternalError when it cannot be written.
    """
    path = model_folder(model_dir) / job.name / "model.tar.gz"
    try:
        with explain_disk_errors(path.parent, job.model.size):
            download_object(workspace, job.model, path)
    except ExternalError as error:
        raise ExternalError(
            f"Training job {job.name} is complete, and its model is {job.model.uri}; the next run reuses it. {error}"
        ) from error
    size, features = path.stat().st_size, len(read_model(path).weights)
    get_run_logger().info("%s: %d bytes, a model with %d features", path, size, features)
    return ModelFile(uri=job.model.uri, path=path, size=size, sha256=sha256_of(path), features=features)


class TrainedModel(Result):
    """A model, and the results of the steps that produced it."""

    table: Table
    rows: Rows
    checked: CheckedData
    encoding: Encoding
    uploaded: Uploaded
    submission: Submission
    job: FinishedJob
    model: ModelFile
