"""The bytes of RecordIO-protobuf: frames, and protobuf's varints and fields."""

import struct
from collections.abc import Iterator

MAGIC = 0xCED7230A
HEADER = struct.Struct("<II")
"""Starts a frame: the magic number and the length of the message, which is then padded to a multiple of 4 bytes."""
MAX_LENGTH = (1 << 29) - 1  # the upper three bits of the length mark a record split over several frames
FEATURES, LABEL = 1, 2
"""Fields of the message: maps of tensors, which are named `values`."""
VALUES, KEYS, SHAPE = 1, 2, 3
"""Fields of a tensor."""
FLOAT32 = 2
"""Field of the only tensor type that the service accepts."""
_VARINT, _BYTES = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}


def encode_field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | _BYTES]) + encode_varint(len(content)) + content


def encode_varint(number: int) -> bytes:
    """Protobuf's encoding of a non-negative integer: seven bits per byte, lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def iter_fields(frame: bytes, message: slice) -> Iterator[tuple[int, slice]]:
    """Number and slice of each field of the message at `message`; a varint's slice is that of its own bytes."""
    offset = message.start
    while offset < message.stop:
        tag, start = read_varint(frame, offset, message.stop)
        wire_type, offset = tag & 7, start
        if wire_type == _VARINT:
            _, offset = read_varint(frame, start, message.stop)
        elif wire_type == _BYTES:
            length, start = read_varint(frame, start, message.stop)
            offset = start + length
        elif wire_type in _FIXED_SIZES:
            offset += _FIXED_SIZES[wire_type]
        else:
            raise ValueError("its protobuf message is damaged")
        if offset > message.stop:
            raise ValueError("its protobuf message is truncated")
        yield tag >> 3, slice(start, offset)


def read_integers(frame: bytes, packed: slice) -> Iterator[int]:
    offset = packed.start
    while offset < packed.stop:
        number, offset = read_varint(frame, offset, packed.stop)
        yield number


def read_varint(frame: bytes, offset: int, end: int) -> tuple[int, int]:
    number = 0
    for position in range(offset, min(offset + 10, end)):
        number |= (frame[position] & 0x7F) << 7 * (position - offset)
        if frame[position] < 0x80:
            return number, position + 1
    raise ValueError("its protobuf message is " + ("truncated" if end - offset < 10 else "damaged"))
