"""Detect that the run was cancelled in the UI: Prefect interrupts only processes that its workers started."""

import time

import httpx
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun

POLL_SECONDS = 3.0
"""Longest time between two queries of the run's state, each of which takes some milliseconds."""


def wait_unless_cancelled(seconds: float) -> None:
    """Sleep for `seconds`; raises CancelledRun within POLL_SECONDS after the flow run was cancelled."""
    end = time.monotonic() + seconds
    while (remaining := end - time.monotonic()) > 0:
        time.sleep(min(remaining, POLL_SECONDS))
        _check()


def _check() -> None:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    try:
        state = context.client.read_flow_run(context.flow_run.id).state  # type: ignore[union-attr]
    except httpx.HTTPError:
        return  # an unavailable Prefect server must not stop a training job
    if state and (state.is_cancelling() or state.is_cancelled()):
        raise CancelledRun("The run was cancelled.")
