"""RecordIO-protobuf, the binary format of the algorithm's channels and requests."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import ArtifactError, DataError
from linear_learner.formats.recordio_sparse import MAX_FEATURES, SparseRun, decode_run, scatter
from linear_learner.formats.recordio_wire import (
    FEATURES,
    FLOAT32,
    HEADER,
    KEYS,
    LABEL,
    MAGIC,
    MAX_LENGTH,
    SHAPE,
    VALUES,
    encode_field,
    iter_fields,
    read_integers,
)
from linear_learner.model import Examples

_READ_BYTES = 4 << 20
_FEW_RECORDS = 32
_WRITE_BYTES = 1 << 20  # of frames filled at a time: they fit into the processor's cache

Tensor = tuple[int, str, Sequence[NDArray[Any]]]
"""Map (`FEATURES` or `LABEL`), key, and the columns (rows,) of its values."""


def write_columns(stream: BinaryIO, labels: NDArray[Any], features: Sequence[NDArray[Any]]) -> None:
    """Write one record per row of columns, each (rows,); DataError for a value that is not finite."""
    write_tensors(stream, [(FEATURES, "values", features), (LABEL, "values", [labels])])


def write_tensors(stream: BinaryIO, tensors: Sequence[Tensor]) -> None:
    """Write one record per row of `tensors`, as float32; DataError, with the row, for a value that is not finite."""
    columns = [column for _, _, columns_of_tensor in tensors for column in columns_of_tensor]
    template, slots = _make_frame(tensors)
    count = len(columns[0])
    frames = np.tile(template, (max(1, min(count, _WRITE_BYTES // len(template))), 1))
    floats = np.empty((len(frames), len(columns)), "<f4")
    for start in range(0, count, len(frames)):
        part, first_column = floats[: count - start], 0
        _fill(part, columns, start)
        for slot in slots:
            end_column = first_column + (slot.stop - slot.start) // 4
            frames[: len(part), slot] = part[:, first_column:end_column].view(np.uint8)
            first_column = end_column
        stream.write(frames[: len(part)].data)


def _make_frame(tensors: Sequence[Tensor]) -> tuple[NDArray[np.uint8], list[slice]]:
    """A frame whose floats are all zero, and the slice of each tensor's floats in it."""
    message, slots = b"", []
    for field, key, columns in tensors:
        size = 4 * len(columns)
        message += encode_field(
            field, encode_field(1, key.encode()) + encode_field(2, encode_field(2, encode_field(1, bytes(size))))
        )
        end = HEADER.size + len(message)
        slots.append(slice(end - size, end))
    frame = HEADER.pack(MAGIC, len(message)) + message + bytes(-len(message) % 4)
    return np.frombuffer(frame, np.uint8), slots


def _fill(floats: NDArray[np.float32], columns: Sequence[NDArray[Any]], start: int) -> None:
    """Write the rows from `start` on to `floats` (rows, columns)."""
    with np.errstate(over="ignore", invalid="ignore"):  # overflow gives infinity, which is refused below
        for target, values in zip(floats.T, columns, strict=True):
            target[:] = values[start : start + len(floats)]
        suspicious = not np.isfinite(floats.sum())  # or the sum has overflowed
    if suspicious and (found := np.argwhere(~np.isfinite(floats))).size:
        row, column = found[0]
        value = columns[column][start + row]
        raise DataError(f"row {start + row + 1}, value {column + 1}: {value} is not finite in float32; fill or drop it")


