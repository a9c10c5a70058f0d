"""Columns of cells as category texts, numbers and times: `linear_learner.cells` for whole columns."""

import numpy as np
import polars as pl

from linear_learner.cells import (
    DATE_FORMATS,
    FIRST_SHORT_YEAR,
    ISO_DATE,
    MAX_EXACT_INTEGER,
    MONTHS,
    DateFormat,
    canonical,
    describe,
)
from linear_learner.errors import DataError

_EPOCH_YEAR = 1970
_NUMBERS = dict.fromkeys(["year", "month", "quarter", "hour", "minute", "second", "zone_hour", "zone_minute"], 0)
_NUMBERS |= {"short_year": -1, "day": 1}
"""The groups of the patterns of dates that are numbers, with the value of one that a text does not have."""
_PARTS = (*_NUMBERS, "name", "half", "sign")
_MONTHS = dict(zip(MONTHS, range(1, 13), strict=True))


class InvalidCellError(ValueError):
    """A cell that cannot be read; `index` is its row in the column, from 0."""

    def __init__(self, cells: pl.Series, index: int, problem: str) -> None:
        super().__init__(problem)
        self.index, self._column, self._cell = index, cells.name, cells[index]

    def with_row(self, row: int) -> DataError:
        """The error for users; `row` is the number of the row in the table, from 1."""
        cell = "the cell" if self._cell is None else describe(self._cell)
        return DataError(f"row {row}, column {self._column!r}: {cell} {self}")


def require(cells: pl.Series, valid: pl.Series, problem: str) -> None:
    """Raise InvalidCellError for the first of the `cells` that is not valid."""
    if not valid.all():
        raise InvalidCellError(cells, int(valid.arg_min() or 0), problem)


def canonical_texts(cells: pl.Series) -> pl.Series:
    """The canonical text of each cell; null where it is missing. Meant for the distinct values of a column."""
    kind = cells.dtype
    if kind == pl.String:
        stripped = cells.str.strip_chars()
        lower, numbers = stripped.str.to_lowercase(), stripped.cast(pl.Float64, strict=False)
        texts = _select(lower.is_in(["true", "false"]), lower, stripped)
        texts = _select(texts != "", texts, None)
        if numbers.null_count() == len(numbers):
            return texts
        return _select(numbers.is_not_null(), _number_texts(numbers), texts)
    if kind == pl.Boolean:
        return cells.cast(pl.String)
    if kind.is_temporal():
        return pl.Series(cells.name, map(canonical, _to_utc(cells)), pl.String)
    return _number_texts(cells.cast(pl.Float64))


def to_numbers(cells: pl.Series) -> pl.Series:
    """The numbers of a column; null where a cell is missing. Raises InvalidCellError for another text."""
    if cells.dtype.is_temporal() and cells.null_count() < len(cells):
        raise InvalidCellError(cells, int(cells.is_not_null().arg_max() or 0), "is not a number")
    if cells.dtype != pl.String:
        return cells.cast(pl.Float64).fill_nan(None)
    texts = canonical_texts(cells)
    numbers = texts.replace(["true", "false"], ["1", "0"]).cast(pl.Float64, strict=False)
    require(cells, texts.is_null() | numbers.is_not_null(), "is not a number")
    return numbers


def to_seconds(cells: pl.Series, date_format: DateFormat | None) -> pl.Series:
    """The seconds since 1970 of a column of dates, times or texts; null where a cell is missing.

    Raises InvalidCellError for a number, and for a text that does not have the format; see `parse_date`.
    """
    date_format = date_format or ISO_DATE
    if cells.dtype.is_temporal():
        return _to_utc(cells).cast(pl.Datetime("us")).to_physical() // 1_000_000
    if cells.null_count() == len(cells):
        return cells.cast(pl.Int64)
    problem = f"is not a date like {date_format}"
    if cells.dtype != pl.String:
        require(cells, cells.is_null(), problem)
    stripped = cells.str.strip_chars()
    stripped = _select(stripped != "", stripped, None)
    texts = stripped.drop_nulls().unique()
    seconds = stripped.replace_strict(texts, parse_dates(texts, date_format), default=None, return_dtype=pl.Int64)
    require(cells, stripped.is_null() | seconds.is_not_null(), problem)
    return seconds


def parse_dates(texts: pl.Series, date_format: DateFormat) -> pl.Series:
    """The seconds since 1970 of each text; null where it does not have the format."""
    parts = texts.str.extract_groups(f"^(?:{DATE_FORMATS[date_format]})$").struct.unnest()
    parts = parts.with_columns(pl.lit(None, pl.String).alias(name) for name in _PARTS if name not in parts.columns)
    number = {name: parts[name].cast(pl.Int64).fill_null(value).to_numpy() for name, value in _NUMBERS.items()}
    year, short_year = number["year"], number["short_year"]
    year = np.where(short_year < 0, year, short_year + np.where(short_year >= FIRST_SHORT_YEAR, 1900, 2000))
    named = parts["name"].str.to_lowercase().str.head(3).replace_strict(_MONTHS, default=0, return_dtype=pl.Int64)
    # A format has one of these three; the others are 0.
    month = number["month"] + named.fill_null(0).to_numpy() + np.maximum(3 * number["quarter"] - 2, 0)
    months = (year - _EPOCH_YEAR) * 12 + month - 1
    days = months.astype("M8[M]").astype("M8[D]") + (number["day"] - 1)
    hour, half = number["hour"], parts["half"].str.to_lowercase()
    has_half = half.is_not_null().to_numpy()
    valid = (year > 0) & (month > 0) & (days.astype("M8[M]") == months.astype("M8[M]"))  # 30 February is in March
    valid &= ~has_half | ((hour >= 1) & (hour <= 12))
    hour = np.where(has_half, hour % 12 + 12 * (half == "p").fill_null(value=False).to_numpy(), hour)
    offset = number["zone_hour"] * 3600 + number["zone_minute"] * 60
    offset = np.where((parts["sign"] == "-").fill_null(value=False).to_numpy(), -offset, offset)
    seconds = days.astype(np.int64) * 86_400 + hour * 3600 + number["minute"] * 60 + number["second"] - offset
    return _select(pl.Series(valid), pl.Series(seconds, dtype=pl.Int64), None)


def _to_utc(cells: pl.Series) -> pl.Series:
    """Times in UTC and in microseconds; dates are unchanged."""
    if not isinstance(cells.dtype, pl.Datetime):
        return cells
    if cells.dtype.time_zone is not None:
        cells = cells.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return cells.dt.cast_time_unit("us")


def _number_texts(numbers: pl.Series) -> pl.Series:
    numbers = numbers.fill_nan(None)
    whole = (numbers == numbers.round()) & (numbers.abs() < MAX_EXACT_INTEGER)
    texts = _select(whole, numbers, None).cast(pl.Int64).cast(pl.String)
    if (others := numbers.filter(~whole)).len():  # few in general, as they are distinct values of a category
        values = others.unique()
        found = others.replace_strict(values, pl.Series(map(canonical, values), dtype=pl.String))
        texts = texts.scatter((~whole).arg_true(), found)
    return texts


def _select(mask: pl.Series, values: pl.Series, others: pl.Series | None) -> pl.Series:
    """`values` where the mask is true, otherwise `others` or null."""
    return values.zip_with(
        mask.fill_null(value=False), pl.Series([None], dtype=values.dtype) if others is None else others
    )
