"""Work on a table's files: in this process or on a Dask cluster, with the next chunk prefetched and progress logged."""

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from aws.workspace import Workspace
from linear_learner.errors import HyperparameterError
from tasks.caching.policy import RETRIES

LOG_INTERVAL_SECONDS: Final = 10.0


class HasHeight(Protocol):
    """A number of rows, such as a chunk or a polars frame."""

    @property
    def height(self) -> int: ...


T = TypeVar("T")
Rows = TypeVar("Rows", bound=HasHeight)


def map_files(workspace: Workspace, step: Callable[..., T], *items: Sequence[Any], **common: Any) -> list[T]:
    """`step(workspace, ...)` for each of the items that stand side by side, with what all have in common; in order.

    With a `dask_scheduler` in the workspace every call is a Prefect task of its own, run and retried on the cluster.
    """
    calls = [(workspace, *one) for one in zip(*items, strict=True)]
    if workspace.dask_scheduler is None:
        return [step(*call, **common) for call in calls]
    names = tuple(inspect.signature(step).parameters)
    task = Task(step, name=step.__name__.replace("_", " "), cache_policy=NO_CACHE, persist_result=False, **RETRIES)
    get_run_logger().info("%s: %d on Dask at %s", task.name, len(calls), workspace.dask_scheduler)
    try:
        from prefect_dask.task_runners import DaskTaskRunner  # an extra, and a second of importing
    except ModuleNotFoundError as error:
        raise HyperparameterError(
            "The workspace names a Dask scheduler, but prefect-dask is not installed. Install the extra "
            "`train-linear-learner[dask]`, on the cluster's workers too."
        ) from error
    with DaskTaskRunner(address=workspace.dask_scheduler) as runner:
        futures = [runner.submit(task, {**dict(zip(names, call, strict=False)), **common}) for call in calls]
        return [future.result() for future in futures]


def prefetch(items: Iterator[Rows], activity: str) -> Iterator[Rows]:
    """Yield the same chunks or frames while a thread makes the next; log from time to time how many rows were done."""
    rows, last = 0, time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(next, items, None)
        while (item := pending.result()) is not None:
            pending = thread.submit(next, items, None)
            yield item
            rows += item.height
            if time.monotonic() - last >= LOG_INTERVAL_SECONDS:
                last = time.monotonic()
                with suppress(MissingContextError):  # outside of a run nobody reads it
                    get_run_logger().info("%s: %s rows so far", activity, f"{rows:,}")
