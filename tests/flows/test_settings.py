"""A run reuses and reports results under any of Prefect's settings, and completes without a reader of its log."""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prefect.filesystems import LocalFileSystem
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import (
    PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_RESULTS_DEFAULT_SERIALIZER,
    PREFECT_RESULTS_PERSIST_BY_DEFAULT,
    PREFECT_TASKS_DEFAULT_PERSIST_RESULT,
    PREFECT_TASKS_REFRESH_CACHE,
    temporary_settings,
)

from flows.cli.terminal import summary
from flows.train import train_linear_learner
from tasks.prefect_ui.job_progress import progress_listeners
from tasks.report import REPORT_KEY
from tests.flows.test_train import STEPS
from tests.tasks.test_monitor_and_download import artifacts

REUSED = ", ".join(STEPS)


@pytest.fixture
def progress() -> Iterator[list[float]]:
    """The progress of the jobs of this test, as the command line receives it."""
    shown: list[float] = []
    progress_listeners.append(shown.append)
    yield shown
    progress_listeners.remove(shown.append)


@pytest.fixture
def unread_log() -> Iterator[None]:
    """Prefect's console log of task runs is also written to a pipe whose reader has exited."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    handler, log = PrefectConsoleHandler(stream), logging.getLogger("prefect.task_runs")
    log.addHandler(handler)
    yield
    log.removeHandler(handler)
    with suppress(BrokenPipeError):
        stream.close()


@pytest.mark.usefixtures("unread_log")
def test_what_was_reused_is_reported_at_any_log_level_with_any_result_storage_and_with_refresh_cache(
    parameters: dict[str, Any], progress: list[float], caplog: pytest.LogCaptureFixture, machine: Path
) -> None:
    caplog.set_level(logging.CRITICAL, logger="prefect")
    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: True, PREFECT_TASKS_DEFAULT_PERSIST_RESULT: True}):
        first = train_linear_learner(**parameters)
    assert "\n  reused        nothing\n" in summary(first)
    assert progress == sorted(progress)
    assert (len(progress) > 1, progress[-1]) == (True, 100)
    LocalFileSystem(basepath=str(machine / "block")).save("flow-results")
    settings = {
        PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: "local-file-system/flow-results",
        PREFECT_LOCAL_STORAGE_PATH: machine / "elsewhere",
        PREFECT_LOGGING_TO_API_ENABLED: False,
        PREFECT_RESULTS_DEFAULT_SERIALIZER: "pickle",
        PREFECT_RESULTS_PERSIST_BY_DEFAULT: False,
        PREFECT_TASKS_DEFAULT_PERSIST_RESULT: False,
    }
    with temporary_settings(settings):
        second = train_linear_learner(**parameters)
    assert f"\n  reused        {REUSED}\n" in summary(second)
    assert f"Reused from earlier runs: {REUSED}." in second.model.path.with_name("report.html").read_text()
    report = artifacts("markdown")[0]
    assert report.key == REPORT_KEY
    assert f"Reused from earlier runs: {REUSED}." in str(report.data)
    assert not caplog.messages

    caplog.set_level(logging.INFO, logger="prefect")
    with temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}):
        refreshed = train_linear_learner(**parameters)
    assert refreshed.reused == ("training job",)
    assert caplog.messages.count("again, because PREFECT_TASKS_REFRESH_CACHE is set") == len(STEPS) - 1
    assert [one for one in caplog.messages if one.startswith("reused")] == [f"reused: training job {first.job.name}"]
