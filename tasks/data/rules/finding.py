"""A problem of a table, and the texts of its message."""

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel

MAX_NAMES: Final = 12
"""The most columns or labels that a message lists; of more, this number is listed as examples."""
MAX_NAME_LENGTH: Final = 60
IGNORE_REMEDY: Final = "leave the column out with the dataset's ignore parameter"


class Finding(BaseModel, frozen=True):
    """A problem of the table. An error prevents training; a warning does not."""

    level: Literal["error", "warning"]
    where: str
    """The column and row (1 is the first below the header), the hyperparameter, the channel, or the table."""
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.remedy}"


def error(where: str, what: str, remedy: str) -> Finding:
    return Finding(level="error", where=where, what=what, remedy=remedy)


def warning(where: str, what: str, remedy: str) -> Finding:
    return Finding(level="warning", where=where, what=what, remedy=remedy)


def shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else name[:MAX_NAME_LENGTH] + "…"


def quote(name: str) -> str:
    return repr(shorten(name))


def join_words(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def quote_columns(names: Sequence[str]) -> str:
    """`columns 'a' and 'b'`, or `300 columns, such as …`."""
    some = join_words([quote(name) for name in names[:MAX_NAMES]])
    if len(names) > MAX_NAMES:
        return f"{len(names)} columns, such as {some}"
    return f"column{'s' if len(names) > 1 else ''} {some}"


def format_label(label: float) -> str:
    """A label as text, whole numbers without a decimal point: 3, not 3.0."""
    return str(int(label)) if label % 1 == 0 and abs(label) < 1e15 else repr(label)


def format_labels(labels: Sequence[float], count: int | None = None) -> str:
    """`0, 1 and 2`, or `0, 1, … and 990 more`; `count` is the number of all labels if `labels` are only some."""
    more = (count or len(labels)) - len(labels[:MAX_NAMES])
    return join_words([*(format_label(label) for label in labels[:MAX_NAMES]), *([f"{more} more"] if more else [])])
