"""What a step may reuse from earlier runs, where that is kept, and whether a failed step is worth another try."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any, TypedDict, cast

from prefect import Task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.filesystems import WritableFileSystem
from prefect.logging import get_run_logger
from prefect.results import (  # type: ignore[attr-defined] # ResultRecord is public all the same
    ResultRecord,
    ResultStore,
)
from prefect.tasks import exponential_backoff
from pydantic import BaseModel, ConfigDict, PrivateAttr

from aws.errors import AccessDenied, AwsError, NotFound
from aws.storage import read_object, write_object
from aws.workspace import Workspace
from tasks.parameters import Reuse
from tasks.reasons import DATA, why

Inputs = Mapping[str, Any]
LONGEST_KEPT = 7 * 24 * 3600
"""Seconds that files of this machine wait for a run to go on with them."""
PAUSES = (2.0, 8.0)
"""Seconds before asking once more what was kept, when AWS does not answer; boto3 has asked five times by then."""


class Result(BaseModel):
    """What a step returns: a small reference to what it made, kept as JSON."""

    model_config = ConfigDict(frozen=True)


class KeptInBucket(WritableFileSystem):
    """Results of the steps in the workspace's bucket: one call to look for one, one call to keep one."""

    _block_type_name = "Results in a Training Workspace"
    # Private, so that nothing that describes a run can show the workspace's credentials.
    _workspace: Workspace = PrivateAttr()
    _reuse: Reuse = PrivateAttr()
    _found: dict[str, bytes] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(cls, workspace: Workspace, reuse: Reuse) -> "KeptInBucket":
        """Storage of that workspace, for the length of one run."""
        storage = cls()
        storage._workspace, storage._reuse = workspace, reuse
        return storage

    def look(self, key: str) -> str | None:
        """Fetch what is kept under `key`; the reason not to use it, if that can be told without opening it."""
        self._found[key] = b""
        try:
            self._found[key], written = read_object(self._workspace, self._uri(key))
        except NotFound:
            return None
        except AccessDenied as error:
            # S3's answer, too, to those who may not list the bucket when there is no such object.
            get_run_logger().warning("What may not be read cannot be reused. %s", error)
            return None
        if self._reuse.refresh:
            return "refresh was asked for"
        days = self._reuse.max_age_days
        if days is not None and datetime.now(UTC) - written > timedelta(days=days):
            return f"the result is older than {days:g} day{'s' if days != 1 else ''}"
        return None

    def read_path(self, path: str, _sync: bool = True) -> bytes:  # type: ignore[override] # Prefect calls it either way
        """What `look` found: Prefect asks again, and would take a call that failed for an absence."""
        return self._found[path]

    def write_path(self, path: str, content: bytes, _sync: bool = True) -> None:  # type: ignore[override] # the same
        """Keep a step's result. When AWS does not take it, the run has it all the same, and goes on."""
        if path not in self._found:
            return  # a failed step's exception, which Prefect would keep, too
        self._found[path] = content
        if not content:
            return
        try:
            write_object(self._workspace, self._uri(path), content)
        except AwsError as error:
            get_run_logger().warning("The next run has to do this step again. %s", error)

    def _uri(self, path: str) -> str:
        return self._workspace.uri("results", f"{path}.json")

    @staticmethod
    def _resolve_path(path: str) -> str:
        return path  # without this Prefect looks for the key in the working folder


@contextmanager
def results_in(workspace: Workspace, reuse: Reuse = Reuse()) -> Iterator[None]:  # noqa: B008 - it is frozen
    """Keep the results of the steps that the block calls in the workspace's bucket; for the body of a flow.

    So a worker with an empty disk reuses them. Prefect's decorators cannot say it, as the workspace is a parameter of
    the flow; the flow's own result stays where Prefect is configured to keep it.
    """
    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("results_in is for the body of a flow")
    storage, serializer = KeptInBucket.of(workspace, reuse), context.result_store.serializer
    with context.model_copy(update={"result_store": ResultStore(result_storage=storage, serializer=serializer)}):
        yield


def fingerprint(*parts: object) -> str:
    """Twenty hexadecimal digits that stand for `parts`, which may be anything JSON can say, and pydantic models."""
    said = json.dumps(parts, sort_keys=True, default=lambda part: part.model_dump(mode="json"))
    return hashlib.sha256(said.encode()).hexdigest()[:20]


@dataclass(kw_only=True)
class WhileItExists(CachePolicy):
    """Reuse the result kept for the same `identity`, as long as nothing of what it refers to is `missing`.

    `identity` names content, never the clock, a run or a machine; `missing` names what is gone or was changed; in the
    facts `of` these names the reason for doing the step again is looked for. A result that is not to be used is taken
    back, and the one that the step makes takes its place.
    """

    step: str
    identity: Callable[[Inputs], tuple[object, ...]]
    missing: Callable[[Inputs, Any], Sequence[str]] = lambda _inputs, _kept: ()
    of: tuple[str, ...] = DATA

    def compute_key(self, task_ctx: TaskRunContext, inputs: Inputs, flow_parameters: Inputs, **_: Any) -> str | None:
        """The key under which a result is kept; None, which keeps nothing, when AWS cannot tell what the input is."""
        del flow_parameters
        for pause in (*PAUSES, None):
            try:
                return self._judged(task_ctx, inputs)
            except AwsError as error:
                if not error.retryable:
                    return None  # the step itself meets the same error, and reports it
                get_run_logger().warning("It cannot be told whether this step may be reused. %s", error)
                if pause is not None:
                    time.sleep(pause)
        return None

    def _judged(self, task_ctx: TaskRunContext, inputs: Inputs) -> str:
        # Prefect types the storage's methods as coroutines; called with _sync they are none.
        storage = cast("Any", task_ctx.result_store.result_storage)
        key = f"{self.step}-{fingerprint(*self.identity(inputs))}"
        objection = storage.look(key) if isinstance(storage, KeptInBucket) else None
        kept = _opened(storage, key)
        reason = why(self.step, self.of, task_ctx.task_run.name)
        if kept is not None:
            objection = objection or self._gone(inputs, kept)
            if objection is None:
                get_run_logger().info("reused: %s", kept, extra={"reused": self.step})
                return key
            # Prefect has no way to take a result back; what it cannot open it takes for none.
            storage.write_path(key, b"", _sync=True)
            reason = f"again, because {objection}"
        get_run_logger().info(reason)
        return key

    def _gone(self, inputs: Inputs, kept: object) -> str | None:
        gone = self.missing(inputs, kept)
        if not gone:
            return None
        where = " in the bucket" if gone[0].startswith("s3://") else ""
        return f"{', '.join(gone)} {'is' if len(gone) == 1 else 'are'} gone or changed{where}"


def _opened(storage: Any, key: str) -> object | None:
    try:
        return cast("object", ResultRecord.deserialize(storage.read_path(key, _sync=True)).result)
    except Exception:  # noqa: BLE001 - there is none, or one of an older release, in whatever way it fails to open
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


def sweep() -> None:
    """Remove the files of tables that were given up days ago: a killed run's, or those that could not be trained on."""
    for folder in (cache_folder() / "work").glob("*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > LONGEST_KEPT:
                rmtree(folder)


def work_folder(identity: str) -> Path:
    """Folder on this machine for the files of one prepared table; removed once they are in S3."""
    return cache_folder() / "work" / identity
