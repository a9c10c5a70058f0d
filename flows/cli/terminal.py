"""Terminal output: Prefect's log lines and a progress bar while the flow runs, then a summary."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.theme import Theme

from flows.cli.replay import Replay
from tasks.caching.explain_rerun import ROUTINE
from tasks.prefect_ui.console_output import run_log_handlers
from tasks.prefect_ui.job_progress import progress_listeners
from tasks.report import PAGE, TrainingRun

MAX_WARNINGS = 3
"""The most warnings of the data check that the summary names."""


@contextmanager
def terminal_output(*, verbose: bool = False) -> Iterator[None]:
    """Show the flow's log and progress during the block, at any log level; with `verbose`, the states of all steps."""
    filters = [_is_below_error] if verbose else [_is_below_error, _is_notable]
    handlers = [handler for handler in run_log_handlers() if _writes_to_terminal(handler)]
    # The bar uses the console of Prefect's log, so that lines and bar do not overwrite each other.
    consoles = [handler.console for handler in handlers if isinstance(handler, PrefectConsoleHandler)]
    bar = _ProgressBar(consoles[0] if consoles else Console(stderr=True))
    with ExitStack() as stack:
        for handler in handlers:
            for condition in filters:
                handler.addFilter(condition)
                stack.callback(handler.removeFilter, condition)
        bar.start()
        stack.callback(bar.stop)
        progress_listeners.append(bar.show)
        stack.callback(progress_listeners.remove, bar.show)
        yield


def _writes_to_terminal(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    return isinstance(handler, PrefectConsoleHandler) or (stream is not None and stream in {sys.stdout, sys.stderr})


def _is_below_error(record: logging.LogRecord) -> bool:
    # The command line prints the error once, at the end; a traceback would hide it.
    return record.levelno < logging.ERROR


def _is_notable(record: logging.LogRecord) -> bool:
    # Prefect has no setting that leaves out the lines of its engines, such as "Finished in state Completed()".
    routine = record.module in {"flow_engine", "task_engine"} or getattr(record, ROUTINE, False)
    return record.levelno > logging.INFO or not routine


class _ProgressBar:
    """The progress of the training job in a terminal. An error of the terminal ends the bar, not the run."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("training"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_interactive)
        self._bar = self._progress.add_task("training", total=100, visible=False)

    def start(self) -> None:
        # Prefect's theme lacks the styles of the bar.
        self._progress.console.push_theme(Theme())
        self._attempt(self._progress.start)

    def show(self, percent: float) -> None:
        self._attempt(partial(self._progress.update, self._bar, completed=percent, visible=percent < 100))

    def stop(self) -> None:
        self._attempt(self._progress.stop)
        self._progress.console.pop_theme()

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - whatever fails here, the training job continues
            self._progress.disable = True


def summary(run: TrainingRun, replay: Replay | None = None, next_steps: Mapping[str, str] | None = None) -> str:
    """Return the results of a run, and the commands or addresses of the next steps by what they are for."""
    rows, job, model = run.rows, run.job, run.model
    tested = [(one.name, one.value) for one in run.evaluation.metrics if one.value is not None]
    # Without objective_loss: SageMaker's is that of the first model, not of the selected one.
    validation = sorted(name for name in job.metrics if name.startswith("validation:") and "objective_loss" not in name)
    lines = {
        "verdict": str(run.verdict),
        **_warnings(run),
        "data": f"{run.table.source.uri}, {run.table.rows:,} rows x {len(run.table.columns)} columns",
        "split": f"{rows.train:,} rows to train, {rows.validation:,} to validate, {rows.test:,} to test",
        "training job": f"{job.name}, {run.submission.how}, {job.bill.training_seconds} s of training",
        "cost": run.cost,
        "validation": ", ".join(f"{name.removeprefix('validation:')} {job.metrics[name]:.6g}" for name in validation),
        "test": ", ".join(f"{name} {value:.6g}" for name, value in tested),
        "registered": str(run.registered or "no"),
        "model": f"{model.path} ({model.size:,} bytes, {model.features} features)",
        "report": str(model.path.with_name(PAGE)),
        "record": run.recorded.uri,
        "reused": ", ".join(run.reused) or "nothing",
    }
    if replay:
        lines["reproduction"] = replay.outcome(run)
    shown = [f"  {name:<14}{value}" for name, value in lines.items()]
    if next_steps:
        shown += ["", "What next", *(f"  {what:<14}{command}" for what, command in next_steps.items())]
    return "\n".join(["", f"Linear Learner predicts {run.table.target}", "", *shown, ""])


def _warnings(run: TrainingRun) -> dict[str, str]:
    """The number of warnings of the data check, and the first ones, which the report explains; empty if none."""
    found = [f"{one.where}: {one.what}" for one in run.checked.findings if one.level == "warning"]
    if not found:
        return {}
    more = f"; and {len(found) - MAX_WARNINGS} more" if len(found) > MAX_WARNINGS else ""
    return {"warnings": f"{len(found)} about the data: {'; '.join(found[:MAX_WARNINGS])}{more}"}
