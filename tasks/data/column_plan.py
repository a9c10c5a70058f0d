"""What becomes of each column of a table, decided from its profile."""

from collections.abc import Callable, Collection
from typing import Final, Literal, NamedTuple

from pydantic import BaseModel

from linear_learner.cells import DateFormat
from tasks.data.profile import MAX_LABELS, ColumnProfile, Profile
from tasks.data.text_problems import find_text_problem
from tasks.parameters import PlanOptions

Treatment = Literal["target", "ignored", "number", "fill", "category", "date", "leave out", "refuse"]
FITTED: Final[Collection[Treatment]] = ("fill", "category", "date")
"""Treatments that need statistics of the training rows."""
MIN_IDENTIFIERS: Final = 20
"""Fewer different texts may be categories."""
MOSTLY: Final = 0.9
FREE_TEXT_LENGTH: Final = 30
"""Mean number of characters from which different texts are called free text."""
UNNAMED: Final = "Unnamed: "
"""The start of the name that a column without a name is given."""


class ColumnPlan(BaseModel, frozen=True):
    """What becomes of a column, and why."""

    name: str
    treatment: Treatment
    reason: str
    """A sentence for a person."""
    date_format: DateFormat | None = None


class _Context(NamedTuple):
    rows: int
    options: PlanOptions
    first: bool
    """Whether the column is the table's first."""


def plan_columns(profile: Profile, options: PlanOptions, left_out: Collection[str] = ()) -> tuple[ColumnPlan, ...]:
    """The plan of each column, in the order of the file; `left_out` are columns that are not used as features."""
    planned = []
    for index, column in enumerate(profile.columns):
        if column.name == profile.target:
            planned.append(_plan(column, "target", "The column to predict."))
        elif column.name in left_out:
            planned.append(_plan(column, "ignored", "The rows are split by this column, so it is no feature."))
        else:
            planned.append(_plan_feature(column, _Context(profile.rows, options, first=not index)))
    return tuple(planned)


def _plan(column: ColumnProfile, treatment: Treatment, reason: str) -> ColumnPlan:
    return ColumnPlan(name=column.name, treatment=treatment, reason=reason)


def _plan_feature(column: ColumnProfile, context: _Context) -> ColumnPlan:
    rules: tuple[Callable[[ColumnProfile, _Context], ColumnPlan | None], ...] = (
        _row_number,
        _complete_number,
        _numeric_only,
        _empty,
        _named_category,
        _number_with_gaps,
        _date,
        _problem,
        _one_value,
        _identifier,
    )
    found = (rule(column, context) for rule in rules)
    return next((plan for plan in found if plan), None) or _category(column, context)


def _row_number(column: ColumnProfile, context: _Context) -> ColumnPlan | None:
    named = column.name in context.options.categorical
    if named or not (context.first and column.counts_rows and (not column.name or column.name.startswith(UNNAMED))):
        return None
    return _plan(column, "leave out", "The first column has no name and counts the rows, as pandas and R write it.")


def _complete_number(column: ColumnProfile, context: _Context) -> ColumnPlan | None:
    if not is_number(column) or column.missing or not context.rows or column.name in context.options.categorical:
        return None
    if column.kind == "boolean":
        return _plan(column, "number", "Every cell is true or false: 1 or 0.")
    return _plan(column, "number", "Every cell is a number.")


def _numeric_only(column: ColumnProfile, context: _Context) -> ColumnPlan | None:
    if context.options.features == "auto":
        return None
    if problem := find_text_problem(column):
        return _plan(column, "refuse", f"Only numbers are accepted, and it has {problem.what}.")
    if column.text_profile:
        what = f"{_count(column.text, 'cell')} of text, such as {column.text_example!r} in row {column.text_row}"
        return _plan(column, "refuse", f"Only numbers are accepted, and it has {what}.")
    if column.kind == "date":
        return _plan(column, "refuse", "Only numbers are accepted, and it has dates.")
    if column.missing:
        what = f"{_count(column.missing, 'cell is', 'cells are')} missing, the first in row {column.missing_row}"
        return _plan(column, "refuse", f"Only complete columns are accepted, and {what}.")
    return _plan(column, "refuse", "Only numbers are accepted, and it is named as a category.")


def _empty(column: ColumnProfile, context: _Context) -> ColumnPlan | None:
    return _plan(column, "leave out", "It has no value in any row.") if column.missing == context.rows else None


def _named_category(column: ColumnProfile, context: _Context) -> ColumnPlan | None:
    named = column.name in context.options.categorical
    return _plan(column, "category", "dataset.categorical names it.") if named else None


def _number_with_gaps(column: ColumnProfile, _: _Context) -> ColumnPlan | None:
    if not is_number(column):
        return None
    missing = _count(column.missing, "cell is", "cells are")
    return _plan(column, "fill", f"A number; {missing} missing, the first in row {column.missing_row}.")


def _date(column: ColumnProfile, _: _Context) -> ColumnPlan | None:
    if column.kind == "date":
        return _plan(column, "date", "The file declares it as a date.")
    formats = column.text_profile.date_formats if column.text_profile else ()
    if not formats:
        return None
    reason = f"Every cell is a date of the form {formats[0]}."
    if (other := formats[0].replace("%m/%d", "%d/%m")) in formats[1:]:
        reason += f" It could be {other} as well, as no day is above 12; the month is taken to come first."
    return ColumnPlan(name=column.name, treatment="date", reason=reason, date_format=formats[0])


def _problem(column: ColumnProfile, _: _Context) -> ColumnPlan | None:
    problem = find_text_problem(column)
    return _plan(column, "refuse", f"It has {problem.what}.") if problem else None


def _one_value(column: ColumnProfile, _: _Context) -> ColumnPlan | None:
    if not column.text_profile or column.missing or column.text_profile.distinct > 1:
        return None
    return _plan(column, "leave out", f"Every cell is {column.text_example!r}.")


def _identifier(column: ColumnProfile, context: _Context) -> ColumnPlan | None:
    """Leave out texts that nearly all differ; a few different texts may still be categories."""
    text = column.text_profile
    if not text:
        return None
    known, distinct = context.rows - column.missing, text.distinct
    many = distinct > context.options.max_categories
    all_differ = distinct >= MIN_IDENTIFIERS and distinct >= known
    long_text = many and text.mean_length >= FREE_TEXT_LENGTH and distinct > known / 2
    if not (all_differ or (many and distinct > MOSTLY * known) or long_text):
        return None
    what = "free text" if text.mean_length >= FREE_TEXT_LENGTH else "an identifier"
    about = "" if distinct <= min(known, MAX_LABELS) else "about "
    reason = f"It looks like {what}: {about}{min(distinct, known)} different values in {known} rows"
    return _plan(column, "leave out", f"{reason}, such as {column.text_example!r}.")


def _category(column: ColumnProfile, context: _Context) -> ColumnPlan:
    text = column.text_profile
    distinct = text.distinct if text else 0
    reason = f"Text with {_count(distinct, 'value', 'different values')}" if text else "Numbers as categories"
    if distinct > context.options.max_categories:
        reason += f", of which the {context.options.max_categories} most frequent are used"
    gaps = f"; {_count(column.missing, 'cell is', 'cells are')} missing" if column.missing else ""
    return _plan(column, "category", f"{reason}{gaps}.")


def is_number(column: ColumnProfile) -> bool:
    return column.kind in {"boolean", "integer", "number"}


def _count(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
