"""The report on a table as markdown, for the UI: findings, labels and columns."""

import re
from collections.abc import Iterable, Sequence

from tasks.data.column_plan import ColumnPlan
from tasks.data.numbers import format_number, format_share
from tasks.data.profile import MAX_LABELS, ColumnProfile, Profile
from tasks.data.rules.finding import MAX_NAME_LENGTH as MAX_NAME_LENGTH  # noqa: PLC0414 - for the model's report
from tasks.data.rules.finding import Finding, format_label, shorten

MAX_LISTED_LABELS = 20  # of more labels, only the range is shown
MAX_LISTED_COLUMNS = 200
_MARKUP = re.compile(r"[\\`*_\[\]~]")
_HTML = re.compile(r"[&<>|]")  # HTML entities: not every renderer accepts a backslash before a bar in a table
_HEADER = ("column", "kind", "missing", "infinite", "minimum", "mean", "maximum", "std", "correlation", "texts")
_NUMBERS = {*_HEADER[2:-1], "rows", "share", "first row"}
_TREATMENTS = {
    "target": "target",
    "ignored": "not a feature",
    "number": "number",
    "fill": "number, missing cells filled in",
    "category": "category",
    "date": "date",
    "leave out": "left out",
    "refuse": "refused",
}


def render_profile(profile: Profile, findings: Sequence[Finding], plan: Sequence[ColumnPlan] = ()) -> str:
    """The findings, what becomes of the columns, the distribution of the labels and the columns of a table."""
    lines = [f"- **{finding.level}** {escape_markdown(str(finding))}" for finding in findings]
    sections = {
        "Findings": "\n".join(lines) or "No problems found.",
        **({"Plan: what becomes of each column": plan_table(plan)} if plan else {}),
        f"Labels: {escape_markdown(profile.target)}": labels_table(profile),
        f"Columns: {len(profile.columns)}, rows: {profile.rows}": columns_table(profile),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())


def plan_table(plan: Sequence[ColumnPlan]) -> str:
    """What becomes of the first MAX_LISTED_COLUMNS columns, and why."""
    rows = [
        (escape_markdown(shorten(column.name)), _TREATMENTS[column.treatment], escape_markdown(column.reason))
        for column in plan[:MAX_LISTED_COLUMNS]
    ]
    return _limited(markdown_table(("column", "use", "reason"), rows), len(plan))


def escape_markdown(text: str) -> str:
    """Escape text so that markdown shows it unchanged, on one line."""
    shown = _HTML.sub(lambda found: f"&#{ord(found[0])};", _MARKUP.sub(r"\\\g<0>", text))
    return "".join(char if char.isprintable() else " " for char in shown)


def labels_table(profile: Profile) -> str:
    """The rows of each label; for many labels, their range and mean."""
    if profile.labels and len(profile.labels) <= MAX_LISTED_LABELS:
        rows = [
            (
                escape_markdown(format_label(label.value)),
                f"{label.rows:,}",
                format_share(label.rows / profile.rows),
                f"{label.first_row:,}",
            )
            for label in profile.labels
        ]
        return markdown_table(("label", "rows", "share", "first row"), rows)
    target = next(column for column in profile.columns if column.name == profile.target)
    if target.minimum is None or target.kind == "text":
        many = "more than" if profile.labels is None else ""
        count = MAX_LABELS if profile.labels is None else len(profile.labels)
        return (
            f"The target has {many} {count} distinct labels.".replace("  ", " ")
            if count
            else "The target has no labels."
        )
    figures = (target.minimum, target.mean, target.maximum, target.std)
    return markdown_table(("minimum", "mean", "maximum", "std"), [[_format_number(figure) for figure in figures]])


def columns_table(profile: Profile, correlation: bool = True) -> str:
    """The statistics of the first MAX_LISTED_COLUMNS columns; `correlation` with the label, unless it is nominal."""
    lines = [_HEADER, *(_row(column) for column in profile.columns[:MAX_LISTED_COLUMNS])]
    if not correlation:
        lines = [[*line[:-2], line[-1]] for line in lines]
    table = markdown_table(lines[0], lines[1:])
    return _limited(table, len(profile.columns))


def _limited(table: str, columns: int) -> str:
    more = columns - MAX_LISTED_COLUMNS
    return f"{table}\n\nand {more} more columns" if more > 0 else table


def _row(column: ColumnProfile) -> list[str]:
    name, counts = escape_markdown(shorten(column.name)), (f"{column.missing:,}", f"{column.infinite:,}")
    figures = (column.minimum, column.mean, column.maximum, column.std, column.correlation)
    texts = ""
    if column.text_profile:
        texts = f"{column.text_profile.distinct:,} distinct, such as {column.text_example!r}"
    return [name, column.kind, *counts, *(_format_number(figure) for figure in figures), escape_markdown(texts)]


def _format_number(figure: float | None) -> str:
    return "" if figure is None else format_number(figure)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, _rule(header), *rows))


def _rule(header: Sequence[str]) -> list[str]:
    """Numbers are aligned to the right."""
    return ["---:" if name in _NUMBERS else "---" for name in header]
