"""Load: read the whole table once and measure its columns."""

from typing import TYPE_CHECKING

from prefect import task

from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.caching import remove_old_work_folders
from tasks.caching.explain_rerun import Fact
from tasks.caching.policy import RETRIES, UNCACHED, Inputs, Result, cached, fingerprint
from tasks.data.parallel import map_files
from tasks.data.profile import Profile
from tasks.data.source import (
    Source,
    TablePart,
    find_table,
    remove_local_copies,
    require_space_for_copies,
)
from tasks.environment.errors import ExternalError
from tasks.parameters import Dataset, Reading

if TYPE_CHECKING:
    from tasks.data.measurement import Measurement

VERSION = 6
"""Part of the cache key; raised when the step measures something else."""


class FoundTable(Result):
    """The location and the identity of a table and, if there is one, of its fixed test set."""

    source: Source
    holdout: Source | None
    reading: Reading = Reading()

    @property
    def parts(self) -> tuple[TablePart, ...]:
        """The files of the table and then those of the test set, in the order of their rows."""
        return self.source.parts + (self.holdout.parts if self.holdout else ())

    @property
    def facts(self) -> dict[str, Fact]:
        """Facts that change with the content; the size is in bytes."""
        sources = [self.source, *([self.holdout] if self.holdout else [])]
        return {
            "table.identity": fingerprint(*(source.identity for source in sources)),
            "table.size": sum(source.size for source in sources),
        }


class Table(FoundTable):
    """A table that was read completely, with its profile."""

    made_of: dict[str, Fact]
    description: str = ""
    """How the first file is written, such as "CSV separated by semicolons, with decimal commas"."""
    part_rows: tuple[int, ...]
    """Number of rows of each file; the files of the fixed test set come last."""
    profile: Profile

    @property
    def target(self) -> str:
        return self.profile.target

    @property
    def rows(self) -> int:
        return self.profile.rows

    @property
    def holdout_rows(self) -> int:
        """Number of rows at the end of the table that are the fixed test set."""
        return sum(self.part_rows[len(self.source.parts) :])

    @property
    def unlabelled(self) -> int:
        """Number of rows without a label."""
        return next(column.missing for column in self.profile.columns if column.name == self.target)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.profile.columns)

    def name_row(self, index: int) -> str:
        """Return the number of a row in its file, from 1, with the file's name if there are several: `part.csv: 12`."""
        part = 0
        while index >= self.part_rows[part]:
            index -= self.part_rows[part]
            part += 1
        number = f"{index + 1:,}"
        return number if len(self.parts) == 1 else f"{self.parts[part].uri.rpartition('/')[2]}: {number}"

    def __str__(self) -> str:
        return f"table {self.source.uri}, {self.rows} rows x {len(self.columns)} columns"


def _facts(inputs: Inputs) -> dict[str, Fact]:
    found, dataset = inputs["found"], inputs["dataset"]
    return {
        **found.facts,
        "dataset.target": dataset.target,
        "dataset.ignore": ", ".join(sorted(dataset.ignore)) or None,
        "dataset.columns": ", ".join(dataset.columns) or None,
        "dataset.missing": ", ".join(sorted(dataset.missing)) or None,
        "dataset.encoding": dataset.encoding,
        "version.load": VERSION,
    }


@task(task_run_name="find {dataset.source}", **UNCACHED, **RETRIES)
def find(workspace: Workspace, dataset: Dataset) -> FoundTable:
    """Look up the table and the fixed test set; raises NotFound when one does not exist."""
    holdout = find_table(workspace, dataset.holdout) if dataset.holdout else None
    return FoundTable(source=find_table(workspace, dataset.source), holdout=holdout, reading=dataset.reading)


@task(task_run_name="load {dataset.source}", **cached("load", _facts), **RETRIES)
def load(workspace: Workspace, found: FoundTable, dataset: Dataset) -> Table:
    """Read and measure the table; raises DataError when it is not a table with at least one row.

    Raises ExternalError when the disk has no room for the local copies or the rows between two passes.
    """
    from tasks.data.measurement import merge  # polars is imported only when a table is read
    from tasks.data.reader import TableFile

    remove_old_work_folders()
    try:
        measures = _measure(workspace, found, dataset)
    except ExternalError:  # such as a full disk, which the next run needs empty
        remove_local_copies(found.parts)
        raise
    profile = merge(measures).profile()
    if not profile.rows:
        raise DataError(f"{found.source.uri} has a header but no rows. Give it at least one row.")
    return Table(
        **dict(found),
        made_of=_facts({"found": found, "dataset": dataset}),
        description=TableFile.of(workspace, found.parts[0], found.reading).description,
        part_rows=tuple(part.rows for part in measures),
        profile=profile,
    )


def _measure(workspace: Workspace, found: FoundTable, dataset: Dataset) -> "list[Measurement]":
    from tasks.data.measurement import measure_file
    from tasks.data.reader import TableFile, select_columns

    if workspace.dask_scheduler is None:
        require_space_for_copies(found.parts)
    first = TableFile.of(workspace, found.parts[0], found.reading)
    wanted = select_columns(first, dataset)
    options = {"wanted": wanted, "target": dataset.target, "reading": found.reading}
    return map_files(workspace, measure_file, found.parts, **options)
