"""Predict: score each file of a table with a model, and write the predictions to a file of their own."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from prefect import task
from prefect.logging import get_run_logger
from pydantic import ValidationError

from aws.errors import NotFound
from aws.storage import MAX_PUT_BYTES, has_checksum, is_file_with, read_object, sha256_of, write_file, write_object
from aws.workspace import Workspace
from linear_learner.errors import ArtifactError, DataError
from linear_learner.model import LinearModel
from linear_learner.schema import Schema
from tasks.caching import work_folder
from tasks.caching.policy import RETRIES, UNCACHED, Result, fingerprint
from tasks.data.parallel import map_files
from tasks.data.scoring_statistics import ScoringStatistics
from tasks.data.source import (
    FILE_SCHEME,
    Source,
    TablePart,
    file_uri_to_path,
    find_table,
    remove_local_copies,
    require_space_for_copies,
)
from tasks.environment.folders import abandoned_folders, explain_disk_errors, lock_folder, remove, temporary_folder
from tasks.evaluation.results import Evaluation
from tasks.model_source import ModelSource, fetch_model, find_model
from tasks.parameters import Prediction, Reading

if TYPE_CHECKING:
    from tasks.data.scoring import Scorer

VERSION = 1
"""Part of the identity of predictions; raised when they are computed or written in another way."""


LEFTOVER = "leftover"
"""A file with the path of the temporary folder beside an output, so that it can be removed if the process is killed."""


class PredictedFile(Result):
    """A file of predictions, and what was counted when it was written."""

    FOLDER: ClassVar[str] = "predictions"

    uri: str
    """An S3 URI, or file:// on the machine that wrote it."""
    sha256: str
    size: int
    statistics: ScoringStatistics
    reused: bool = False

    def missing(self, workspace: Workspace) -> Sequence[str]:
        """The file, if it was changed or removed."""
        if not self.uri.startswith(FILE_SCHEME):
            return () if has_checksum(workspace, self.uri, self.sha256) else (self.uri,)
        return () if is_file_with(file_uri_to_path(self.uri), self.sha256) else (self.uri,)


@dataclass(frozen=True)
class Job:
    """What determines the predictions of a file: the model, its schema and the options."""

    model: LinearModel
    table_schema: Schema
    identity: str
    """Changes with the model and its schema."""
    keep: tuple[str, ...]
    reading: Reading
    refresh: bool

    def scorer(self) -> "Scorer":
        from tasks.data.scoring import Scorer  # polars

        return Scorer(self.model, self.table_schema, self.keep)

    def fingerprint(self, part: TablePart, output: str) -> str:
        """The identity of the predictions of a file."""
        table = [part.uri, part.identity, part.partition, self.reading]
        return fingerprint(VERSION, self.identity, self.keep, output, *table)


class Found(Result):
    """The new rows, and the model to score them with."""

    table: Source
    model: ModelSource
    outputs: tuple[str, ...]
    """The file of the predictions of each part of the table."""


@task(task_run_name="find {options.model} and {options.data}", **UNCACHED, **RETRIES)
def find(workspace: Workspace, options: Prediction) -> Found:
    """Look up the new rows and the model; raises NotFound, DataError or ArtifactError before anything is read."""
    model = find_model(workspace, options.model, allow_unapproved=options.allow_unapproved)
    table = find_table(workspace, options.data)
    return Found(table=table, model=model, outputs=tuple(plan_outputs(workspace, table, options.output)))


