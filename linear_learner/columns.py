"""Columns of cells, from lists, arrays and other libraries' frames; pandas and polars are not imported."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import DataError

Cells = NDArray[Any] | list[Any]
"""Numbers, booleans and times are an array, other cells a list."""


class Table(Protocol):
    """Columns by name: a mapping, or a frame of pandas or polars."""

    def __getitem__(self, name: str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


MAX_SUGGESTIONS = 10
"""Comparing every missing name with every other one takes seconds in a table of thousands of columns."""
MAX_LISTED = 50
"""The most missing columns that an error names."""
MIN_ROWS_TO_COUNT = 8
"""In fewer cells, finding the distinct ones takes longer than it saves."""
_FINER_THAN_MICROSECONDS = {"ns", "ps", "fs", "as"}


def to_cells(values: Any, name: str) -> Cells:
    """The cells of a column: a sequence, an array, or what numpy can convert, such as a pandas or polars Series.

    Durations become seconds. Raises DataError, with the column's name, for a single value and for several dimensions.
    """
    if isinstance(values, np.ma.MaskedArray):
        mask, values = np.ma.getmaskarray(values), np.array(values, object)
        values[mask] = None
    if not hasattr(values, "__array__"):
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise DataError(
                f"column {name!r} is a {type(values).__name__}; give a sequence with one value for each row"
            )
        return values if isinstance(values, list) else list(values)
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(
            f"column {name!r} has {array.ndim} dimensions; give one column of this name, with one dimension"
        )
    if array.dtype.kind == "m":
        return array / np.timedelta64(1, "s")
    if array.dtype.kind == "M" and np.datetime_data(array.dtype)[0] in _FINER_THAN_MICROSECONDS:
        return array.astype("M8[us]")  # Python's times have no finer unit
    if array.dtype.kind == "f":
        return array.astype(np.float64, copy=False)
    return array if array.dtype.kind in "biuM" else list(array.tolist())


def count_rows(columns: Mapping[str, Cells]) -> int:
    """The number of rows of the columns; raises DataError when they have different ones."""
    first = next(iter(columns), "")
    rows = len(columns[first]) if columns else 0
    for name, cells in columns.items():
        if len(cells) != rows:
            raise DataError(f"column {name!r} has {len(cells)} rows, but column {first!r} has {rows}")
    return rows


def find_distinct(cells: Cells) -> tuple[list[Any], NDArray[np.intp] | None]:
    """The distinct cells, in the order in which they first occur, and for each cell the index of its equal.

    Cells of different types, such as 1 and True, are distinct. None instead of the indices: all cells are returned.
    """
    if len(cells) < MIN_ROWS_TO_COUNT:
        return cells.tolist() if isinstance(cells, np.ndarray) else cells, None
    if isinstance(cells, np.ndarray):
        values, first, indices = np.unique(cells, return_index=True, return_inverse=True)
        order = np.argsort(first)
        return values[order].tolist(), np.argsort(order)[indices]
    same_type = len(set(map(type, cells))) == 1
    keys = cells if same_type else list(zip(map(type, cells), cells, strict=True))
    try:
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    except TypeError:  # a cell without a hash, such as a list
        return cells, None
    indices = np.fromiter(map(numbers.__getitem__, keys), np.intp, len(cells))
    return list(numbers) if same_type else [cell for _, cell in numbers], indices


def to_numbers(cells: Cells) -> NDArray[np.float64] | None:
    """A copy of the cells if all of them are numbers, for which an array is faster; otherwise None."""
    if isinstance(cells, np.ndarray):
        return cells.astype(np.float64) if cells.dtype.kind in "iuf" else None
    if len(cells) < MIN_ROWS_TO_COUNT or not set(map(type, cells)) <= {int, float}:
        return None
    try:
        return np.fromiter(cells, np.float64, len(cells))
    except OverflowError:  # an integer beyond float64
        return None


def require_columns(needed: Sequence[str], given: Collection[str], where: str) -> None:
    """Raise DataError, with all missing columns and similar names, unless `given` contains the `needed` columns."""
    if missing := [name for name in needed if name not in given]:
        others = set(given) - set(needed)
        remedy = f"give {'them' if missing[1:] else 'it'}, or null if unknown"
        raise DataError(f"{where} has no {list_missing(missing, others)}, which the model needs; {remedy}")


def list_missing(missing: Sequence[str], others: Iterable[Any]) -> str:
    """The names of missing columns, the first ones each with the most similar other name, whatever its case."""
    by_key = {name.strip().lower(): name for name in sorted(name for name in others if isinstance(name, str))}
    shown = []
    for number, name in enumerate(missing[:MAX_LISTED]):
        close = get_close_matches(name.strip().lower(), by_key, n=1) if number < MAX_SUGGESTIONS else []
        shown.append(repr(name) + "".join(f" (did you mean {by_key[key]!r}?)" for key in close))
    more = f" and {len(missing) - len(shown)} more" if len(missing) > len(shown) else ""
    return f"column{'s' if missing[1:] else ''} {', '.join(shown)}{more}"
