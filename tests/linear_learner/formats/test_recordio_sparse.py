"""Sparse records: what is written is protobuf, is read back many at a time, and every record is checked."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from linear_learner.errors import ArtifactError, DataError, LinearLearnerError
from linear_learner.formats.recordio import iter_records, read_records
from linear_learner.formats.recordio_sparse import MAX_FEATURES, decode_run, write_sparse
from linear_learner.formats.recordio_wire import MAGIC, encode_varint

Row = dict[int, float]
VALUES = st.floats(width=32, allow_nan=False, allow_infinity=False)


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + encode_varint(len(content)) + content if content else b""


def entry(number: int, tensor: bytes) -> bytes:
    return field(number, field(1, b"values") + field(2, field(2, tensor)))


def frame(message: bytes) -> bytes:
    return struct.pack("<II", MAGIC, len(message)) + message + b"\0" * (-len(message) % 4)


def record(row: Row, label: float | None, width: int) -> bytes:
    """A record as protobuf serialises it, encoded independently of the project's writer."""
    values = struct.pack(f"<{len(row)}f", *row.values())
    tensor = field(1, values) + field(2, b"".join(map(encode_varint, row))) + field(3, encode_varint(width))
    return frame(entry(1, tensor) + (b"" if label is None else entry(2, field(1, struct.pack("<f", label)))))


def write(rows: list[Row], labels: list[float], width: int, spare: int = 0) -> bytes:
    most = max(map(len, rows)) + spare
    values, keys = np.zeros((len(rows), most), np.float32), np.full((len(rows), most), -1, np.int32)
    for index, row in enumerate(rows):
        places = sorted(np.random.default_rng(index).permutation(most)[: len(row)])
        values[index, places], keys[index, places] = list(row.values()), list(row)
    stream = io.BytesIO()
    write_sparse(stream, np.array(labels), values, keys, width)
    return stream.getvalue()


def dense(rows: list[Row], width: int) -> NDArray[np.float32]:
    table = np.zeros((len(rows), width), np.float32)
    for index, row in enumerate(rows):
        table[index, list(row)] = list(row.values())
    return table


def many_rows(count: int, width: int = 300) -> tuple[list[Row], list[float]]:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        keys = sorted(rng.choice(width, rng.integers(1, 8), replace=False).tolist())
        rows.append(
            {key: float(np.float32(value)) for key, value in zip(keys, rng.normal(size=len(keys)), strict=True)}
        )
    return rows, np.arange(count, dtype=float).tolist()


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Row], list[float], int]:
    width = draw(st.sampled_from([1, 3, 127, 128, 129, 16_384, 70_000]))
    keys = st.integers(0, width - 1) | st.sampled_from([0, width - 1])
    rows = draw(st.lists(st.dictionaries(keys, VALUES, max_size=6), min_size=1, max_size=8))
    return rows, draw(st.lists(VALUES, min_size=len(rows), max_size=len(rows))), width


@given(tables(), st.integers(0, 2))
def test_written_records_are_those_of_protobuf_and_are_read_back(
    table: tuple[list[Row], list[float], int], spare: int
) -> None:
    rows, labels, width = table
    content = write(rows, labels, width, spare)
    assert content == b"".join(record(row, label, width) for row, label in zip(rows, labels, strict=True))
    examples = read_records(content)
    np.testing.assert_array_equal(examples.features, dense(rows, width))
    np.testing.assert_array_equal(examples.labels, np.array(labels, np.float32))


def test_many_records_are_decoded_at_once_in_blocks_of_bounded_size() -> None:
    rows, labels = many_rows(9000)
    blocks = list(iter_records(io.BytesIO(write(rows, labels, 300))))
    assert len(blocks) < 20
    assert max(block.features.nbytes for block in blocks) <= 4 << 20
    np.testing.assert_array_equal(np.concatenate([block.features for block in blocks]), dense(rows, 300))
    np.testing.assert_array_equal(np.concatenate([block.labels for block in blocks]), labels)


def test_wide_records_are_decoded_one_at_a_time() -> None:
    content = write([{MAX_FEATURES - 1: 1.0}, {0: 2.0}], [0, 1], MAX_FEATURES)
    blocks = iter_records(io.BytesIO(content))
    assert [block.features.shape for block in blocks] == [(1, MAX_FEATURES)] * 2


def test_records_without_labels_are_read() -> None:
    rows, _ = many_rows(100)
    content = b"".join(record(row, None, 300) for row in rows)
    np.testing.assert_array_equal(read_records(content, labelled=False).features, dense(rows, 300))
    with pytest.raises(DataError, match="record 1 has no label"):
        read_records(content)


def test_other_encodings_among_many_records_are_read() -> None:
    rows, labels = many_rows(120)
    parts = [record(row, label, 300) for row, label in zip(rows, labels, strict=True)]
    label_first = frame(
        entry(2, field(1, struct.pack("<f", 7)))
        + entry(1, field(1, struct.pack("<f", 5)) + field(2, b"\x04") + field(3, encode_varint(300)))
    )
    long_key = entry(
        1, field(1, struct.pack("<f", 5)) + field(2, b"\x84\x80\x80\x80\x80\x00") + field(3, encode_varint(300))
    )
    full = frame(entry(1, field(1, struct.pack("<300f", *range(300)))) + entry(2, field(1, struct.pack("<f", 7))))
    for position, other in (
        (0, label_first),
        (40, frame(long_key + entry(2, field(1, struct.pack("<f", 7))))),
        (90, full),
    ):
        parts[position] = other
        rows[position] = {4: 5.0} if other is not full else dict(enumerate(map(float, range(300))))
        labels[position] = 7
    examples = read_records(b"".join(parts))
    np.testing.assert_array_equal(examples.features, dense(rows, 300))
    np.testing.assert_array_equal(examples.labels, labels)


