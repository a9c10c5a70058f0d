"""Process a table's files in this process or on a Dask cluster; prefetch chunks and log the progress."""

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
    """An object with a number of rows, such as a chunk or a polars frame."""

    @property
    def height(self) -> int: ...


T = TypeVar("T")
Rows = TypeVar("Rows", bound=HasHeight)


def map_files(workspace: Workspace, step: Callable[..., T], *items: Sequence[Any], **common: Any) -> list[T]:
    """Call `step(workspace, *one, **common)` for each tuple of `zip(*items)`; returns the results in order.

    With a `dask_scheduler` in the workspace, every call is a separate Prefect task, run and retried on the cluster.
    """
    calls = [(workspace, *one) for one in zip(*items, strict=True)]
    if workspace.dask_scheduler is None:
        return [step(*call, **common) for call in calls]
    names = tuple(inspect.signature(step).parameters)
    task = Task(step, name=step.__name__.replace("_", " "), cache_policy=NO_CACHE, persist_result=False, **RETRIES)
    get_run_logger().info("%s: %d on Dask at %s", task.name, len(calls), workspace.dask_scheduler)
    try:
        from prefect_dask.task_runners import DaskTaskRunner  # an optional dependency; the import takes a second
    except ModuleNotFoundError as error:
        raise HyperparameterError(
            "The workspace names a Dask scheduler, but prefect-dask is not installed. Install the extra "
            "`train-linear-learner[dask]` here and on the cluster's workers."
        ) from error
    with DaskTaskRunner(address=workspace.dask_scheduler) as runner:
        futures = [runner.submit(task, {**dict(zip(names, call, strict=False)), **common}) for call in calls]
        return [future.result() for future in futures]


def prefetch(items: Iterator[Rows], activity: str) -> Iterator[Rows]:
    """Yield the items while a thread produces the next one; log the number of rows at regular intervals."""
    rows, last = 0, time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(next, items, None)
        while (item := pending.result()) is not None:
            pending = thread.submit(next, items, None)
            yield item
            rows += item.height
            if time.monotonic() - last >= LOG_INTERVAL_SECONDS:
                last = time.monotonic()
                with suppress(MissingContextError):  # there is no logger outside a run
                    get_run_logger().info("%s: %s rows so far", activity, f"{rows:,}")
