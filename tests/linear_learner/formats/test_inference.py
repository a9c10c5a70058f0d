"""Requests and responses in every documented format."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.errors import ArtifactError, DataError
from linear_learner.formats.csv import BlockPosition, parse_block
from linear_learner.formats.inference import JSON, JSONLINES, parse_request, render_response
from linear_learner.formats.recordio_wire import MAGIC
from linear_learner.model import Predictions
from tests.linear_learner.formats.files import records

ROWS = np.array([[1.5, 0, 14], [0, 2, -3e-3]], np.float32)
REGRESSION = Predictions(np.array([0.25, -3], np.float32), None)
BINARY = Predictions(np.array([0.25, 0.75], np.float32), np.array([0, 1], np.float32))
MULTICLASS = Predictions(np.array([[0.25, 0.5, 0.25]], np.float32), np.array([1], np.float32))


DENSE = [{"features": [1.5, 0, 14]}, {"data": {"features": {"values": [0, 2, -3e-3]}}}]
SPARSE = [
    {"data": {"features": {"keys": [0, 2], "shape": [3], "values": [1.5, 14]}}},
    {"data": {"features": [0, 2, -3e-3]}},
]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"1.5,0,14\n0,2,-3e-3", "text/csv"),
        (b"1.5,0,14\r\n0,2,-3e-3\r\n", "text/csv; charset=utf-8"),
        (json.dumps({"instances": DENSE}).encode(), "application/json"),
        (json.dumps({"instances": SPARSE}).encode(), "Application/JSON; charset=utf-8"),
        ("\n".join(map(json.dumps, DENSE)).encode(), "application/jsonlines"),
        (("\n".join(map(json.dumps, SPARSE)) + "\n").encode(), "application/jsonlines"),
        (records(ROWS), "application/x-recordio-protobuf"),
    ],
)
def test_requests_in_all_documented_formats_give_the_same_rows(body: bytes, content_type: str) -> None:
    rows = parse_request(body, content_type)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, ROWS)


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        ({"features": [1, "2", 3]}, 'row 2: feature 2 is "2", not a finite float32 number'),
        ({"features": [1, None, 3]}, "row 2: feature 2 is null"),
        ({"features": [1, True, 3]}, "row 2: feature 2 is true"),
        ({"features": [1, 10**400, 3]}, "row 2: feature 2 is 1000"),
        ({"features": [1, 1e39, 3]}, r"row 2: feature 2 is 1e\+39"),
        ({"features": [1, float("nan"), 3]}, "row 2: feature 2 is NaN"),
        ({"features": [1, [2], 3]}, r"row 2: feature 2 is \[2\]"),
        ({"features": [1, 2]}, "row 2 has 2 features, but row 1 has 3"),
        ({"features": []}, r'row 2: "features": \[...\] is missing or empty'),
        ({"feature": [1, 2, 3]}, r'row 2: "features": \[...\] is missing or empty'),
        ([1, 2, 3], r'row 2: "features": \[...\] is missing or empty'),
        ({"data": 1}, r'row 2: "features": \[...\] is missing or empty'),
        ({"data": {"features": {"keys": [3], "shape": [3], "values": [1]}}}, "row 2: its sparse tensor has a key"),
        ({"data": {"features": {"keys": [-1], "shape": [3], "values": [1]}}}, "row 2: its sparse tensor has a key"),
        (
            {"data": {"features": {"keys": [0, 1], "shape": [3], "values": [1]}}},
            "row 2: its sparse tensor has 1 values",
        ),
        ({"data": {"features": {"keys": [0], "values": [1]}}}, "row 2: its sparse tensor has shape None"),
        ({"data": {"features": {"keys": [0], "shape": [10**12], "values": [1]}}}, "row 2: its sparse tensor has shape"),
    ],
)
def test_an_invalid_instance_is_refused_with_its_row(instance: object, message: str) -> None:
    instances = [DENSE[0], instance]
    for body, kind in [
        (json.dumps({"instances": instances}), JSON),
        ("\n".join(map(json.dumps, instances)), JSONLINES),
    ]:
        with pytest.raises(DataError, match=message):
            parse_request(body.encode(), kind)


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"{", "application/json", "the request is not JSON"),
        (b"[" * 100_000, "application/json", "the request is not JSON"),
        (b"[]", "application/json", "the request is not {"),
        (b'{"instances": []}', "application/json", "no rows"),
        (b'{"features": [1]}\n{', "application/jsonlines", "row 2 is not JSON"),
        (b"", "application/jsonlines", "row 1 is not JSON"),
        (b"", "text/csv", "the request, row 1 is empty"),
        (b"1,2\n1,x", "text/csv", "the request, row 2, column 2: found 'x'"),
        (b"", "application/x-recordio-protobuf", "no records"),
        (b"1", "image/png", "content type 'image/png' is unknown; use text/csv"),
    ],
)
def test_an_invalid_request_is_refused(body: bytes, content_type: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_request(body, content_type)


def test_a_damaged_record_in_a_request_is_refused_with_its_number() -> None:
    with pytest.raises(ArtifactError, match="record 2 is truncated"):
        parse_request(records(ROWS)[:-4], "application/x-recordio-protobuf")


CELLS = st.sampled_from(["0", "1", "-2.5e-3", "+1", ".5", "1.", "007", " 3", "1e39", "", "x"]) | st.floats(
    width=32
).map(str)


@given(st.lists(CELLS, min_size=1), st.integers(1, 4))
def test_csv_is_read_as_in_training(cells: list[str], width: int) -> None:
    text = "\n".join(",".join(cells[start : start + width]) for start in range(0, len(cells), width)).encode()
    try:
        expected: object = parse_block(text, 0, BlockPosition("the request")).tolist()
    except DataError as error:
        expected = str(error)
    try:
        found: object = parse_request(text + b"\n", "text/csv").tolist()
    except DataError as error:
        found = str(error)
    assert found == expected


def test_json_responses_have_the_documented_format() -> None:
    assert json.loads(render_response(REGRESSION)) == {"predictions": [{"score": 0.25}, {"score": -3}]}
    labelled = [{"score": 0.25, "predicted_label": 0}, {"score": 0.75, "predicted_label": 1}]
    assert json.loads(render_response(BINARY, JSON)) == {"predictions": labelled}
    assert json.loads(render_response(MULTICLASS)) == {
        "predictions": [{"score": [0.25, 0.5, 0.25], "predicted_label": 1}]
    }


def test_json_lines_responses_have_one_line_per_row() -> None:
    assert render_response(BINARY, JSONLINES) == (
        b'{"score": 0.25, "predicted_label": 0}\n{"score": 0.75, "predicted_label": 1}\n'
    )


def test_recordio_responses_have_score_and_label_in_the_label_map() -> None:
    body = render_response(MULTICLASS, "application/x-recordio-protobuf")
    score = b"\x12\x19\x0a\x05score\x12\x10\x12\x0e\x0a\x0c" + struct.pack("<3f", 0.25, 0.5, 0.25)
    label = b"\x12\x1b\x0a\x0fpredicted_label\x12\x08\x12\x06\x0a\x04" + struct.pack("<f", 1)
    assert body == struct.pack("<II", MAGIC, len(score + label)) + score + label + b"\0" * (-len(score + label) % 4)


def test_csv_responses_are_refused() -> None:
    with pytest.raises(DataError, match="does not respond in 'text/csv'"):
        render_response(BINARY, "text/csv")


@given(st.binary(max_size=60), st.sampled_from(["text/csv", JSON, JSONLINES, "application/x-recordio-protobuf"]))
def test_arbitrary_bytes_are_parsed_or_refused(body: bytes, content_type: str) -> None:
    try:
        rows = parse_request(body, content_type)
    except (DataError, ArtifactError):
        return
    assert rows.ndim == 2
    assert np.isfinite(rows).all()
