"""RecordIO-protobuf: equality with real files, all valid encodings, and errors with the record's number."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from linear_learner.errors import ArtifactError, DataError, LinearLearnerError
from linear_learner.formats.recordio import iter_records, read_records
from linear_learner.formats.recordio_wire import MAGIC, encode_varint
from tests.linear_learner.formats.files import records

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + encode_varint(len(content)) + content


def frame(message: bytes) -> bytes:
    return struct.pack("<II", MAGIC, len(message)) + message + b"\0" * (-len(message) % 4)


def record(features: bytes, label: bytes | None = None, key: bytes = b"values") -> bytes:
    """A frame of `Value` messages, encoded independently of the project's writer."""
    message = field(1, field(1, key) + field(2, features))
    return frame(message + (field(2, field(1, key) + field(2, label)) if label is not None else b""))


def floats(*values: float) -> bytes:
    return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))


@pytest.mark.parametrize("name", ["ufo-train", "ufo-validation"])
def test_a_real_file_survives_a_round_trip_byte_for_byte(corpus: Path, name: str) -> None:
    path = corpus / "recordio" / f"{name}.data"
    examples = read_records(path)
    assert examples.features.shape == ({"ufo-train": 14430, "ufo-validation": 1773}[name], 22)
    assert records(examples.features, examples.labels) == path.read_bytes()


def test_a_row_is_encoded_as_in_the_protobuf_specification() -> None:
    assert records(np.array([[1.0, 2.0]]), np.array([3.0])) == record(floats(1, 2), floats(3))


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=FINITE))
def test_written_records_are_read_back_unchanged(table: NDArray[np.float32]) -> None:
    examples = read_records(records(table, table[:, 0]))
    np.testing.assert_array_equal(examples.features, table)
    np.testing.assert_array_equal(examples.labels, table[:, 0])
    np.testing.assert_array_equal(read_records(records(table), labelled=False).features, table)


def test_many_rows_are_read_in_several_blocks() -> None:
    table = np.arange(400_000, dtype=np.float32).reshape(-1, 2)
    blocks = list(iter_records(io.BytesIO(records(table, table[:, 0]))))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate([block.features for block in blocks]), table)


def test_a_record_larger_than_a_block_is_read() -> None:
    table = np.arange(2_200_000, dtype=np.float32).reshape(2, -1)
    np.testing.assert_array_equal(read_records(records(table, np.zeros(2))).features, table)


def test_records_of_different_layouts_in_one_file_are_read() -> None:
    features = field(1, field(1, b"values") + field(2, floats(1, 2)))
    label = field(2, field(1, b"values") + field(2, floats(3)))
    plain, label_first = frame(features + label), frame(label + features)
    sparse = record(
        field(2, field(1, struct.pack("<f", 2)) + field(2, encode_varint(1)) + field(3, encode_varint(2))), floats(3)
    )
    unpacked = record(field(2, b"\x0d" + struct.pack("<f", 1) + b"\x0d" + struct.pack("<f", 2)), floats(3))
    with_uid = frame(features + label + field(3, b"an id"))
    examples = read_records(b"".join([plain, plain, plain, sparse, unpacked, with_uid, label_first, plain]))
    np.testing.assert_array_equal(examples.labels, np.full(8, 3))
    np.testing.assert_array_equal(examples.features, [[1, 2]] * 3 + [[0, 2]] + [[1, 2]] * 4)


def test_a_sparse_row_of_zeros_needs_no_values_and_no_keys() -> None:
    zeros = record(field(2, field(3, encode_varint(2))), floats(3))
    np.testing.assert_array_equal(read_records(record(floats(1, 2), floats(3)) + zeros).features, [[1, 2], [0, 0]])


def test_labels_are_nan_unless_requested() -> None:
    mixed = record(floats(1), floats(2)) + record(floats(3)) + record(floats(4), floats(5, 6))
    examples = read_records(mixed, labelled=False)
    np.testing.assert_array_equal(examples.features, [[1], [3], [4]])
    assert np.isnan(examples.labels).all()


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (record(floats(1), floats(2))[:-1], "record 2 is truncated"),
        (b"1,2\n3,4\n5,6\n", "record 2 does not start with RecordIO's magic"),
        (struct.pack("<II", MAGIC, 1 << 29) + b"\0" * 8, "record 2 is split"),
        (frame(b"\x0a\x7f1234"), "record 2: its protobuf message is truncated"),
        (frame(b"\x0f\x01"), "record 2: its protobuf message is damaged"),
        (record(floats(1), key=b"features"), 'record 2: it has no feature tensor named "values"'),
        (record(field(3, field(1, struct.pack("<d", 1.0)))), "record 2: its tensor is not float32"),
        (record(b""), "record 2: its tensor is empty"),
        (record(field(2, field(1, b"\0" * 4) + field(2, b"\x05") + field(3, b"\x05"))), "record 2: its sparse tensor"),
        (record(field(2, field(1, b"\0" * 4) + field(2, b"\x05"))), "record 2: its sparse tensor has shape"),
        (
            record(field(2, field(1, b"") + field(2, b"") + field(3, encode_varint(1 << 40)))),
            "record 2: its sparse tensor has",
        ),
    ],
)
def test_a_damaged_record_is_refused_with_its_number(damaged: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        read_records(record(floats(1), floats(2)) + damaged)


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        (record(floats(1, 2), floats(2)), "record 2 has 2 features, but record 1 has 1"),
        (record(floats(1)), "record 2 has no label"),
        (record(floats(1), floats(2, 3)), "record 2 has 2 labels"),
        (record(floats(float("nan")), floats(2)), "record 2 contains a value that is not finite"),
        (record(floats(1), floats(float("inf"))), "record 2 contains a value that is not finite"),
    ],
)
def test_an_invalid_example_is_refused_with_its_number(invalid: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_records(record(floats(1), floats(2)) + invalid)


def test_an_empty_file_and_an_empty_row_are_refused() -> None:
    with pytest.raises(DataError, match="no records"):
        read_records(b"")
    with pytest.raises(DataError, match="record 1 has no features"):
        read_records(record(field(2, b""), floats(1)))


@pytest.mark.parametrize(
    ("features", "message"),
    [([[1.0], [np.nan]], "row 2, value 1: nan is not finite"), ([[1.0, 1e39]], "row 1, value 2")],
)
def test_values_that_are_not_finite_are_not_written(features: list[list[float]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        records(np.array(features), np.zeros(len(features)))


@settings(max_examples=300)
@given(st.data())
def test_flipped_bits_raise_only_errors_of_the_package(data: st.DataObject) -> None:
    content = bytearray(records(np.ones((3, 2)), np.zeros(3)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    message = ""
    try:
        message = f"record x {len(read_records(bytes(content)).labels)}"
    except LinearLearnerError as error:
        message = str(error)
    assert "record" in message
