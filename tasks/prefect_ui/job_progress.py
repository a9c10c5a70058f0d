"""What a flow run shows of a training job: phases and epochs in its log, progress and learning curve as artifacts."""

import json
import time
from collections import deque
from contextlib import suppress
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, cast

import httpx
from prefect import get_client
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger

from linear_learner.logs.reader import EpochReport, LogReader, describe_divergence, thin_out
from tasks.prefect_ui.cancellation import wait_unless_cancelled

if TYPE_CHECKING:
    from uuid import UUID

TAIL_LINES = 40
"""Log lines that are kept for whoever has to say why the job failed."""
MAX_CURVE_ROWS = 50
"""Epochs in the table of the learning curve; of more, every second, fourth, … is shown."""


class JobProgress:
    """Follows a job: shows what happens, and stores its epochs and the end of its log."""

    def __init__(self, job: str, *, stop_when_diverging: bool = False) -> None:
        self.stop_reason: str | None = None
        """Why the job is not worth going on with; None while it is."""
        self._stop_when_diverging = stop_when_diverging
        self.epochs: list[EpochReport] = []
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._log = get_run_logger()
        self._reader = LogReader()
        self._shown, self._shown_at = 0.0, -inf
        self._progress: UUID | None = None
        self._curve: UUID | None = None
        self._job = job
        self._update(0.0)

    def on_phase(self, phase: str, message: str) -> None:
        """Log that the job entered a phase."""
        self._log.info("%s: %s", phase, message)

    def on_line(self, text: str) -> None:
        """Show a line of the job's log, and the epoch it ends."""
        self.tail.append(text)
        self._log.debug(text)
        for epoch in self._reader.feed(text):
            self._show_epoch(epoch, self._reader.progress or 0.0)
        if self._stop_when_diverging:
            self.stop_reason = self.stop_reason or describe_divergence(self.epochs)

    def wait(self, seconds: float) -> None:
        """Wait between two looks at the job; raises CancelledRun as soon as the flow run is seen to be cancelled."""
        wait_unless_cancelled(seconds)

    def has_complete_log(self) -> bool:
        """Whether the log has come to its end."""
        return self._reader.is_complete

    def _show_epoch(self, epoch: EpochReport, progress: float) -> None:
        self.epochs.append(epoch)
        # A long job has thousands of epochs: a line per per cent or ten seconds, an update per twentieth.
        now = time.monotonic()
        if progress >= min(self._shown + 1, 100) or now > self._shown_at + 10:
            message = "epoch %d: best %s %.6g, %.0f %% done"
            self._log.info(message, epoch.index, epoch.criteria, epoch.value, progress, extra={"progress": progress})
            if progress >= 100 or progress // 5 > self._shown // 5:
                self._update(progress)
            self._shown, self._shown_at = progress, now

    def _update(self, progress: float) -> None:
        # A job that is paid for goes on being followed though Prefect cannot show it for a while.
        with suppress(httpx.HTTPError):
            self._show_progress(progress)
            if self.epochs:
                self._show_curve(curve_rows(self.epochs))

    def _show_progress(self, progress: float) -> None:
        if self._progress is None:
            # Prefect types its artifacts for sync and async callers alike.
            made = create_progress_artifact(progress, description=f"Epochs of {self._job}")
            self._progress = cast("UUID", made)
        else:
            update_progress_artifact(self._progress, progress)

    def _show_curve(self, rows: list[dict[str, Any]]) -> None:
        if self._curve is None:
            made = create_table_artifact(rows, key="learning-curve", description=f"Learning curve of {self._job}")
            self._curve = cast("UUID", made)
        else:
            with get_client(sync_client=True) as client:
                client.update_artifact(self._curve, ArtifactUpdate(data=json.dumps(rows)))


def curve_rows(epochs: list[EpochReport]) -> list[dict[str, Any]]:
    """One row per epoch, or per second, fourth, … of many, the last one included: what the best model came to."""
    chosen = thin_out(epochs, MAX_CURVE_ROWS)
    # What is not finite is told in words: JSON has no numbers for it.
    return [
        {
            "epoch": e.index,
            f"best {e.criteria}": e.value if isfinite(e.value or 0.0) else str(e.value),
            "improved": e.improved,
        }
        for e in chosen
    ]
