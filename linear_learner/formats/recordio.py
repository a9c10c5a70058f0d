"""RecordIO-protobuf, the binary format of the algorithm's channels and requests."""

import io
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linear_learner.errors import ArtifactError, DataError
from linear_learner.model import Examples

FEATURES, LABEL = 1, 2
MAX_FEATURES = 10_000_000  # this project's bound: a few bytes of a sparse record could claim any width

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DTYPES = {2: "<f4", 3: "<f8"}

FieldIterator = Iterator[tuple[int, int, memoryview]]


def encode_varint(number: int) -> bytes:
    """Protobuf's encoding of a non-negative integer: seven bits a byte, lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode_tensor_prefix(field: int, key: str, size: int) -> bytes:
    """Everything of a record's map entry that precedes the `size` float32 values of its tensor."""
    data = 4 * size
    prefix = b"\x0a" + encode_varint(data)
    for tag in (b"\x12", b"\x0a" + encode_varint(len(key)) + key.encode() + b"\x12", bytes([field << 3 | _BYTES])):
        head, length_tag = tag[:-1], tag[-1:]
        prefix = head + length_tag + encode_varint(len(prefix) + data) + prefix
    return prefix


def parse_record(message: memoryview) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Features and label (None when absent) of one record in any valid encoding; ValueError says what is wrong."""
    maps: dict[int, NDArray[np.float32]] = {}
    for field, wire_type, content in _iter_fields(message):
        if field in (FEATURES, LABEL) and wire_type == _BYTES:
            entry = {number: inner for number, _, inner in _iter_fields(content)}
            if bytes(entry.get(1, b"")) == b"values":
                maps[field] = _read_dense(entry.get(2, memoryview(b"")))
    if FEATURES not in maps:
        raise ValueError('it has no feature tensor named "values"')
    return maps[FEATURES], maps.get(LABEL)


def _read_dense(value: memoryview) -> NDArray[np.float32]:
    for field, _, tensor in _iter_fields(value):
        if field not in _DTYPES:
            raise ValueError("its tensor is neither float32 nor float64")
        numbers, keys, shape = _read_tensor(tensor, _DTYPES[field])
        return numbers if keys is None else scatter(numbers, keys, shape)
    raise ValueError("its tensor is empty")


def _read_tensor(tensor: memoryview, dtype: str) -> tuple[NDArray[np.float32], list[int] | None, list[int]]:
    parts: list[NDArray[np.float32]] = []
    keys: list[int] | None = None
    shape: list[int] = []
    for field, _, content in _iter_fields(tensor):
        if field == 1:
            with np.errstate(over="ignore"):  # what overflows is infinite, which the reader refuses by record
                parts.append(np.frombuffer(content, dtype).astype(np.float32))
        elif field == 2:
            keys = (keys or []) + _read_integers(content)
        elif field == 3:
            shape += _read_integers(content)
    return np.concatenate(parts) if parts else np.empty(0, np.float32), keys, shape


def scatter(numbers: NDArray[np.float32], keys: Any, shape: Any) -> NDArray[np.float32]:
    """The dense row of a sparse tensor, whose parts are not trusted; ValueError says what is wrong."""
    if not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int or not 0 < shape[0] <= MAX_FEATURES:
        raise ValueError(f"its sparse tensor has shape {shape!r:.60}; one number up to {MAX_FEATURES} is needed")
    if not isinstance(keys, list) or len(keys) != len(numbers):
        raise ValueError(f"its sparse tensor has {len(numbers)} values and another number of keys")
    if not all(type(key) is int and 0 <= key < shape[0] for key in keys):
        raise ValueError(f"its sparse tensor has a key that is not a whole number below {shape[0]}")
    row = np.zeros(shape[0], np.float32)
    row[keys] = numbers
    return row


def _iter_fields(message: memoryview) -> FieldIterator:
    """Field number, wire type and content of each field; a varint's content is its own bytes."""
    offset = 0
    while offset < len(message):
        tag, offset = _read_varint(message, offset)
        wire_type, start = tag & 7, offset
        if wire_type == _VARINT:
            _, offset = _read_varint(message, offset)
        elif wire_type == _BYTES:
            length, start = _read_varint(message, offset)
            offset = start + length
        elif wire_type in (_FIXED32, _FIXED64):
            offset += 4 if wire_type == _FIXED32 else 8
        else:
            raise ValueError("its protobuf message is damaged")
        if offset > len(message):
            raise ValueError("its protobuf message is cut short")
        yield tag >> 3, wire_type, message[start:offset]


def _read_integers(packed: memoryview) -> list[int]:
    numbers, offset = [], 0
    while offset < len(packed):
        number, offset = _read_varint(packed, offset)
        numbers.append(number)
    return numbers


