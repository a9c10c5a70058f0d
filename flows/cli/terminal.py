"""Terminal output: Prefect's log lines and a progress bar while the flow runs, then a summary."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.theme import Theme

from flows.cli.replay import Replay
from tasks.report import PAGE, TrainingRun

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


@contextmanager
def terminal_output() -> Iterator[list[str]]:
    """Show the flow's log and progress during the block; yields a list, to which reused results are added."""
    # Prefect logs through one handler of the root logger. The bar uses its console, so that lines and bar do not
    # overwrite each other, with rich's theme, because Prefect's lacks the styles of the bar.
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, PrefectConsoleHandler)]
    terminal = handlers[0].console if handlers else Console(stderr=True)
    columns = (TextColumn("training"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal)
    reader = _RecordReader(bar)
    with ExitStack() as stack:
        stack.enter_context(terminal.use_theme(Theme()))
        stack.enter_context(bar)
        for handler in handlers:
            handler.addFilter(_is_below_error)
            stack.callback(handler.removeFilter, _is_below_error)
        for logger in map(logging.getLogger, RUN_LOGGERS):
            logger.addHandler(reader)
            stack.callback(logger.removeHandler, reader)
        yield reader.reused


def _is_below_error(record: logging.LogRecord) -> bool:
    # The command line prints the error once, at the end; a traceback would hide it.
    return record.levelno < logging.ERROR


class _RecordReader(logging.Handler):
    """Reads what steps attach to their log records: `progress` in per cent, and `reused`."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.reused: list[str] = []
        self._progress = progress
        self._bar = progress.add_task("training", total=100, visible=False)

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "progress"):
            self._progress.update(self._bar, completed=record.progress, visible=record.progress < 100)
        if hasattr(record, "reused"):
            self.reused.append(record.reused)


def summary(run: TrainingRun, reused: Sequence[str], replay: Replay | None = None) -> str:
    rows, job, model = run.rows, run.job, run.model
    tested = [(one.name, one.value) for one in run.evaluation.metrics if one.value is not None]
    # Without objective_loss: SageMaker's is that of the first model, not of the selected one.
    validation = sorted(name for name in job.metrics if name.startswith("validation:") and "objective_loss" not in name)
    lines = {
        "verdict": str(run.verdict),
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
        "reused": ", ".join(reused) or "nothing",
    }
    if replay:
        lines["reproduction"] = replay.outcome(run)
    title = f"Linear Learner predicts {run.table.target}"
    return "\n".join(["", title, "", *(f"  {name:<14}{value}" for name, value in lines.items()), ""])
