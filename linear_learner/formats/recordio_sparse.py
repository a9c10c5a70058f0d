"""Sparse RecordIO-protobuf records: many at a time, as arrays.

A record contains the values that are stored, their keys (the indices of the features) and the shape (the number of
features); features without a value are 0. The sizes of keys, and so of records, differ.
"""

from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import DataError
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
    encode_varint,
)

MAX_FEATURES = 10_000_000  # this project's limit: a few bytes of a sparse record can declare any width

_WRITE_BYTES = 1 << 20  # of frames assembled at a time: they fit into the processor's cache
_MAX_VARINT_BYTES = 5  # that are decoded many at a time: more than any key or length of a frame needs
_NAME = encode_field(1, b"values")
_TAGS = {number: bytes([number << 3 | 2]) for number in range(1, 4)}

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def write_sparse(stream: BinaryIO, labels: NDArray[Any], values: Floats, keys: NDArray[np.int32], width: int) -> None:
    """Write one record of `width` features per row: labels (rows,), values and keys (rows, values).

    A value whose key is negative is not stored. The keys of a row are below `width`, and none is repeated. Raises
    DataError, with the row, for a value that is not finite.
    """
    with np.errstate(over="ignore"):  # overflow gives infinity, which is refused
        floats = np.column_stack([labels, values]).astype("<f4")
    finite = np.isfinite(floats)
    finite[:, 1:] |= keys < 0
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        where = f"row {row + 1}, value {column}" if column else f"row {row + 1}, label"
        raise DataError(f"{where}: {floats[row, column]} is not finite in float32; fill or drop it")
    rows = max(1, _WRITE_BYTES // (100 + 9 * keys.shape[1]))
    for start in range(0, len(keys), rows):
        block = slice(start, start + rows)
        stream.write(_encode_rows(floats[block, :1], floats[block, 1:], keys[block].astype(np.int64), width))


class _Part(NamedTuple):
    """A part of each frame, padded to the same size: `data` (rows, bytes), of which those with `used` are written."""

    data: Bytes
    used: NDArray[np.bool_]
    size: Integers
    """Number of used bytes (rows,)."""

    @classmethod
    def of(cls, data: Bytes, used: NDArray[np.bool_]) -> "_Part":
        return cls(data, used, used.sum(axis=1, dtype=np.int64))


def _encode_rows(labels: Floats, values: Floats, keys: Integers, width: int) -> Any:
    stored = keys >= 0
    value_part = _Part(_as_bytes(values), stored.repeat(4, axis=1), 4 * stored.sum(axis=1, dtype=np.int64))
    key_bytes, key_used = _varints(np.where(stored, keys, 0))
    key_part = _Part.of(key_bytes.reshape(len(keys), -1), (key_used & stored[..., np.newaxis]).reshape(len(keys), -1))
    shape = encode_field(SHAPE, encode_varint(width))
    tensor = [*_prefix(VALUES, value_part.size), value_part, *_prefix(KEYS, key_part.size), key_part]
    parts = [*tensor, _constant(shape, len(keys))]
    for number in (FLOAT32, 2):  # the tensor in its value, and the value in the map's entry
        parts = [*_prefix(number, _size(parts)), *parts]
    parts = [_constant(_NAME, len(keys)), *parts]
    parts = [*_prefix(FEATURES, _size(parts)), *parts]
    parts += [_constant(_label_prefix(), len(keys)), _whole(_as_bytes(labels))]
    length = _size(parts)
    header = np.column_stack([np.full(len(keys), MAGIC), length]).astype("<u4")
    padding = _Part.of(np.zeros((len(keys), 3), np.uint8), np.arange(3) < (-length % 4)[:, np.newaxis])
    frame = [_whole(_as_bytes(header)), *parts, padding]
    data = np.concatenate([part.data for part in frame], axis=1)
    used = np.concatenate([part.used for part in frame], axis=1)
    return data[used].data


def _label_prefix() -> bytes:
    return encode_field(LABEL, _NAME + encode_field(2, encode_field(FLOAT32, encode_field(VALUES, bytes(4)))))[:-4]


def _size(parts: list[_Part]) -> Integers:
    total: Integers = np.sum([part.size for part in parts], axis=0)
    return total


def _prefix(number: int, lengths: Integers) -> list[_Part]:
    """The tag and the length of a field, which is not written if it is empty."""
    data, used = _varints(lengths)
    present = lengths[:, np.newaxis] > 0
    tag = _constant(_TAGS[number], len(lengths))
    return [_Part.of(tag.data, present), _Part.of(data, used & present)]


def _constant(content: bytes, rows: int) -> _Part:
    return _whole(np.broadcast_to(np.frombuffer(content, np.uint8), (rows, len(content))))


def _whole(data: Bytes) -> _Part:
    return _Part(data, np.ones(data.shape, np.bool_), np.full(len(data), data.shape[1], np.int64))


def _as_bytes(values: NDArray[Any]) -> Bytes:
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)


