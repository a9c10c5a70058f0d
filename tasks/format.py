"""Format: write the channels as Linear Learner reads them: label first, no header, CSV or RecordIO-protobuf."""

from math import ceil
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING
from uuid import uuid4

from prefect import task

from aws.storage import has_checksum, sha256_of
from aws.workspace import Workspace
from tasks.caching import work_folder
from tasks.caching.explain_rerun import CHANNEL_FACTS
from tasks.caching.policy import PERSISTED, RETRIES, ContentCachePolicy, Inputs, Result, fingerprint
from tasks.data.parallel import map_files
from tasks.data.source import local_copy_folder
from tasks.load import Table
from tasks.parameters import Format
from tasks.split import Rows

if TYPE_CHECKING:
    from tasks.data.reader import ColumnTypes
    from tasks.data.shuffle import Positions
    from tasks.data.writer import ChannelFile

VERSION = 2
"""Of the files' layout."""
MAX_FILE_BYTES = 1 << 30
"""Bytes of one file's rows in memory; a larger channel is cut into several files, for several workers and transfers."""
BUCKET_BYTES = 32 << 20
"""Bytes of rows that are put in order at once: the processor's cache holds most of a column of them."""
SUFFIXES = {"csv": "csv", "recordio": "rec"}
MEDIA_TYPES = {"csv": "text/csv", "recordio": "application/x-recordio-protobuf"}


class FormattedFile(Result):
    """One file of a channel: on this machine until it is uploaded, then at `key` under the workspace's prefix."""

    channel: str
    path: Path
    key: str
    rows: int
    size: int
    sha256: str


class Formatted(Result):
    """The files of all channels, and the features in the order of their columns."""

    identity: str
    content_type: str
    features: tuple[str, ...]
    files: tuple[FormattedFile, ...]

    def __str__(self) -> str:
        return f"formatted channels, {sum(file.size for file in self.files) / 1e6:.1f} MB"


def _identity(inputs: Inputs) -> tuple[object, ...]:
    return _content_identity(inputs["table"], inputs["rows"], inputs["form"], inputs["instances"])


def _content_identity(table: Table, rows: Rows, form: Format, instances: int) -> tuple[object, ...]:
    """All that decides what is in the files; it names their folder, too."""
    return table.identity, table.target, table.columns, rows.parameters, form, instances, VERSION


def _missing(inputs: Inputs, formatted: Formatted) -> list[str]:
    """The files that are neither on this machine still nor in the bucket already."""
    where: Workspace = inputs["workspace"]
    not_local = [file for file in formatted.files if not _is_local(file)]
    return [where.uri(file.key) for file in not_local if not has_checksum(where, where.uri(file.key), file.sha256)]


def _is_local(file: FormattedFile) -> bool:
    return file.path.exists() and sha256_of(file.path) == file.sha256


@task(
    name="format",
    task_run_name="format {table.target} first",
    cache_policy=ContentCachePolicy(step="format", identity=_identity, missing=_missing, depends_on=CHANNEL_FACTS),
    **PERSISTED,
    **RETRIES,
)
def format_channels(
    workspace: Workspace, table: Table, rows: Rows, form: Format = "csv", instances: int = 1
) -> Formatted:
    """Write the channels' files into a work folder of this machine; on a Dask cluster, into the bucket.

    A channel is one file while that is small; several instances get as many files of train each, to share them.
    """
    return write_channels(workspace, table, rows, form, instances)


def write_channels(workspace: Workspace, table: Table, rows: Rows, form: Format, instances: int) -> Formatted:
    """What `format_channels` does, outside of Prefect as well."""
    from tasks.data.measurement import storage_types  # polars

    identity = fingerprint(*_content_identity(table, rows, form, instances))
    types = {name: kind for name, kind in storage_types(table.profile).items() if name not in rows.parameters.left_out}
    files = _write_files(workspace, table, rows, identity, types, form, instances)
    for part in table.parts:
        rmtree(local_copy_folder(part), ignore_errors=True)
    features = tuple(column for column in types if column != table.target)
    return Formatted(identity=identity, content_type=MEDIA_TYPES[form], features=features, files=files)


def _write_files(  # noqa: PLR0913, PLR0917 - all that decides what is in the files
    workspace: Workspace, table: Table, rows: Rows, identity: str, types: "ColumnTypes", form: Format, instances: int
) -> tuple[FormattedFile, ...]:
    from tasks.data.measurement import row_bytes
    from tasks.data.shuffle import ShuffleFiles, scatter_file
    from tasks.data.writer import gather_file

    outputs, starts = _plan_files(rows, row_bytes(types), f"data/{identity}", SUFFIXES[form], instances)
    places = _row_positions(workspace, table, rows)
    shared = workspace.dask_scheduler is not None
    own = f"{identity}-{uuid4().hex[:8]}"  # of this run alone, as it is removed at its end
    shuffle_files = ShuffleFiles(f"work/{own}" if shared else str(work_folder(own)), shared)
    names = [f"{number:05d}" for number in range(len(table.part_rows))]
    paths = [work_folder(identity) / Path(output.key).name for output in outputs]
    how = {"types": types, "starts": starts, "shuffle_files": shuffle_files}
    try:
        scattered = map_files(workspace, scatter_file, table.parts, names, places, wanted=table.columns, **how)
        found = dict(zip(names, scattered, strict=True))
        made = map_files(
            workspace, gather_file, outputs, paths, buckets_by_file=found, target=table.target, file_format=form, **how
        )
    finally:
        shuffle_files.remove(workspace)
    return tuple(
        FormattedFile(channel=output.channel, path=path, key=output.key, rows=output.rows, size=size, sha256=sha256)
        for output, path, (size, sha256) in zip(outputs, paths, made, strict=True)
    )


def _row_positions(workspace: Workspace, table: Table, rows: Rows) -> "list[Positions]":
    """For each row of each file its place in the channels laid end to end."""
    import numpy as np

    from tasks.data.row_assignment import assign_rows, read_split_keys
    from tasks.data.shuffle import assign_positions

    keys = read_split_keys(workspace, table.parts, table.target, rows.parameters)
    chosen = assign_rows(table.rows, rows.parameters, keys, table.holdout_rows)
    return np.split(assign_positions(chosen.values(), table.rows), np.cumsum(table.part_rows[:-1]))


def _plan_files(
    rows: Rows, width: int, folder: str, suffix: str, instances: int
) -> "tuple[list[ChannelFile], list[int]]":
    """The files to write, and where in the channels laid end to end their buckets begin and the last one ends.

    How many there are, the data and the number of instances alone decide: what is made does not depend on who makes it.
    """
    from tasks.data.writer import ChannelFile

    outputs, starts = [], [0]
    for channel, count in rows.by_channel.items():
        files = max(1, ceil(count * width / MAX_FILE_BYTES))
        if channel == "train" and instances > 1:
            files = min(count, ceil(files / instances) * instances)
        for number, here in enumerate(_split_evenly(count, files)):
            name = f"{channel}.{suffix}" if files == 1 else f"{channel}-{number:05d}.{suffix}"
            first = len(starts) - 1
            for bucket in _split_evenly(here, max(1, ceil(here * width / BUCKET_BYTES))):
                starts.append(starts[-1] + bucket)
            buckets = tuple(range(first, len(starts) - 1))
            outputs.append(ChannelFile(channel, f"{folder}/{channel}/{name}", here, buckets))
    return outputs, starts


def _split_evenly(count: int, parts: int) -> list[int]:
    return [count * (part + 1) // parts - count * part // parts for part in range(parts)]
