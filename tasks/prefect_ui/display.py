"""What people see of a run, such as artifacts, links and events, never ends it."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_run_logger


@contextmanager
def warn_on_failure(what: str) -> Iterator[None]:
    """Log a warning that `what` is missing, instead of raising the block's exception."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - Prefect's server or its client may fail in any way
        get_run_logger().warning("The run continues without %s: %s", what, describe_exception(error))


def describe_exception(error: Exception) -> str:
    """Return the first line of an exception's message, or its class if it has none."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
