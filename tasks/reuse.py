"""What a step may reuse from earlier runs, and whether a failed step is worth another try."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypedDict, cast

from prefect import Task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.results import ResultStore, get_result_store
from prefect.tasks import exponential_backoff
from pydantic import BaseModel, ConfigDict

from aws.errors import AwsError

Inputs = Mapping[str, Any]


class Result(BaseModel):
    """What a step returns: a small reference to what it made, kept as JSON."""

    model_config = ConfigDict(frozen=True)


def fingerprint(*parts: object) -> str:
    """Twenty hexadecimal digits that stand for `parts`, which may be anything JSON can say, and pydantic models."""
    said = json.dumps(parts, sort_keys=True, default=lambda part: part.model_dump(mode="json"))
    return hashlib.sha256(said.encode()).hexdigest()[:20]


@dataclass(kw_only=True)
class WhileItExists(CachePolicy):
    """Reuse the result kept for the same `identity`, as long as what it refers to `exists`.

    `identity` names content, never the clock, a run or a machine. Prefect has no way to take a kept result back, so a
    result whose object is gone is left behind and the next generation of the same key is used.
    """

    step: str
    identity: Callable[[Inputs], tuple[object, ...]]
    exists: Callable[[Inputs, Any], bool]

    def compute_key(self, task_ctx: TaskRunContext, inputs: Inputs, flow_parameters: Inputs, **_: Any) -> str | None:
        """The key under which a result is kept; None, which keeps nothing, when AWS cannot tell what the input is."""
        del task_ctx, flow_parameters
        store = get_result_store()
        try:
            name = f"{self.step}-{fingerprint(*self.identity(inputs))}"
            for generation in count():
                key = f"{name}-{generation}"
                if not store.exists(key):
                    return key
                kept = _read(store, key)
                if kept is not None and self.exists(inputs, kept):
                    get_run_logger().info("reused: %s", kept, extra={"reused": self.step})
                    return key
        except AwsError:
            return None  # the step itself meets the same error, and reports it
        raise AssertionError  # count() has no end


def _read(store: ResultStore, key: str) -> object | None:
    try:
        return cast("object", store.read(key).result)
    except Exception:  # noqa: BLE001 - a record of an older release, in whatever way it fails to load
        return None


def worth_retrying(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether the step failed for a passing reason; Prefect calls this before each retry."""
    del task, task_run
    error = state.result(raise_on_failure=False)
    return bool(getattr(error, "retryable", isinstance(error, OSError)))


class Retries(TypedDict):
    retries: int
    retry_delay_seconds: Callable[[int], list[float]]
    retry_jitter_factor: float
    retry_condition_fn: Callable[[Task[..., Any], TaskRun, State[Any]], bool]


class Kept(TypedDict):
    persist_result: bool
    result_serializer: str


RETRIES: Retries = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_retrying,
}
"""For steps that talk to AWS: four more tries after 2, 4, 8 and 16 seconds, if the error is a passing one."""
KEPT: Kept = {"persist_result": True, "result_serializer": "json"}
"""For steps whose result later runs may reuse: readable, no pickles."""


def cache_folder() -> Path:
    """Folder on this machine for what may be lost."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "train-linear-learner"


def work_folder(identity: str) -> Path:
    """Folder on this machine for the files of one prepared table; removed once they are in S3."""
    return cache_folder() / "work" / identity