def read_records(source: bytes | Path, *, labelled: bool = True) -> Examples:
    """All records of `source` in memory; raises the errors of `iter_records`, and DataError if there are none."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        parts = list(iter_records(stream, labelled=labelled))
    if not parts:
        raise DataError("there are no records")
    return Examples(np.concatenate([p.features for p in parts]), np.concatenate([p.labels for p in parts]))


def iter_records(stream: BinaryIO, *, labelled: bool = True) -> Iterator[Examples]:
    """Records in blocks of at most about 4 MiB: features (rows, features), labels (rows,), float32.

    Tensors are float32, as the service documents, dense or sparse; labels are NaN if `labelled` is false. Raises
    ArtifactError for a damaged file and DataError for an invalid example, with the record's number, from 1.
    """
    buffer, number, width = b"", 1, 0
    while block := stream.read(max(_READ_BYTES, _frame_size(buffer, 0, number) - len(buffer))):
        buffer += block
        start = 0
        while start + (size := _frame_size(buffer, start, number)) <= len(buffer):
            try:
                features, labels, end = _decode_alike(buffer, start, size)
            except ValueError as error:
                raise ArtifactError(f"record {number}: {error}") from error
            width = width or features.shape[1]
            yield _check_examples(features, labels, number, width, labelled=labelled)
            number, start = number + len(features), end
        buffer = buffer[start:]
    if buffer:
        raise ArtifactError(f"record {number} is truncated: the file ends after its first {len(buffer)} bytes")


def complete_records(content: bytes) -> bytes:
    """The start of a file without its last record, if that is incomplete; raises ArtifactError for a damaged one."""
    end = number = 0
    while end + (size := _frame_size(content, end, number + 1)) <= len(content):
        end, number = end + size, number + 1
    return content[:end]


def _frame_size(buffer: bytes, start: int, number: int) -> int:
    """Size in bytes of the frame at `start`, with padding; of its header if `buffer` ends before the header does."""
    if len(buffer) - start < HEADER.size:
        return HEADER.size
    magic, length = HEADER.unpack_from(buffer, start)
    if magic != MAGIC:
        hint = "; check the content type" if number == 1 else ""
        raise ArtifactError(f"record {number} does not start with RecordIO's magic number{hint}")
    if length > MAX_LENGTH:
        raise ArtifactError(f"record {number} is split over several frames, which is not supported")
    return HEADER.size + int(length) + -int(length) % 4


def _check_examples(
    features: NDArray[np.float32], labels: NDArray[np.float32], number: int, width: int, *, labelled: bool
) -> Examples:
    if not labelled:
        labels = np.full((len(features), 1), np.nan, np.float32)
    for wrong, what in (
        (width == 0, "has no features"),
        (features.shape[1] != width, f"has {features.shape[1]} features, but record 1 has {width}"),
        (labels.shape[1] == 0, "has no label"),
        (labels.shape[1] > 1, f"has {labels.shape[1]} labels; one is needed"),
    ):
        if wrong:
            raise DataError(f"record {number} {what}")
    finite = np.isfinite(features).all(axis=1) & (np.isfinite(labels[:, 0]) | (not labelled))
    if not finite.all():
        raise DataError(f"record {number + int(finite.argmin())} contains a value that is not finite; fill or drop it")
    return Examples(features, labels[:, 0])


class _TensorLayout(NamedTuple):
    """Position of a float32 tensor's values in a frame, and a sparse tensor's keys and shape."""

    slots: list[slice]
    keys: list[int]
    shape: list[int]

    @property
    def is_sparse(self) -> bool:
        return bool(self.keys or (self.shape and not self.slots))

    def read(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The values (rows, values) of frames (rows, bytes)."""
        values = np.concatenate([frames[:, slot] for slot in self.slots or [slice(0)]], axis=1).view("<f4")
        return scatter(values[0], self.keys, self.shape)[np.newaxis] if self.is_sparse else values


def _decode_alike(buffer: bytes, start: int, size: int) -> SparseRun:
    """The leading records from `start` on that are like the first, of `size` bytes; ValueError if it is invalid."""
    features, label = _find_layouts(buffer[start : start + size])
    if features.is_sparse and (run := _decode_sparse(buffer, start, features)):
        return run
    frames = np.frombuffer(buffer, np.uint8, (len(buffer) - start) // size * size, start).reshape(-1, size)
    # These sparse records are decoded one at a time: a few bytes can declare a wide row.
    count = 1 if features.is_sparse or label.is_sparse else _count_alike(frames, features.slots + label.slots)
    return SparseRun(features.read(frames[:count]), label.read(frames[:count]), start + size * count)


def _decode_sparse(buffer: bytes, start: int, layout: "_TensorLayout") -> SparseRun | None:
    if len(layout.shape) != 1 or not 0 < layout.shape[0] <= MAX_FEATURES:
        return None
    (width,) = layout.shape
    limit, run = max(1, _READ_BYTES // (4 * width)), None
    few = decode_run(buffer, start, width, min(limit, _FEW_RECORDS))
    if few and len(few.features) == _FEW_RECORDS < limit:  # otherwise many are decoded in vain, again and again
        run = decode_run(buffer, start, width, limit)
    return run or few


def _find_layouts(frame: bytes) -> tuple[_TensorLayout, _TensorLayout]:
    """The layouts of the features and the label of a frame."""
    layouts = {}
    length = HEADER.unpack_from(frame)[1]
    for field, entry in iter_fields(frame, slice(HEADER.size, HEADER.size + length)):
        if field in (FEATURES, LABEL):
            parts = dict(iter_fields(frame, entry))
            if frame[parts.get(1, slice(0))] == b"values":
                layouts[field] = _find_tensor(frame, parts.get(2, slice(0, 0)))
    if FEATURES not in layouts:
        raise ValueError('it has no feature tensor named "values"')
    return layouts[FEATURES], layouts.get(LABEL, _TensorLayout([], [], []))


def _count_alike(frames: NDArray[np.uint8], slots: Sequence[slice]) -> int:
    """The number of leading frames that differ from the first only in `slots`."""
    edges = sorted([0, frames.shape[1], *(edge for slot in slots for edge in (slot.start, slot.stop))])
    spans = [slice(*span) for span in zip(edges[::2], edges[1::2], strict=True)]
    count = 1
    while count < len(frames):
        part = frames[count : 2 * count]  # doubled each time, so that few are compared if the second differs
        alike = np.ones(len(part), bool)
        for span in spans:
            alike &= (part[:, span] == frames[0, span]).all(axis=1)
        if not alike.all():
            return count + int(alike.argmin())
        count += len(part)
    return count


def _find_tensor(frame: bytes, value: slice) -> _TensorLayout:
    for field, tensor in iter_fields(frame, value):
        if field != FLOAT32:
            raise ValueError("its tensor is not float32")
        parts = list(iter_fields(frame, tensor))
        keys, shape = (
            [number for part, content in parts if part == integers for number in read_integers(frame, content)]
            for integers in (KEYS, SHAPE)
        )
        return _TensorLayout([content for part, content in parts if part == VALUES and frame[content]], keys, shape)
    raise ValueError("its tensor is empty")
