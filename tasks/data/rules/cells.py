"""Cells that cannot be trained on: missing, infinite, text, or beyond what the algorithm can hold."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from linear_learner.model import PredictorType
from tasks.data.profile import ColumnProfile
from tasks.data.rules.finding import IGNORE, MAX_NAMES, Finding, columns, quoted

Fault = Literal["missing", "infinite", "text", "too_large"]


class Complaint(NamedTuple):
    one: str
    many: str
    remedy: str
    label_remedy: str


_ENCODE = "Encode the classes as whole numbers from 0 on."
COMPLAINTS: Final[dict[Fault, Complaint]] = {
    "missing": Complaint(
        "the value is missing",
        "values are missing",
        f"Fill it in, drop the row, or {IGNORE}; Linear Learner takes no missing values.",
        "Fill it in or drop the row: without its label a row teaches nothing.",
    ),
    "infinite": Complaint(
        "the value is infinite",
        "values are infinite",
        f"Replace it, drop the row, or {IGNORE}.",
        "Replace it or drop the row.",
    ),
    "text": Complaint(
        "{example!r} is not a number",
        "cells are not numbers",
        f"Encode it as numbers (one-hot, for a category) or {IGNORE}.",
        _ENCODE,
    ),
    "too_large": Complaint(
        "the value is beyond ±3.4e38, the most a float32 holds",
        "values are beyond ±3.4e38, the most a float32 holds",
        f"Rescale the column (by a power of ten, or its logarithm) or {IGNORE}.",
        "Rescale the target (by a power of ten, or its logarithm).",
    ),
}


def cell_findings(
    features: Sequence[ColumnProfile], target: ColumnProfile, predictor_type: PredictorType
) -> Iterator[Finding]:
    """An error for each column with such cells, or one for all of them where they are many."""
    for fault, complaint in COMPLAINTS.items():
        if getattr(target, fault):
            remedy = complaint.label_remedy
            if fault == "text" and predictor_type == "regressor":
                remedy = f"A regressor predicts numbers: give it numbers, or choose a classifier. {_ENCODE}"
            yield _one(target, fault, complaint.one, remedy)
        bad = [column for column in features if getattr(column, fault)]
        if len(bad) <= MAX_NAMES:
            yield from (_one(column, fault, complaint.one, complaint.remedy) for column in bad)
        else:
            yield _many(bad, fault, complaint)


def _one(column: ColumnProfile, fault: Fault, what: str, remedy: str) -> Finding:
    count, row = getattr(column, fault), getattr(column, f"{fault}_row")
    more = f", the first of {count} such cells" if count > 1 else ""
    said = what.format(example=column.text_example) + more
    return Finding(level="error", where=f"column {quoted(column.name)}, row {row}", what=said, remedy=remedy)


def _many(bad: Sequence[ColumnProfile], fault: Fault, complaint: Complaint) -> Finding:
    count, row = sum(getattr(column, fault) for column in bad), min(getattr(column, f"{fault}_row") for column in bad)
    said = f"{count} {complaint.many}, the first in row {row}"
    return Finding(level="error", where=columns([column.name for column in bad]), what=said, remedy=complaint.remedy)
