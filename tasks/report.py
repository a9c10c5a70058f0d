"""Report: show the verdict and what it rests on, in the UI and as a page beside the model."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.model_report.markdown import report as written
from tasks.model_report.quality import metrics_table
from tasks.reuse import KEPT, RETRIES, Inputs, Result, WhileItExists, fingerprint

if TYPE_CHECKING:
    from tasks.model_report.subject import Subject

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


def _identity(inputs: Inputs) -> tuple[object, ...]:
    about: Subject = inputs["about"]
    model = about.model
    shown = fingerprint(model.weights.tobytes().hex(), model.feature_names, model.predictor_type, model.loss)
    return shown, about.target, about.profile, about.evaluation, about.story, VERSION


@task(
    task_run_name="plot {about.job}",
    cache_policy=WhileItExists(step="plot", identity=_identity, of=("training job", "champion", "gate")),
    **KEPT,
    **RETRIES,
)
def plot(about: "Subject") -> Plots:
    """Draw what the report shows."""
    from tasks.model_report.plots import data_urls, draw  # matplotlib

    return Plots(images=data_urls(draw(about)))


@task(task_run_name="report {about.job}", cache_policy=NO_CACHE, persist_result=False)
def report(about: "Subject", plots: Plots, folder: Path) -> Path:
    """Leave the report as artifacts of the run and as a page in `folder`, for people without the UI; returns that."""
    from tasks.model_report.html import page

    text = written(about, plots.images)
    with suppress(httpx.HTTPError):  # the page has it all
        create_markdown_artifact(text, key=REPORT_KEY, description=f"{about.verdict.outcome}: {about.job}")
        create_table_artifact(metrics_table(about.evaluation), key=METRICS_KEY, description=f"Test set of {about.job}")
    place = folder / PAGE
    place.write_text(page(text, f"Linear Learner predicts {about.target}"), encoding="utf-8")
    get_run_logger().info("%s", about.verdict)
    get_run_logger().info("the report is the artifact %s of this run, and on this machine %s", REPORT_KEY, place)
    return place