def plan_outputs(workspace: Workspace, table: Source, output: str) -> list[str]:
    """The URI of the predictions of each file: `output`, or below it if it ends with a slash.

    Raises DataError for one output of several files, for one that is a file of the table, and for an unknown ending.
    """
    from tasks.data.prediction_writer import check_output_name

    is_local = output.startswith("/") or output.lower().startswith(FILE_SCHEME)
    base = f"{FILE_SCHEME}{file_uri_to_path(output) if '://' in output else output}" if is_local else ""
    base = base or (workspace.locate(output) if "://" in output else workspace.uri(output))
    if not output.endswith("/"):
        if len(table.parts) > 1:
            raise DataError(
                f"{table.uri} has {len(table.parts)} files, and each has predictions of its own. Give an output that "
                f"ends with a slash, such as {output.rpartition('.')[0] or output}/."
            )
        check_output_name(Path(base))
        outputs = [base]
    else:
        names = [part.uri.removeprefix(table.uri.rstrip("/")).lstrip("/") for part in table.parts]
        names = [name or PurePosixPath(table.uri).name for name in names]
        outputs = [f"{base.rstrip('/')}/{_output_name(name)}" for name in names]
    for one in outputs:
        if any(one == part.uri for part in table.parts) or outputs.count(one) > 1:
            raise DataError(f"The output {one} is also a file of the table, or of two. Give another output.")
    return outputs


def _output_name(name: str) -> str:
    """The name of a file of the table, with an ending that the output can have: .parquet as it is, otherwise .csv."""
    folder, stem = PurePosixPath(name).parent, PurePosixPath(name).name
    base = stem.partition(".")[0] if not stem.startswith(".") else stem
    ending = "parquet" if ".parquet" in stem.lower() else "csv"
    return str(folder / f"{base}.{ending}")


@task(name="fetch model", task_run_name="fetch {found.model}", **UNCACHED, **RETRIES)
def fetch(workspace: Workspace, found: Found, options: Prediction) -> Job:
    """Fetch the model; raises DataError, with their names, for columns that the first file lacks."""
    job = _make_job(workspace, found, options)
    _name_columns(workspace, found, job)
    return job


@task(task_run_name="predict {found.table.uri}", **UNCACHED, **RETRIES)
def predict(workspace: Workspace, found: Found, job: Job) -> tuple[tuple[PredictedFile, ...], ScoringStatistics]:
    """Score every file and write its predictions; files whose predictions exist already are not scored again.

    Returns the files, and the statistics of all rows.

    Raises DataError, with file, row and column, for rows that the model cannot use.
    """
    logger = get_run_logger()
    _remove_leftovers()
    if workspace.dask_scheduler is None:
        require_space_for_copies(found.table.parts)
    files = map_files(workspace, predict_file, found.table.parts, found.outputs, job=job)
    remove_local_copies(found.table.parts)
    if reused := sum(file.reused for file in files):
        logger.info("reused: the predictions of %d of %d files, as nothing has changed", reused, len(files))
    return tuple(files), ScoringStatistics.merge([file.statistics for file in files])


@task(task_run_name="evaluate the predictions", **UNCACHED, **RETRIES)
def evaluate(workspace: Workspace, found: Found, job: Job) -> Evaluation:
    """Compare the predictions with the labels of the rows."""
    from tasks.evaluation.labelled_predictions import evaluate_predictions

    return evaluate_predictions(workspace, found.outputs, job.scorer())


def _make_job(workspace: Workspace, found: Found, options: Prediction) -> Job:
    with lock_folder(work_folder(f"model-{fingerprint(found.model.identity)}")) as folder, explain_disk_errors(folder):
        model, schema = fetch_model(workspace, found.model, folder)
    schema = schema or _schema_by_position(workspace, found, model, options)
    if options.evaluate and found.model.table_schema is None:
        raise ArtifactError(
            f"{found.model.location} has no {Schema.FILE_NAME}, which has the name of the target. Predict without "
            "--evaluate, or train the model again."
        )
    keep = tuple(dict.fromkeys([*options.keep, *([schema.label.name] if options.evaluate else [])]))
    identity = fingerprint(found.model.identity, schema.sha256)
    return Job(model, schema, identity, keep, options.reading, options.refresh)


