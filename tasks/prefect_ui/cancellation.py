"""Notice that somebody cancelled this run in the UI: Prefect interrupts the processes of its workers, but no others."""

import time

import httpx
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun

POLL_SECONDS = 3.0
"""Longest time between two looks at the run's own state; one takes some milliseconds."""


def wait_unless_cancelled(seconds: float) -> None:
    """Sleep; raises CancelledRun as soon as the flow run is seen to be cancelled."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, POLL_SECONDS))
        _check()


def _check() -> None:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    try:
        state = context.client.read_flow_run(context.flow_run.id).state  # type: ignore[union-attr]
    except httpx.HTTPError:
        return  # that Prefect is away for a while is no reason to stop a job that is paid for
    if state and (state.is_cancelling() or state.is_cancelled()):
        raise CancelledRun("The run was cancelled.")
