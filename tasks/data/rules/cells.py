"""Cells that cannot be trained on: missing, infinite, text, or beyond what the algorithm can hold."""

from collections.abc import Iterator, Sequence

from tasks.data.profile import ColumnProfile
from tasks.data.rules.finding import IGNORE_REMEDY, MAX_NAMES, Finding, error, quote_columns

_FLOAT32 = "beyond ±3.4e38, the most a float32 holds"
_RESCALE = "(by a power of ten, or its logarithm)"
_PROBLEMS = {
    "missing": (
        "the value is missing",
        "values are missing",
        f"Fill it in, drop the row, or {IGNORE_REMEDY}; Linear Learner takes no missing values.",
        "Fill it in or drop the row: without its label a row teaches nothing.",
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
        "Encode the classes as whole numbers from 0 on, for a classifier; a regressor predicts numbers.",
    ),
    "too_large": (
        f"the value is {_FLOAT32}",
        f"values are {_FLOAT32}",
        f"Rescale the column {_RESCALE} or {IGNORE_REMEDY}.",
        f"Rescale the target {_RESCALE}.",
    ),
}
"""Of each count in a column's profile: what to say of one column and of many, the remedy, and the target's remedy."""


def find_cell_problems(features: Sequence[ColumnProfile], target: ColumnProfile) -> Iterator[Finding]:
    """An error for each column with such cells, or one for all features where they are many."""
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
