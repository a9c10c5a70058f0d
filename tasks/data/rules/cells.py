"""Check for cells that cannot be trained on: missing, infinite, text, or beyond the range of float32."""

from collections.abc import Iterator, Sequence

from tasks.data.profile import ColumnProfile
from tasks.data.rules.finding import IGNORE_REMEDY, MAX_NAMES, Finding, error, quote_columns

_FLOAT32 = "beyond ±3.4e38, the range of a float32"
_RESCALE = "(by a power of ten, or its logarithm)"
_PROBLEMS = {
    "missing": (
        "the value is missing",
        "values are missing",
        f"Fill it in, drop the row, or {IGNORE_REMEDY}; Linear Learner does not accept missing values.",
        "Fill it in or drop the row: a row without a label cannot be used.",
    ),
    "infinite": (
        "the value is infinite",
        "values are infinite",
        f"Replace it, drop the row, or {IGNORE_REMEDY}.",
        "Replace it or drop the row.",
    ),
    "text": (
        "{example!r} is not a number",
        "cells are not numbers",
        f"Encode it as numbers (one-hot, for a category) or {IGNORE_REMEDY}.",
        "Encode the classes as whole numbers from 0, for a classifier; a regressor requires a numeric target.",
    ),
    "too_large": (
        f"the value is {_FLOAT32}",
        f"values are {_FLOAT32}",
        f"Rescale the column {_RESCALE} or {IGNORE_REMEDY}.",
        f"Rescale the target {_RESCALE}.",
    ),
}
"""For each count of a profile: the message for one column, for many, the remedy, and the remedy for the target."""


def find_cell_problems(features: Sequence[ColumnProfile], target: ColumnProfile) -> Iterator[Finding]:
    """Yield an error for each column with such cells; if there are many features, one error for all of them."""
    for problem, (one, many, remedy, label_remedy) in _PROBLEMS.items():
        if getattr(target, problem):
            yield _column_error(target, problem, one, label_remedy)
        bad = [column for column in features if getattr(column, problem)]
        if len(bad) <= MAX_NAMES:
            yield from (_column_error(column, problem, one, remedy) for column in bad)
        else:
            count = sum(getattr(column, problem) for column in bad)
            row = min(getattr(column, f"{problem}_row") for column in bad)
            yield error(
                quote_columns([column.name for column in bad]), f"{count} {many}, the first in row {row}", remedy
            )


def _column_error(column: ColumnProfile, problem: str, what: str, remedy: str) -> Finding:
    count, row = getattr(column, problem), getattr(column, f"{problem}_row")
    more = f", the first of {count} such cells" if count > 1 else ""
    return error(f"{quote_columns([column.name])}, row {row}", what.format(example=column.text_example) + more, remedy)
