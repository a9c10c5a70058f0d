"""The progress bar of the command line: shown whatever is logged, and never the end of a run."""

import io
import logging

import pytest
from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console

from flows.cli.terminal import terminal_output
from tasks.prefect_ui.job_progress import progress_listeners


class Terminal(io.StringIO):
    """A terminal that refuses everything that is written after it was closed."""

    hung_up = False

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.hung_up:
            raise OSError(5, "Input/output error")
        return super().write(text)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal to which the console of Prefect's log writes."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    (handler,) = (one for one in logging.getLogger().handlers if isinstance(one, PrefectConsoleHandler))
    monkeypatch.setattr(handler, "console", Console(file=terminal, width=60))
    return terminal


def show(percent: float) -> None:
    for listener in progress_listeners:
        listener(percent)


def test_the_bar_shows_the_progress_when_nothing_is_logged(terminal: Terminal) -> None:
    with terminal_output():
        show(42)
    assert " 42%" in terminal.getvalue()
    assert not progress_listeners


@pytest.mark.parametrize("name", ["dumb", "unknown"])
def test_a_terminal_without_cursor_movements_shows_no_bar(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TERM", name)
    with terminal_output():
        show(42)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("closed_at", [0, 1])
def test_a_terminal_that_is_closed_does_not_end_the_run(terminal: Terminal, closed_at: int) -> None:
    terminal.hung_up = closed_at == 0
    with terminal_output():
        show(1)
        terminal.hung_up = True
        show(42)


def test_errors_are_not_logged_to_the_terminal_by_any_handler(terminal: Terminal) -> None:
    """The command line prints the error at the end, without a traceback."""
    handler = logging.StreamHandler()
    log = logging.getLogger("prefect.flow_runs")
    log.addHandler(handler)
    try:
        with terminal_output():
            assert not handler.filter(logging.makeLogRecord({"levelno": logging.ERROR}))
            assert handler.filter(logging.makeLogRecord({"levelno": logging.WARNING}))
        assert handler.filter(logging.makeLogRecord({"levelno": logging.ERROR}))
    finally:
        log.removeHandler(handler)
    assert "Traceback" not in terminal.getvalue()
