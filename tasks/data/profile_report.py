"""The report on a table as markdown, for the UI: findings, labels and columns."""

import re
from collections.abc import Collection, Iterable, Sequence

from tasks.data.profile import ColumnProfile, Profile
from tasks.data.rules.finding import MAX_NAME_LENGTH as MAX_NAME_LENGTH  # noqa: PLC0414 - for the model's report
from tasks.data.rules.finding import Finding, format_label, shorten

MAX_LISTED_LABELS = 20  # of more labels, only the range is shown
MAX_LISTED_COLUMNS = 200
_MARKUP = re.compile(r"[\\`*_\[\]~]")
_HTML = re.compile(r"[&<>|]")  # HTML entities: not every renderer accepts a backslash before a bar in a table
_HEADER = ("column", "role", "kind", "missing", "infinite", "minimum", "mean", "maximum", "std", "correlation")


def render_profile(profile: Profile, findings: Sequence[Finding], ignored: Collection[str] = ()) -> str:
    """The findings, the distribution of the labels and the columns of a table."""
    lines = [f"- **{finding.level}** {escape_markdown(str(finding))}" for finding in findings]
    sections = {
        "Findings": "\n".join(lines) or "No problems found.",
        f"Labels: {escape_markdown(profile.target)}": labels_table(profile),
        f"Columns: {len(profile.columns)}, rows: {profile.rows}": columns_table(profile, ignored),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())


def escape_markdown(text: str) -> str:
    """Escape text so that markdown shows it unchanged, on one line."""
    shown = _HTML.sub(lambda found: f"&#{ord(found[0])};", _MARKUP.sub(r"\\\g<0>", text))
    return "".join(char if char.isprintable() else " " for char in shown)


def labels_table(profile: Profile) -> str:
    """The rows of each label; for many labels, their range and mean."""
    if profile.labels and len(profile.labels) <= MAX_LISTED_LABELS:
        rows = [
            (format_label(label.value), str(label.rows), f"{label.rows / profile.rows:.1%}", str(label.first_row))
            for label in profile.labels
        ]
        return _table(("label", "rows", "share", "first row"), rows)
    target = next(column for column in profile.columns if column.name == profile.target)
    if target.minimum is None:
        return "The target has no numbers."
    figures = (target.minimum, target.mean, target.maximum, target.std)
    return _table(("minimum", "mean", "maximum", "std"), [[_format_number(figure) for figure in figures]])


def columns_table(profile: Profile, ignored: Collection[str] = ()) -> str:
    """The statistics of the first MAX_LISTED_COLUMNS columns."""
    shown = profile.columns[:MAX_LISTED_COLUMNS]
    table = _table(_HEADER, [_row(column, profile.target, ignored) for column in shown])
    more = len(profile.columns) - len(shown)
    return f"{table}\n\nand {more} more columns" if more else table


def _row(column: ColumnProfile, target: str, ignored: Collection[str]) -> list[str]:
    role = "target" if column.name == target else "ignored" if column.name in ignored else "feature"
    name, counts = escape_markdown(shorten(column.name)), (str(column.missing), str(column.infinite))
    figures = (column.minimum, column.mean, column.maximum, column.std, column.correlation)
    return [name, role, column.kind, *counts, *(_format_number(figure) for figure in figures)]


def _format_number(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.6g}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))
