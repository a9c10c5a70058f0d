"""Run a command line: errors become one sentence on stderr and an exit code, and signals end it without a traceback.

This module imports only the standard library, so that it also covers the time in which the command is imported.
"""

import errno
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TextIO

FAILED, USER_ERROR, REJECTED = 1, 2, 3
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = "Interrupted."
CLOSED_BY_READER = {errno.EPIPE, errno.EIO}
"""Error numbers of a closed pipe and of a closed terminal."""
AFTER_UNEXPECTED_ERROR = (
    "The results of completed steps are stored. A training job that was started continues to run; the next run with "
    "the same input follows it."
)


def run_main(module: str) -> int:
    """Import a module and call its `main` as `run_command` does: the command can be interrupted during the import."""
    return run_command(lambda: import_module(module).main())


def run_command(command: Callable[[], int], interrupted: str = INTERRUPTED) -> int:
    """Call `command` in this process and return its exit code, for `sys.exit`; interruptions raise SystemExit in it.

    Exit codes: 2 after an error of this machine, the network or Prefect; 1 after an unexpected error; 130 or 143 after
    SIGINT or SIGTERM, with the message `interrupted`.
    """
    for number in INTERRUPTIONS:
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # the convention of shells
    try:
        return report_errors(command, interrupted)
    finally:
        for number in INTERRUPTIONS:  # a signal while the process exits: servers of this process exit with it
            signal.signal(number, lambda number, _: os._exit(128 + number))


def report_errors(command: Callable[[], int], interrupted: str = INTERRUPTED) -> int:
    """Call `command` and report the errors that it raises; see `run_command`."""
    try:
        return command()
    except KeyboardInterrupt:
        return report_error(interrupted, 128 + signal.SIGINT)
    except SystemExit as end:
        if end.code not in {128 + number for number in INTERRUPTIONS}:
            raise
        return report_error(interrupted, int(end.code))
    except Exception as error:  # noqa: BLE001 - the last place where it can be reported
        if (number := _interruption_before(error)) is not None:
            return report_error(interrupted, number)
        return report_exception(error)


def _interruption_before(error: BaseException) -> int | None:
    """Return the exit code of an interruption during whose handling the error was raised, such as a lost server."""
    codes = {128 + number for number in INTERRUPTIONS}
    context: BaseException | None = error
    while context is not None:
        if isinstance(context, SystemExit) and context.code in codes:
            return int(context.code or 0)
        context = context.__context__
    return None


def report_exception(error: Exception) -> int:
    """Report an error that the command does not handle, in one sentence; returns the exit code."""
    from tasks.environment.errors import describe_error, describe_unexpected

    if message := describe_error(error):
        return report_error(message, USER_ERROR)
    sentence = f"Unexpected error, a fault of this program: {describe_unexpected(error)}. {AFTER_UNEXPECTED_ERROR}"
    return report_error(f"{sentence} {_save_traceback(error)}", FAILED)


def report_error(error: object, code: int) -> int:
    """Print a message to stderr; returns `code`."""
    _write(sys.stderr, f"{error}\n")
    return code


def print_result(text: object) -> None:
    """Print to stdout; a reader that has closed the pipe, such as `head`, is not an error.

    Raises ExternalError when stdout cannot be written to for another reason.
    """
    from tasks.environment.errors import ExternalError

    if error := _write(sys.stdout, f"{text}\n"):
        raise ExternalError(f"The result cannot be written to standard output: {error.strerror}. The command is done.")


def _write(stream: TextIO | None, text: str) -> OSError | None:
    """Write to a standard stream; returns the error, unless the stream was closed by its reader."""
    if stream is None:
        return None
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # Python flushes the stream again when it exits, which must not fail.
        with suppress(OSError, ValueError), open(os.devnull, "wb") as null:  # noqa: PTH123 - a device
            os.dup2(null.fileno(), stream.fileno())
        return None if error.errno in CLOSED_BY_READER else error
    return None


def _save_traceback(error: Exception) -> str:
    """Write the traceback to a file; returns a sentence about where it is."""
    lines = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="traceback-", suffix=".txt", delete=False) as file:
            file.write(lines)
    except OSError:
        return f"The traceback could not be stored in a file:\n{lines}"
    return f"The traceback is in {file.name}; Prefect's log of the run has it, too, if it was running."
