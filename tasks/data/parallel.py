"""Who works on a table's files: this process, or the workers of a Dask cluster, through Prefect's task runner."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from aws.workspace import Workspace
from linear_learner.errors import HyperparameterError
from tasks.caching.policy import RETRIES

T = TypeVar("T")


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
    with _runner(workspace.dask_scheduler) as runner:
        futures = [runner.submit(task, {**dict(zip(names, call, strict=False)), **common}) for call in calls]
        return [future.result() for future in futures]


def _runner(address: str) -> Any:
    try:
        from prefect_dask.task_runners import DaskTaskRunner  # an extra, and a second of importing
    except ModuleNotFoundError as error:
        raise HyperparameterError(
            "The workspace names a Dask scheduler, but prefect-dask is not installed. Install the extra "
            "`train-linear-learner[dask]`, on the cluster's workers too."
        ) from error
    return DaskTaskRunner(address=address)
