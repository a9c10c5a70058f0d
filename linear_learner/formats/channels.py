"""A channel as a training job finds it: a folder of files of one content type, read into one table."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from linear_learner.errors import ArtifactError, DataError
from linear_learner.formats.csv import BlockPosition, parse_block, read_blocks
from linear_learner.formats.recordio import MAGIC, iter_records
from linear_learner.model import Examples

CSV = "text/csv"
RECORDIO = "application/x-recordio-protobuf"
_MAX_BYTES_IN_MEMORY = 64 << 20

Reader = Callable[[Path, str, int], Iterator[Examples]]
"""Yields blocks of rows from a file, given its name in the channel and the rows of the channel before it."""


def read_channel(folder: Path, content_type: str, spool: Path) -> Examples:
    """All rows of the files under `folder`, in the order of their names: features (rows, features), labels (rows,).

    Up to 64 MiB stay in memory; beyond that the rows go to float32 files in a new folder under `spool`, which the
    caller owns, and the arrays are memory maps of those. `content_type` is `text/csv`, label first and without a
    header, or `application/x-recordio-protobuf`. Raises DataError, or ArtifactError for a damaged RecordIO file, with
    file and row.
    """
    read = _READERS[media_type(content_type)]
    table = _ChannelTable(spool, folder.name)
    for file in channel_files(folder):
        name = f"{folder.name}/{file.relative_to(folder).as_posix()}"
        for block in read(file, name, table.rows):
            table.append(block, name)
    if not table.rows:
        raise DataError(f"channel {folder.name!r} is empty: no file under it holds a row; check its S3 prefix")
    return table.examples()


def channel_files(folder: Path) -> list[Path]:
    """Files under `folder`, sorted by path, without hidden and temporary ones and the empty markers of S3 folders."""

    def is_data(path: Path) -> bool:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        return path.is_file() and path.stat().st_size > 0 and path.suffix != ".tmp" and not hidden

    return [path for path in sorted(folder.rglob("*")) if is_data(path)]


def media_type(content_type: str) -> str:
    """`text/csv` or `application/x-recordio-protobuf`; DataError names the right one for anything else."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if kind not in _READERS:
        raise DataError(f"content type {content_type!r} is unknown to Linear Learner; use {CSV!r} or {RECORDIO!r}")
    if any(parameter.startswith("label_size") and parameter != "label_size=1" for parameter in parameters):
        raise DataError(f"content type {content_type!r}: Linear Learner has one label; write label_size=1 or nothing")
    return kind


class _ChannelTable:
    """Collects blocks of rows, in memory up to _MAX_BYTES_IN_MEMORY and in files beyond that."""

    def __init__(self, spool: Path, name: str) -> None:
        self.rows = 0
        self._spool, self._name = spool, name
        self._width = 0
        self._blocks: list[Examples] = []
        self._folder: Path | None = None

    def append(self, block: Examples, source: str) -> None:
        width = block.features.shape[1]
        self._width = self._width or width
        if width != self._width:
            raise DataError(f"{source} has {width} features where the channel has {self._width}")
        self._blocks.append(block)
        self.rows += len(block.labels)
        if 4 * self.rows * (width + 1) > _MAX_BYTES_IN_MEMORY:
            self._flush()

    def examples(self) -> Examples:
        if self._folder is None:
            features = np.concatenate([block.features for block in self._blocks])
            return Examples(features, np.concatenate([block.labels for block in self._blocks]))
        features = np.memmap(self._folder / "features", np.dtype("<f4"), "r", shape=(self.rows, self._width))
        return Examples(features, np.memmap(self._folder / "labels", np.dtype("<f4"), "r", shape=(self.rows,)))

    def _flush(self) -> None:
        if self._folder is None:
            self._spool.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=f"{self._name}-", dir=self._spool))
        with (self._folder / "features").open("ab") as features, (self._folder / "labels").open("ab") as labels:
            for block in self._blocks:
                features.write(np.ascontiguousarray(block.features, "<f4").data)
                labels.write(np.ascontiguousarray(block.labels, "<f4").data)
        self._blocks.clear()


def _read_csv(file: Path, name: str, rows_before: int) -> Iterator[Examples]:
    columns, rows = 0, 0
    with file.open("rb") as stream:
        if stream.peek(4).startswith(MAGIC.to_bytes(4, "little")):
            raise DataError(f"{name} is RecordIO, not CSV; set the channel's content type to {RECORDIO!r}")
        for block in read_blocks(stream):
            table = parse_block(block, columns, BlockPosition(name, rows, rows_before))
            columns, rows = table.shape[1], rows + len(table)
            if columns == 1:
                raise DataError(f"{name} has one column; Linear Learner wants the label and at least one feature")
            yield Examples(table[:, 1:], table[:, 0])


def _read_recordio(file: Path, name: str, _rows_before: int) -> Iterator[Examples]:
    with file.open("rb") as stream:
        try:
            yield from iter_records(stream)
        except (ArtifactError, DataError) as error:
            raise type(error)(f"{name}: {error}") from error


_READERS: dict[str, Reader] = {CSV: _read_csv, RECORDIO: _read_recordio}