def _read_varint(message: memoryview, offset: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if offset >= len(message):
            raise ValueError("its protobuf message is cut short")
        byte = message[offset]
        offset += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, offset
    raise ValueError("its protobuf message is damaged")


MAGIC = 0xCED7230A
_HEADER = struct.Struct("<II")
_MAX_LENGTH = (1 << 29) - 1  # the upper three bits of the length mark a record split over several frames
_BLOCK_BYTES = 4 << 20
_CACHE_BYTES = 1 << 20
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
    frames = np.empty((min(rows, max(1, _BLOCK_BYTES // len(template))), len(template)), np.uint8)
    frames[:] = template
    for start in range(0, rows, max(1, len(frames))):
        part = frames[: rows - start]
        for slot, (_, _, values) in zip(slots, tensors, strict=True):
            floats = _to_float32(values[start : start + len(part)], start)
            part[:, slot] = floats.view(np.uint8).reshape(len(part), -1)
        stream.write(part.data)


def write_columns(stream: BinaryIO, labels: NDArray[Any], features: Sequence[NDArray[Any]]) -> None:
    """Write one record per row of a table kept by columns, `features` and `labels` of shape (rows,) each, as float32.

    The columns go straight into the frames, with no matrix in between. Raises DataError for what is not finite.
    """
    template, slots = _layout(((FEATURES, "values", len(features)), (LABEL, "values", 1)))
    size, rows = len(template), max(1, _CACHE_BYTES // len(template))
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
            for column_of_frames, values in zip((*floats.T, label[:, 0]), (*features, labels), strict=True):
                column_of_frames[:count] = values[start : start + count]
            suspicious = not np.isfinite(floats[:count].sum() + label[:count].sum())
        if suspicious:  # or a sum that overflowed
            _to_float32(np.column_stack([floats[:count], label[:count]]), start)
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
    while block := stream.read(max(_BLOCK_BYTES, _frame_size(buffer, 0, number) - len(buffer))):
        buffer += block
        used = 0
        for features, labels, end in _decode(buffer, number):
            width = width or features.shape[1]
            yield _check_block(features, labels, number, width, labelled=labelled)
            number, used = number + len(features), end
        buffer = buffer[used:]
    if buffer:
        raise ArtifactError(f"record {number} is cut short: its last {len(buffer)} bytes are all there is")


@lru_cache(maxsize=8)
def _layout(tensors: tuple[tuple[int, str, int], ...]) -> tuple[NDArray[np.uint8], tuple[slice, ...]]:
    """A frame whose floats are all zero, and where in it each tensor's floats are."""
    frame, slots = b"\0" * _HEADER.size, []
    for field, key, size in tensors:
        frame += encode_tensor_prefix(field, key, size)
        slots.append(slice(len(frame), len(frame) + 4 * size))
        frame += b"\0" * (4 * size)
    length = len(frame) - _HEADER.size
    if length > _MAX_LENGTH:
        raise DataError(f"a record of {length} bytes is longer than RecordIO's {_MAX_LENGTH}")
    frame = _HEADER.pack(MAGIC, length) + frame[_HEADER.size :] + b"\0" * (-length % 4)
    return np.frombuffer(frame, np.uint8), tuple(slots)


def _to_float32(values: NDArray[np.float32], first: int) -> NDArray[np.float32]:
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
        run = _decode_run(buffer, start, len(row), labelled=label is not None)
        features, labels = run or (row[np.newaxis], label)
        start += size * len(features)
        number += len(features)
        yield features, labels, start


def _frame_size(buffer: bytes, start: int, number: int) -> int:
    """Bytes of the frame at `start`, padding included; what is known of it may be no more than that it has a head."""
    if len(buffer) - start < _HEADER.size:
        return _HEADER.size
    magic, length = _HEADER.unpack_from(buffer, start)
    if magic != MAGIC:
        hint = "; is the content type right?" if number == 1 else ""
        raise ArtifactError(f"record {number} does not start with RecordIO's magic number{hint}")
    if length > _MAX_LENGTH:
        raise ArtifactError(f"record {number} is split over several frames, which is not supported")
    return _HEADER.size + int(length) + -int(length) % 4


def _message(buffer: bytes, start: int) -> memoryview:
    _, length = _HEADER.unpack_from(buffer, start)
    return memoryview(buffer)[start + _HEADER.size : start + _HEADER.size + length]


def _decode_run(
    buffer: bytes, start: int, width: int, *, labelled: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None] | None:
    """Features and labels of the records from `start` on that are laid out as this module writes them, if any."""
    if 4 * width > len(buffer) - start:
        return None  # a sparse record, which need not hold what its width promises
    tensors = ((FEATURES, "values", width), (LABEL, "values", 1))
    template, slots = _layout(tensors if labelled else tensors[:1])
    available = (len(buffer) - start) // len(template)
    frames = np.frombuffer(buffer, np.uint8, available * len(template), start).reshape(available, len(template))
    frames = frames[: _count_alike(frames, template, slots)]
    if not len(frames):
        return None
    floats = [frames[:, slot].copy().view("<f4").astype(np.float32, copy=False) for slot in slots]
    return floats[0], floats[1][:, 0] if labelled else None


def _count_alike(frames: NDArray[np.uint8], template: NDArray[np.uint8], slots: tuple[slice, ...]) -> int:
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


def _check_block(
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
