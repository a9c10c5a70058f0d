"""Render the report on a model as markdown and as an HTML page, from the templates beside this file."""

import re
from dataclasses import replace
from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from aws.registry import PENDING, ApprovalStatus, Package, approval_command
from linear_learner.columns import Table
from linear_learner.formats.artifact import read_model
from linear_learner.logs.convergence import measure_late_improvement
from linear_learner.predictor import Predictor
from tasks.data.numbers import NO_VALUE, format_count, format_number, format_share
from tasks.data.profile_report import MAX_NAME_LENGTH, columns_table, escape_markdown, labels_table, plan_table
from tasks.download import TrainedModel
from tasks.evaluation.results import METRICS, Evaluation, Verdict
from tasks.model_report.effects import ReportFigures, describe_output
from tasks.record import Recorded
from tasks.register import Registered

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Template
    from markdown_it.token import Token
    from sklearn.pipeline import Pipeline

MAX_BIASES = 20
MAX_ROWS = 50
"""The most classes and slices that are listed; of more classes, those with most rows."""
_EMBEDDED_PNG = "data:image/png;base64,"


_USAGE: Final[dict[ApprovalStatus | None, str]] = {
    "Approved": "passed the gate and is approved; it may be used",
    "PendingManualApproval": "passed the gate; it waits for approval before it is used",
    "Rejected": "passed the gate, but is rejected in the registry; do not use it",
    None: "passed the gate; it may be used",
}
"""Of a model that passed the gate, by its status in the registry, None if it is not registered."""


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

    @property
    def may_be_used(self) -> bool:
        """Whether the model passed the gate and nobody rejected it; it can still wait for approval."""
        return self.verdict.passed and not (self.registered and self.registered.status == "Rejected")

    @property
    def usage(self) -> str:
        """Whether the model may be used, by its verdict and its status in the registry."""
        status = self.registered.status if self.registered else None
        if not self.verdict.passed:
            approved = ", although an earlier run or a person approved it" if status == "Approved" else ""
            return f"did not pass the gate; do not use it{approved}"
        return _USAGE[status]

    @property
    def waits_for_approval(self) -> bool:
        return self.registered is not None and self.registered.status == PENDING

    @property
    def next_step(self) -> str:
        if not self.verdict.passed:
            return "Change the data or the hyperparameters and run again; a champion, if there is one, stays in use."
        if self.registered and self.waits_for_approval:
            return f"Look at the worst rows and the plots, and approve version {self.registered.version}."
        if not self.may_be_used:
            return "Ask who rejected the model, or train another one."
        return "Predict new rows with the model."

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the test set by name, such as `rmse`, without those that are not defined."""
        return {metric.name: metric.value for metric in self.evaluation.metrics if metric.value is not None}

    def __repr__(self) -> str:
        return f"<TrainingRun {self.job.name}: {self.verdict.headline}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """The verdict and the metrics, which a notebook shows."""
        shown = [metric for metric in self.evaluation.metrics if metric.value is not None]
        rows = "".join(f"<tr><td>{METRICS[one.name].title}</td><td>{one.value:.6g}</td></tr>" for one in shown)
        return f"<p>{escape(str(self.verdict))}</p><table>{rows}</table>"

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


def render_report(
    run: TrainingRun, champion: Package | None, workspace: str, figures: ReportFigures, run_url: str | None = None
) -> str:
    """Render the report as markdown; `run_url` is the page of the run in Prefect's UI."""
    model = replace(read_model(run.model.path), feature_names=run.uploaded.features)
    text = _template("report.md.j2", finalize=_to_markdown).render(
        run=run,
        champion=champion,
        warnings=run.checked.findings,
        workspace=workspace,
        run_url=run_url,
        plots=figures.plots,
        worst_rows=figures.worst_rows,
        model=model,
        effects=figures.effects,
        closed_form=figures.closed_form,
        late_improvement=measure_late_improvement(run.job.log.summary) if run.job.log.summary else None,
        output=describe_output(model, run.table.target, f"class {run.evaluation.class_name(1)}"),
        labels_table=labels_table(run.table.profile),
        plan_table=plan_table(run.checked.plan),
        columns_table=columns_table(run.table.profile, correlation=not run.evaluation.classes),
    )
    return re.sub("\n{3,}", "\n\n", text).strip()


def render_page(markdown: str, title: str, run_url: str | None = None) -> str:
    """Render the report as HTML; links except `run_url`, and images that are not embedded PNGs, are shown as text."""
    from markdown_it import MarkdownIt

    class OnlyEmbedded(MarkdownIt):
        def validateLink(self, url: str) -> bool:  # noqa: N802 - markdown-it's name
            return url.startswith(_EMBEDDED_PNG) or url == run_url

    parser = OnlyEmbedded("commonmark", {"html": False}).enable("table")
    body = parser.renderer.render(_complete_tables(parser.parse(markdown)), parser.options, {})
    return _template("page.html.j2").render(title=title, body=body)


def _complete_tables(tokens: "list[Token]") -> "list[Token]":
    """Add what markdown's tables lack: the paragraph before one as caption, scopes, and a box that scrolls."""
    from markdown_it.token import Token

    result: list[Token] = []
    for token in tokens:
        if token.type == "table_open":
            caption = result[-2]
            del result[-3:]
            label = "".join(part.content for part in caption.children or []).rstrip(":")
            box: dict[str, str | int | float] = {"class": "table", "role": "region", "tabindex": 0, "aria-label": label}
            result += [Token("box_open", "div", 1, attrs=box), token]
            result += [Token("caption_open", "caption", 1), caption, Token("caption_close", "caption", -1)]
            continue
        if token.type == "th_open":
            token.attrSet("scope", "col")
        elif token.type == "td_open" and result[-1].type == "tr_open":
            token.tag = "th"
            token.attrSet("scope", "row")
        elif token.type == "td_close" and result[-2].tag == "th":
            token.tag = "th"
        result.append(token)
        if token.type == "table_close":
            result.append(Token("box_close", "div", -1))
    return result


def metrics_table(evaluation: Evaluation) -> list[dict[str, str | float | None]]:
    """One row per metric for a table artifact, rounded to five digits; None where a metric is not defined."""
    return [
        {
            "metric": evaluation.title(metric.name),
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
        "approval_command": approval_command,
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
