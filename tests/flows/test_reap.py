"""Which runs that ended leave their training jobs running."""

from typing import Any

import pytest
from prefect import State
from prefect.states import Cancelled, Completed, Crashed, Failed

from flows.reap import has_failed


@pytest.mark.parametrize(
    ("state", "failed"),
    [
        (Failed(message="Flow run encountered an exception: OSError"), True),
        (Failed(name="TimedOut", message="Flow run exceeded timeout of 60.0 second(s)"), False),
        (Cancelled(), False),
        (Completed(), False),
        (Completed(name="Rejected"), False),
        (Crashed(message="Execution was aborted by a termination signal."), False),
        (Crashed(message="Process exited with status code: -9. It received SIGKILL."), False),
        (Crashed(message="Process exited with status code: 137. It was killed."), False),
        (Crashed(message="Process exited with status code: 1. It failed."), True),
        (Crashed(message=None), False),
    ],
    ids=str,
)
def test_only_an_error_leaves_jobs_running(state: State[Any], failed: bool) -> None:
    assert has_failed(state) is failed
