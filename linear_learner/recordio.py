"""RecordIO-protobuf, the binary training format of SageMaker's algorithms: written and read as matrices.

A frame is, little endian, `u32 magic | u32 length | message | zeros to a multiple of four`. Rows of a dense float32
matrix give messages that differ in their floats alone, so a matrix is framed by filling one template, and read back by
checking that every other byte equals the template's. Whatever is laid out otherwise goes through
`protobuf.parse_record`.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linear_learner.errors import ArtifactError, DataError
from linear_learner.examples import Examples
from linear_learner.protobuf import FEATURES, LABEL, parse_record, tensor_prefix

MAGIC = 0xCED7230A
_HEAD = struct.Struct("<II")
_MAX_LENGTH = (1 << 29) - 1  # the upper three bits of the length mark a record split over several frames
_BLOCK = 4 << 20
_CACHED = 1 << 20
"""Bytes of frames that are filled at once: the processor's cache holds them."""

Tensor = tuple[int, str, NDArray[np.float32]]
"""Map (`FEATURES` or `LABEL`), key, and one row of values per record."""


def write_records(stream: BinaryIO, features: ArrayLike, labels: ArrayLike | None = None) -> None:
    """Write `features` (rows, features) and `labels` (rows,), as float32, one record per row.

    Raises DataError, with the row, for a value that is not finite in float32, and for shapes that do not fit.
    """
    matrix = np.asanyarray(features)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise DataError(f"features must be a table with at least one column; their shape is {matrix.shape}")
    tensors: list[Tensor] = [(FEATURES, "values", matrix)]
    if labels is not None:
        column = np.asanyarray(labels)
        if column.shape != (len(matrix),):
            raise DataError(f"{len(matrix)} rows of features need as many labels; the labels' shape is {column.shape}")
        tensors.append((LABEL, "values", column[:, np.newaxis]))
    write_tensors(stream, tensors)


