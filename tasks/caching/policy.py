"""Which results of earlier runs a step reuses, and which failures of a step are retried."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from prefect import Task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.results import ResultRecord  # type: ignore[attr-defined] # it is public all the same
from prefect.tasks import exponential_backoff
from pydantic import BaseModel, ConfigDict

from aws.errors import AwsError
from tasks.caching.explain_rerun import DATA_FACTS, explain_rerun
from tasks.caching.result_storage import BucketResultStorage

Inputs = Mapping[str, Any]
PAUSE_SECONDS = (2.0, 8.0)
"""Seconds before asking once more what was kept, when AWS does not answer; boto3 has asked five times by then."""


class Result(BaseModel):
    """What a step returns: a small reference to what it made, kept as JSON."""

    model_config = ConfigDict(frozen=True)


def fingerprint(*parts: object) -> str:
    """Twenty hexadecimal digits that stand for `parts`, which may be anything JSON can say, and pydantic models."""
    content = json.dumps(parts, sort_keys=True, default=lambda part: part.model_dump(mode="json"))
    return hashlib.sha256(content.encode()).hexdigest()[:20]


@dataclass(kw_only=True)
class ContentCachePolicy(CachePolicy):
    """Reuse the result kept for the same `identity`, as long as nothing of what it refers to is `missing`.

    `identity` names content, never the clock, a run or a machine; `missing` names what is gone or was changed; in the
    facts `depends_on` names the reason for doing the step again is looked for. A result that is not to be used is taken
    back, and the one that the step makes takes its place.
    """

    step: str
    identity: Callable[[Inputs], tuple[object, ...]]
    missing: Callable[[Inputs, Any], Sequence[str]] = lambda _inputs, _cached: ()
    depends_on: tuple[str, ...] = DATA_FACTS

    def compute_key(self, task_ctx: TaskRunContext, inputs: Inputs, flow_parameters: Inputs, **_: Any) -> str | None:
        """The key under which a result is kept; None, which keeps nothing, when AWS cannot tell what the input is."""
        del flow_parameters
        for pause in (*PAUSE_SECONDS, None):
            try:
                return self._key_of_inputs(task_ctx, inputs)
            except AwsError as error:
                if not error.retryable:
                    return None  # the step itself meets the same error, and reports it
                get_run_logger().warning("It cannot be told whether this step may be reused. %s", error)
                if pause is not None:
                    time.sleep(pause)
        return None

    def _key_of_inputs(self, task_ctx: TaskRunContext, inputs: Inputs) -> str:
        # Prefect types the storage's methods as coroutines; called with _sync they are none.
        storage = cast("Any", task_ctx.result_store.result_storage)
        key = f"{self.step}-{fingerprint(*self.identity(inputs))}"
        objection = storage.fetch(key) if isinstance(storage, BucketResultStorage) else None
        cached = _deserialize(storage, key)
        reason = explain_rerun(self.step, self.depends_on, task_ctx.task_run.name)
        if cached is not None:
            objection = objection or self._objection(inputs, cached)
            if objection is None:
                get_run_logger().info("reused: %s", cached, extra={"reused": self.step})
                return key
            # Prefect has no way to take a result back; what it cannot open it takes for none.
            storage.write_path(key, b"", _sync=True)
            reason = f"again, because {objection}"
        get_run_logger().info(reason)
        return key

    def _objection(self, inputs: Inputs, cached: object) -> str | None:
        missing = self.missing(inputs, cached)
        if not missing:
            return None
        where = " in the bucket" if missing[0].startswith("s3://") else ""
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} gone or changed{where}"


def _deserialize(storage: Any, key: str) -> object | None:
    try:
        return cast("object", ResultRecord.deserialize(storage.read_path(key, _sync=True)).result)
    except Exception:  # noqa: BLE001 - there is none, or one of an older release, in whatever way it fails to open
        return None


def is_retryable(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether the step failed for a passing reason; Prefect calls this before each retry."""
    del task, task_run
    error = state.result(raise_on_failure=False)
    return bool(getattr(error, "retryable", isinstance(error, OSError)))


class RetryOptions(TypedDict):
    retries: int
    retry_delay_seconds: Callable[[int], list[float]]
    retry_jitter_factor: float
    retry_condition_fn: Callable[[Task[..., Any], TaskRun, State[Any]], bool]


class PersistOptions(TypedDict):
    persist_result: bool
    result_serializer: str


RETRIES: RetryOptions = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_retryable,
}
"""For steps that talk to AWS: four more tries after 2, 4, 8 and 16 seconds, if the error is a passing one."""
PERSISTED: PersistOptions = {"persist_result": True, "result_serializer": "json"}
"""For steps whose result later runs may reuse: readable, no pickles."""
