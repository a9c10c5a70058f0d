"""Check for features without information or with leakage: constant, repeated, equal to the target, indices, ids."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from tasks.data.profile import ColumnProfile
from tasks.data.rules.finding import IGNORE_REMEDY, Finding, error, quote, quote_columns, warning

LEAK_CORRELATION: Final = 0.9999
MAX_EXACT_INTEGER: Final = 2**24
"""A float32 represents every whole number up to this one exactly, and only some larger ones."""
MIN_ROWS: Final = 10
"""With fewer rows, columns may be constant, correlated or sorted by chance."""
_DROP = f"{IGNORE_REMEDY[0].upper()}{IGNORE_REMEDY[1:]}"
_INDEX_NAME = re.compile(r"|Unnamed: \d+(_level_\d+)?|__index_level_\d+__|level_\d+|index", re.IGNORECASE)
_ID_NAME = re.compile(r"(?i:(^|.*[\W_])(id|uuid|guid|key))|.*[a-z0-9](I[dD]|U[uU][iI][dD]|G[uU][iI][dD]|Key)")
_MAX_COINCIDENCES = 10
_MIN_CHUNK_ROWS = 100_000


def find_feature_problems(features: Sequence[ColumnProfile], target: ColumnProfile, rows: int) -> Iterator[Finding]:
    """Check the values and the name of each feature; for columns with text, only the name."""
    if rows < MIN_ROWS:
        return
    numeric = [column for column in features if not column.text and column.minimum is not None]
    constant = [column.name for column in numeric if column.minimum == column.maximum]
    yield from _warn(constant, "the same value in every row", f"A constant column has no information: {IGNORE_REMEDY}.")
    varied = [column for column in numeric if column.minimum != column.maximum]
    copies = [column.name for column in varied if column.digest == target.digest]
    if copies:
        what = f"the same values as the target {quote(target.name)} in every row: it leaks the label"
        yield error(quote_columns(copies), what, f"{_DROP}; the model would only copy it.")
    others = [column for column in varied if column.digest != target.digest]
    close = [column.name for column in others if abs(column.correlation or 0.0) >= LEAK_CORRELATION]
    what = f"a correlation of {LEAK_CORRELATION} or more with the target {quote(target.name)}: it may leak the label"
    yield from _warn(close, what, f"If it is not known at prediction time, {IGNORE_REMEDY}.")
    originals = {column.digest: column.name for column in reversed(others)}
    twins = {column.name: originals[column.digest] for column in others if originals[column.digest] != column.name}
    what = f"the same values in every row as {quote_columns([*dict.fromkeys(twins.values())])}"
    keep = "Keep one of each, as equal columns share a weight; leave out the others with the ignore parameter."
    yield from _warn([*twins], what, keep)
    indices = [column.name for column in features if _INDEX_NAME.fullmatch(column.name)]
    what = "looks like a row number that pandas wrote as a column"
    yield from _warn(indices, what, f"Write the table with to_csv(index=False), or {IGNORE_REMEDY}.")
    ids = [column.name for column in varied if column.name not in indices and is_id(column, rows)]
    what = "looks like an id or a row number, which has no numeric meaning"
    yield from _warn(ids, what, f"{_DROP}, or encode it (one-hot) if it names a category.")
    large = [column.name for column in (*varied, target) if column.name not in {*indices, *ids} and _is_large(column)]
    what = f"whole numbers beyond {MAX_EXACT_INTEGER}, whose last digits are lost in a float32"
    yield from _warn(large, what, "If those digits matter, subtract an offset or rescale the column.")


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
