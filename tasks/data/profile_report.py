"""What people see of their data in the UI: the verdict, the labels, the columns; as markdown."""

import re
from collections.abc import Collection, Iterable, Sequence

from tasks.data.profile import ColumnProfile, Profile
from tasks.data.rules.finding import spelled
from tasks.data.rules.table import Finding

MAX_LABELS = 20
"""Labels that are listed with their rows; of more, the range is shown."""
MAX_COLUMNS = 200
NAME_LENGTH = 60
_MARKUP = re.compile(r"[\\`*_\[\]~]")
_HTML = re.compile(r"[&<>|]")  # entities, as a bar in a table's cell has no other spelling that all readers know
_HEADER = ("column", "role", "kind", "missing", "infinite", "minimum", "mean", "maximum", "std", "correlation")


def data_report(profile: Profile, findings: Sequence[Finding], ignored: Collection[str] = ()) -> str:
    """The report on a table: what is wrong with it, how its labels are spread, what its columns hold."""
    sections = {
        "Verdict": _verdict(findings),
        f"Labels: {escaped(profile.target)}": labels_table(profile),
        f"Columns: {len(profile.columns)} of {profile.rows} rows": columns_table(profile, ignored),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())


def escaped(text: str) -> str:
    """Text that markdown shows as it is, on one line."""
    shown = _HTML.sub(lambda found: f"&#{ord(found[0])};", _MARKUP.sub(r"\\\g<0>", text))
    return "".join(char if char.isprintable() else " " for char in shown)


def _verdict(findings: Sequence[Finding]) -> str:
    if not findings:
        return "Nothing to object to."
    parts = []
    for level in ("error", "warning"):
        said = [f"- {escaped(str(finding))}" for finding in findings if finding.level == level]
        if said:
            parts.append("\n".join([f"**{len(said)} {level}{'s' if len(said) > 1 else ''}**", "", *said]))
    return "\n\n".join(parts)


def labels_table(profile: Profile) -> str:
    """How the labels are spread."""
    if profile.labels and len(profile.labels) <= MAX_LABELS:
        rows = [
            (spelled(label.value), str(label.rows), f"{label.rows / profile.rows:.1%}", str(label.first_row))
            for label in profile.labels
        ]
        return _table(("label", "rows", "share", "first row"), rows)
    target = next(column for column in profile.columns if column.name == profile.target)
    if target.minimum is None:
        return "No numbers."
    figures = (target.minimum, target.mean, target.maximum, target.std)
    return _table(("minimum", "mean", "maximum", "std"), [[_number(figure) for figure in figures]])


def columns_table(profile: Profile, ignored: Collection[str] = ()) -> str:
    """What the columns hold, at most 200 of them."""
    shown = profile.columns[:MAX_COLUMNS]
    table = _table(_HEADER, [_row(column, profile.target, ignored) for column in shown])
    more = len(profile.columns) - len(shown)
    return f"{table}\n\nand {more} more" if more else table


def _row(column: ColumnProfile, target: str, ignored: Collection[str]) -> list[str]:
    role = "target" if column.name == target else "ignored" if column.name in ignored else "feature"
    name = column.name if len(column.name) <= NAME_LENGTH else column.name[:NAME_LENGTH] + "…"
    figures = (column.minimum, column.mean, column.maximum, column.std, column.correlation)
    counts = (str(column.missing), str(column.infinite))
    return [escaped(name), role, column.kind, *counts, *(_number(figure) for figure in figures)]


def _number(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.6g}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