def test_a_value_that_looks_like_the_start_of_a_record_is_read() -> None:
    odd = struct.unpack("<f", struct.pack("<I", MAGIC))[0]
    rows: list[Row] = [dict.fromkeys(range(number % 9 + 1), odd) for number in range(100)]
    content = b"".join(record(row, 1.0, 20) for row in rows)
    np.testing.assert_array_equal(read_records(content).features, dense(rows, 20))


def test_the_last_of_repeated_keys_counts() -> None:
    tensor = field(1, struct.pack("<2f", 1, 2)) + field(2, b"\x01\x01") + field(3, b"\x03")
    content = frame(entry(1, tensor) + entry(2, field(1, bytes(4)))) * 3
    np.testing.assert_array_equal(read_records(content).features, [[0, 2, 0]] * 3)


GOOD = struct.pack("<2f", 1, 2)


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (field(1, GOOD) + field(2, b"\x01") + field(3, b"\x09"), "2 values and a different number of keys"),
        (field(1, GOOD) + field(2, b"\x01\x02\x03") + field(3, b"\x09"), "2 values and a different number of keys"),
        (field(1, GOOD) + field(2, b"\x01\x09") + field(3, b"\x09"), "a key that is not a whole number below 9"),
        (field(1, GOOD) + field(2, b"\x01\x89\x01") + field(3, b"\x09"), "a key that is not a whole number below 9"),
        (field(1, GOOD) + field(2, b"\x01\x82") + field(3, b"\x09"), "truncated"),
        (field(1, GOOD) + field(2, b"\x01" + b"\xff" * 9 + b"\x01") + field(3, b"\x09"), "a key that is not"),
        (field(1, GOOD) + field(2, b"\x01\x02") + field(3, b"\x09\x09"), "has shape"),
        (field(1, GOOD) + field(2, b"\x01\x02"), "has shape"),
        (field(1, GOOD) + field(2, b"\x01\x02") + field(3, encode_varint(1 << 40)), "has shape"),
    ],
)
@pytest.mark.parametrize("position", [0, 10, 70])
def test_a_damaged_record_among_many_is_refused_with_its_number(tensor: bytes, problem: str, position: int) -> None:
    parts = [record({1: 2.0, 8: 3.0}, 0.0, 9)] * 100
    parts[position] = frame(entry(1, tensor) + entry(2, field(1, bytes(4))))
    with pytest.raises(ArtifactError, match=rf"record {position + 1}: its .*{problem}"):
        read_records(b"".join(parts))


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (record({1: float("nan")}, 0.0, 9), "contains a value that is not finite"),
        (record({1: 1.0}, float("inf"), 9), "contains a value that is not finite"),
        (record({1: 1.0}, 0.0, 10), "has 10 features, but record 1 has 9"),
        (record({1: 1.0}, None, 9), "has no label"),
    ],
)
def test_an_invalid_example_among_many_is_refused_with_its_number(other: bytes, problem: str) -> None:
    good = record({1: 2.0, 8: 3.0}, 0.0, 9)
    with pytest.raises(DataError, match=f"record 61 {problem}"):
        read_records(b"".join([*[good] * 60, other, *[good] * 60]))


@pytest.mark.parametrize(("label", "value", "place"), [(0, np.nan, "row 2, value 1"), (np.inf, 0, "row 2, label")])
def test_values_that_are_not_finite_are_not_written(label: float, value: float, place: str) -> None:
    with pytest.raises(DataError, match=place):
        write([{0: 1.0}, {0: value}], [0, label], 3)
    assert write([{0: 1.0}, {}], [0, 1], 3)


@settings(max_examples=300)
@given(st.data())
def test_changed_bytes_give_what_the_records_contain_one_by_one_or_an_error(data: st.DataObject) -> None:
    """Decoding many records at once accepts and refuses the same records as decoding them one at a time."""
    rows, labels = many_rows(6, 140)
    content = bytearray(write(rows, labels, 140))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(bytes(content)) == outcome(bytes(content), one_by_one=True)


def outcome(content: bytes, *, one_by_one: bool = False) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        if one_by_one:
            patch.setattr("linear_learner.formats.recordio.decode_run", lambda *_: None)
        try:
            examples = read_records(content)
        except LinearLearnerError as error:
            return str(error)
        return examples.features.tolist(), examples.labels.tolist()


def test_a_run_ends_before_the_first_record_that_is_different() -> None:
    good = record({1: 2.0}, 0.0, 9)
    content = b"".join([*[good] * 5, record({1: 1.0}, 0.0, 10), good])
    run = decode_run(content, 0, 9, 100)
    assert run is not None
    assert (len(run.features), run.end) == (5, 5 * len(good))
    assert decode_run(content, run.end, 9, 100) is None
