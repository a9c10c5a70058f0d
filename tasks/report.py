"""Report: show the verdict and what it rests on, in the UI and as a page beside the model."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger

from aws.registry import Package
from linear_learner.formats.artifact import read_model
from tasks.caching.explain_rerun import Fact
from tasks.caching.policy import RETRIES, UNCACHED, Inputs, Result, cached, fingerprint
from tasks.data.rules.finding import Finding
from tasks.download import TrainedModel
from tasks.evaluation.results import Evaluation, Verdict
from tasks.model_report.context import ReportContext
from tasks.model_report.markdown import metrics_table, render_report
from tasks.parameters import RunParameters
from tasks.record import Recorded
from tasks.register import Registered

REPORT_KEY, METRICS_KEY = "model-report", "model-metrics"
"""The same for every run, so that Prefect keeps their history together."""
PAGE = "report.html"
VERSION = 1
"""Of the plots."""


class Plots(Result):
    """The report's plots as data URLs, by name."""

    images: dict[str, str]

    def __str__(self) -> str:
        return f"{len(self.images)} plots"


class TrainingRun(TrainedModel):
    """What each step of one run came to."""

    evaluation: Evaluation
    verdict: Verdict
    recorded: Recorded
    registered: Registered | None

    @property
    def cost(self) -> str:
        """In USD, in a line."""
        reused = self.submission.how == "reused"
        return f"0 USD; reuse saved {self.job.bill}" if reused else str(self.job.bill)


def _facts(inputs: Inputs) -> dict[str, Fact]:
    context: ReportContext = inputs["context"]
    model = context.model
    shown = fingerprint(model.weights.tobytes().hex(), model.feature_names, model.predictor_type, model.loss)
    return {"plot.sha256": fingerprint(shown, context.target, context.profile, context.evaluation, context.summary)}


@task(task_run_name="plot {context.job}", **cached("plot", _facts), **RETRIES)
def plot(context: ReportContext) -> Plots:
    """Draw what the report shows."""
    from tasks.model_report.plots import draw_plots, to_data_urls  # matplotlib

    return Plots(images=to_data_urls(draw_plots(context)))


@task(task_run_name="report {run.job.name}", **UNCACHED)
def report(
    run: TrainingRun, parameters: RunParameters, champion: Package | None, warnings: Sequence[Finding], workspace: str
) -> Path:
    """Leave the report as artifacts of the run and as a page beside the model, for people without the UI.

    `champion` is the model that this one was compared with, `workspace` the block's name. Returns the page's path.
    """
    from tasks.model_report.page import render_page

    context = report_context(run, parameters, champion, warnings, workspace)
    text = render_report(context, plot(context).images)
    with suppress(httpx.HTTPError):  # the page has it all
        create_markdown_artifact(text, key=REPORT_KEY, description=f"{run.verdict.outcome}: {run.job.name}")
        create_table_artifact(metrics_table(run.evaluation), key=METRICS_KEY, description=f"Test set of {run.job.name}")
    place = run.model.path.parent / PAGE
    place.write_text(render_page(text, f"Linear Learner predicts {run.table.target}"), encoding="utf-8")
    get_run_logger().info("%s", run.verdict)
    get_run_logger().info("the report is the artifact %s of this run, and on this machine %s", REPORT_KEY, place)
    return place


def report_context(
    run: TrainingRun, parameters: RunParameters, champion: Package | None, warnings: Sequence[Finding], workspace: str
) -> ReportContext:
    """Everything the report shows."""
    return ReportContext(
        target=run.table.target,
        source=run.table.source.uri,
        verdict=run.verdict,
        registered=str(run.registered) if run.registered else None,
        profile=run.table.profile,
        rows=run.rows.by_channel,
        split=run.rows.parameters,
        summary=run.job.log.summary,
        summary_error=run.job.log.objection,
        evaluation=run.evaluation,
        model=replace(read_model(run.model.path), feature_names=run.uploaded.features),
        job=run.job.name,
        submission=run.submission.how,
        cost=run.cost,
        warnings=[str(warning) for warning in warnings],
        reproduce=f"python -m flows.train --from-run {run.recorded.uri} --workspace {workspace}",
        champion=f"version {champion.version}, {champion.training_job or champion.model_uri}" if champion else None,
        slice_by=parameters.gate.slice_by,
        same_test_rows=bool(champion and champion.metadata.get("sha256:test") == run.uploaded["test"].sha256),
    )
