"""Prefect's log lines on the terminal or in the pipe to a worker: a run continues when they cannot be written."""

import logging
from functools import partial

from prefect.logging.handlers import PrefectConsoleHandler

_RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect", "")
"""The loggers of flow and task runs and those that they propagate to; "" is the root."""


def run_log_handlers() -> set[logging.Handler]:
    """Return the handlers of the log of runs; a custom logging.yml may have any."""
    return {handler for name in _RUN_LOGGERS for handler in logging.getLogger(name).handlers}


def ignore_closed_pipe() -> None:
    """Mute Prefect's console log when its pipe is closed, e.g. because the worker that reads it was killed.

    By default rich raises SystemExit, which would stop the training job. Logging handles all other errors.
    """
    for handler in run_log_handlers():
        if isinstance(handler, PrefectConsoleHandler):
            console = handler.console
            console.on_broken_pipe = partial(setattr, console, "quiet", True)  # type: ignore[method-assign]
