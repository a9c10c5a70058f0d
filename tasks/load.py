"""Load: read the table once, from its first row to its last, and say what it holds."""

from prefect import task

from aws.storage import StoredObject
from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.caching import remove_old_work_folders
from tasks.caching.explain_rerun import record_input
from tasks.caching.policy import PERSISTED, RETRIES, ContentCachePolicy, Inputs, Result, fingerprint
from tasks.data.parallel import map_files
from tasks.data.profile import Profile
from tasks.data.source import Source, find_table, make_local_copy
from tasks.parameters import Dataset

DEPENDS_ON = ("table", "dataset.ignore", "dataset.holdout")
VERSION = 3
"""Of what this step measures; raising it makes every table be read again."""


class Table(Result):
    """A table that was read whole: where it is, which content it had, what is in it."""

    source: Source
    holdout: Source | None
    part_rows: tuple[int, ...]
    """Rows of each file, those of the fixed test set last."""
    profile: Profile

    @property
    def parts(self) -> tuple[StoredObject, ...]:
        """The files of both, in the order of their rows."""
        return self.source.parts + (self.holdout.parts if self.holdout else ())

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.source.identity, self.holdout.identity) if self.holdout else (self.source.identity,)

    @property
    def target(self) -> str:
        return self.profile.target

    @property
    def rows(self) -> int:
        return self.profile.rows

    @property
    def holdout_rows(self) -> int:
        """Rows at the end of the table that are the test set."""
        return sum(self.part_rows[len(self.source.parts) :])

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.profile.columns)

    def __str__(self) -> str:
        return f"table {self.source.uri}, {self.rows} rows x {len(self.columns)} columns"


def _sources(inputs: Inputs) -> tuple[Source, Source | None]:
    workspace, dataset = inputs["workspace"], inputs["dataset"]
    return find_table(workspace, dataset.source), find_table(workspace, dataset.holdout) if dataset.holdout else None


def _identity(inputs: Inputs) -> tuple[object, ...]:
    source, holdout = _sources(inputs)
    dataset, content = inputs["dataset"], (source.identity, holdout and holdout.identity)
    size = source.size + (holdout.size if holdout else 0)
    record_input({"table.identity": fingerprint(*content), "table.size": size})
    return *content, dataset.target, sorted(dataset.ignore), VERSION


def _missing(inputs: Inputs, table: Table) -> list[str]:
    # An object may have been replaced between the look that made the key and the one that was read.
    found = _sources(inputs)
    pairs = zip((table.source, table.holdout), found, strict=True)
    return [was.uri for was, now in pairs if was and now and was.identity != now.identity]


@task(
    task_run_name="load {dataset.source}",
    cache_policy=ContentCachePolicy(step="load", identity=_identity, missing=_missing, depends_on=DEPENDS_ON),
    **PERSISTED,
    **RETRIES,
)
def load(workspace: Workspace, dataset: Dataset) -> Table:
    """Read and measure the table; raises NotFound when it is not there, DataError when it is no table."""
    remove_old_work_folders()
    return profile_table(workspace, dataset)


def profile_table(workspace: Workspace, dataset: Dataset) -> Table:
    """What `load` does, outside of Prefect as well."""
    # Polars is needed only when there is something new to read.
    from tasks.data.measurement import measure_file, merge
    from tasks.data.reader import select_columns

    source, holdout = _sources({"workspace": workspace, "dataset": dataset})
    parts = source.parts + (holdout.parts if holdout else ())
    wanted = select_columns(make_local_copy(workspace, parts[0]), parts[0].uri, dataset.target, dataset.ignore)
    measures = map_files(workspace, measure_file, parts, wanted=wanted, target=dataset.target)
    profile = merge(measures).profile()
    if not profile.rows:
        raise DataError(f"{source.uri} has a header but no rows. Give it at least one row of numbers.")
    rows = tuple(part.rows for part in measures)
    return Table(source=source, holdout=holdout, part_rows=rows, profile=profile)
