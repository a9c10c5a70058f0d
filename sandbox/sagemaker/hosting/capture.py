"""Data capture: requests and answers of endpoints, written to S3 as JSON lines by a background thread."""

import base64
import json
import sys
import threading
import traceback
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sandbox.sagemaker.api_model import Document
from sandbox.sagemaker.hosting.deployment import Fleet

FLUSH_SECONDS = 1.0
"""From an answer to its record in S3, at most; the service's delay is not documented."""
MAX_RECORDS = 10_000
"""Records that wait to be written; further ones are dropped."""
MODES = {"endpointInput": "Input", "endpointOutput": "Output"}


class Invocation(NamedTuple):
    """What is captured of a request to an endpoint."""

    endpoint: str
    fleet: Fleet
    request: bytes
    content_type: str
    answer: bytes
    answer_type: str
    inference_id: str | None


class DataCapture:
    """Writes the invocations of endpoints with DataCaptureConfig to S3."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client
        self._shares: dict[str, float] = defaultdict(float)
        self._records: list[tuple[Invocation, datetime]] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._flush_regularly, name="sandbox-data-capture", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Write what was captured, and end the thread."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def add(self, invocation: Invocation) -> None:
        """Capture a request to an endpoint, if it is one of the sample; the sample is exact, not drawn."""
        config = invocation.fleet.config.get("DataCaptureConfig", {})
        if not config.get("EnableCapture"):
            return
        with self._lock:
            self._shares[invocation.endpoint] += config["InitialSamplingPercentage"] / 100
            if self._shares[invocation.endpoint] < 1 - 1e-9:
                return
            self._shares[invocation.endpoint] -= 1
            if len(self._records) < MAX_RECORDS:
                self._records.append((invocation, datetime.now(UTC)))

    def _flush_regularly(self) -> None:
        while True:
            is_last = self._closed.wait(FLUSH_SECONDS)
            try:
                self._flush()
            except Exception:  # noqa: BLE001 - an error of one write, as of a deleted bucket, must not end the thread
                traceback.print_exc(file=sys.stderr)
            if is_last:
                return

    def _flush(self) -> None:
        with self._lock:
            records, self._records = self._records, []
        files: dict[tuple[str, str], tuple[str, list[str]]] = {}
        for invocation, time in records:
            config = invocation.fleet.config["DataCaptureConfig"]
            variant = invocation.fleet.variant["VariantName"]
            folder = f"{config['DestinationS3Uri'].rstrip('/')}/{invocation.endpoint}/{variant}/{time:%Y/%m/%d/%H}"
            name = f"{folder}/{time:%M-%S}-{time.microsecond // 1000:03}-{uuid.uuid4()}.jsonl"
            _, lines = files.setdefault((folder, config.get("KmsKeyId", "")), (name, []))
            lines.append(json.dumps(_record(config, invocation, time)) + "\n")
        for (_, key_id), (name, lines) in files.items():
            bucket, _, key = name.removeprefix("s3://").partition("/")
            encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id} if key_id else {}
            self._client("s3").put_object(Bucket=bucket, Key=key, Body="".join(lines).encode(), **encryption)


def _record(config: Document, invocation: Invocation, time: datetime) -> Document:
    """A line of a captured file, as the service's documentation shows it."""
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    parts = {
        "endpointInput": (invocation.content_type, "INPUT", invocation.request),
        "endpointOutput": (invocation.answer_type, "OUTPUT", invocation.answer),
    }
    data = {
        name: _captured_part(config.get("CaptureContentTypeHeader", {}), *part)
        for name, part in parts.items()
        if modes & {MODES[name], "InputAndOutput"}
    }
    metadata = {"eventId": str(uuid.uuid4()), "inferenceTime": f"{time:%Y-%m-%dT%H:%M:%SZ}"}
    if invocation.inference_id:
        metadata["inferenceId"] = invocation.inference_id
    return {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}


def _captured_part(headers: Mapping[str, list[str]], content_type: str, mode: str, content: bytes) -> Document:
    media_type = content_type.partition(";")[0].strip()
    encoding = "BASE64"  # also text, unless its content type is listed
    if media_type in headers.get("CsvContentTypes", ()):
        encoding = "CSV"
    elif media_type in headers.get("JsonContentTypes", ()):
        encoding = "JSON"
    data = base64.b64encode(content).decode() if encoding == "BASE64" else content.decode(errors="replace")
    return {"observedContentType": content_type, "mode": mode, "data": data, "encoding": encoding}
