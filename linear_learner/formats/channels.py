"""A channel of a training job: a folder of files of one content type, read into one table."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import ArtifactError, DataError
from linear_learner.formats.csv import BlockPosition, parse_block, read_blocks
from linear_learner.formats.recordio import complete_records, iter_records, read_records
from linear_learner.formats.recordio_wire import MAGIC
from linear_learner.model import Examples

CSV = "text/csv"
RECORDIO = "application/x-recordio-protobuf"
_MAX_BYTES_IN_MEMORY = 64 << 20


def read_channel(folder: Path, content_type: str, spool: Path) -> Examples:
    """All rows of the files under `folder`, in the order of their names: features (rows, features), labels (rows,).

    An array of up to 64 MiB stays in memory; a larger one is a memory map of an unnamed temporary file in the folder
    `spool`. `content_type` is `text/csv`, label first and without a header, or `application/x-recordio-protobuf`.
    Raises DataError, or ArtifactError for a damaged RecordIO file, with file and row.
    """
    read = _READERS[media_type(content_type)]
    rows, width = 0, 0
    with (
        SpooledTemporaryFile(_MAX_BYTES_IN_MEMORY, dir=str(spool)) as features,
        SpooledTemporaryFile(_MAX_BYTES_IN_MEMORY, dir=str(spool)) as labels,
    ):
        for file in channel_files(folder):
            name = f"{folder.name}/{file.relative_to(folder).as_posix()}"
            for block in read(file, name, rows):
                rows, columns = rows + len(block.labels), block.features.shape[1]
                width = width or columns
                if columns != width:
                    raise DataError(f"{name} has {columns} features, but the files before it have {width}")
                features.write(np.ascontiguousarray(block.features, "<f4").data)
                labels.write(np.ascontiguousarray(block.labels, "<f4").data)
        if not rows:
            raise DataError(f"channel {folder.name!r} is empty: no file in it contains a row; check its S3 prefix")
        return Examples(_load(features, (rows, width)), _load(labels, (rows,)))


def read_sample(content: bytes, content_type: str) -> Examples:
    """The examples in the start of a channel's file, of which the last may be incomplete and is then left out."""
    if media_type(content_type) == RECORDIO:
        return read_records(complete_records(content))
    whole = content if content.endswith(b"\n") else content[: content.rfind(b"\n") + 1]
    table = parse_block(whole.rstrip(b"\r\n"), 0, BlockPosition("the sample"))
    return Examples(table[:, 1:], table[:, 0])


def _load(file: SpooledTemporaryFile[bytes], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if file.tell() > _MAX_BYTES_IN_MEMORY:
        return np.memmap(file, np.dtype("<f4"), "r", shape=shape)
    file.seek(0)
    return np.frombuffer(file.read(), "<f4").reshape(shape)


def channel_files(folder: Path) -> list[Path]:
    """Files under `folder`, sorted by path, without hidden, temporary and empty files (markers of S3 folders)."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size > 0]
    visible = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return [path for path in visible if path.suffix != ".tmp"]


def media_type(content_type: str) -> str:
    """`text/csv` or `application/x-recordio-protobuf`; DataError for any other content type."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if kind not in _READERS:
        raise DataError(f"content type {content_type!r} is unknown to Linear Learner; use {CSV!r} or {RECORDIO!r}")
    if any(parameter.startswith("label_size") and parameter != "label_size=1" for parameter in parameters):
        raise DataError(f"content type {content_type!r}: Linear Learner has one label; set label_size=1 or omit it")
    return kind


def _read_csv(file: Path, name: str, rows_before: int) -> Iterator[Examples]:
    columns, rows = 0, 0
    with file.open("rb") as stream:
        if stream.peek(4).startswith(MAGIC.to_bytes(4, "little")):
            raise DataError(f"{name} is RecordIO, not CSV; set the channel's content type to {RECORDIO!r}")
        for block in read_blocks(stream):
            table = parse_block(block, columns, BlockPosition(name, rows, rows_before))
            columns, rows = table.shape[1], rows + len(table)
            if columns == 1:
                raise DataError(f"{name} has one column; Linear Learner needs the label and at least one feature")
            yield Examples(table[:, 1:], table[:, 0])


def _read_recordio(file: Path, name: str, _rows_before: int) -> Iterator[Examples]:
    with file.open("rb") as stream:
        try:
            yield from iter_records(stream)
        except (ArtifactError, DataError) as error:
            raise type(error)(f"{name}: {error}") from error


_READERS: dict[str, Callable[[Path, str, int], Iterator[Examples]]] = {CSV: _read_csv, RECORDIO: _read_recordio}
