"""The results of the steps as JSON objects in the workspace's bucket, where every worker finds them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger
from prefect.results import ResultRecord, ResultStore, get_result_store  # type: ignore[attr-defined] # it is public
from pydantic import PrivateAttr

from aws.errors import AccessDenied, AwsError, NotFound
from aws.storage import read_object, write_object
from aws.workspace import Workspace
from tasks.caching.explain_rerun import RESULT_MISSING, Facts, StepHistory
from tasks.caching.policy import ContentCachePolicy, Result
from tasks.parameters import Dataset, Reuse


class BucketResultStore(ResultStore):
    """Results of the steps in the workspace's bucket: one call reads a result, one call writes it.

    Prefect asks whether a result exists before it runs a step: it does as long as what it refers to is not missing.
    """

    # Private, so that nothing that describes a run can show the workspace's credentials.
    _workspace: Workspace = PrivateAttr()
    _reuse: Reuse = PrivateAttr()
    _history: StepHistory = PrivateAttr()

    @classmethod
    def create(cls, workspace: Workspace, dataset: Dataset, reuse: Reuse, **options: Any) -> "BucketResultStore":
        """The store of one run on that table."""
        store = cls(**options)
        store._workspace, store._reuse = workspace, reuse
        store._history = StepHistory(workspace, dataset.source, dataset.target)
        return store

    def exists(self, key: str) -> bool:
        """Whether the step that is about to run has a result to reuse; logs which one, or why there is none."""
        context = TaskRunContext.get()
        policy = context.task.cache_policy if context else None
        if context is None or not isinstance(policy, ContentCachePolicy):
            return False
        try:
            record, reason = self._read_reusable(key)
        except AwsError as error:
            get_run_logger().warning("It is not known whether this step may be reused. %s", error)
            record, reason = None, None
        if record is not None:
            self.cache[key] = record
            get_run_logger().info("reused: %s", record.result, extra={"reused": policy.step})
            return True
        name = context.task_run.name
        get_run_logger().info(reason or self._history.explain(policy.step, policy.facts(context.parameters), name))
        return False

    def read(self, key: str, holder: str | None = None) -> "ResultRecord[Any]":
        """The result that exists."""
        del holder
        return self.cache[key]

    def persist_result_record(self, result_record: "ResultRecord[Any]", holder: str | None = None) -> None:
        """Store a step's result. When AWS does not take it, the run goes on without."""
        del holder
        if isinstance(result_record.result, BaseException):
            return  # of a step that failed
        key = PurePath(result_record.metadata.storage_key or "").name  # Prefect makes a path of this machine of it
        try:
            write_object(self._workspace, self._uri(key), result_record.serialize())
        except AwsError as error:
            get_run_logger().warning("The next run has to do this step again. %s", error)

    def explain(self, step: str, facts: Facts, what: str, default_reason: str) -> str:
        """Why a step that is not cached does `what`."""
        return self._history.explain(step, facts, what, default_reason)

    def _read_reusable(self, key: str) -> tuple["ResultRecord[Any] | None", str | None]:
        """The result under `key`, or none and the reason not to use it; neither when there is no readable one."""
        try:
            content, written = read_object(self._workspace, self._uri(key))
            record: ResultRecord[Any] = ResultRecord.deserialize(content)
        except (NotFound, ValueError):  # ValueError: an older release's
            return None, None
        except AccessDenied as error:
            # S3's answer, too, to those who may not list the bucket when there is no such object.
            get_run_logger().warning("What may not be read cannot be reused. %s", error)
            return None, None
        if self._reuse.refresh:
            return None, "again, because refresh was asked for"
        days = self._reuse.max_age_days
        if days is not None and datetime.now(UTC) - written > timedelta(days=days):
            return None, f"again, because the result is older than {days:g} day{'s' if days != 1 else ''}"
        if missing := record.result.missing(self._workspace) if isinstance(record.result, Result) else ():
            where = " in the bucket" if missing[0].startswith("s3://") else ""
            verb = "is" if len(missing) == 1 else "are"
            return None, f"again, because {', '.join(missing)} {verb} gone or changed{where}"
        return record, None

    def _uri(self, key: str) -> str:
        return self._workspace.uri("results", f"{key}.json")


@contextmanager
def bucket_results(workspace: Workspace, dataset: Dataset, reuse: Reuse = Reuse()) -> Iterator[None]:  # noqa: B008 - it is frozen
    """Store the results of the steps that the block calls in the workspace's bucket; for the body of a flow.

    So a worker with an empty disk reuses them. Prefect's decorators cannot say it, as the workspace is a parameter of
    the flow; the flow's own result stays where Prefect is configured to store it.
    """
    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("bucket_results is for the body of a flow")
    flows = context.result_store
    options = {"result_storage": flows.result_storage, "serializer": flows.serializer}
    store = BucketResultStore.create(workspace, dataset, reuse, **options)
    with context.model_copy(update={"result_store": store}):
        yield


def explain_rerun(step: str, facts: Facts, what: str, default_reason: str = RESULT_MISSING) -> str:
    """Why a step that is not cached does `what`; it is made of `facts`, which are saved for the next run."""
    store = get_result_store()
    if isinstance(store, BucketResultStore):
        return store.explain(step, facts, what, default_reason)
    return f"what the last run was made of is not known: {what}"
