"""The artifact of a failed run: what happened, what to do, and the end of the training job's log."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import CancelledRun

from aws.errors import AwsError, TrainingFailed
from linear_learner.errors import DataError, LinearLearnerError
from tasks.data.profile_report import escape_markdown
from tasks.environment.errors import ExternalError, describe_unexpected, translate_external_errors
from tasks.prefect_ui.display import warn_of_errors


@contextmanager
def failure_artifact() -> Iterator[None]:
    """Create an artifact when the block raises an error; the message of the run's state has the same sentence.

    Errors from outside this project are raised as ExternalError, all others unchanged.
    """
    try:
        with translate_external_errors():
            yield
    except CancelledRun:
        raise
    except Exception as error:
        with warn_of_errors("The failure is only in the log and the state of this run, not among its artifacts"):
            create_markdown_artifact(failure_report(error), key="failure", description="Why the run failed")
        raise


def failure_report(error: Exception) -> str:
    """Return the report on an error, as markdown."""
    failed = error if isinstance(error, TrainingFailed) else TrainingFailed(str(error))
    message = str(error)
    if isinstance(error, DataError):  # its message quotes cells of the table
        message = "\n".join(escape_markdown(line) for line in message.splitlines())
    if not isinstance(error, AwsError | LinearLearnerError | ExternalError):
        message = f"An unexpected error, a fault of this project: {escape_markdown(describe_unexpected(error))}"
    sections = [("What happened", failed.outcome.cause if failed.outcome else message)]
    if failed.outcome:
        sections.append(("What to do", failed.outcome.remedy))
    if failed.log_tail:
        # An indented block, as a line of the log could end a fenced one.
        sections.append(("End of the log", "\n".join(f"    {line}" for line in failed.log_tail)))
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
