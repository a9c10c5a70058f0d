"""Report: show the verdict and what it rests on, in the UI and as a page beside the model."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from aws.registry import Package
from linear_learner.formats.artifact import read_model
from tasks.caching.policy import PERSISTED, RETRIES, ContentCachePolicy, Inputs, Result, fingerprint
from tasks.download import TrainedModel
from tasks.evaluation.results import Evaluation, Verdict
from tasks.model_report.context import ReportContext
from tasks.model_report.markdown import report as written
from tasks.model_report.tables import metrics_table
from tasks.monitor import TrainingLogSummary
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

    def about(
        self,
        log_summary: TrainingLogSummary,
        champion: Package | None,
        warnings: Sequence[object],
        slice_by: str | None,
        workspace: str,
    ) -> ReportContext:
        """All that the report tells; `warnings` are those about the data, `workspace` is the block's name."""
        return ReportContext(
            target=self.table.target,
            source=self.table.source.uri,
            verdict=self.verdict,
            registered=str(self.registered) if self.registered else None,
            profile=self.table.profile,
            rows=self.rows.by_channel,
            split=self.rows.parameters,
            summary=log_summary.summary,
            summary_error=log_summary.objection,
            evaluation=self.evaluation,
            model=replace(read_model(self.model.path), feature_names=self.uploaded.features),
            job=self.job.name,
            submission=self.submission.how,
            cost=self.cost,
            warnings=[str(warning) for warning in warnings],
            reproduce=f"python -m flows.train --from-run {self.recorded.uri} --workspace {workspace}",
            champion=f"version {champion.version}, {champion.training_job or champion.model_uri}" if champion else None,
            slice_by=slice_by,
            same_test_rows=bool(champion and champion.metadata.get("sha256:test") == self.uploaded["test"].sha256),
        )


def _identity(inputs: Inputs) -> tuple[object, ...]:
    about: ReportContext = inputs["about"]
    model = about.model
    shown = fingerprint(model.weights.tobytes().hex(), model.feature_names, model.predictor_type, model.loss)
    return shown, about.target, about.profile, about.evaluation, about.summary, VERSION


@task(
    task_run_name="plot {about.job}",
    cache_policy=ContentCachePolicy(step="plot", identity=_identity, of=("training job", "champion", "gate")),
    **PERSISTED,
    **RETRIES,
)
def plot(about: "ReportContext") -> Plots:
    """Draw what the report shows."""
    from tasks.model_report.plots import data_urls, draw  # matplotlib

    return Plots(images=data_urls(draw(about)))


@task(task_run_name="report {about.job}", cache_policy=NO_CACHE, persist_result=False)
def report(about: "ReportContext", plots: Plots, folder: Path) -> Path:
    """Leave the report as artifacts of the run and as a page in `folder`, for people without the UI; returns that."""
    from tasks.model_report.page import page

    text = written(about, plots.images)
    with suppress(httpx.HTTPError):  # the page has it all
        create_markdown_artifact(text, key=REPORT_KEY, description=f"{about.verdict.outcome}: {about.job}")
        create_table_artifact(metrics_table(about.evaluation), key=METRICS_KEY, description=f"Test set of {about.job}")
    place = folder / PAGE
    place.write_text(page(text, f"Linear Learner predicts {about.target}"), encoding="utf-8")
    get_run_logger().info("%s", about.verdict)
    get_run_logger().info("the report is the artifact %s of this run, and on this machine %s", REPORT_KEY, place)
    return place
