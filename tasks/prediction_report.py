"""The result of a batch prediction, and its report as markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.caching.policy import Result
from tasks.data.numbers import format_count, format_number, format_share
from tasks.data.profile_report import escape_markdown, markdown_table
from tasks.data.scoring_statistics import ScoringStatistics
from tasks.data.source import Source
from tasks.evaluation.results import METRICS, Evaluation
from tasks.model_source import ModelSource
from tasks.predict import PredictedFile

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MAX_COLUMNS = 50
"""The most columns and classes that are listed."""


class BatchPrediction(Result):
    """The files of predictions, and what was counted."""

    table: Source
    model: ModelSource
    files: tuple[PredictedFile, ...]
    statistics: ScoringStatistics
    evaluation: Evaluation | None = None

    @property
    def reused(self) -> bool:
        """Whether all predictions existed already."""
        return all(file.reused for file in self.files)

    def __str__(self) -> str:
        how = "existed already" if self.reused else "written"
        return ". ".join([f"{format_count('prediction', self.statistics.rows)} {how}", *self.remarks])

    @property
    def remarks(self) -> list[str]:
        """What a person should know of the rows, in one sentence each."""
        found = []
        if missing := self.statistics.missing:
            found.append(f"Missing cells in {_list_counts(missing)}")
        if unseen := {name: one.cells for name, one in self.statistics.unseen.items()}:
            found.append(f"Categories that the model does not know in {_list_counts(unseen)}")
        return found

    @property
    def score(self) -> str:
        """The metrics of an evaluation."""
        metrics = self.evaluation.metrics if self.evaluation else ()
        return ", ".join(f"{METRICS[one.name].title} {format_number(one.value)}" for one in metrics if one.value)


def _list_counts(counts: Mapping[str, int]) -> str:
    """The columns with the largest counts."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name!r} ({count:,})" for name, count in ordered[:5])
    return f"{shown} and {len(ordered) - 5} more" if len(ordered) > 5 else shown


def render_report(run: BatchPrediction) -> str:
    """Render the report on the predictions as markdown."""
    statistics = run.statistics
    sections = {
        "Files": markdown_table(("file", "rows", "bytes"), _files(run.files)),
        "Predictions": _distribution(statistics),
        "Missing cells and unknown categories": _cells(statistics),
        **({"Evaluation": _metrics(run.evaluation)} if run.evaluation else {}),
        "First rows": _first_rows(statistics.first_rows),
    }
    head = f"**{format_count('row', statistics.rows)}** of {escape_markdown(run.table.uri)}, predicted with "
    head += f"{escape_markdown(str(run.model))}."
    return "\n\n".join([head, *(f"## {title}\n\n{text}" for title, text in sections.items() if text)])


def _files(files: Sequence[PredictedFile]) -> Iterator[tuple[str, ...]]:
    for file in files[:MAX_COLUMNS]:
        yield escape_markdown(file.uri), f"{file.statistics.rows:,}", f"{file.size:,}"


def _distribution(statistics: ScoringStatistics) -> str:
    if numbers := statistics.predictions:
        quantiles = [(f"{format_share(share)}", format_number(numbers.quantile(share))) for share in QUANTILES]
        rows = [("minimum", format_number(numbers.minimum)), *quantiles, ("maximum", format_number(numbers.maximum))]
        return markdown_table(("share of the rows below", "prediction"), [*rows, ("mean", format_number(numbers.mean))])
    counts = sorted(statistics.classes.items(), key=lambda item: -item[1])[:MAX_COLUMNS]
    shares = [(escape_markdown(name), f"{n:,}", format_share(n / max(statistics.rows, 1))) for name, n in counts]
    return markdown_table(("class", "rows", "share"), shares)


def _cells(statistics: ScoringStatistics) -> str:
    """The columns with missing cells or unknown categories."""
    names = list(dict.fromkeys([*statistics.missing, *statistics.unseen]))
    if not names:
        return "None: every cell is of a kind that the training rows had."
    rows = []
    for name in names[:MAX_COLUMNS]:
        unseen = statistics.unseen.get(name)
        examples = ", ".join(unseen.most_frequent()) if unseen else ""
        missing, unknown = statistics.missing.get(name, 0), unseen.cells if unseen else 0
        rows.append((escape_markdown(name), f"{missing:,}", f"{unknown:,}", escape_markdown(examples)))
    return markdown_table(("column", "missing", "unknown", "most frequent unknown"), rows)


def _metrics(evaluation: Evaluation) -> str:
    rows = [
        (
            METRICS[one.name].title,
            format_number(one.value),
            f"{format_number(one.low)} to {format_number(one.high)}",
            format_number(one.baseline),
        )
        for one in evaluation.metrics
    ]
    interval = f"{format_share(evaluation.confidence)} interval"
    return markdown_table(("metric", "these rows", interval, "best constant"), rows)


def _first_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    cells = [[escape_markdown("" if cell is None else str(cell)) for cell in row.values()] for row in rows]
    return markdown_table([escape_markdown(name) for name in rows[0]], cells)
