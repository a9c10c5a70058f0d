"""A job's log: a CloudWatch stream, the same lines in the job's folder, and the metrics found in them."""

import json
import math
import re
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from linear_learner.logs.metric_definitions import METRIC_DEFINITIONS
from sandbox.account import ACCOUNT, REGION

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
BATCH_SIZE = 1000
"""Events per PutLogEvents call: a tenth of its maximum, so that batches of long lines are accepted too."""
MAX_MESSAGE_LENGTH = 100_000


class TrainingLog:
    """The log of a job: `flush` writes the added lines to disk and, after `publish` was called, to CloudWatch.

    A job that is interrupted continues in the same stream; whether the service opens a new one is not known.
    """

    def __init__(self, client: Any, job_name: str, folder: Path) -> None:
        self._client = client
        self._stream = f"{job_name}/algo-1-{int(time.time())}"
        self._file = folder / f"{self._stream.rpartition('/')[2]}.jsonl"
        self._metrics = {name: re.compile(regex) for name, regex in METRIC_DEFINITIONS.items()}
        self._metric_values: dict[str, dict[str, Any]] = {}
        self._unflushed: deque[dict[str, Any]] = deque()  # one thread may add lines while another flushes them
        self._unpublished: list[dict[str, Any]] = []
        self._published = False

    def publish(self) -> None:
        """Create the stream in CloudWatch, with the lines so far."""
        if not self._published:
            with suppress(self._client.exceptions.ResourceAlreadyExistsException):
                self._client.create_log_group(logGroupName=LOG_GROUP)
            self._client.create_log_stream(logGroupName=LOG_GROUP, logStreamName=self._stream)
            self._published = True
            self.flush()

    def add(self, line: str) -> None:
        now = time.time()
        for name, regex in self._metrics.items():
            match = regex.search(line)
            with suppress(ValueError):  # a value that an expression finds need not be a number
                if match and math.isfinite(value := float(match[1])):
                    self._metric_values[name] = {"MetricName": name, "Value": value, "Timestamp": round(now, 3)}
        if line:
            self._unflushed.append({"timestamp": int(now * 1000), "message": line[:MAX_MESSAGE_LENGTH]})

    def flush(self) -> None:
        """Write the lines that were added since the last call."""
        events = [self._unflushed.popleft() for _ in range(len(self._unflushed))]
        if events:
            with self._file.open("a") as file:
                file.writelines(f"{json.dumps(event)}\n" for event in events)
        self._unpublished += events
        while self._published and self._unpublished:
            batch, self._unpublished = self._unpublished[:BATCH_SIZE], self._unpublished[BATCH_SIZE:]
            self._client.put_log_events(logGroupName=LOG_GROUP, logStreamName=self._stream, logEvents=batch)

    def final_metrics(self) -> list[dict[str, Any]]:
        """The last value of each metric, in the form of FinalMetricDataList."""
        return [self._metric_values[name] for name in sorted(self._metric_values)]


def delete_log(folder: Path) -> None:
    for file in folder.glob("algo-1-*.jsonl"):
        file.unlink()


def restore_logs(jobs: Path) -> None:
    from moto.logs.models import logs_backends

    backend = logs_backends[ACCOUNT][REGION]
    for file in sorted(jobs.glob("*/algo-1-*.jsonl")):
        group = backend.groups.get(LOG_GROUP) or backend.create_log_group(LOG_GROUP, {})
        stream = f"{file.parent.name}/{file.stem}"
        group.create_log_stream(stream)
        with file.open() as lines:  # an incomplete last line was being written when the server was killed
            group.put_log_events(stream, [json.loads(line) for line in lines if line.endswith("\n")])
