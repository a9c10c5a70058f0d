"""Format: write the channels in the format of Linear Learner: CSV, label first, no header; or RecordIO-protobuf."""

from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from prefect import task

from aws.storage import has_checksum, is_file_with
from aws.workspace import Workspace
from linear_learner.schema import Schema
from tasks.caching import work_folder
from tasks.caching.explain_rerun import Fact, flatten
from tasks.caching.policy import RETRIES, Inputs, Result, cached, fingerprint
from tasks.data.parallel import map_files
from tasks.data.source import remove_local_copies
from tasks.encode import Encoding
from tasks.environment.errors import ExternalError
from tasks.environment.folders import remove
from tasks.load import Table
from tasks.parameters import Format
from tasks.split import Rows

if TYPE_CHECKING:
    from tasks.data.format_size import ChannelEncoding
    from tasks.data.shuffle import Shuffle
    from tasks.data.writer import PlannedFile

VERSION = 3
"""Part of the cache key; raised when the content of the files changes."""
MAX_FILE_BYTES = 1 << 30
"""Bytes of the rows of a file in memory; a larger channel is several files, which are written and sent in parallel."""
BUCKET_BYTES = 32 << 20
"""Bytes of the rows that are sorted at once: most of a column of them fits into the processor's cache."""
RECORDIO = "application/x-recordio-protobuf"
SUFFIXES: dict["ChannelEncoding", str] = {"csv": "csv", "recordio": "rec", "sparse recordio": "rec"}
MEDIA_TYPES: dict["ChannelEncoding", str] = {"csv": "text/csv", "recordio": RECORDIO, "sparse recordio": RECORDIO}


class ChannelFile(Result):
    """One file of a channel: its present or future URI in S3, number of rows, size in bytes and checksum."""

    channel: str
    uri: str
    rows: int
    size: int
    sha256: str


class Formatted(Result):
    """The files of all channels, and the names of the features in the order of their columns."""

    identity: str
    """Name of the folder of the files, on this machine and then in S3."""
    content_type: str
    features: tuple[str, ...]
    files: tuple[ChannelFile, ...]
    made_of: dict[str, Fact]
    schema_sha256: str | None = None
    """Checksum of the description of the columns and their features; None for files from another source."""

    def path(self, file: ChannelFile) -> Path:
        """Return the path of the file on this machine, where it is until it is uploaded."""
        return work_folder(self.identity) / file.uri.rpartition("/")[2]

    def missing(self, workspace: Workspace) -> list[str]:
        """Return the URIs of the files that are neither on this machine nor in the bucket."""
        not_local = [file for file in self.files if not is_file_with(self.path(file), file.sha256)]
        return [file.uri for file in not_local if not has_checksum(workspace, file.uri, file.sha256)]

    def __str__(self) -> str:
        return f"formatted channels, {sum(file.size for file in self.files) / 1e6:.1f} MB"


def _facts(inputs: Inputs) -> dict[str, Fact]:
    rows: Rows = inputs["rows"]
    return {
        **inputs["table"].made_of,
        **flatten({"split": rows.parameters}),
        "dataset.drop_unlabelled": rows.unlabelled > 0,
        **inputs["encoding"].facts,
        "dataset.format": inputs["form"],
        "compute.instance_count": inputs["instances"],
        "version.format": VERSION,
    }


