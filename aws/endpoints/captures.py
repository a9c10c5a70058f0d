"""Requests that SageMaker has recorded in the workspace's bucket.

They are JSON lines in objects `captures/ENDPOINT/main/yyyy/mm/dd/hh/NAME.jsonl` (UTC), written some minutes after the
request.
"""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import AwareDatetime, BaseModel

from aws.endpoints.invocation import CHECK_ID
from aws.endpoints.specification import VARIANT
from aws.errors import translate_errors
from aws.storage import read_object
from aws.workspace import Workspace, split_uri

MAX_DAYS = 7
"""Days before today in which captured requests are looked for."""


class CapturedRequest(BaseModel, frozen=True):
    """A request that an endpoint has received."""

    body: bytes
    content_type: str
    """Empty if the request had none."""
    time: AwareDatetime


class CapturedRequests(list[CapturedRequest]):
    """Captured requests, newest first, and the number of lines that could not be read."""

    unreadable: int = 0


def read_captures(workspace: Workspace, endpoint: str, limit: int) -> CapturedRequests:
    """Return the newest captured requests, at most `limit`, newest first.

    Requests that checked the endpoint during an update are left out. Lists one day after the other, from today back,
    and within a day only as many hours as are needed. Lines that cannot be read are skipped and counted in
    `unreadable`.
    """
    captures = CapturedRequests()
    for hour in _list_hours(workspace, workspace.uri("captures", endpoint, VARIANT)):
        for uri in sorted(_list(workspace, hour)[0], reverse=True):
            if len(captures) >= limit:
                break
            content, modified = read_object(workspace, uri)
            requests, unreadable = parse_captures(content, modified)
            captures += reversed(requests)  # of the same second, the last is the newest
            captures.unreadable += unreadable
        if len(captures) >= limit:
            break
    # Objects of one hour may overlap in time.
    captures.sort(key=lambda request: request.time, reverse=True)
    del captures[limit:]
    return captures


def parse_captures(content: bytes, modified: datetime) -> tuple[list[CapturedRequest], int]:
    """Return the requests in an object of captures, and the number of lines that could not be read.

    A request without a readable time has the time of the object.
    """
    requests, unreadable = [], 0
    for line in filter(bytes.strip, content.split(b"\n")):
        try:
            request = _parse_line(line, modified)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            unreadable += 1
            continue
        if request is not None:
            requests.append(request)
    return requests, unreadable


def _parse_line(line: bytes, modified: datetime) -> CapturedRequest | None:
    record: dict[str, Any] = json.loads(line)
    if record.get("eventMetadata", {}).get("inferenceId") == CHECK_ID:
        return None
    sent = record["captureData"]["endpointInput"]
    data = sent["data"]
    is_base64 = sent.get("encoding") == "BASE64"
    body = base64.b64decode(data, validate=True) if is_base64 else data.encode()
    time = record.get("eventMetadata", {}).get("inferenceTime") or modified
    return CapturedRequest(body=body, content_type=sent.get("observedContentType") or "", time=time)


def _list_hours(workspace: Workspace, folder: str) -> Iterator[str]:
    """Yield the folders of the hours that have captures, newest first."""
    today = datetime.now(UTC)
    for days in range(MAX_DAYS + 1):
        day = f"{today - timedelta(days=days):%Y/%m/%d}"
        yield from sorted(_list(workspace, f"{folder}/{day}/")[1], reverse=True)


def _list(workspace: Workspace, folder: str) -> tuple[list[str], list[str]]:
    """Return the URIs of the objects and of the folders directly in a folder."""
    bucket, prefix = split_uri(folder)
    objects: list[str] = []
    folders: list[str] = []
    with translate_errors(f"listing {folder}"):
        pages = workspace.client("s3").get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
            objects += [f"s3://{bucket}/{item['Key']}" for item in page.get("Contents", [])]
            folders += [f"s3://{bucket}/{item['Prefix']}" for item in page.get("CommonPrefixes", [])]
    return objects, folders
