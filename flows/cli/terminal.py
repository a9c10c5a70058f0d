"""What the terminal shows while the flow runs: Prefect's own log lines, and a bar while the job trains."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.theme import Theme

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
DELIVERERS = ("EventsWorker", "APILogWorker")
"""Prefect's threads that warn, after the summary or the error was said, that they still deliver a thing or two."""


@contextmanager
def console() -> Iterator[list[str]]:
    """Show the flow's log and progress for the block; yields what the steps say they reused."""
    for name in DELIVERERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    # Prefect shows everything through one handler, at the root. The bar shares its terminal, so that lines and bar do
    # not write over each other, and brings the bar's styles, which Prefect's theme leaves out.
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, PrefectConsoleHandler)]
    terminal = handlers[0].console if handlers else Console(stderr=True)
    columns = (TextColumn("training"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal)
    with terminal.use_theme(Theme()), bar as progress:
        signs = _Signs(progress)
        try:
            for handler in handlers:
                handler.addFilter(_is_no_failure)
            for name in RUN_LOGGERS:
                logging.getLogger(name).addHandler(signs)
            yield signs.reused
        finally:
            for name in RUN_LOGGERS:
                logging.getLogger(name).removeHandler(signs)
            for handler in handlers:
                handler.removeFilter(_is_no_failure)


def _is_no_failure(record: logging.LogRecord) -> bool:
    # The command line says what went wrong, once, at the end; a traceback would bury it.
    return record.levelno < logging.ERROR


class _Signs(logging.Handler):
    """Picks out what steps say beside their log lines: progress in per cent, and what was reused."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.reused: list[str] = []
        self._progress = progress
        self._bar = progress.add_task("training", total=100, visible=False)

    def emit(self, record: logging.LogRecord) -> None:
        done: float | None = getattr(record, "progress", None)
        if done is not None:
            self._progress.update(self._bar, completed=done, visible=done < 100)
        if hasattr(record, "reused"):
            self.reused.append(record.reused)
