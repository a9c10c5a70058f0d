"""Captured requests: their encodings, their order, and how much is listed to find the newest."""

import base64
import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.endpoints.captures import CapturedRequest, parse_captures, read_captures
from aws.endpoints.invocation import CHECK_ID, invoke
from aws.endpoints.specification import EndpointSpec
from aws.endpoints.state import EndpointState
from aws.workspace import Workspace
from tests.aws.endpoints.conftest import PATIENCE

NO_METADATA = b'{"captureData": {"endpointInput": {"data": "1"}}, "eventMetadata": 7}'
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
Calls = Callable[[], Counter[str]]
Deploy = Callable[..., EndpointState]
MakeSpec = Callable[..., EndpointSpec]
Put = Callable[[str, bytes], str]


def line(data: Any, encoding: str = "CSV", content_type: str | None = "text/csv", moment: str | None = None) -> bytes:
    sent = {"mode": "INPUT", "data": data, "encoding": encoding}
    if content_type:
        sent["observedContentType"] = content_type
    metadata = {"eventId": "1"} | ({"inferenceTime": moment} if moment else {})
    output = {"observedContentType": "application/json", "mode": "OUTPUT", "data": "{}", "encoding": "JSON"}
    record = {"captureData": {"endpointInput": sent, "endpointOutput": output}, "eventMetadata": metadata}
    return json.dumps({**record, "eventVersion": "0"}).encode()


@pytest.mark.parametrize(
    ("written", "request_"),
    [
        (line("1,2\n3,4\n"), CapturedRequest(body=b"1,2\n3,4\n", content_type="text/csv", time=NOW)),
        (
            line('{"instances": []}', "JSON", "application/json", "2026-11-29T11:00:00Z"),
            CapturedRequest(body=b'{"instances": []}', content_type="application/json", time=NOW - timedelta(hours=1)),
        ),
        (
            line(base64.b64encode(b"\x0a\x23\xd7\xce\x00").decode(), "BASE64", "application/x-recordio-protobuf"),
            CapturedRequest(body=b"\x0a\x23\xd7\xce\x00", content_type="application/x-recordio-protobuf", time=NOW),
        ),
        (line("ä", content_type=None), CapturedRequest(body="ä".encode(), content_type="", time=NOW)),
    ],
)
def test_a_request_is_decoded(written: bytes, request_: CapturedRequest) -> None:
    assert parse_captures(written + b"\n", NOW) == ([request_], 0)


def test_checks_of_an_update_are_left_out() -> None:
    check = json.loads(line("1,2"))
    check["eventMetadata"]["inferenceId"] = CHECK_ID
    other = line("3,4").replace(b'"eventId"', b'"inferenceId": "of-a-user", "eventId"')
    found, unreadable = parse_captures(json.dumps(check).encode() + b"\n" + other, NOW)
    assert ([one.body for one in found], unreadable) == ([b"3,4"], 0)


@pytest.mark.parametrize(
    "damaged",
    [
        b"{", b"\xff", b"[]", b"5", b"null", b"{}", b'{"captureData": 5}', b"[" * 5000, line(5), line(None),
        line("x", "BASE64"), line("1", moment="yesterday"), NO_METADATA,
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_counted(damaged: bytes) -> None:
    requests, unreadable = parse_captures(b"\n".join([line("1"), damaged, b"", line("2")]), NOW)
    assert [request.body for request in requests] == [b"1", b"2"]
    assert unreadable == 1


@given(st.binary(max_size=40))
def test_no_content_however_strange_is_an_error(content: bytes) -> None:
    requests, unreadable = parse_captures(content, NOW)
    assert requests == []
    assert unreadable == sum(bool(one.strip()) for one in content.split(b"\n"))


def put_hour(put_object: Put, endpoint: str, moment: datetime, count: int) -> None:
    """Store an object with `count` requests of the minutes from `moment` on; their bodies are their times."""
    times = [f"{moment + timedelta(minutes=minute):%Y-%m-%dT%H:%M:%SZ}" for minute in range(count)]
    content = b"\n".join(line(moment, moment=moment) for moment in times)
    put_object(f"captures/{endpoint}/main/{moment:%Y/%m/%d/%H}/{moment:%M-%S}-000-id.jsonl", content)


def test_the_newest_requests_are_read_with_few_listings(workspace: Workspace, put_object: Put, calls: Calls) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for days in range(1, 4):
        for hour in (3, 22):
            put_hour(put_object, "churn", today - timedelta(days=days) + timedelta(hours=hour), 5)
    put_hour(put_object, "churn-b", today - timedelta(days=1), 5)
    before = calls()
    found = read_captures(workspace, "churn", 7)
    newest = today - timedelta(hours=2)
    expected = [newest + timedelta(minutes=minute) for minute in (4, 3, 2, 1, 0)]
    expected += [newest - timedelta(hours=19) + timedelta(minutes=minute) for minute in (4, 3)]
    assert [request.time for request in found] == expected
    made = calls() - before
    assert sum(made.values()) == 2 + 2 + 2  # two days, two hours, two objects
    assert found.unreadable == 0


def test_requests_of_an_endpoint_are_read_back(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str
) -> None:
    deploy(make_spec(1.0, capture_percent=100))
    sent = [
        (b"1\n2\n", "text/csv"),
        (b'{"instances": [{"features": [3]}]}', "application/json"),
        (b'{"features": [4]}\n', "application/jsonlines"),
        (b"5\n", "text/csv; label_size=0"),
    ]
    for body, content_type in sent:
        invoke(workspace, endpoint, body, content_type)
    deadline = time.monotonic() + PATIENCE
    while len(found := read_captures(workspace, endpoint, 10)) < len(sent):  # they are written in the background
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert [(one.body, one.content_type) for one in found] == sent[::-1]
    assert [one.body for one in read_captures(workspace, endpoint, 2)] == [b"5\n", b'{"features": [4]}\n']


def test_requests_older_than_a_week_and_of_others_are_not_read(workspace: Workspace, put_object: Put) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    put_hour(put_object, "churn", today - timedelta(days=9), 5)
    put_hour(put_object, "churn-b", today, 5)
    assert read_captures(workspace, "churn", 10) == []
    put_hour(put_object, "churn", today - timedelta(days=7), 2)
    put_object(f"captures/churn/main/{today:%Y/%m/%d}/00/01-00-000-id.jsonl", b"{\n")
    found = read_captures(workspace, "churn", 10)
    assert (len(found), found.unreadable) == (2, 1)
