"""A job's log: a CloudWatch stream, the same lines in the job's folder, and the metrics found in them."""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from sandbox.storage import Emulator

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
BATCH_SIZE = 1000
"""Events per PutLogEvents: a tenth of what it accepts, so that long lines fit as well."""
MAX_MESSAGE_LENGTH = 100_000
MAX_EVENT_AGE_MS = 13 * 86_400_000
"""Milliseconds; CloudWatch, and so moto, refuses events older than 14 days."""


class TrainingLog:
    """The log of a job: `flush` writes the added lines to disk and, after `publish` was called, to CloudWatch.

    A job that is interrupted continues in the same stream; whether the service opens a new one is not known.
    """

    def __init__(self, client: Any, job_name: str, folder: Path, definitions: Mapping[str, str]) -> None:
        self._client = client
        self._stream = f"{job_name}/algo-1-{int(time.time())}"
        self._file = folder / f"{self._stream.rpartition('/')[2]}.jsonl"
        self._metrics = {name: re.compile(regex) for name, regex in definitions.items()}
        self._metric_values: dict[str, dict[str, Any]] = {}
        self._unflushed: list[dict[str, Any]] = []
        self._unpublished: list[dict[str, Any]] = []
        self._published = False

    @property
    def has_unpublished_lines(self) -> bool:
        """Whether there are lines that are not in CloudWatch yet."""
        return bool(self._unpublished)

    def publish(self) -> None:
        """Create the stream in CloudWatch, with the lines so far."""
        if self._published:
            return
        with suppress(self._client.exceptions.ResourceAlreadyExistsException):
            self._client.create_log_group(logGroupName=LOG_GROUP)
        self._client.create_log_stream(logGroupName=LOG_GROUP, logStreamName=self._stream)
        self._published = True
        self._put_events()

    def add(self, line: str) -> None:
        """Add a line of the container's output."""
        now = time.time()
        for name, regex in self._metrics.items():
            if match := regex.search(line):
                self._record(name, match[1], now)
        if line:
            self._unflushed.append({"timestamp": int(now * 1000), "message": line[:MAX_MESSAGE_LENGTH]})

    def _record(self, name: str, text: str, now: float) -> None:
        try:
            value = float(text)
        except ValueError:
            return
        if math.isfinite(value):
            self._metric_values[name] = {"MetricName": name, "Value": value, "Timestamp": round(now, 3)}

    def flush(self) -> None:
        """Write the lines that were added since the last call."""
        if not self._unflushed:
            return
        events, self._unflushed = self._unflushed, []
        with self._file.open("a") as file:
            file.writelines(f"{json.dumps(event)}\n" for event in events)
        self._unpublished += events
        if self._published:
            self._put_events()

    def _put_events(self) -> None:
        events, self._unpublished = self._unpublished, []
        for batch in _batches(events):
            self._client.put_log_events(logGroupName=LOG_GROUP, logStreamName=self._stream, logEvents=batch)

    def final_metrics(self) -> list[dict[str, Any]]:
        """The last value of each metric, in the form of FinalMetricDataList."""
        return [self._metric_values[name] for name in sorted(self._metric_values)]


def delete_log(folder: Path) -> None:
    """Delete a job's log."""
    for file in folder.glob("algo-1-*.jsonl"):
        file.unlink()


def restore_logs(emulator: Emulator, jobs: Path) -> None:
    """Load the logs on disk into CloudWatch."""
    files = sorted(jobs.glob("*/algo-1-*.jsonl"))
    if files:
        _request_logs(emulator, "CreateLogGroup")
    for file in files:
        stream = {"logStreamName": f"{file.parent.name}/{file.stem}"}
        _request_logs(emulator, "CreateLogStream", **stream)
        for batch in _batches(_read(file)):
            _request_logs(emulator, "PutLogEvents", **stream, logEvents=batch)


def _read(file: Path) -> Iterator[dict[str, Any]]:
    # Lines older than CloudWatch accepts are loaded with the oldest accepted time.
    oldest = int(time.time() * 1000) - MAX_EVENT_AGE_MS
    with file.open() as lines:
        for line in lines:
            if line.endswith("\n"):
                event = json.loads(line)
                yield event | {"timestamp": max(event["timestamp"], oldest)}


def _batches(events: Any) -> Iterator[list[dict[str, Any]]]:
    remaining = iter(events)
    while batch := list(islice(remaining, BATCH_SIZE)):
        yield batch


def _request_logs(emulator: Emulator, action: str, **request: Any) -> None:
    headers = {"X-Amz-Target": f"Logs_20140328.{action}", "Content-Type": "application/x-amz-json-1.1"}
    body = json.dumps({"logGroupName": LOG_GROUP} | request).encode()
    emulator.request("logs", "POST", "/", headers=headers, body=body)
