"""Text where numbers or dates are expected: what it is, for columns that are mostly numbers or dates."""

import re
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from tasks.data.profile import ColumnProfile, TextCount, TextKind, TextProfile

MOSTLY: Final = 0.8
"""Share of numbers, in any notation, or of dates, from which the other texts of a column are taken to be errors."""
MAX_CODES: Final = 50
"""A column with at most so many different values, each twice on average, may be a category."""
MARKER_PATTERN: Final = (
    r"(?i)^(?:[-\u2013\u2014_.*#~x/\\?]|[-\u2013\u2014_.*?]{2,}|n\.?[ad]\.?|n[./\\]a\.?|k\.? ?a\.?|unk\.?"
    r"|unknown|undefined|missing|none|nil|null|\(null\)|\\n|nan|nat|void|empty|blank|n/d"
    r"|not (?:available|applicable|known|recorded)|no data|tbd|#(?:ref|value|div/0|name|null|num)[!?]?)$"
)
"""Texts that usually mark a missing value."""
NOTATIONS: Final[frozenset[TextKind]] = frozenset(
    ["thousands separator", "ambiguous comma", "decimal comma", "percent", "currency"]
)
"""The kinds of text that are numbers in another notation."""
_DIGIT = re.compile(r"\d")
WORDINGS: Final[Mapping[TextKind, str]] = {
    "thousands separator": "numbers with a thousands separator",
    "ambiguous comma": "numbers with a comma that is a thousands separator or a decimal comma",
    "decimal comma": "numbers with a decimal comma",
    "percent": "percentages",
    "currency": "amounts with a currency sign",
    "missing marker": "a text that seems to mark missing values",
    "boolean": "true or false among other values",
    "date": "dates among other values, or in different forms",
    "other": "text among other values",
}


class TextProblem(NamedTuple):
    """Why a column is used neither as numbers nor as categories."""

    kinds: tuple[TextCount, ...]
    """The most frequent first."""
    markers: tuple[str, ...]
    """Texts that seem to mark missing values."""
    few_values: bool
    """Whether the column may be a category."""

    @property
    def row(self) -> int:
        return min(one.row for one in self.kinds)

    @property
    def what(self) -> str:
        """What the texts are, with counts, first rows and examples."""
        return " and ".join(
            f"{WORDINGS[one.kind]} ({one.example!r} in row {one.row}{_more(one.count)})" for one in self.kinds
        )


def find_text_problem(column: ColumnProfile) -> TextProblem | None:
    """The problem of a column that is mostly numbers, in any notation, or mostly dates, but for some text."""
    text = column.text_profile
    if text is None or text.date_formats:
        return None
    kinds = _resolve_commas(_resolve_marker(text))
    counts = {one.kind: one.count for one in kinds}
    numbers = text.numbers + _sum(counts, NOTATIONS)
    values = text.numbers + text.text - counts.get("missing marker", 0)
    dates = counts.get("date", 0)
    if max(numbers, dates) < MOSTLY * values or not values:
        return None
    return TextProblem(
        kinds, _list_markers(kinds, text), text.distinct <= min(MAX_CODES, (text.numbers + text.text) / 2)
    )


def _sum(counts: Mapping[TextKind, int], kinds: Collection[TextKind]) -> int:
    return sum(count for kind, count in counts.items() if kind in kinds)


def _resolve_marker(text: TextProfile) -> tuple[TextCount, ...]:
    """A single text without digits that is repeated among more numbers marks missing values, whatever it says."""
    (one, *others) = text.kinds
    marks = one.kind == "other" and not others and len(text.values) == 1 and not _DIGIT.search(text.values[0])
    if marks and 1 < one.count < text.numbers:
        return (one.model_copy(update={"kind": "missing marker"}),)
    return text.kinds


def _resolve_commas(kinds: tuple[TextCount, ...]) -> tuple[TextCount, ...]:
    """Count 1,234 as what the other numbers of the column show the comma to be, if they show it."""
    found: dict[TextKind, TextCount] = {one.kind: one for one in kinds}
    clear = [found[kind] for kind in ("thousands separator", "decimal comma") if kind in found]
    if "ambiguous comma" not in found or len(clear) != 1:
        return kinds
    unclear, [other] = found.pop("ambiguous comma"), clear
    first = min(unclear, other, key=lambda one: one.row)
    count = unclear.count + other.count
    found[other.kind] = TextCount(kind=other.kind, count=count, row=first.row, example=first.example)
    return tuple(sorted(found.values(), key=lambda one: (-one.count, one.row)))


def _list_markers(kinds: tuple[TextCount, ...], text: TextProfile) -> tuple[str, ...]:
    [*marks] = [one for one in kinds if one.kind == "missing marker"]
    if not marks:
        return ()
    listed = [value for value in text.values if re.match(MARKER_PATTERN, value)]
    return tuple(listed) or (marks[0].example,)


def _more(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""
