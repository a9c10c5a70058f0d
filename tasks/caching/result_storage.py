"""The results of the steps as JSON objects in the workspace's bucket, where every worker finds them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from prefect.context import FlowRunContext
from prefect.filesystems import WritableFileSystem
from prefect.logging import get_run_logger
from prefect.results import ResultStore
from pydantic import PrivateAttr

from aws.errors import AccessDenied, AwsError, NotFound
from aws.storage import read_object, write_object
from aws.workspace import Workspace
from tasks.parameters import Reuse


class BucketResultStorage(WritableFileSystem):
    """Results of the steps in the workspace's bucket: one call fetches a result, one call stores it."""

    _block_type_name = "Results in a Training Workspace"
    # Private, so that nothing that describes a run can show the workspace's credentials.
    _workspace: Workspace = PrivateAttr()
    _reuse: Reuse = PrivateAttr()
    _found: dict[str, bytes] = PrivateAttr(default_factory=dict)

    @classmethod
    def create(cls, workspace: Workspace, reuse: Reuse) -> "BucketResultStorage":
        """Storage of that workspace, for the length of one run."""
        storage = cls()
        storage._workspace, storage._reuse = workspace, reuse
        return storage

    def fetch(self, key: str) -> str | None:
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
        """What `fetch` found: Prefect asks again, and would take a call that failed for an absence."""
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
def bucket_results(workspace: Workspace, reuse: Reuse = Reuse()) -> Iterator[None]:  # noqa: B008 - it is frozen
    """Keep the results of the steps that the block calls in the workspace's bucket; for the body of a flow.

    So a worker with an empty disk reuses them. Prefect's decorators cannot say it, as the workspace is a parameter of
    the flow; the flow's own result stays where Prefect is configured to keep it.
    """
    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("results_in is for the body of a flow")
    storage, serializer = BucketResultStorage.create(workspace, reuse), context.result_store.serializer
    with context.model_copy(update={"result_store": ResultStore(result_storage=storage, serializer=serializer)}):
        yield
