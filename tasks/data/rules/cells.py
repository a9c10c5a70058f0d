"""Cells that cannot be trained on: missing, infinite, text, or beyond what the algorithm can hold."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from linear_learner.model import PredictorType
from tasks.data.profile import ColumnProfile
from tasks.data.rules.finding import IGNORE_REMEDY, MAX_NAMES, Finding, quote, quote_columns

CellProblem = Literal["missing", "infinite", "text", "too_large"]


class ProblemTexts(NamedTuple):
    one: str
    many: str
    remedy: str
    label_remedy: str


_ENCODE = "Encode the classes as whole numbers from 0 on."
PROBLEM_TEXTS: Final[dict[CellProblem, ProblemTexts]] = {
    "missing": ProblemTexts(
        "the value is missing",
        "values are missing",
        f"Fill it in, drop the row, or {IGNORE_REMEDY}; Linear Learner takes no missing values.",
        "Fill it in or drop the row: without its label a row teaches nothing.",
    ),
    "infinite": ProblemTexts(
        "the value is infinite",
        "values are infinite",
        f"Replace it, drop the row, or {IGNORE_REMEDY}.",
        "Replace it or drop the row.",
    ),
    "text": ProblemTexts(
        "{example!r} is not a number",
        "cells are not numbers",
        f"Encode it as numbers (one-hot, for a category) or {IGNORE_REMEDY}.",
        _ENCODE,
    ),
    "too_large": ProblemTexts(
        "the value is beyond ±3.4e38, the most a float32 holds",
        "values are beyond ±3.4e38, the most a float32 holds",
        f"Rescale the column (by a power of ten, or its logarithm) or {IGNORE_REMEDY}.",
        "Rescale the target (by a power of ten, or its logarithm).",
    ),
}


def find_cell_problems(
    features: Sequence[ColumnProfile], target: ColumnProfile, predictor_type: PredictorType
) -> Iterator[Finding]:
    """An error for each column with such cells, or one for all of them where they are many."""
    for problem, texts in PROBLEM_TEXTS.items():
        if getattr(target, problem):
            remedy = texts.label_remedy
            if problem == "text" and predictor_type == "regressor":
                remedy = f"A regressor predicts numbers: give it numbers, or choose a classifier. {_ENCODE}"
            yield _column_finding(target, problem, texts.one, remedy)
        bad = [column for column in features if getattr(column, problem)]
        if len(bad) <= MAX_NAMES:
            yield from (_column_finding(column, problem, texts.one, texts.remedy) for column in bad)
        else:
            yield _columns_finding(bad, problem, texts)


def _column_finding(column: ColumnProfile, problem: CellProblem, what: str, remedy: str) -> Finding:
    count, row = getattr(column, problem), getattr(column, f"{problem}_row")
    more = f", the first of {count} such cells" if count > 1 else ""
    what = what.format(example=column.text_example) + more
    return Finding(level="error", where=f"column {quote(column.name)}, row {row}", what=what, remedy=remedy)


def _columns_finding(bad: Sequence[ColumnProfile], problem: CellProblem, texts: ProblemTexts) -> Finding:
    count = sum(getattr(column, problem) for column in bad)
    row = min(getattr(column, f"{problem}_row") for column in bad)
    what = f"{count} {texts.many}, the first in row {row}"
    return Finding(level="error", where=quote_columns([column.name for column in bad]), what=what, remedy=texts.remedy)
