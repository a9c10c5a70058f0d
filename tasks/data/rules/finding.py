"""A problem of a table, and the texts of its message."""

import re
import shlex
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel

from linear_learner.cells import canonical

MAX_NAMES: Final = 12
"""The most labels that a message lists; of more, this number is listed as examples. Columns are all listed."""
MAX_NAME_LENGTH: Final = 60
_PLAIN = re.compile(r"[A-Za-z_][\w.-]*")
_WORDS = frozenset(["true", "false", "null"])  # JSON's values, as which the command line would read them


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
    """`columns 'a' and 'b'`, with all names."""
    return f"column{'s' if len(names) > 1 else ''} {join_words([quote(name) for name in names])}"


def option(name: str, values: Sequence[str]) -> str:
    """An option of the command line with a list of texts, to be pasted into a shell: `--dataset.ignore 'a,"b c"'`."""
    items = [value if _PLAIN.fullmatch(value) and value not in _WORDS else f'"{value}"' for value in values]
    return f"--{name} {shlex.quote(','.join(items))}"


def ignore_option(names: Sequence[str]) -> str:
    """How to leave columns out, as the end of a sentence: `leave the columns out: --dataset.ignore a,b`."""
    return f"leave the column{'s' if len(names) > 1 else ''} out: {option('dataset.ignore', names)}"


def format_label(label: float | str) -> str:
    """A label as text: a class name in quotes, a whole number without a decimal point."""
    return quote(label) if isinstance(label, str) else str(canonical(label))


def format_labels(labels: Sequence[float | str], count: int | None = None) -> str:
    """`0, 1 and 2`, or `0, 1, … and 990 more`; `count` is the number of all labels if `labels` are only some."""
    more = (count or len(labels)) - len(labels[:MAX_NAMES])
    return join_words([*(format_label(label) for label in labels[:MAX_NAMES]), *([f"{more} more"] if more else [])])
