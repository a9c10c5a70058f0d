"""Load: fetch the table from S3, check that it can be trained on, report its shape."""

from pathlib import Path

from prefect import task

from aws.storage import StoredObject, fetch, look
from aws.workspace import Workspace
from tasks.parameters import Dataset
from tasks.reuse import KEPT, RETRIES, Inputs, Result, WhileItExists, fingerprint, work_folder

VERSION = 1
"""Of what this step checks; raising it makes every table be read again."""


class Table(Result):
    """A table that was read whole and found fit: where it is, which content it had, its shape."""

    source: StoredObject
    target: str
    rows: int
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"table {self.source.uri}, {self.rows} rows x {len(self.columns)} columns"


def _source(inputs: Inputs) -> StoredObject:
    workspace: Workspace = inputs["workspace"]
    return look(workspace, workspace.locate(inputs["dataset"].source))


def _identity(inputs: Inputs) -> tuple[object, ...]:
    return _source(inputs).identity, inputs["dataset"].target, VERSION


def _exists(inputs: Inputs, table: Table) -> bool:
    # The object may have been replaced between the look that made the key and the one that was read.
    return _source(inputs).identity == table.source.identity


@task(
    task_run_name="load {dataset.source}",
    cache_policy=WhileItExists(step="load", identity=_identity, exists=_exists),
    **KEPT,
    **RETRIES,
)
def load(workspace: Workspace, dataset: Dataset) -> Table:
    """Read and check the CSV; raises NotFound when it is not there, DataError when it cannot be trained on."""
    from tasks.table import read_table  # polars, needed only when there is something new to read

    source = look(workspace, workspace.locate(dataset.source))
    frame = read_table(local_copy(workspace, source), dataset.target, source.uri)
    return Table(source=source, target=dataset.target, rows=frame.height, columns=tuple(frame.columns))


def local_copy(workspace: Workspace, source: StoredObject) -> Path:
    """The object as a file on this machine, downloaded unless it is there."""
    path = work_folder(fingerprint(source.identity)) / "source.csv"
    fetch(workspace, source, path)
    return path
