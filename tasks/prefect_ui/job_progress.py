"""Show a training job in a flow run: phases and epochs in the log, progress and learning curve as artifacts."""

import json
import time
from collections import deque
from collections.abc import Callable
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, cast

from prefect import get_client
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger

from linear_learner.logs.reader import EpochReport, LogReader, describe_divergence, thin_out
from tasks.caching.explain_rerun import ROUTINE
from tasks.prefect_ui.cancellation import wait_unless_cancelled
from tasks.prefect_ui.display import describe_exception, without_retries

if TYPE_CHECKING:
    from uuid import UUID

TAIL_LINES = 40
"""Number of lines at the end of the log that a failure report shows."""
MAX_CURVE_ROWS = 50
"""Maximum number of epochs in the learning curve; of more epochs it has every second, fourth, …"""

progress_listeners: list[Callable[[float], None]] = []
"""Functions in this process that show the progress of a followed job, in per cent; they must not raise."""


class JobProgress:
    """Shows the progress of a job that is followed, and stores its epochs and the end of its log."""

    def __init__(self, job: str, *, stop_when_diverging: bool = False) -> None:
        self.stop_reason: str | None = None
        """Why the job has to be stopped; None while it may continue."""
        self._stop_when_diverging = stop_when_diverging
        self.epochs: list[EpochReport] = []
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._log = get_run_logger()
        self._reader = LogReader()
        self._shown, self._shown_at = 0.0, -inf
        self._milestone, self._milestone_at = 0.0, time.monotonic()
        self._progress: UUID | None = None
        self._curve: UUID | None = None
        self._job = job
        self._failed = False
        self._update(0.0)

    def on_phase(self, phase: str, message: str) -> None:
        """Log that the job entered a phase."""
        self._log.info("%s: %s", phase, message)

    def on_warning(self, message: str) -> None:
        """Log a problem that does not end following."""
        self._log.warning("%s", message)

    def on_line(self, text: str) -> None:
        """Show a line of the job's log, and the epoch that it completes."""
        self.tail.append(text)
        self._log.debug(text)
        for epoch in self._reader.feed(text):
            self._show_epoch(epoch, self._reader.progress or 0.0)
        if self._stop_when_diverging:
            self.stop_reason = self.stop_reason or describe_divergence(self.epochs)

    def wait(self, seconds: float) -> None:
        """Wait between two queries of the job; raises CancelledRun if the flow run is cancelled."""
        wait_unless_cancelled(seconds)

    def has_complete_log(self) -> bool:
        """Return whether the log was read to its end."""
        return self._reader.is_complete

    def _show_epoch(self, epoch: EpochReport, progress: float) -> None:
        self.epochs.append(epoch)
        # A long job has thousands of epochs: log a line per 1 % or 10 s, and update the artifacts per 5 %.
        now = time.monotonic()
        if progress >= min(self._shown + 1, 100) or now > self._shown_at + 10:
            message = "epoch %d: best %s %.6g, %.0f %% done"
            milestone = progress >= min(self._milestone + 25, 100) or now > self._milestone_at + 60
            if milestone:
                self._milestone, self._milestone_at = progress, now
            shown = (epoch.number, epoch.criteria, epoch.value, progress)
            self._log.info(message, *shown, extra={ROUTINE: not milestone})
            for show in progress_listeners:
                show(progress)
            if progress >= 100 or progress // 5 > self._shown // 5:
                self._update(progress)
            self._shown, self._shown_at = progress, now

    def _update(self, progress: float) -> None:
        try:
            with without_retries():  # which would delay the next look at the job
                self._show_progress(progress)
                if self.epochs:
                    self._show_curve(curve_rows(self.epochs))
        except Exception as error:  # noqa: BLE001 - Prefect's server or its client may fail in any way
            if not self._failed:  # later updates may succeed again
                self._failed = True
                message = "Prefect does not show the progress of training job %s, which continues: %s"
                self._log.warning(message, self._job, describe_exception(error))

    def _show_progress(self, progress: float) -> None:
        if self._progress is None:
            # The return type covers sync and async callers.
            artifact_id = create_progress_artifact(progress, description=f"Epochs of {self._job}")
            self._progress = cast("UUID", artifact_id)
        else:
            update_progress_artifact(self._progress, progress)

    def _show_curve(self, rows: list[dict[str, Any]]) -> None:
        if self._curve is None:
            description = f"Learning curve of {self._job}"
            self._curve = cast("UUID", create_table_artifact(rows, key="learning-curve", description=description))
        else:
            with get_client(sync_client=True) as client:
                client.update_artifact(self._curve, ArtifactUpdate(data=json.dumps(rows)))


def curve_rows(epochs: list[EpochReport]) -> list[dict[str, Any]]:
    """Return the best model's value per epoch, or per second, fourth, … of many epochs, including the last one."""
    chosen = thin_out(epochs, MAX_CURVE_ROWS)
    # JSON has no numbers for NaN and infinity.
    return [
        {
            "epoch": e.number,
            f"best {e.criteria}": e.value if isfinite(e.value or 0.0) else str(e.value),
            "improved": e.improved,
        }
        for e in chosen
    ]
