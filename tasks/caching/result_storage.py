"""Store the results of steps as JSON objects in the workspace's bucket, which all workers share."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any

from prefect.client.schemas.objects import TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger
from prefect.results import ResultRecord, ResultStore, get_result_store  # type: ignore[attr-defined] # it is public
from prefect.settings import PREFECT_TASKS_DISABLE_CACHING, PREFECT_TASKS_REFRESH_CACHE
from pydantic import PrivateAttr

from aws.errors import AccessDenied, AwsError, NotFound
from aws.storage import read_object, write_object
from aws.workspace import Workspace
from tasks.caching.explain_rerun import RESULT_MISSING, ROUTINE, Facts, StepHistory, is_routine
from tasks.caching.policy import ContentCachePolicy, Result
from tasks.parameters import Dataset, Reuse


class BucketResultStore(ResultStore):
    """Results of the steps in the workspace's bucket: one call reads a result, one call writes it.

    Prefect calls `exists` before it runs a step. A result whose files or objects are missing does not exist.
    """

    # Private attributes are not serialised, so no description of a run contains the workspace's credentials.
    _workspace: Workspace = PrivateAttr()
    _reuse: Reuse = PrivateAttr()
    _history: StepHistory = PrivateAttr()
    # The copies that Prefect makes of the store for each task run share this dictionary.
    _task_runs: dict[str, list[TaskRun]] = PrivateAttr(default_factory=dict)

    @classmethod
    def create(cls, workspace: Workspace, dataset: Dataset, reuse: Reuse, **options: Any) -> "BucketResultStore":
        """Return a store for one run on the table."""
        store = cls(**options)
        store._workspace, store._reuse = workspace, reuse
        store._history = StepHistory(workspace, dataset.source, dataset.target)
        return store

    def exists(self, key: str) -> bool:
        """Return whether the step that is about to run has a result to reuse; log the result, or why there is none."""
        context = TaskRunContext.get()
        policy = context.task.cache_policy if context else None
        if context is None or not isinstance(policy, ContentCachePolicy):
            return False
        self._task_runs.setdefault(policy.step, []).append(context.task_run)
        try:
            record, reason = self._read_reusable(key)
        except AwsError as error:
            get_run_logger().warning("Cannot read the stored result of this step, so it runs again. %s", error)
            record, reason = None, None
        if record is not None:
            self.cache[key] = record
            get_run_logger().info("reused: %s", record.result)
            return True
        if context.task_run.run_count == 1:  # Prefect logs why there are further attempts
            explanation = self._explain(context, policy)  # it also stores the facts for the next run
            get_run_logger().info(reason or explanation, extra={ROUTINE: not reason and is_routine(explanation)})
        return False

    def read(self, key: str, holder: str | None = None) -> "ResultRecord[Any]":
        """Return the result that `exists` found."""
        del holder
        return self.cache[key]

    def persist_result_record(self, result_record: "ResultRecord[Any]", holder: str | None = None) -> None:
        """Store the result of a step; when AWS fails, log a warning and continue."""
        del holder
        if isinstance(result_record.result, BaseException):
            return  # the step failed
        context = TaskRunContext.get()
        policy = context.task.cache_policy if context else None
        if context and context.task.refresh_cache and isinstance(policy, ContentCachePolicy):
            # Prefect has not called `exists`.
            get_run_logger().info(self._explain(context, policy, "refresh_cache is set on this step"))
        key = PurePath(result_record.metadata.storage_key or "").name  # Prefect has made it a local path
        try:
            write_object(self._workspace, self._uri(key), result_record.serialize())
        except AwsError as error:
            get_run_logger().warning("The result was not stored, so the next run repeats this step. %s", error)

    def explain(self, step: str, facts: Facts, what: str, default_reason: str) -> str:
        """Return why a step that is not cached runs; see StepHistory.explain."""
        return self._history.explain(step, facts, what, default_reason)

    def reused(self) -> tuple[str, ...]:
        """Return the steps whose results were reused so far: the state of all their task runs is Cached."""
        # Not from the Prefect server, which receives the states of task runs late, and may be unavailable.
        return tuple(step for step, runs in self._task_runs.items() if all(run.state_name == "Cached" for run in runs))

    def count_as_reused(self, what: str) -> None:
        """Add to `reused` what is not the result of a cached step, and therefore has no task run that is Cached."""
        self._task_runs[what] = []

    def _explain(
        self, context: TaskRunContext, policy: ContentCachePolicy, default_reason: str = RESULT_MISSING
    ) -> str:
        facts = policy.facts(context.parameters)
        return self._history.explain(policy.step, facts, context.task_run.name, default_reason)

    def _read_reusable(self, key: str) -> tuple["ResultRecord[Any] | None", str | None]:
        """Return the result under `key`, or the reason not to use it, or neither when there is no readable result."""
        try:
            content, written = read_object(self._workspace, self._uri(key))
            record: ResultRecord[Any] = ResultRecord.deserialize(content)
        except (NotFound, ValueError):  # ValueError: the format of another release
            return None, None
        except AccessDenied as error:
            # Without permission to list the bucket, S3 denies access to objects that do not exist.
            get_run_logger().warning("Access to the stored result was denied, so it is not reused. %s", error)
            return None, None
        if self._reuse.refresh or PREFECT_TASKS_REFRESH_CACHE.value():
            setting = "reuse.refresh is true" if self._reuse.refresh else "PREFECT_TASKS_REFRESH_CACHE is set"
            return None, f"again, because {setting}"
        days = self._reuse.max_age_days
        if days is not None and datetime.now(UTC) - written > timedelta(days=days):
            return None, f"again, because the result is older than {days:g} day{'s' if days != 1 else ''}"
        if missing := record.result.missing(self._workspace) if isinstance(record.result, Result) else ():
            where = " in the bucket" if missing[0].startswith("s3://") else ""
            verb = "is" if len(missing) == 1 else "are"
            return None, f"again, because {', '.join(missing)} {verb} missing or changed{where}"
        return record, None

    def _uri(self, key: str) -> str:
        return self._workspace.uri("results", f"{key}.json")


@contextmanager
def bucket_results(workspace: Workspace, dataset: Dataset, reuse: Reuse | None = None) -> Iterator[BucketResultStore]:
    """Store the results of the steps that the block calls in the workspace's bucket; for use in the body of a flow.

    Prefect's decorators cannot configure this, as the workspace is a parameter of the flow. The result of the flow
    itself is stored where Prefect is configured to store it.
    """
    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("bucket_results can only be used in the body of a flow")
    flow_store = context.result_store
    options = {"result_storage": flow_store.result_storage, "serializer": flow_store.serializer}
    store = BucketResultStore.create(workspace, dataset, reuse or Reuse(), **options)
    if PREFECT_TASKS_DISABLE_CACHING.value():
        get_run_logger().warning("All steps run and no result is stored, as PREFECT_TASKS_DISABLE_CACHING is set.")
    with context.model_copy(update={"result_store": store}):
        yield store


def explain_rerun(step: str, facts: Facts, what: str, default_reason: str = RESULT_MISSING) -> str:
    """Return why a step that is not cached runs, and store its `facts` for the next run; see StepHistory.explain."""
    store = get_result_store()
    if isinstance(store, BucketResultStore):
        return store.explain(step, facts, what, default_reason)
    return f"reason unknown: {what}"


def count_as_reused(what: str) -> None:
    """Add `what` to the results that this run reused; see BucketResultStore.count_as_reused."""
    store = get_result_store()
    if isinstance(store, BucketResultStore):
        store.count_as_reused(what)
