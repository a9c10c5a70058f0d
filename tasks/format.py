"""Format: write the channels as Linear Learner reads them: label first, no header, CSV or RecordIO-protobuf."""

from itertools import pairwise
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
from tasks.split import Rows, channel_rows

if TYPE_CHECKING:
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
    import numpy as np

    from tasks.data.measurement import row_bytes, storage_types
    from tasks.data.shuffle import Shuffle, assign_positions, scatter_file
    from tasks.data.writer import gather_file

    identity = fingerprint(*_content_identity(table, rows, form, instances))
    types = {name: kind for name, kind in storage_types(table.profile).items() if name not in rows.parameters.left_out}
    outputs = _plan_files(rows, row_bytes(types), identity, SUFFIXES[form], instances)
    shared = workspace.dask_scheduler is not None
    own = f"{identity}-{uuid4().hex[:8]}"  # of this run alone, as it is removed at its end
    shuffle = Shuffle(
        columns=table.columns,
        types=types,
        starts=(*(start for output in outputs for start in output.starts[:-1]), table.rows),
        target=table.target,
        file_format=form,
        folder=f"work/{own}" if shared else str(work_folder(own)),
        shared=shared,
    )
    names = [f"{number:05d}" for number in range(len(table.parts))]
    positions = assign_positions(channel_rows(workspace, table, rows.parameters).values(), table.rows)
    positions_by_part = np.split(positions, np.cumsum(table.part_rows[:-1]))
    try:
        map_files(workspace, scatter_file, table.parts, names, positions_by_part, shuffle=shuffle)
        written = map_files(workspace, gather_file, outputs, shuffle=shuffle)
    finally:
        shuffle.remove(workspace)
    for part in table.parts:
        rmtree(local_copy_folder(part), ignore_errors=True)
    return Formatted(
        identity=identity,
        content_type=MEDIA_TYPES[form],
        features=tuple(column for column in types if column != table.target),
        files=tuple(
            FormattedFile(channel=file.channel, path=file.path, key=file.key, rows=file.rows, size=size, sha256=sha256)
            for file, (size, sha256) in zip(outputs, written, strict=True)
        ),
    )


def _plan_files(rows: Rows, width: int, identity: str, suffix: str, instances: int) -> "list[ChannelFile]":
    """The files to write, with the buckets of the shuffle that hold their rows of `width` bytes.

    How many there are, the data and the number of instances alone decide: what is made does not depend on who makes it.
    """
    from tasks.data.writer import ChannelFile

    outputs, start = [], 0
    for channel, count in rows.by_channel.items():
        files = max(1, ceil(count * width / MAX_FILE_BYTES))
        if channel == "train" and instances > 1:
            files = min(count, ceil(files / instances) * instances)
        edges = _divide(start, start + count, files)
        start += count
        for number, (first, end) in enumerate(pairwise(edges)):
            name = f"{channel}.{suffix}" if files == 1 else f"{channel}-{number:05d}.{suffix}"
            starts = _divide(first, end, max(1, ceil((end - first) * width / BUCKET_BYTES)))
            path, key = work_folder(identity) / name, f"data/{identity}/{channel}/{name}"
            outputs.append(ChannelFile(channel, path, key, starts))
    return outputs


def _divide(start: int, end: int, parts: int) -> tuple[int, ...]:
    """Where `parts` parts of equal size begin, and the last one ends."""
    return tuple(start + (end - start) * part // parts for part in range(parts + 1))