def write_tensors(stream: BinaryIO, tensors: Sequence[Tensor]) -> None:
    """Write one record per row of `tensors`, which all have the same number of rows."""
    template, slots = _layout(tuple((field, key, values.shape[1]) for field, key, values in tensors))
    rows = len(tensors[0][2])
    frames = np.empty((min(rows, max(1, _BLOCK // len(template))), len(template)), np.uint8)
    frames[:] = template
    for start in range(0, rows, max(1, len(frames))):
        part = frames[: rows - start]
        for slot, (_, _, values) in zip(slots, tensors, strict=True):
            floats = _float32(values[start : start + len(part)], start)
            part[:, slot] = floats.view(np.uint8).reshape(len(part), -1)
        stream.write(part.data)


def write_columns(stream: BinaryIO, labels: NDArray[Any], features: Sequence[NDArray[Any]]) -> None:
    """Write one record per row of a table kept by columns, `features` and `labels` of shape (rows,) each, as float32.

    The columns go straight into the frames, with no matrix in between. Raises DataError for what is not finite.
    """
    template, slots = _layout(((FEATURES, "values", len(features)), (LABEL, "values", 1)))
    size, rows = len(template), max(1, _CACHED // len(template))
    buffer = np.empty(rows * size + 4, np.uint8)
    shift = -(buffer.ctypes.data + slots[0].start) % 4  # the features' floats are aligned then, in every frame
    frames = buffer[shift : shift + rows * size].reshape(rows, size)
    frames[:] = template
    floats, label = (
        np.ndarray((rows, (slot.stop - slot.start) // 4), "<f4", buffer.data, shift + slot.start, (size, 4))
        for slot in slots
    )
    for start in range(0, len(labels), rows):
        count = min(rows, len(labels) - start)
        with np.errstate(over="ignore", invalid="ignore"):  # looked at below
            for place, values in zip((*floats.T, label[:, 0]), (*features, labels), strict=True):
                place[:count] = values[start : start + count]
            suspicious = not np.isfinite(floats[:count].sum() + label[:count].sum())
        if suspicious:  # or a sum that overflowed
            _float32(np.column_stack([floats[:count], label[:count]]), start)
        stream.write(frames[:count].data)


def read_records(source: bytes | Path | BinaryIO, *, labelled: bool = True) -> Examples:
    """All records of `source` in memory; the errors are those of `iter_records`, and DataError when there are none."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return read_records(stream, labelled=labelled)
    parts = list(iter_records(io.BytesIO(source) if isinstance(source, bytes) else source, labelled=labelled))
    if not parts:
        raise DataError("there are no records")
    return Examples(np.concatenate([p.features for p in parts]), np.concatenate([p.labels for p in parts]))


def iter_records(stream: BinaryIO, *, labelled: bool = True) -> Iterator[Examples]:
    """Records in blocks of about 4 MiB at most, features (rows, features) and labels (rows,), float32.

    float64 and sparse tensors are converted (the service documents float32 only); labels are NaN where `labelled` is
    false and there are none. Raises ArtifactError where the file is damaged and DataError where a record cannot be an
    example, each with the record's number, from 1.
    """
    buffer, number, width = b"", 1, 0
    while block := stream.read(max(_BLOCK, _frame_size(buffer, 0, number) - len(buffer))):
        buffer += block
        used = 0
        for features, labels, end in _decode(buffer, number):
            width = width or features.shape[1]
            yield _checked(features, labels, number, width, labelled=labelled)
            number, used = number + len(features), end
        buffer = buffer[used:]
    if buffer:
        raise ArtifactError(f"record {number} is cut short: its last {len(buffer)} bytes are all there is")


@lru_cache(maxsize=8)
def _layout(tensors: tuple[tuple[int, str, int], ...]) -> tuple[NDArray[np.uint8], tuple[slice, ...]]:
    """A frame whose floats are all zero, and where in it each tensor's floats are."""
    frame, slots = b"\0" * _HEAD.size, []
    for field, key, size in tensors:
        frame += tensor_prefix(field, key, size)
        slots.append(slice(len(frame), len(frame) + 4 * size))
        frame += b"\0" * (4 * size)
    length = len(frame) - _HEAD.size
    if length > _MAX_LENGTH:
        raise DataError(f"a record of {length} bytes is longer than RecordIO's {_MAX_LENGTH}")
    frame = _HEAD.pack(MAGIC, length) + frame[_HEAD.size :] + b"\0" * (-length % 4)
    return np.frombuffer(frame, np.uint8), tuple(slots)


def _float32(values: NDArray[np.float32], first: int) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what overflows is infinite and refused below
        floats = np.ascontiguousarray(values, "<f4")
    if not (finite := np.isfinite(floats)).all():
        row, column = np.argwhere(~finite)[0]
        found = values[row, column]
        raise DataError(f"row {first + row + 1}, value {column + 1}: {found} is not finite in float32; fill or drop it")
    return floats


def _decode(buffer: bytes, number: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32] | None, int]]:
    """Features, labels and end of each run of alike records that is complete in `buffer`."""
    start = 0
    while start + (size := _frame_size(buffer, start, number)) <= len(buffer):
        try:
            row, label = parse_record(_message(buffer, start))
        except ValueError as error:
            raise ArtifactError(f"record {number}: {error}") from error
        run = _run(buffer, start, len(row), labelled=label is not None)
        features, labels = run or (row[np.newaxis], label)
        start += size * len(features)
        number += len(features)
        yield features, labels, start


def _frame_size(buffer: bytes, start: int, number: int) -> int:
    """Bytes of the frame at `start`, padding included; what is known of it may be no more than that it has a head."""
    if len(buffer) - start < _HEAD.size:
        return _HEAD.size
    magic, length = _HEAD.unpack_from(buffer, start)
    if magic != MAGIC:
        hint = "; is the content type right?" if number == 1 else ""
        raise ArtifactError(f"record {number} does not start with RecordIO's magic number{hint}")
    if length > _MAX_LENGTH:
        raise ArtifactError(f"record {number} is split over several frames, which is not supported")
    return _HEAD.size + int(length) + -int(length) % 4


def _message(buffer: bytes, start: int) -> memoryview:
    _, length = _HEAD.unpack_from(buffer, start)
    return memoryview(buffer)[start + _HEAD.size : start + _HEAD.size + length]


def _run(
    buffer: bytes, start: int, width: int, *, labelled: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None] | None:
    """Features and labels of the records from `start` on that are laid out as this module writes them, if any."""
    if 4 * width > len(buffer) - start:
        return None  # a sparse record, which need not hold what its width promises
    tensors = ((FEATURES, "values", width), (LABEL, "values", 1))
    template, slots = _layout(tensors if labelled else tensors[:1])
    available = (len(buffer) - start) // len(template)
    frames = np.frombuffer(buffer, np.uint8, available * len(template), start).reshape(available, len(template))
    frames = frames[: _alike(frames, template, slots)]
    if not len(frames):
        return None
    floats = [frames[:, slot].copy().view("<f4").astype(np.float32, copy=False) for slot in slots]
    return floats[0], floats[1][:, 0] if labelled else None


def _alike(frames: NDArray[np.uint8], template: NDArray[np.uint8], slots: tuple[slice, ...]) -> int:
    """How many of the first frames differ from the template in their floats alone."""
    edges = [0, *(edge for slot in slots for edge in (slot.start, slot.stop)), len(template)]
    count, window = 0, 64  # a growing window: neither many small steps nor many bytes compared in vain
    while count < len(frames):
        part = frames[count : count + window]
        same = np.ones(len(part), bool)
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            same &= (part[:, begin:end] == template[begin:end]).all(axis=1)
        if not same.all():
            return count + int(same.argmin())
        count, window = count + len(part), 2 * window
    return count


def _checked(
    features: NDArray[np.float32], labels: NDArray[np.float32] | None, number: int, width: int, *, labelled: bool
) -> Examples:
    if width == 0:
        raise DataError(f"record {number} has no features")
    if features.shape[1] != width:
        raise DataError(f"record {number} has {features.shape[1]} features where the first has {width}")
    if labels is None and labelled:
        raise DataError(f"record {number} has no label")
    if labels is None:
        labels = np.full(len(features), np.nan, np.float32)
    if len(labels) != len(features):
        raise DataError(f"record {number} has {len(labels)} labels; one is needed")
    finite = np.isfinite(features).all(axis=1) & (np.isfinite(labels) | (not labelled))
    if not finite.all():
        raise DataError(f"record {number + int(finite.argmin())} holds a value that is not finite; fill or drop it")
    return Examples(features, labels)
