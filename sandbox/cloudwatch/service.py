"""CloudWatch's calls, the metrics of endpoints, and the states of alarms."""

import json
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Response

from sandbox.account import ACCOUNT, REGION
from sandbox.cloudwatch.evaluation import evaluate
from sandbox.cloudwatch.metrics import MetricKey, MetricStore, Summary, summary_of
from sandbox.storage import Emulator, read_body, replace_json, skip_if_damaged

FIRST_EVALUATION_SECONDS = 60.0
"""From the creation of an alarm to its first evaluation: CloudWatch evaluates about every minute (inferred)."""
RETENTION_SECONDS = 48 * 3600
"""How long values can be read with GetMetricStatistics."""
MAX_VALUES = 50_000


class CloudWatch:
    """Alarms and metrics; alarms survive a restart, without their states and the values of metrics."""

    def __init__(self, file: Path, emulator: Emulator, speed: float) -> None:
        """`file` stores the alarms. The periods of alarms are divided by `speed`."""
        self._file = file
        self._emulator = emulator
        self._speed = speed
        self._store = MetricStore(speed)
        self._lock = threading.RLock()
        self._requests: dict[str, dict[str, Any]] = {}
        self._created: dict[str, float] = {}
        self._minutes: dict[MetricKey, Any] = {}

    def restore(self) -> None:
        """Load moto's part, and put the stored alarms into it."""
        from moto.cloudwatch.models import cloudwatch_backends

        self._backend = cloudwatch_backends[ACCOUNT][REGION]
        if self._file.exists():
            with skip_if_damaged(self._file):
                for name, request in json.loads(self._file.read_text()).items():
                    headers, body = request["headers"], request["body"].encode()
                    self._emulator.request("monitoring", "POST", "/", headers=headers, body=body)
                    self._enter_alarm(name, request, "INSUFFICIENT_DATA")

    def perform(self, action: str, parameters: Mapping[str, Any], environ: dict[str, Any]) -> Response:
        """Perform a call; raises NotImplementedError for an action that moto does not implement."""
        body = read_body(environ)
        with self._lock:
            if action == "DescribeAlarms":
                self.evaluate_alarms()
            states = {name: alarm.state_value for name, alarm in self._backend.alarms.items()}
            values = len(self._backend.metric_data)
            response = self._emulator.respond(environ)
            if response.status_code >= 300:
                return response
            if action == "PutMetricData":
                self._add_values(self._backend.metric_data[values:])
            if action == "PutMetricAlarm":
                name = str(parameters["AlarmName"])
                headers = {"Content-Type": environ["CONTENT_TYPE"]}
                if "HTTP_X_AMZ_TARGET" in environ:
                    headers["X-Amz-Target"] = environ["HTTP_X_AMZ_TARGET"]
                self._enter_alarm(name, {"headers": headers, "body": body.decode()}, states.get(name))
            if action in {"PutMetricAlarm", "DeleteAlarms"}:
                self._requests = {name: one for name, one in self._requests.items() if name in self._backend.alarms}
                replace_json(self._file, self._requests)
        return response

    def _enter_alarm(self, name: str, request: dict[str, Any], state: str | None) -> None:
        """Record a new or changed alarm; a changed one keeps its state."""
        self._requests[name] = request
        self._created[name] = time.time()
        alarm = self._backend.alarms[name]
        alarm.state_value = state or "INSUFFICIENT_DATA"

    def _add_values(self, values: Iterable[Any]) -> None:
        for one in values:
            key = MetricKey(one.namespace, one.name, frozenset((pair.name, pair.value) for pair in one.dimensions))
            if hasattr(one, "value"):
                summary = summary_of(one.value)
            else:
                summary = Summary(one.sample_count, one.sum, one.min, one.max)
            self._store.add(key, _seconds(one.timestamp), summary)
        self._drop_old_values()

    def _drop_old_values(self) -> None:
        if len(self._backend.metric_data) > MAX_VALUES:
            oldest = time.time() - RETENTION_SECONDS
            recent = [one for one in self._backend.metric_data if _seconds(one.timestamp) > oldest]
            self._backend.metric_data = recent[-MAX_VALUES // 2 :]

    def record_invocation(self, endpoint: str, variant: str, status: int, microseconds: float) -> None:
        """Add an invocation to the metrics of an endpoint."""
        dimensions, now = (("EndpointName", endpoint), ("VariantName", variant)), time.time()
        with self._lock:
            for name, value in (
                ("Invocations", 1.0),
                ("Invocation4XXErrors", float(400 <= status < 500)),
                ("Invocation5XXErrors", float(status >= 500)),
                ("ModelLatency", microseconds),
            ):
                key = MetricKey("AWS/SageMaker", name, frozenset(dimensions))
                self._store.add(key, now, summary_of(value))
                self._add_to_minute(key, now, value)

    def _add_to_minute(self, key: MetricKey, now: float, value: float) -> None:
        """Add to the value of this minute in moto, whose times have no zone; GetMetricStatistics reads it."""
        from moto.cloudwatch.models import MetricAggregatedDatum

        start, datum = now - now % 60, self._minutes.get(key)
        if datum is None or _seconds(datum.timestamp) != start:
            dimensions = [{"Name": name, "Value": one} for name, one in sorted(key.dimensions)]
            timestamp = datetime.fromtimestamp(start, UTC).replace(tzinfo=None)
            unit = "Microseconds" if key.name == "ModelLatency" else "None"
            datum = MetricAggregatedDatum(key.namespace, key.name, value, value, 0.0, 0.0, dimensions, timestamp, unit)
            self._minutes[key] = datum
            self._backend.metric_data.append(datum)
            self._drop_old_values()
        datum.min, datum.max = min(datum.min, value), max(datum.max, value)
        datum.sample_count += 1
        datum.sum += value

    def missing_alarms(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name not in self._backend.alarms]

    def first_in_alarm(self, names: Iterable[str]) -> str | None:
        """The first of these alarms that is in the state ALARM."""
        alarms = self._backend.alarms
        return next((name for name in names if name in alarms and alarms[name].state_value == "ALARM"), None)

    def evaluate_alarms(self) -> None:
        """Set the states of all alarms on a single metric."""
        now = time.time()
        with self._lock:
            for name, alarm in list(self._backend.alarms.items()):
                if alarm.metric_name and now >= self._created.get(name, now) + FIRST_EVALUATION_SECONDS / self._speed:
                    self._evaluate(alarm, now)

    def _evaluate(self, alarm: Any, now: float) -> None:
        dimensions = frozenset((pair.name, pair.value) for pair in alarm.dimensions)
        key = MetricKey(alarm.namespace, alarm.metric_name, dimensions)
        periods = self._store.periods(key, now, int(alarm.period), int(alarm.evaluation_periods))
        statistic = alarm.statistic or alarm.extended_statistic
        values = [period.statistic(statistic) if period else None for period in periods]
        needed = int(alarm.datapoints_to_alarm or alarm.evaluation_periods)
        missing = alarm.treat_missing_data or "missing"
        state, reason = evaluate(
            values, alarm.comparison_operator, float(alarm.threshold), needed, missing, alarm.state_value
        )
        if state != alarm.state_value:
            alarm.update_state(reason, "{}", state)
            del alarm.history[:-10]


def _seconds(timestamp: datetime) -> float:
    """Seconds since the epoch; moto's times without a zone are in UTC."""
    return (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)).timestamp()
