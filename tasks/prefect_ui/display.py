"""What people see of a run (artifacts, links, events, reports) never ends it."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.context import SettingsContext, get_settings_context
from prefect.logging import get_run_logger

from aws.errors import AwsError
from linear_learner.errors import LinearLearnerError
from tasks.environment.errors import describe_error, describe_unexpected


@contextmanager
def warn_of_errors(consequence: str) -> Iterator[None]:
    """Log an error as a warning that begins with its consequence, and continue."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - Prefect's server or its client may fail in any way
        get_run_logger().warning("%s. %s", consequence, describe_exception(error))


def describe_exception(error: Exception) -> str:
    """Return the message of an error of this project, or a description of any other error, on one line."""
    if isinstance(error, AwsError | LinearLearnerError):
        return str(error)
    return describe_error(error) or describe_unexpected(error)


def without_retries() -> SettingsContext:
    """Return the settings of this process for requests that Prefect's client does not repeat, for up to a minute."""
    current = get_settings_context()
    # Prefect's temporary_settings validates all settings, which takes a tenth of a second.
    client = current.settings.client.model_copy(update={"max_retries": 0})
    return SettingsContext(profile=current.profile, settings=current.settings.model_copy(update={"client": client}))
