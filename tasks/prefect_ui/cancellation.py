"""Detect that the run was cancelled in the UI: Prefect interrupts only processes that its workers started."""

import time
from contextlib import suppress
from functools import lru_cache
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun, ObjectNotFound

from tasks.prefect_ui.display import without_retries

POLL_SECONDS = 3.0
"""Longest time between two queries of the run's state, each of which takes some milliseconds."""


def wait_unless_cancelled(seconds: float) -> None:
    """Sleep for `seconds`; raises CancelledRun within POLL_SECONDS after the flow run or an ancestor was cancelled."""
    end = time.monotonic() + seconds
    while (remaining := end - time.monotonic()) > 0:
        time.sleep(min(remaining, POLL_SECONDS))
        _check()


def _check() -> None:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    client: SyncPrefectClient = context.client  # type: ignore[assignment] # the flow is not async
    runs = [context.flow_run.id]
    try:
        with without_retries():  # the next poll is the retry
            with suppress(ObjectNotFound):  # the server records a task run some time after its start
                runs += _ancestors(client, context.flow_run.parent_task_run_id)
            found = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=runs)))
    except Exception:  # noqa: BLE001 - an unavailable Prefect server must not stop a training job
        return
    for run in found:
        if run.state and (run.state.is_cancelling() or run.state.is_cancelled()):
            which = "The run" if run.id == context.flow_run.id else f"Its parent run {run.name}"
            raise CancelledRun(f"{which} was cancelled.")


@lru_cache(maxsize=8)
def _ancestors(client: SyncPrefectClient, parent_task_run: UUID | None) -> tuple[UUID, ...]:
    """Return the ids of the flow runs that called this one, which do not change, from the nearest to the first."""
    found: list[UUID] = []
    while parent_task_run is not None:
        parent = client.read_task_run(parent_task_run).flow_run_id
        if parent is None or parent in found:
            break
        found.append(parent)
        parent_task_run = client.read_flow_run(parent).parent_task_run_id
    return tuple(found)