@task(name="format", task_run_name="format {table.target} first", **cached("format", _facts), **RETRIES)
def format_channels(  # noqa: PLR0913, PLR0917 - what the files are made of
    workspace: Workspace, table: Table, rows: Rows, encoding: Encoding, form: Format = "auto", instances: int = 1
) -> Formatted:
    """Write the files of the channels to a work folder on this machine; on a Dask cluster, to the bucket.

    A small channel is one file. With several instances, each gets the same number of files of the channel train.
    """
    from tasks.data.encoder import compact_types  # polars
    from tasks.data.measurement import row_bytes, storage_types
    from tasks.data.shuffle import Shuffle

    schema, storage = encoding.table_schema, storage_types(table.profile)
    facts = _facts({"table": table, "rows": rows, "encoding": encoding, "form": form, "instances": instances})
    identity, file_format = fingerprint(facts), _choose_format(schema, form, table.rows)
    types = compact_types(schema, storage)
    planned = _plan_files(rows, row_bytes(types), identity, file_format, instances)
    folder = f"{identity}-{uuid4().hex[:8]}"  # not shared with other runs, as it is removed afterwards
    shared = workspace.dask_scheduler is not None
    shuffle = Shuffle(
        columns=table.columns,
        reading=table.reading,
        schema=schema,
        storage=storage,
        types=types,
        starts=(*(start for file in planned for start in file.starts[:-1]), sum(rows.by_channel.values())),
        file_format=file_format,
        folder=f"work/{folder}" if shared else str(work_folder(folder)),
        shared=shared,
    )
    files = _write_files(workspace, table, rows, planned, shuffle)
    return Formatted(
        identity=identity,
        content_type=MEDIA_TYPES[file_format],
        features=schema.features,
        schema_sha256=schema.sha256,
        files=files,
        made_of=facts,
    )


def _choose_format(schema: Schema, form: Format, rows: int) -> "ChannelEncoding":
    """The format of the files: by default CSV for complete numbers, else the smallest; RecordIO may be sparse."""
    from tasks.data.format_size import channel_sizes

    if schema.is_identity or form == "csv":
        return "recordio" if form == "recordio" else "csv"
    sizes = channel_sizes(schema, rows)
    allowed = [name for name in sizes if form == "auto" or name != "csv"]
    return min(allowed, key=sizes.__getitem__)


def _plan_files(rows: Rows, width: int, identity: str, form: "ChannelEncoding", instances: int) -> "list[PlannedFile]":
    """Return the files to write, each with the buckets of the shuffle for its rows of `width` bytes.

    Their number depends on the data and the number of instances only, so that every machine writes the same files.
    """
    from tasks.data.writer import PlannedFile

    planned, start = [], 0
    for channel, count in rows.by_channel.items():
        files = max(1, ceil(count * width / MAX_FILE_BYTES))
        if channel == "train" and instances > 1:
            files = min(count, ceil(files / instances) * instances)
        for number, (first, end) in enumerate(pairwise(_divide(start, start + count, files))):
            name = f"{channel}.{SUFFIXES[form]}" if files == 1 else f"{channel}-{number:05d}.{SUFFIXES[form]}"
            starts = _divide(first, end, max(1, ceil((end - first) * width / BUCKET_BYTES)))
            path, key = work_folder(identity) / name, f"data/{identity}/{channel}/{name}"
            planned.append(PlannedFile(channel, path, key, starts))
        start += count
    return planned


def _divide(start: int, end: int, parts: int) -> tuple[int, ...]:
    """Return the bounds of `parts` parts of equal size, one more than there are parts."""
    return tuple(start + (end - start) * part // parts for part in range(parts + 1))


def _write_files(
    workspace: Workspace, table: Table, rows: Rows, planned: "list[PlannedFile]", shuffle: "Shuffle"
) -> tuple[ChannelFile, ...]:
    import numpy as np

    from tasks.data.shuffle import assign_positions, scatter_file
    from tasks.data.writer import gather_file

    positions = assign_positions(rows.row_numbers(workspace, table).values(), table.rows)
    by_part = np.split(positions, np.cumsum(table.part_rows[:-1]))
    try:
        map_files(workspace, scatter_file, table.parts, by_part, shuffle=shuffle)
        written = map_files(workspace, gather_file, planned, shuffle=shuffle)
    except ExternalError:  # such as a full disk, which the next run needs empty
        for file in planned:
            remove(file.path)
        remove_local_copies(table.parts)
        raise
    finally:
        shuffle.remove(workspace)
    remove_local_copies(table.parts)
    files = []
    for (channel, _, key, starts), (size, sha256) in zip(planned, written, strict=True):
        rows_here, uri = starts[-1] - starts[0], workspace.uri(key)
        files.append(ChannelFile(channel=channel, uri=uri, rows=rows_here, size=size, sha256=sha256))
    return tuple(files)
