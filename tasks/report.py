"""Report: show the verdict and what it rests on, in the UI and as a page beside the model."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger

from aws.registry import Package
from tasks.caching.policy import UNCACHED
from tasks.data.rules.finding import Finding
from tasks.model_report.document import TrainingRun, metrics_table, render_page, render_report

__all__ = ["METRICS_KEY", "PAGE", "REPORT_KEY", "TrainingRun", "report"]

REPORT_KEY, METRICS_KEY = "model-report", "model-metrics"
"""The same for every run, so that Prefect keeps their history together."""
PAGE = "report.html"


@task(task_run_name="report {run.job.name}", **UNCACHED)
def report(
    run: TrainingRun, champion: Package | None, warnings: Sequence[Finding], workspace: str, plots: Mapping[str, str]
) -> Path:
    """Leave the report as artifacts of the run and as a page beside the model, for people without the UI.

    `champion` is the model that this one was compared with, `workspace` the block's name. Returns the page's path.
    """
    text = render_report(run, champion, warnings, workspace, plots)
    with suppress(httpx.HTTPError):  # the page has it all
        create_markdown_artifact(text, key=REPORT_KEY, description=f"{run.verdict.outcome}: {run.job.name}")
        create_table_artifact(metrics_table(run.evaluation), key=METRICS_KEY, description=f"Test set of {run.job.name}")
    place = run.model.path.parent / PAGE
    place.write_text(render_page(text, f"Linear Learner predicts {run.table.target}"), encoding="utf-8")
    get_run_logger().info("%s", run.verdict)
    get_run_logger().info("the report is the artifact %s of this run, and on this machine %s", REPORT_KEY, place)
    return place
