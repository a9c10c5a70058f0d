"""What people see of a run, such as artifacts, links and events, never ends it."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_run_logger

from aws.errors import AwsError
from linear_learner.errors import LinearLearnerError
from tasks.environment.errors import describe_error, describe_unexpected


@contextmanager
def warn_on_failure(what: str) -> Iterator[None]:
    """Log a warning that `what` is missing, instead of raising the block's exception."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - Prefect's server or its client may fail in any way
        get_run_logger().warning("The run continues without %s: %s", what, describe_exception(error))


def describe_exception(error: Exception) -> str:
    """Return the message of an error of this project, or a description of any other error, on one line."""
    if isinstance(error, AwsError | LinearLearnerError):
        return str(error)
    return describe_error(error) or describe_unexpected(error)
