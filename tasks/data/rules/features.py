"""Features that teach nothing, or too much: constant, repeated, copies of the target, indices, ids."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from tasks.data.profile import ColumnProfile
from tasks.data.rules.finding import IGNORE_REMEDY, Finding, error, quote, quote_columns, warning

LEAK_CORRELATION: Final = 0.9999
MAX_EXACT_INTEGER: Final = 2**24
"""A float32 holds every whole number up to this one, and only some above."""
MIN_ROWS: Final = 10
"""In fewer, columns are constant, in step or in order by chance."""
_DROP = f"{IGNORE_REMEDY[0].upper()}{IGNORE_REMEDY[1:]}"
_INDEX_NAME = re.compile(r"|Unnamed: \d+(_level_\d+)?|__index_level_\d+__|level_\d+|index", re.IGNORECASE)
_ID_NAME = re.compile(r"(?i:(^|.*[\W_])(id|uuid|guid|key))|.*[a-z0-9](I[dD]|U[uU][iI][dD]|G[uU][iI][dD]|Key)")
_MAX_COINCIDENCES = 10
_MIN_CHUNK_ROWS = 100_000


def find_feature_problems(features: Sequence[ColumnProfile], target: ColumnProfile, rows: int) -> Iterator[Finding]:
    """What each feature's values, and its name, give away; of columns with text only the name is looked at."""
    if rows < MIN_ROWS:
        return
    numeric = [column for column in features if not column.text and column.minimum is not None]
    constant = [column.name for column in numeric if column.minimum == column.maximum]
    yield from _warn(constant, "the same value in every row", f"Nothing can be learnt from it: {IGNORE_REMEDY}.")
    varied = [column for column in numeric if column.minimum != column.maximum]
    copies = [column.name for column in varied if column.digest == target.digest]
    if copies:
        what = f"the same values as the target {quote(target.name)} in every row: it leaks the label"
        yield error(quote_columns(copies), what, f"{_DROP}; a model would only copy it.")
    others = [column for column in varied if column.digest != target.digest]
    close = [column.name for column in others if abs(column.correlation or 0.0) >= LEAK_CORRELATION]
    what = f"a correlation of {LEAK_CORRELATION} or more with the target {quote(target.name)}: it may leak the label"
    yield from _warn(close, what, f"If it is not known before the target is, {IGNORE_REMEDY}.")
    originals = {column.digest: column.name for column in reversed(others)}
    twins = {column.name: originals[column.digest] for column in others if originals[column.digest] != column.name}
    what = f"the same values in every row as {quote_columns([*dict.fromkeys(twins.values())])}"
    keep = "Keep one of each alone, as they share one weight: leave out the others with the dataset's ignore parameter."
    yield from _warn([*twins], what, keep)
    indices = [column.name for column in features if _INDEX_NAME.fullmatch(column.name)]
    what = "looks like the row number that pandas writes beside a table"
    yield from _warn(indices, what, f"Write the table with to_csv(index=False), or {IGNORE_REMEDY}.")
    ids = [column.name for column in varied if column.name not in indices and is_id(column, rows)]
    what = "looks like an id or a row number, whose size means nothing"
    yield from _warn(ids, what, f"{_DROP}, or encode it (one-hot) if it names a category.")
    large = [column.name for column in (*varied, target) if column.name not in {*indices, *ids} and _is_large(column)]
    what = f"whole numbers beyond {MAX_EXACT_INTEGER}, whose last digits a float32 does not hold"
    yield from _warn(large, what, "Subtract an offset or rescale, if those digits matter.")


def is_id(column: ColumnProfile, rows: int) -> bool:
    """Whether whole numbers name things: they are called so, or never coincide where chance would have them to.

    Of n values drawn from a range of r about n²/2r pairs coincide. Chunks are taken to have 100 000 rows or more.
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
