"""The protobuf message inside a SageMaker record, written and read without a protobuf library.

`Record` has two maps from a string to a `Value`: `features` = 1 and `label` = 2. A `Value` holds one tensor,
`float32_tensor` = 2 or `float64_tensor` = 3, whose fields are `values` = 1, `keys` = 2 and `shape` = 3, packed.
Source: the record.proto in Amazon's documentation of its training data formats.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEATURES, LABEL = 1, 2
MAX_FEATURES = 10_000_000  # this project's bound: a few bytes of a sparse record could claim any width

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DTYPES = {2: "<f4", 3: "<f8"}

Fields = Iterator[tuple[int, int, memoryview]]


def varint(number: int) -> bytes:
    """Protobuf's encoding of a non-negative integer: seven bits a byte, lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def tensor_prefix(field: int, key: str, size: int) -> bytes:
    """Everything of a record's map entry that precedes the `size` float32 values of its tensor."""
    data = 4 * size
    prefix = b"\x0a" + varint(data)
    for tag in (b"\x12", b"\x0a" + varint(len(key)) + key.encode() + b"\x12", bytes([field << 3 | _BYTES])):
        head, length_tag = tag[:-1], tag[-1:]
        prefix = head + length_tag + varint(len(prefix) + data) + prefix
    return prefix


def parse_record(message: memoryview) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Features and label (None when absent) of one record in any valid encoding; ValueError says what is wrong."""
    maps: dict[int, NDArray[np.float32]] = {}
    for field, wire, content in _fields(message):
        if field in (FEATURES, LABEL) and wire == _BYTES:
            entry = {number: inner for number, _, inner in _fields(content)}
            if bytes(entry.get(1, b"")) == b"values":
                maps[field] = _dense(entry.get(2, memoryview(b"")))
    if FEATURES not in maps:
        raise ValueError('it has no feature tensor named "values"')
    return maps[FEATURES], maps.get(LABEL)


def _dense(value: memoryview) -> NDArray[np.float32]:
    for field, _, tensor in _fields(value):
        if field not in _DTYPES:
            raise ValueError("its tensor is neither float32 nor float64")
        numbers, keys, shape = _tensor(tensor, _DTYPES[field])
        return numbers if keys is None else scatter(numbers, keys, shape)
    raise ValueError("its tensor is empty")


def _tensor(tensor: memoryview, dtype: str) -> tuple[NDArray[np.float32], list[int] | None, list[int]]:
    parts: list[NDArray[np.float32]] = []
    keys: list[int] | None = None
    shape: list[int] = []
    for field, _, content in _fields(tensor):
        if field == 1:
            with np.errstate(over="ignore"):  # what overflows is infinite, which the reader refuses by record
                parts.append(np.frombuffer(content, dtype).astype(np.float32))
        elif field == 2:
            keys = (keys or []) + _integers(content)
        elif field == 3:
            shape += _integers(content)
    return np.concatenate(parts) if parts else np.empty(0, np.float32), keys, shape


def scatter(numbers: NDArray[np.float32], keys: Any, shape: Any) -> NDArray[np.float32]:
    """The dense row of a sparse tensor, whose parts may come from a stranger; ValueError says what does not fit."""
    if not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int or not 0 < shape[0] <= MAX_FEATURES:
        raise ValueError(f"its sparse tensor has shape {shape!r:.60}; one number up to {MAX_FEATURES} is needed")
    if not isinstance(keys, list) or len(keys) != len(numbers):
        raise ValueError(f"its sparse tensor has {len(numbers)} values and another number of keys")
    if not all(type(key) is int and 0 <= key < shape[0] for key in keys):
        raise ValueError(f"its sparse tensor has a key that is not a whole number below {shape[0]}")
    row = np.zeros(shape[0], np.float32)
    row[keys] = numbers
    return row


def _fields(message: memoryview) -> Fields:
    """Field number, wire type and content of each field; a varint's content is its own bytes."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        wire, start = tag & 7, at
        if wire == _VARINT:
            _, at = _read_varint(message, at)
        elif wire == _BYTES:
            length, start = _read_varint(message, at)
            at = start + length
        elif wire in (_FIXED32, _FIXED64):
            at += 4 if wire == _FIXED32 else 8
        else:
            raise ValueError("its protobuf message is damaged")
        if at > len(message):
            raise ValueError("its protobuf message is cut short")
        yield tag >> 3, wire, message[start:at]


def _integers(packed: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < len(packed):
        number, at = _read_varint(packed, at)
        numbers.append(number)
    return numbers


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("its protobuf message is cut short")
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("its protobuf message is damaged")
