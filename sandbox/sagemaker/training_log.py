"""A job's log: one CloudWatch stream, the same lines in the job's folder, and the metrics read off them."""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from sandbox.emulator import Emulator

GROUP = "/aws/sagemaker/TrainingJobs"
BATCH = 1000
"""Events per PutLogEvents: a tenth of what it accepts, so that long lines fit as well."""
MAX_MESSAGE_LENGTH = 100_000
ACCEPTED_AGE = 13 * 86_400_000
"""Milliseconds; CloudWatch, and so moto, refuses events older than 14 days."""


class TrainingLog:
    """The log of a job: lines are collected, `flush` puts them on disk and, once `show` was called, into CloudWatch.

    A job that is interrupted goes on in the same stream; whether the service opens a new one is not known.
    """

    def __init__(self, client: Any, job_name: str, folder: Path, definitions: Mapping[str, str]) -> None:
        self._client = client
        self._stream = f"{job_name}/algo-1-{int(time.time())}"
        self._file = folder / f"{self._stream.rpartition('/')[2]}.jsonl"
        self._metrics = {name: re.compile(regex) for name, regex in definitions.items()}
        self._found: dict[str, dict[str, Any]] = {}
        self._waiting: list[dict[str, Any]] = []
        self._unseen: list[dict[str, Any]] = []
        self._shown = False

    @property
    def hidden(self) -> bool:
        """Whether there is something that CloudWatch was not given yet."""
        return bool(self._unseen)

    def show(self) -> None:
        """Make the log appear in CloudWatch."""
        if self._shown:
            return
        with suppress(self._client.exceptions.ResourceAlreadyExistsException):
            self._client.create_log_group(logGroupName=GROUP)
        self._client.create_log_stream(logGroupName=GROUP, logStreamName=self._stream)
        self._shown = True
        self._put()

    def add(self, line: str) -> None:
        """One line of the container's output."""
        now = time.time()
        for name, regex in self._metrics.items():
            if match := regex.search(line):
                self._record(name, match[1], now)
        if line:
            self._waiting.append({"timestamp": int(now * 1000), "message": line[:MAX_MESSAGE_LENGTH]})

    def _record(self, name: str, text: str, now: float) -> None:
        try:
            value = float(text)
        except ValueError:
            return
        if math.isfinite(value):
            self._found[name] = {"MetricName": name, "Value": value, "Timestamp": round(now, 3)}

    def flush(self) -> None:
        """Hand over what was collected since the last time."""
        if not self._waiting:
            return
        events, self._waiting = self._waiting, []
        with self._file.open("a") as file:
            file.writelines(f"{json.dumps(event)}\n" for event in events)
        self._unseen += events
        if self._shown:
            self._put()

    def _put(self) -> None:
        events, self._unseen = self._unseen, []
        for batch in _batches(events):
            self._client.put_log_events(logGroupName=GROUP, logStreamName=self._stream, logEvents=batch)

    def final_metrics(self) -> list[dict[str, Any]]:
        """The last value of each metric, as FinalMetricDataList holds them."""
        return [self._found[name] for name in sorted(self._found)]


def forget(folder: Path) -> None:
    """Remove the log of an attempt that was cut short."""
    for file in folder.glob("algo-1-*.jsonl"):
        file.unlink()


def restore(emulator: Emulator, jobs: Path) -> None:
    """Put the logs on disk back into CloudWatch."""
    files = sorted(jobs.glob("*/algo-1-*.jsonl"))
    if files:
        _call(emulator, "CreateLogGroup")
    for file in files:
        stream = {"logStreamName": f"{file.parent.name}/{file.stem}"}
        _call(emulator, "CreateLogStream", **stream)
        for batch in _batches(_read(file)):
            _call(emulator, "PutLogEvents", **stream, logEvents=batch)


def _read(file: Path) -> Iterator[dict[str, Any]]:
    # Lines that are older than CloudWatch accepts come back with the oldest accepted time rather than not at all.
    oldest = int(time.time() * 1000) - ACCEPTED_AGE
    with file.open() as lines:
        for line in lines:
            if line.endswith("\n"):
                event = json.loads(line)
                yield event | {"timestamp": max(event["timestamp"], oldest)}


def _batches(events: Any) -> Iterator[list[dict[str, Any]]]:
    remaining = iter(events)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _call(emulator: Emulator, action: str, **request: Any) -> None:
    headers = {"X-Amz-Target": f"Logs_20140328.{action}", "Content-Type": "application/x-amz-json-1.1"}
    body = json.dumps({"logGroupName": GROUP} | request).encode()
    emulator.request("logs", "POST", "/", headers=headers, body=body)
