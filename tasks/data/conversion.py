"""The cells of a column as numbers, booleans, dates or texts, with null for missing values."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from math import isfinite

import polars as pl

MISSING_VALUES = (
    "", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "<NA>", "#N/A", "#NA", "?",
)  # fmt: skip
"""Texts that mean a missing value: pandas' list, and the question mark of many public tables."""
_BOOLEANS = {"true": True, "false": False}
_DECIMAL_COMMA = r"^[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?$"
_FIRST_ROWS = 1000
"""Rows that usually show that a column is text, which is faster than to convert all of them."""


def convert_column(column: pl.Series, missing: Sequence[str] = (), *, decimal_comma: bool = False) -> pl.Series | None:
    """Convert a column to numbers, booleans, dates or stripped texts; None for a type without such values.

    Texts become numbers or booleans if all cells can be converted. MISSING_VALUES and the further markers in `missing`
    become null, as do numbers that equal such a marker. Dates and times are in UTC; durations and times of the day are
    seconds.
    """
    cells = _to_simple_type(column)
    if cells is None:
        return None
    if cells.dtype == pl.String:
        cells = _parse(clean_texts(cells, missing, decimal_comma=decimal_comma))
    if cells.dtype.is_float():
        cells = cells.fill_nan(None)
    cells = _remove_numbers(cells, missing)
    return cells.shrink_dtype() if cells.dtype == pl.Int64 else cells


def clean_texts(cells: pl.Series, missing: Sequence[str] = (), *, decimal_comma: bool = False) -> pl.Series:
    """Remove white space around the texts, replace missing values with null, and decimal commas with points."""
    cells = cells.str.strip_chars().replace([*MISSING_VALUES, *missing], None)
    if not decimal_comma:
        return cells
    commas = cells.str.contains(_DECIMAL_COMMA)
    return _choose(commas, cells.str.replace(",", ".", literal=True), cells)


def _to_simple_type(column: pl.Series) -> pl.Series | None:  # noqa: PLR0911 - one line for each type
    kind = column.dtype
    if isinstance(kind, pl.Int128 | pl.UInt128 | pl.UInt64):
        whole = column.cast(pl.Int64, strict=False)
        return whole if whole.null_count() == column.null_count() else column.cast(pl.Float64)
    if isinstance(kind, pl.String | pl.Boolean | pl.Date) or kind.is_integer():
        return column
    if kind == pl.Null or kind.is_numeric():
        return column.cast(pl.Float64)
    if isinstance(kind, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    if isinstance(kind, pl.Datetime):
        local = column if kind.time_zone is None else column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return local.cast(pl.Datetime("us"))
    if kind == pl.Duration:
        return column.dt.total_microseconds() / 1e6
    return column.cast(pl.Int64) / 1e9 if kind == pl.Time else None


def _parse(cells: pl.Series) -> pl.Series:
    """Convert texts to booleans, whole numbers or numbers, if all of them can be converted."""
    if cells.null_count() == len(cells):
        return cells.cast(pl.Float64)
    first = cells.head(_FIRST_ROWS)
    conversions: tuple[Callable[[pl.Series], pl.Series], ...] = (_to_booleans, _to_integers, _to_floats)
    for convert in conversions:
        if convert(first).null_count() == first.null_count():
            converted = convert(cells)
            if converted.null_count() == cells.null_count():
                return converted
    return cells


def _to_booleans(cells: pl.Series) -> pl.Series:
    return cells.str.to_lowercase().replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean)


def _to_integers(cells: pl.Series) -> pl.Series:
    return cells.cast(pl.Int64, strict=False)


def _to_floats(cells: pl.Series) -> pl.Series:
    return cells.cast(pl.Float64, strict=False)


def _remove_numbers(cells: pl.Series, missing: Sequence[str]) -> pl.Series:
    """Replace numbers that equal one of the markers, such as -999, with null, however they are written."""
    numbers = []
    for marker in missing:
        with suppress(ValueError):
            numbers.append(float(marker))
    numbers = [number for number in numbers if isfinite(number)]
    if not numbers or not (cells.dtype == pl.String or cells.dtype.is_numeric()):
        return cells
    found = cells.cast(pl.Float64, strict=False).is_in(numbers).fill_null(value=False)
    return _choose(found, pl.Series(cells.name, [None], cells.dtype), cells)


def _choose(mask: pl.Series, one: pl.Series, other: pl.Series) -> pl.Series:
    return pl.select(pl.when(mask).then(one).otherwise(other)).to_series().alias(other.name)
