"""Check for features without information or with leakage: constant, repeated, determining the target, ids."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from tasks.data.column_plan import ColumnPlan
from tasks.data.profile import ColumnProfile, Profile
from tasks.data.rules.finding import Finding, error, ignore_option, join_words, option, quote, quote_columns, warning

LEAK_CORRELATION: Final = 0.9999
MAX_EXACT_INTEGER: Final = 2**24
"""A float32 represents every whole number up to this one exactly, and only some larger ones."""
MIN_ROWS: Final = 10
"""With fewer rows, columns may be constant, correlated or sorted by chance."""
MAX_DUPLICATES: Final = 0.05
"""Share of rows that repeat another row from which there is a warning."""
_INDEX_NAME = re.compile(r"|Unnamed: \d+(_level_\d+)?|__index_level_\d+__|level_\d+|index", re.IGNORECASE)
_ID_NAME = re.compile(r"(?i:(^|.*[\W_])(id|uuid|guid|key))|.*[a-z0-9](I[dD]|U[uU][iI][dD]|G[uU][iI][dD]|Key)")
_MAX_COINCIDENCES = 10
_MIN_CHUNK_ROWS = 100_000


def find_feature_problems(
    numbers: Sequence[ColumnProfile], target: ColumnProfile, rows: int, categories: Sequence[ColumnProfile] = ()
) -> Iterator[Finding]:
    """Check the values and names of the features that are used as `numbers`, and the names of the `categories`."""
    if rows < MIN_ROWS:
        return
    known = [column for column in numbers if column.minimum is not None]
    constant = [column.name for column in known if column.minimum == column.maximum and not column.missing]
    what = "the same value in every row"
    yield from _warn(constant, what, f"A constant column has no information: {ignore_option(constant)}")
    varied = [column for column in known if column.minimum != column.maximum]
    yield from _find_leaks(varied, target)
    yield from _find_repeated([column for column in varied if column.digest != target.digest])
    indices = [column.name for column in (*numbers, *categories) if _INDEX_NAME.fullmatch(column.name)]
    what = "looks like a row number that pandas wrote as a column"
    yield from _warn(indices, what, f"Write the table with to_csv(index=False), or {ignore_option(indices)}")
    ids = [column.name for column in varied if column.name not in indices and is_id(column, rows)]
    what = "looks like an id or a row number, which has no numeric meaning"
    category = f"If it names a category: {option('dataset.categorical', ids)}. Else {ignore_option(ids)}"
    yield from _warn(ids, what, category)
    large = [column.name for column in (*varied, target) if column.name not in {*indices, *ids} and _is_large(column)]
    what = f"whole numbers beyond {MAX_EXACT_INTEGER}, whose last digits are lost in a float32"
    yield from _warn(large, what, "If those digits matter, subtract an offset or rescale the column.")


def _find_leaks(varied: Sequence[ColumnProfile], target: ColumnProfile) -> Iterator[Finding]:
    copies = [column.name for column in varied if not target.text and column.digest == target.digest]
    if copies:
        what = f"the same values as the target {quote(target.name)} in every row: it leaks the label"
        yield error(quote_columns(copies), what, f"The model would only copy it: {ignore_option(copies)}")
    others = [column for column in varied if column.name not in copies]
    close = [column.name for column in others if abs(column.correlation or 0.0) >= LEAK_CORRELATION]
    what = f"a correlation of {LEAK_CORRELATION} or more with the target {quote(target.name)}: it may leak the label"
    yield from _warn(close, what, f"If it is not known at prediction time, {ignore_option(close)}")


def _find_repeated(columns: Sequence[ColumnProfile]) -> Iterator[Finding]:
    originals = {column.digest: column.name for column in reversed(columns)}
    twins = {column.name: originals[column.digest] for column in columns if originals[column.digest] != column.name}
    what = f"the same values in every row as {quote_columns([*dict.fromkeys(twins.values())])}"
    keep = "Keep one of each, as equal columns share a weight;"
    yield from _warn([*twins], what, f"{keep} {ignore_option([*twins])}")


def find_table_problems(profile: Profile, plan: Sequence[ColumnPlan]) -> Iterator[Finding]:
    """Warn of columns that determine the target together, of duplicate rows, and of columns that are left out."""
    numbers = {column.name for column in plan if column.treatment in {"number", "fill"}}
    determining = profile.determining
    if determining and numbers.issuperset(determining) and not _has_leak(profile, determining):
        what = f"together they determine the target {quote(profile.target)}, as a weighted sum: too good to be true"
        if len(determining) == 1:
            what = f"it alone determines the target {quote(profile.target)}: too good to be true"
        remedy = f"If they are not known at prediction time, {ignore_option(determining)}"
        yield warning(quote_columns(determining), what, remedy)
    if profile.rows >= MIN_ROWS and profile.duplicates > MAX_DUPLICATES:
        what = f"about {profile.duplicates:.0%} of the rows are exact copies of another row"
        copies = "Copies in both the training and the test set make the model look better than it is."
        yield warning("the table", what, f"{copies} If they are repeated by mistake, remove them.")
    left_out = [column for column in plan if column.treatment == "leave out"]
    if left_out:
        names = [column.name for column in left_out]
        if len(left_out) == 1:
            what = f"left out of the features. {left_out[0].reason[:-1]}"
        else:
            reasons = [f"{quote(column.name)} ({column.reason[:-1]})" for column in left_out]
            what = f"left out of the features: {join_words(reasons)}"
        yield warning(
            quote_columns(names), what, f"To leave them out without this warning: {option('dataset.ignore', names)}"
        )


def _has_leak(profile: Profile, names: Sequence[str]) -> bool:
    """Whether one of the columns is reported for its correlation with the target alone."""
    columns = [column for column in profile.columns if column.name in names]
    return any(abs(column.correlation or 0.0) >= LEAK_CORRELATION for column in columns)


def is_id(column: ColumnProfile, rows: int) -> bool:
    """Whether whole numbers are identifiers, by the column's name or because no value is repeated.

    Of n values from a range of r, about n²/2r pairs are equal by chance. Chunks are taken to have 100 000 rows or more.
    """
    if column.kind != "integer" or column.minimum is None or column.maximum is None:
        return False
    span = column.maximum - column.minimum + 1
    return bool(_ID_NAME.fullmatch(column.name) and span > 2) or (
        column.distinct and min(rows, _MIN_CHUNK_ROWS) ** 2 / (2 * span) > _MAX_COINCIDENCES
    )


def _is_large(column: ColumnProfile) -> bool:
    return column.kind == "integer" and max(column.maximum or 0, -(column.minimum or 0)) > MAX_EXACT_INTEGER


def _warn(names: Sequence[str], what: str, remedy: str) -> Iterator[Finding]:
    if names:
        yield warning(quote_columns(names), what, remedy)
