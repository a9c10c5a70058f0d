"""When a step's result is reused, and which failures of a step are retried."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.tasks import exponential_backoff
from pydantic import BaseModel

from aws.workspace import Workspace
from tasks.caching.explain_rerun import Facts
from tasks.environment.errors import is_temporary

Inputs = Mapping[str, Any]


class Result(BaseModel, frozen=True):
    """The return value of a step: a small reference to the files, objects or job it made, stored as JSON."""

    def missing(self, workspace: Workspace) -> Sequence[str]:
        """Return the files and objects of this result that are missing or changed; it is reused if there are none."""
        del workspace
        return ()


def fingerprint(*parts: object) -> str:
    """Return 20 hexadecimal digits of the SHA-256 of `parts`, which are JSON values and pydantic models."""
    content = json.dumps(parts, sort_keys=True, default=lambda part: part.model_dump(mode="json"))
    return hashlib.sha256(content.encode()).hexdigest()[:20]


@dataclass(kw_only=True)
class ContentCachePolicy(CachePolicy):
    """Reuse a result of the same `step` with the same `facts`.

    Facts are computed only from the inputs of the step. They describe content, never a time, a run or a machine, and
    their changes explain why a step runs again.
    """

    step: str
    facts: Callable[[Inputs], Facts]

    def compute_key(self, task_ctx: TaskRunContext, inputs: Inputs, flow_parameters: Inputs, **_: Any) -> str:
        """Return the key under which the result is stored."""
        del task_ctx, flow_parameters
        return f"{self.step}-{fingerprint(self.facts(inputs))}"


def is_retryable(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Return whether the step failed for a temporary reason; Prefect calls this before each retry.

    A full disk, a missing permission and a missing file of this machine are not temporary; a lost connection is.
    """
    del task, task_run
    error = state.result(raise_on_failure=False)
    retryable = getattr(error, "retryable", None)
    return isinstance(error, BaseException) and is_temporary(error) if retryable is None else bool(retryable)


RETRIES: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_retryable,
}
"""Options of steps that call AWS: four more attempts, after 2, 4, 8 and 16 seconds, if the error is temporary."""
UNCACHED: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False, "result_serializer": "json"}
"""Options of steps that run every time."""


def cached(step: str, facts: Callable[[Inputs], Facts]) -> dict[str, Any]:
    """Return the options of a step whose result later runs reuse; it is stored as JSON, not pickled."""
    policy = ContentCachePolicy(step=step, facts=facts)
    # The result storage applies PREFECT_TASKS_REFRESH_CACHE itself; Prefect would not ask it why a step runs again.
    return {"cache_policy": policy, "refresh_cache": False, "persist_result": True, "result_serializer": "json"}
