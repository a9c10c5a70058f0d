"""Check for cells that cannot be trained on: infinite, beyond the range of float32, or of a refused column."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from tasks.data.profile import ColumnProfile, TextKind
from tasks.data.rules.finding import Finding, error, ignore_option, join_words, option, quote, quote_columns, warning
from tasks.data.text_problems import WORDINGS, TextProblem, find_text_problem

_FLOAT32 = "beyond ±3.4e38, the range of a float32"
_RESCALE = "(by a power of ten, or its logarithm)"
_PROBLEMS = {
    "missing": ("the value is missing", "values are missing", "Fill them in, or drop the rows"),
    "infinite": ("the value is infinite", "values are infinite", "Replace them, drop the rows"),
    "too_large": (f"the value is {_FLOAT32}", f"values are {_FLOAT32}", f"Rescale the column {_RESCALE}"),
}
"""For each count of a profile: the message for one cell, for many, and the start of the remedy."""
_TARGET_REMEDIES = {
    "infinite": "Replace it or drop the row.",
    "too_large": f"Rescale the target {_RESCALE}.",
}
_TEXT_REMEDIES: dict[TextKind, str] = {
    "thousands separator": "Write numbers without a thousands separator, as 1234.",
    "ambiguous comma": "Write 1234 if the comma separates thousands, or 1.234 if it is a decimal comma.",
    "decimal comma": "Write numbers with a decimal point, as 0.5.",
    "percent": "Write 7% as 7, or as 0.07.",
    "currency": "Write the amount without the currency, as 5.",
    "boolean": "Write true as 1 and false as 0.",
    "date": "Write all dates in one form, such as 2024-01-31.",
    "other": "Correct these cells, or leave them empty.",
}
_CODES: frozenset[TextKind] = frozenset(["percent", "currency", "boolean", "missing marker", "other"])
"""Kinds of text that may be categories."""


def find_cell_problems(features: Sequence[ColumnProfile], refused: Sequence[ColumnProfile]) -> Iterator[Finding]:
    """Yield one error for each kind of problem, with all columns that have it.

    `features` are the columns that are used as numbers, `refused` those that the plan refuses.
    """
    for problem in ("infinite", "too_large"):
        yield from _find_cells([column for column in features if getattr(column, problem)], problem)
    numbers = [column for column in refused if not column.text_profile and column.kind != "date"]
    yield from _find_cells([column for column in numbers if column.missing], "missing")
    categories = [column.name for column in numbers if not column.missing]
    if categories:
        what = "numbers that are named as categories, but only features that are numbers are accepted"
        yield error(quote_columns(categories), what, "Set dataset.features to auto, or name fewer categories.")
    yield from _find_dates([column.name for column in refused if column.kind == "date"])
    yield from _find_texts([column for column in refused if column.text_profile])


def find_target_problems(target: ColumnProfile, *, drop_unlabelled: bool) -> Iterator[Finding]:
    """Yield an error for missing labels, unless their rows are dropped, and for numbers that cannot be trained on."""
    if target.missing and drop_unlabelled:
        what = f"{_rows(target.missing)} without a label, the first of which is row {target.missing_row}"
        yield warning(quote_columns([target.name]), what, "They are not used, as dataset.drop_unlabelled is set.")
    elif target.missing:
        drop = "Fill it in, or leave out the rows without a label: --dataset.drop_unlabelled true"
        yield _column_error(target, "missing", drop)
    for problem, remedy in _TARGET_REMEDIES.items():
        if getattr(target, problem):
            yield _column_error(target, problem, remedy)


def text_remedy(problem: TextProblem, features: Sequence[str] = ()) -> str:
    """What to do about texts among numbers, or numbers in another notation, except to leave the `features` out."""
    remedies = [_TEXT_REMEDIES[one.kind] for one in problem.kinds if one.kind in _TEXT_REMEDIES]
    if problem.markers:
        means = f"If {join_words([quote(one) for one in problem.markers])} means that a value is missing"
        remedies.append(f"{means}, say so: {option('dataset.missing', problem.markers)}.")
    if features and problem.few_values and {one.kind for one in problem.kinds} & _CODES:
        remedies.append(f"For categories, name them: {option('dataset.categorical', features)}.")
    return " ".join(remedies)


def _find_cells(columns: Sequence[ColumnProfile], problem: str) -> Iterator[Finding]:
    if not columns:
        return
    names, (_, many, remedy) = [column.name for column in columns], _PROBLEMS[problem]
    remedy = f"{remedy}, or {ignore_option(names)}"
    if len(columns) == 1:
        yield _column_error(columns[0], problem, remedy)
        return
    count = sum(getattr(column, problem) for column in columns)
    first = min(columns, key=lambda column: int(getattr(column, f"{problem}_row")))
    what = f"{count} {many}, the first in row {getattr(first, f'{problem}_row')} of column {quote(first.name)}"
    yield error(quote_columns(names), what, remedy)


def _column_error(column: ColumnProfile, problem: str, remedy: str) -> Finding:
    count, row = getattr(column, problem), getattr(column, f"{problem}_row")
    more = f", the first of {count} such cells" if count > 1 else ""
    return error(f"{quote_columns([column.name])}, row {row}", f"{_PROBLEMS[problem][0]}{more}", remedy)


def _find_dates(names: Sequence[str]) -> Iterator[Finding]:
    if names:
        what = "dates, but only features that are numbers are accepted"
        yield error(quote_columns(names), what, f"Set dataset.features to auto, or {ignore_option(names)}")


def _find_texts(columns: Sequence[ColumnProfile]) -> Iterator[Finding]:
    """Yield an error for each combination of kinds of text, and one for all other columns of text."""
    problems = [(column, find_text_problem(column)) for column in columns]
    strange = [(column, problem) for column, problem in problems if problem]
    for _, found in groupby(sorted(strange, key=_remedy_of), key=_remedy_of):
        group = [*found]
        names, [(first, problem), *others] = [column.name for column, _ in group], group
        where = quote_columns(names) if others else f"{quote_columns(names)}, row {problem.row}"
        what = _describe_first(problem, first.name) if others else problem.what
        yield error(where, what, f"{text_remedy(problem, names)} Or {ignore_option(names)}")
    texts = [column for column, problem in problems if not problem]
    if texts:
        names, first = [column.name for column in texts], texts[0]
        what = f"text, such as {first.text_example!r} in row {first.text_row} of column {quote(first.name)}"
        yield error(quote_columns(names), what, f"Set dataset.features to auto, or {ignore_option(names)}")


def _remedy_of(found: tuple[ColumnProfile, TextProblem]) -> str:
    """Columns with one remedy have one finding."""
    return text_remedy(found[1], [""])


def _describe_first(problem: TextProblem, name: str) -> str:
    found = [f"{WORDINGS[one.kind]}, such as {one.example!r} in row {one.row}" for one in problem.kinds]
    return f"{' and '.join(found)} of column {quote(name)}"


def _rows(count: int) -> str:
    return f"{count} row{'s' if count > 1 else ''}"