def _schema_by_position(workspace: Workspace, found: Found, model: LinearModel, options: Prediction) -> Schema:
    """The schema of a model that has none: its recorded features by name, or all columns of the table by position.

    The columns that are copied to the predictions are no features.
    """
    from tasks.data.reader import TableFile
    from tasks.data.scoring import schema_by_position

    names = model.feature_names
    if names is None:
        first = TableFile.of(workspace, found.table.parts[0], options.reading)
        names = tuple(name for name in first.names if name not in options.keep)
        if not options.by_position:
            raise ArtifactError(
                f"{found.model.location} has no {Schema.FILE_NAME}, so the columns cannot be matched by name. If the "
                "table has exactly the model's features, in their order, use --by-position."
            )
        get_run_logger().warning("The columns are matched by position: %s is the first feature.", names[0])
    return schema_by_position(model, names)


def _name_columns(workspace: Workspace, found: Found, job: Job) -> None:
    """Log the columns that are not used; raises DataError, before anything is scored, for columns that are missing."""
    from tasks.data.reader import TableFile

    file = TableFile.of(workspace, found.table.parts[0], job.reading)
    if extra := job.scorer().extra_columns(file.names, file.name):
        shown = ", ".join(map(repr, extra[:20])) + ", …" * (len(extra) > 20)
        get_run_logger().info("not used, as the model does not know them: %s", shown)


def predict_file(workspace: Workspace, part: TablePart, output: str, *, job: Job) -> PredictedFile:
    """Write the predictions of one file, or return those that an earlier run has written.

    Of two runs on this machine that predict the same, one waits for the other.
    """
    identity = job.fingerprint(part, output)
    record = workspace.uri("results", f"predict-{identity}.json")
    with lock_folder(work_folder(f"predict-{identity}")) as folder:
        if not job.refresh and (earlier := _read_earlier(workspace, record)):
            return earlier
        if output.startswith(FILE_SCHEME):  # on the file system of the output, where it can be renamed
            path = file_uri_to_path(output)
            path = path.with_name(f".{path.name}.{identity[:8]}")
            (folder / LEFTOVER).write_text(str(path))
            with temporary_folder(path) as beside:
                written = _write_predictions(workspace, part, output, job, beside)
        else:
            written = _write_predictions(workspace, part, output, job, folder)
        write_object(workspace, record, written.model_dump_json().encode())
    return written


def _remove_leftovers() -> None:
    """Remove the folders beside outputs that killed predictions of this machine have left, which may not be repeated.

    The output may be on a file system that other machines use, too, so their folders are never looked for there.
    """
    for folder in abandoned_folders(work_folder("x").parent.glob("predict-*")):
        with suppress(OSError):  # it has written to no folder of this machine
            path, identity = Path((folder / LEFTOVER).read_text()), folder.parent.name.removeprefix("predict-")
            if path.name.startswith(".") and path.name.endswith(f".{identity[:8]}"):
                remove(path)


def _read_earlier(workspace: Workspace, record: str) -> PredictedFile | None:
    try:
        earlier = PredictedFile.model_validate_json(read_object(workspace, record)[0])
    except (NotFound, ValidationError):
        return None
    return None if earlier.missing(workspace) else earlier.model_copy(update={"reused": True})


def _write_predictions(workspace: Workspace, part: TablePart, output: str, job: Job, folder: Path) -> PredictedFile:
    from tasks.data.reader import TableFile
    from tasks.data.scoring import score_file

    path = folder / PurePosixPath(output).name
    statistics = score_file(TableFile.of(workspace, part, job.reading), job.scorer(), path)
    if not statistics.rows:
        raise DataError(f"{part.uri} has a header but no rows. Give it at least one row.")
    size, checksum = path.stat().st_size, sha256_of(path)
    if output.startswith(FILE_SCHEME):
        path.replace(file_uri_to_path(output))
    else:
        # In one call, where S3 permits it: a killed process leaves no parts.
        write_file(workspace, path, output, {"sha256": checksum}, MAX_PUT_BYTES)
    return PredictedFile(uri=output, sha256=checksum, size=size, statistics=statistics)
