"""Report: show the verdict and its reasons, in the UI and as an HTML page next to the model."""

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from aws.registry import Package
from aws.workspace import Workspace
from tasks.caching.policy import UNCACHED
from tasks.environment.folders import write_text
from tasks.model_report.document import TrainingRun, metrics_table, render_page, render_report
from tasks.model_report.effects import ReportFigures
from tasks.model_report.history import read_history
from tasks.prefect_ui.display import warn_of_errors

__all__ = ["METRICS_KEY", "PAGE", "REPORT_KEY", "TrainingRun", "report", "show_report"]

REPORT_KEY, METRICS_KEY, HISTORY_KEY = "model-report", "model-metrics", "model-history"
"""The same in every run, so that Prefect shows their history."""
PAGE = "report.html"


@task(task_run_name="report the verdict", **UNCACHED)
def report(
    workspace: Workspace, run: TrainingRun, champion: Package | None, saved_as: str, figures: ReportFigures
) -> str:
    """Write the report as a page next to the model, and return its text, as markdown, for `show_report`.

    `champion` is the model that this one was compared with, `saved_as` the name of the workspace's block. Artifacts
    have the metrics and the newest versions of the model's group.

    The training job is paid for: an artifact or a page that cannot be written is a warning.
    """
    url = url_for("flow-run", flow_run.id) if flow_run.id else None
    text = render_report(run, champion, saved_as, figures, url)
    with warn_of_errors(f"The artifact {METRICS_KEY} was not created"):
        create_table_artifact(metrics_table(run.evaluation), key=METRICS_KEY, description=f"Test set of {run.job.name}")
    if run.registered:
        with warn_of_errors(f"The artifact {HISTORY_KEY} was not created"):
            versions = [one.to_row() for one in read_history(workspace, run.registered.group)]
            create_table_artifact(versions, key=HISTORY_KEY, description=f"Versions of {run.registered.group}")
    path = run.model.path.parent / PAGE
    with warn_of_errors(f"The page {PAGE} was not written; the artifact {REPORT_KEY} of this run has the report"):
        write_text(path, render_page(text, f"Linear Learner predicts {run.table.target}", url))
    get_run_logger().info("%s The model %s.", run.verdict, run.usage)
    get_run_logger().info("report: artifact %s of this run, and %s on this machine", REPORT_KEY, path)
    return text


def show_report(text: str, run: TrainingRun) -> None:
    """Create the artifact of the report; called in the flow, as Prefect lists the artifacts of tasks below its own."""
    with warn_of_errors(f"The report is not among the artifacts of this run, only in {PAGE}"):
        create_markdown_artifact(text, key=REPORT_KEY, description=run.verdict.headline)
