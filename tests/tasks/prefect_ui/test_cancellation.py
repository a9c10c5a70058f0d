"""A run that waits ends when it, or any run that called it, is cancelled in the UI."""

import pytest
from prefect import flow, get_client
from prefect.exceptions import CancelledRun
from prefect.runtime import flow_run
from prefect.states import Cancelling

from tasks.prefect_ui import cancellation
from tasks.prefect_ui.cancellation import wait_unless_cancelled

pytestmark = pytest.mark.usefixtures("machine")


def cancel(run: str) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, Cancelling())  # type: ignore[arg-type] # a UUID as text


@flow
def waiting(cancelled: str) -> None:
    cancel(cancelled or str(flow_run.id))
    wait_unless_cancelled(0.1)


@flow
def parent(cancelled: str) -> None:
    waiting(cancelled or str(flow_run.id))


@flow
def grandparent() -> None:
    parent(str(flow_run.id))


def test_a_cancelled_run_ends() -> None:
    with pytest.raises(CancelledRun, match="The run was cancelled"):
        waiting("")


def test_a_run_ends_when_its_parent_is_cancelled() -> None:
    with pytest.raises(CancelledRun, match="parent run"):
        parent("")


def test_a_run_ends_when_the_parent_of_its_parent_is_cancelled() -> None:
    with pytest.raises(CancelledRun, match="parent run"):
        grandparent()


def test_a_run_waits_while_no_run_above_it_is_cancelled() -> None:
    @flow
    def child() -> bool:
        wait_unless_cancelled(0.1)
        return True

    @flow
    def above() -> bool:
        return child()

    assert above()


def test_the_runs_above_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "POLL_SECONDS", 0.05)
    cancellation._ancestors.cache_clear()

    @flow
    def child() -> None:
        wait_unless_cancelled(0.4)

    @flow
    def above() -> None:
        child()

    above()
    assert cancellation._ancestors.cache_info().misses == 1
