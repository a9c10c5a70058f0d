"""Format: write the channels as Linear Learner reads them: label first, no header, comma separated."""

from pathlib import Path
from shutil import rmtree

from prefect import task

from aws.storage import holds, sha256_of
from aws.workspace import Workspace
from tasks.load import Table, local_copy
from tasks.reuse import KEPT, RETRIES, Inputs, Result, WhileItExists, fingerprint, work_folder
from tasks.split import Rows, indices

VERSION = 1
"""Of the files' layout."""


class FormattedFile(Result):
    """One channel's file: on this machine until it is uploaded, then at `key` under the workspace's prefix."""

    channel: str
    path: Path
    key: str
    rows: int
    size: int
    sha256: str


class Formatted(Result):
    """The files of all channels, and the features in the order of their columns."""

    identity: str
    features: tuple[str, ...]
    files: tuple[FormattedFile, ...]

    def __str__(self) -> str:
        return f"formatted channels, {sum(file.size for file in self.files) / 1e6:.1f} MB"


def _identity(inputs: Inputs) -> tuple[object, ...]:
    return _content(inputs["table"], inputs["rows"])


def _content(table: Table, rows: Rows) -> tuple[object, ...]:
    """All that decides what is in the files; it names their folder, too."""
    return table.source.identity, table.target, rows.parameters, VERSION


def _exists(inputs: Inputs, formatted: Formatted) -> bool:
    """Every file is on this machine still, or in the bucket already."""
    workspace = inputs["workspace"]
    return all(_is_here(file) or holds(workspace, workspace.uri(file.key), file.sha256) for file in formatted.files)


def _is_here(file: FormattedFile) -> bool:
    return file.path.exists() and sha256_of(file.path) == file.sha256


@task(
    name="format",
    task_run_name="format {table.target} first",
    cache_policy=WhileItExists(step="format", identity=_identity, exists=_exists),
    **KEPT,
    **RETRIES,
)
def format_channels(workspace: Workspace, table: Table, rows: Rows) -> Formatted:
    """Write one CSV per channel into a work folder of this machine; the test set is kept too."""
    from tasks.table import read_table, write_channel  # polars

    identity = fingerprint(*_content(table, rows))
    source = local_copy(workspace, table.source)
    frame = read_table(source, table.target, table.source.uri)
    files = []
    for channel, chosen in indices(table.rows, rows.parameters).items():
        path = work_folder(identity) / f"{channel}.csv"
        write_channel(frame, table.target, chosen, path)
        files.append(_described(identity, channel, path, len(chosen)))
    rmtree(source.parent)
    features = tuple(column for column in table.columns if column != table.target)
    return Formatted(identity=identity, features=features, files=tuple(files))


def _described(identity: str, channel: str, path: Path, rows: int) -> FormattedFile:
    return FormattedFile(
        channel=channel,
        path=path,
        key=f"data/{identity}/{channel}/{path.name}",
        rows=rows,
        size=path.stat().st_size,
        sha256=sha256_of(path),
    )