def _varints(numbers: Integers) -> tuple[Bytes, NDArray[np.bool_]]:
    """The bytes of each number, padded to the same size on a new last axis, and which of them are used."""
    size = len(encode_varint(int(numbers.max(initial=0))))
    shifted = numbers[..., np.newaxis] >> 7 * np.arange(size)
    used = shifted > 0
    used[..., 0] = True
    return (shifted & 0x7F | np.where(shifted > 0x7F, 0x80, 0)).astype(np.uint8), used


class SparseRun(NamedTuple):
    """Consecutive records: features (rows, features), labels (rows, labels), and where the next record starts."""

    features: Floats
    labels: Floats
    end: int


def decode_run(buffer: bytes, start: int, width: int, limit: int) -> SparseRun | None:
    """The leading records from `start` on that are sparse, valid and written in the usual order of fields.

    At most `limit` of them, all with `width` features and the same number of labels, 0 or 1; None if the first record
    is not of this kind. It may be valid nevertheless: protobuf has more than one encoding of a message.
    """
    starts, lengths = _find_frames(buffer, start, limit)
    cursor = _Cursor(np.frombuffer(buffer, np.uint8), starts + HEADER.size)
    ends = cursor.position + lengths
    entry = cursor.field(_TAGS[FEATURES], ends)
    cursor.expect(_NAME)
    cursor.check(cursor.field(_TAGS[2], entry) == entry)
    cursor.check(cursor.field(_TAGS[FLOAT32], entry) == entry)
    values = cursor.content(_TAGS[VALUES], entry)
    keys = cursor.content(_TAGS[KEYS], entry)
    cursor.expect(encode_field(SHAPE, encode_varint(width)))
    cursor.check((cursor.position == entry) & (values.size > 0) & (values.size % 4 == 0) & (keys.size > 0))
    has_label = bool(cursor.position[0] < ends[0])
    if has_label:
        cursor.expect(_label_prefix())
        cursor.position = cursor.position + 4
    cursor.check(cursor.position == ends)
    count = cursor.count
    if not count:
        return None
    features = _read_features(cursor.data, values.head(count), keys.head(count), width)
    if not (count := len(features)):
        return None
    labels = _Range(ends[:count] - 4 * has_label, np.full(count, 4 * has_label))
    label_values = cursor.data[labels.indices()].view("<f4").reshape(count, -1)
    return SparseRun(features, label_values, int(starts[count - 1] + HEADER.size + (lengths[count - 1] + 3) // 4 * 4))


def _find_frames(buffer: bytes, start: int, limit: int) -> tuple[Integers, Integers]:
    """The starts of complete frames, one after another from `start` on, and the lengths of their messages.

    At most `limit` frames; fewer if the content of one contains the magic number.
    """
    size = HEADER.size + int(HEADER.unpack_from(buffer, start)[1])
    words = np.frombuffer(buffer, "<u4", (min(len(buffer), start + 2 * limit * size) - start) // 4, start)
    candidates = np.flatnonzero(words[:-1] == MAGIC)[:limit].astype(np.int64)
    lengths = words[candidates + 1].astype(np.int64)
    starts = start + 4 * candidates
    ends = starts + HEADER.size + (lengths + 3) // 4 * 4
    complete = (lengths <= MAX_LENGTH) & (ends <= len(buffer))
    follows = np.append(True, ends[:-1] == starts[1:])
    count = _leading(complete & follows)
    return starts[:count], lengths[:count]


def _leading(valid: NDArray[np.bool_]) -> int:
    """The number of true values before the first false one."""
    return int(np.argmin(np.append(valid, False)))


class _Range(NamedTuple):
    """A range of bytes in each record."""

    start: Integers
    size: Integers

    def head(self, count: int) -> "_Range":
        return _Range(self.start[:count], self.size[:count])

    def indices(self) -> Integers:
        """The indices of all bytes of all records."""
        before = np.cumsum(self.size) - self.size
        indices: Integers = np.repeat(self.start - before, self.size) + np.arange(self.size.sum())
        return indices


class _Cursor:
    """A position in each of many records, which are read in parallel as long as they are alike.

    Bytes beyond the end of a record may be read, but then one of the checks of the lengths fails.
    """

    def __init__(self, data: Bytes, position: Integers) -> None:
        self.data, self.position = data, position
        self._valid = np.ones(len(position), np.bool_)

    @property
    def count(self) -> int:
        """The number of leading records that passed all checks."""
        return _leading(self._valid)

    def check(self, valid: NDArray[np.bool_]) -> None:
        self._valid &= valid

    def expect(self, content: bytes) -> None:
        for byte in content:
            self.check(self._next() == byte)

    def field(self, tag: bytes, end: Integers) -> Integers:
        """Read the tag and the length of a field that ends at the latest at `end`; returns where it ends."""
        self.expect(tag)
        length = self._varint()
        field_end = self.position + length
        self.check(field_end <= end)
        bounded: Integers = np.minimum(field_end, end)
        return bounded

    def content(self, tag: bytes, end: Integers) -> _Range:
        field_end = self.field(tag, end)
        found = _Range(self.position, field_end - self.position)
        self.position = field_end
        return found

    def _varint(self) -> Integers:
        number, going = np.zeros(len(self.position), np.int64), np.ones(len(self.position), np.bool_)
        for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
            byte = self.data.take(self.position, mode="clip").astype(np.int64)
            number |= np.where(going, (byte & 0x7F) << shift, 0)
            self.position = self.position + going
            going &= byte > 0x7F
            if not going.any():
                break
        self.check(~going)
        return number

    def _next(self) -> Bytes:
        found: Bytes = self.data.take(self.position, mode="clip")
        self.position = self.position + 1
        return found


def _read_features(data: Bytes, values: _Range, keys: _Range, width: int) -> Floats:
    """The features (rows, width) of the leading records with valid keys."""
    encoded = data[keys.indices()]
    rows = np.repeat(np.arange(len(keys.size)), keys.size)
    last = np.flatnonzero(encoded < 0x80)  # the last byte of each key
    sizes = np.diff(last, prepend=-1)
    first, key_rows = last - sizes + 1, rows[last]
    found = np.zeros(len(last), np.int64)
    for position in range(min(_MAX_VARINT_BYTES, int(sizes.max(initial=0)))):
        byte = encoded.take(first + position, mode="clip").astype(np.int64)
        found |= np.where(position < sizes, (byte & 0x7F) << 7 * position, 0)
    valid = data[keys.start + keys.size - 1] < 0x80
    valid &= np.bincount(key_rows, minlength=len(valid)) * 4 == values.size
    valid[key_rows[(found >= width) | (sizes > _MAX_VARINT_BYTES)]] = False
    count = _leading(valid)
    chosen = key_rows < count
    features = np.zeros((count, width), np.float32)
    features[key_rows[chosen], found[chosen]] = data[values.head(count).indices()].view("<f4")
    return features


def scatter(values: NDArray[np.float32], keys: Any, shape: Any) -> NDArray[np.float32]:
    """The dense row of a sparse tensor; ValueError describes an invalid part, as the parts are not trusted."""
    if not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int or not 0 < shape[0] <= MAX_FEATURES:
        raise ValueError(f"its sparse tensor has shape {shape!r:.60}; one number up to {MAX_FEATURES} is needed")
    if not isinstance(keys, list) or len(keys) != len(values):
        raise ValueError(f"its sparse tensor has {len(values)} values and a different number of keys")
    if not all(type(key) is int and 0 <= key < shape[0] for key in keys):
        raise ValueError(f"its sparse tensor has a key that is not a whole number below {shape[0]}")
    row = np.zeros(shape[0], np.float32)
    row[keys] = values
    return row
