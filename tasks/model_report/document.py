"""Render the report on a model as markdown and as an HTML page, from the templates beside this file."""

import re
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from aws.registry import Package
from linear_learner.columns import Table
from linear_learner.formats.artifact import read_model
from linear_learner.logs.convergence import measure_late_improvement
from linear_learner.predictor import Predictor
from tasks.data.profile_report import MAX_NAME_LENGTH, columns_table, escape_markdown, labels_table, plan_table
from tasks.download import TrainedModel
from tasks.evaluation.numbers import NO_VALUE, format_count, format_number, format_share
from tasks.evaluation.results import METRICS, Evaluation, Verdict
from tasks.model_report.effects import ReportFigures, describe_output
from tasks.record import Recorded
from tasks.register import Registered

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Template
    from sklearn.pipeline import Pipeline

MAX_BIASES = 20
MAX_ROWS = 50
"""The most classes and slices that are listed; of more classes, those with most rows."""
_EMBEDDED_PNG = "data:image/png;base64,"


class TrainingRun(TrainedModel):
    """The results of all steps of a run."""

    evaluation: Evaluation
    verdict: Verdict
    recorded: Recorded
    registered: Registered | None
    reused: tuple[str, ...] = ()
    """The steps of which results of earlier runs were reused, and "training job" if that was."""

    @property
    def cost(self) -> str:
        reused = self.submission.how == "reused"
        return f"0 USD; reuse saved {self.job.bill}" if reused else str(self.job.bill)

    def predict(self, frame: Table) -> "pd.DataFrame":
        """The predictions for a frame with the table's columns, in any order, as columns such as `prediction`.

        See `linear_learner.predictor` for them. Raises DataError, with row and column, for columns that do not fit.
        """
        import pandas as pd

        outputs = Predictor(read_model(self.model.path), self.encoding.table_schema).predict_columns(frame)
        return pd.DataFrame(outputs, index=getattr(frame, "index", None))

    def estimator(self) -> "Pipeline":
        """The model as a fitted scikit-learn Pipeline for such frames; see `linear_learner.estimator.to_pipeline`."""
        from linear_learner.estimator import to_pipeline

        return to_pipeline(read_model(self.model.path), self.encoding.table_schema)


def render_report(run: TrainingRun, champion: Package | None, workspace: str, figures: ReportFigures) -> str:
    """Render the report as markdown."""
    model = replace(read_model(run.model.path), feature_names=run.uploaded.features)
    text = _template("report.md.j2", finalize=_to_markdown).render(
        run=run,
        champion=champion,
        warnings=run.checked.findings,
        workspace=workspace,
        plots=figures.plots,
        model=model,
        effects=figures.effects,
        closed_form=figures.closed_form,
        late_improvement=measure_late_improvement(run.job.log.summary) if run.job.log.summary else None,
        output=describe_output(model, run.table.target, f"class {run.evaluation.class_name(1)}"),
        labels_table=labels_table(run.table.profile),
        plan_table=plan_table(run.checked.plan),
        columns_table=columns_table(run.table.profile),
    )
    return re.sub("\n{3,}", "\n\n", text).strip()


def render_page(markdown: str, title: str) -> str:
    """Render the report as HTML; links, and images that are not embedded PNGs, are shown as text."""
    from markdown_it import MarkdownIt

    class OnlyEmbedded(MarkdownIt):
        def validateLink(self, url: str) -> bool:  # noqa: N802 - markdown-it's name
            return url.startswith(_EMBEDDED_PNG)

    body = OnlyEmbedded("commonmark", {"html": False}).enable("table").render(markdown)
    return _template("page.html.j2").render(title=title, body=body)


def metrics_table(evaluation: Evaluation) -> list[dict[str, str | float | None]]:
    """One row per metric for a table artifact, rounded to five digits; None where a metric is not defined."""
    return [
        {
            "metric": METRICS[metric.name].title,
            "this model": _round_figure(metric.value),
            "interval": NO_VALUE
            if metric.low is None or metric.high is None
            else f"{format_number(metric.low)} to {format_number(metric.high)}",
            "baseline": _round_figure(metric.baseline),
            "champion": _round_figure(metric.champion),
        }
        for metric in evaluation.metrics
    ]


def _round_figure(figure: float | None) -> float | None:
    return float(f"{figure:.5g}") if figure is not None and isfinite(figure) else None


def _template(name: str, **options: Any) -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.filters |= {"name": _shorten_name, "one_line": _one_line}
    environment.globals |= {
        "number": format_number,
        "share": format_share,
        "count": format_count,
        "percent": lambda share: f"{100 * share:g} %",
        "METRICS": METRICS,
        "MAX_BIASES": MAX_BIASES,
        "MAX_ROWS": MAX_ROWS,
    }
    return environment.get_template(name)


def _to_markdown(value: object) -> object:
    """Escape a value for markdown and HTML; Jinja calls this for every value that it prints."""
    from markupsafe import Markup

    return value if isinstance(value, Markup) else Markup(escape_markdown(str(value)))  # noqa: S704 - it is escaped


def _shorten_name(name: str) -> str:
    """Cut a name to MAX_NAME_LENGTH characters; "(no name)" if it is blank."""
    return (name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}…").strip() or "(no name)"


def _one_line(command: str) -> object:
    """A command for a code block, on one line and without escapes, as markdown shows code unchanged."""
    from markupsafe import Markup

    return Markup("".join(char if char.isprintable() else " " for char in command))  # noqa: S704 - in a block of code
