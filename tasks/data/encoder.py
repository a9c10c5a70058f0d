"""Fit the schema of a model on the training rows of a table, and apply it to whole columns.

The schema itself, and its application to single rows, is `linear_learner.schema`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linear_learner.cells import MAX_FLOAT32
from linear_learner.schema import (
    MISSING,
    CategoryColumn,
    DateColumn,
    LabelSchema,
    LeftOutColumn,
    NumberColumn,
    Schema,
    date_parts,
    unique_names,
)
from tasks.data.cells import InvalidCellError, canonical_texts, require, to_numbers, to_seconds
from tasks.data.column_plan import FITTED, ColumnPlan
from tasks.data.value_counts import ValueCounts, float_keys, key_float
from tasks.parameters import MAX_CATEGORIES

_MERGE_DISTINCT = 1 << 17  # counts of chunks wait until they have so many values together: merging is then rare

Bounds = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class ColumnStatistics:
    """What the training rows contain of one column."""

    missing: int
    counts: ValueCounts
    """Of canonical texts, of floats as integers in the same order, or of seconds since 1970."""
    bounds: Bounds
    """Minimum and maximum of the seconds and of each part of a date."""

    @classmethod
    def merge(cls, parts: Sequence["ColumnStatistics"]) -> "ColumnStatistics":
        names = {name for part in parts for name in part.bounds}
        both = {name: [part.bounds[name] for part in parts if name in part.bounds] for name in sorted(names)}
        bounds = {name: (min(low for low, _ in found), max(high for _, high in found)) for name, found in both.items()}
        return cls(sum(part.missing for part in parts), ValueCounts.merge([part.counts for part in parts]), bounds)


@dataclass(frozen=True)
class EncoderStatistics:
    """What the training rows contain, for a schema; of a part of them, to be merged with that of the others."""

    rows: int
    columns: Mapping[str, ColumnStatistics]


def fit_frames(
    frames: Iterable[pl.DataFrame], training: NDArray[np.bool_], plan: Sequence[ColumnPlan]
) -> EncoderStatistics:
    """Measure the training rows of one file; `training` (rows,) is true for those among the rows of all frames.

    Raises DataError, with the row, for a text that is not of the column's format of dates.
    """
    fitted = [column for column in plan if column.treatment in FITTED]
    waiting = {column.name: _Waiting([]) for column in fitted}
    row = 0
    for frame in frames:
        mask = training[row : row + frame.height]
        for column in fitted if mask.any() else ():
            cells = frame[column.name] if mask.all() else frame[column.name].filter(mask)
            try:
                waiting[column.name].add(_measure(cells, column))
            except InvalidCellError as error:
                raise error.with_row(row + 1 + int(np.flatnonzero(mask)[error.index])) from error
        row += frame.height
    empty = pl.Series([], dtype=pl.Null)
    columns = {column.name: waiting[column.name].total(_measure(empty, column)) for column in fitted}
    return EncoderStatistics(int(np.count_nonzero(training[:row])), columns)


def merge(parts: Sequence[EncoderStatistics]) -> EncoderStatistics:
    """The statistics of the training rows of all parts."""
    names = parts[0].columns
    columns = {name: ColumnStatistics.merge([part.columns[name] for part in parts]) for name in names}
    return EncoderStatistics(sum(part.rows for part in parts), columns)


class _Waiting:
    """Statistics of chunks, merged when there are many of them."""

    def __init__(self, parts: list[ColumnStatistics]) -> None:
        self._parts, self._distinct = parts, 0

    def add(self, part: ColumnStatistics) -> None:
        self._parts.append(part)
        self._distinct += part.counts.distinct
        if self._distinct > max(_MERGE_DISTINCT, self._parts[0].counts.distinct):
            self._parts, self._distinct = [ColumnStatistics.merge(self._parts)], 0

    def total(self, empty: ColumnStatistics) -> ColumnStatistics:
        return ColumnStatistics.merge([*self._parts, empty])


def _measure(cells: pl.Series, column: ColumnPlan) -> ColumnStatistics:
    bounds: Bounds = {}
    if column.treatment == "category":
        counted = count_texts(cells).select(value=pl.col("text"), rows=pl.col("rows").cast(pl.UInt64)).drop_nulls()
        counts = ValueCounts(counted.group_by("value").agg(pl.col("rows").sum()))
        return ColumnStatistics(len(cells) - int(counted["rows"].sum()), counts, bounds)
    if column.treatment == "date":
        values = to_seconds(cells, column.date_format).drop_nulls()
        bounds = _date_bounds(values.unique().to_numpy())
    else:
        numbers = to_numbers(cells).drop_nulls().to_numpy()
        values = pl.Series(float_keys(numbers), dtype=pl.Int64)
    return ColumnStatistics(len(cells) - len(values), ValueCounts.count(values), bounds)


def _date_bounds(seconds: NDArray[np.int64]) -> Bounds:
    parts: dict[str, NDArray[np.int64]] = {"seconds": seconds}
    parts |= {str(part): values for part, values in date_parts(seconds).items()}
    return {name: (int(values.min()), int(values.max())) for name, values in parts.items() if len(values)}


def make_schema(
    statistics: EncoderStatistics,
    plan: Sequence[ColumnPlan],
    label: LabelSchema,
    *,
    max_categories: int = MAX_CATEGORIES,
    missing_values: Sequence[str] = (),
) -> Schema:
    """The schema of a table with this plan, fitted on these training rows."""
    columns: list[NumberColumn | CategoryColumn | DateColumn] = []
    for column in plan:
        if column.treatment == "number":
            columns.append(NumberColumn(name=column.name))
        elif column.treatment in FITTED:
            columns.append(_fit(column, statistics.columns[column.name], max_categories, statistics.rows))
    left_out = (column for column in plan if column.treatment in {"ignored", "leave out"})
    return Schema(
        label=label,
        columns=tuple(columns),
        left_out=tuple(LeftOutColumn(name=column.name, reason=column.reason) for column in left_out),
        missing_values=tuple(missing_values),
    )


def _fit(
    column: ColumnPlan, found: ColumnStatistics, max_categories: int, rows: int
) -> NumberColumn | CategoryColumn | DateColumn:
    missing = found.missing > 0
    if column.treatment == "category":
        chosen = found.counts.most_frequent(max_categories)
        other = int(chosen["rows"].sum()) < rows - found.missing
        categories = tuple(sorted(chosen["value"].to_list()))
        return CategoryColumn(name=column.name, categories=categories, other=other, missing=missing)
    low, high = found.counts.middle() if found.counts.distinct else (0, 0)
    if column.treatment == "fill":
        return NumberColumn(name=column.name, fill=(key_float(low) + key_float(high)) / 2, indicator=missing)
    first = found.bounds.get("seconds", (0, 0))[0]
    parts = [part for part in date_parts(np.zeros(1, np.int64)) if len({*found.bounds.get(part, ())}) > 1]
    if column.date_format and "%d" not in column.date_format:
        parts = [part for part in parts if part != "weekday"]  # that of the first of a month means nothing
    return DateColumn(
        name=column.name,
        format=column.date_format,
        parts=tuple(parts),
        origin=first // 86_400 * 86_400,
        fill=(low + high) // 2,
        indicator=missing,
    )


def compact_types(schema: Schema, types: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """The columns of the compact form, the label first, each with its type.

    `types` are those that store the table's columns; they are used for complete numbers and for a label that is stored
    as it is.
    """
    label = schema.label.name
    found: list[tuple[str, str, pl.DataType]] = [(label, label, _label_type(schema, types))]
    for column in schema.columns:
        found.append((column.name, column.name, _column_type(column, types)))
        if not isinstance(column, CategoryColumn) and column.indicator:
            found.append((f"{column.name}={MISSING}", column.name, pl.UInt8()))
    names = unique_names([name for name, _, _ in found], [source for _, source, _ in found])
    return dict(zip(names, (kind for _, _, kind in found), strict=True))


def _label_type(schema: Schema, types: Mapping[str, pl.DataType]) -> pl.DataType:
    if schema.label.classes:
        return pl.UInt8() if len(schema.label.classes) <= 256 else pl.UInt16()
    return types.get(schema.label.name, pl.Float64())


def _column_type(column: NumberColumn | CategoryColumn | DateColumn, types: Mapping[str, pl.DataType]) -> pl.DataType:
    if isinstance(column, CategoryColumn):
        return pl.UInt8() if column.size < 256 else pl.UInt16() if column.size < 65_536 else pl.UInt32()
    if isinstance(column, DateColumn):
        return pl.Int64()
    return types.get(column.name, pl.Float64()) if column.fill is None else pl.Float64()


def compact(frame: pl.DataFrame, schema: Schema, types: Mapping[str, pl.DataType], first_row: int = 1) -> pl.DataFrame:
    """The compact form of the frame's rows; see `compact_types`.

    Raises DataError, with the row (`first_row` is that of the frame's first one), for a cell that the schema excludes.
    """
    columns: list[pl.Series] = []
    try:
        columns.append(_compact_label(frame[schema.label.name], schema))
        for column in schema.columns:
            columns += _compact_column(frame[column.name], column)
    except InvalidCellError as error:
        raise error.with_row(first_row + error.index) from error
    wanted = compact_types(schema, types)
    return pl.DataFrame(
        [cells.cast(kind).alias(name) for cells, (name, kind) in zip(columns, wanted.items(), strict=True)]
    )


def expand(frame: pl.DataFrame, schema: Schema) -> list[NDArray[Any]]:
    """The features, each (rows,), of rows in the compact form, in the order of `schema.features`."""
    return schema.expand([column.to_numpy() for column in frame.drop(schema.label.name)])


def encode_frame(frame: pl.DataFrame, schema: Schema) -> NDArray[np.float32]:
    """The features (rows, features) of a frame with the columns of the schema; the label is not needed.

    Raises InvalidCellError, with the row of the frame, for a cell that the schema excludes.
    """
    encoded = np.empty((frame.height, len(schema.features)), np.float32)
    index = 0
    for column in schema.columns:
        compacted = _compact_column(frame[column.name], column)
        for feature in column.expand([cells.to_numpy() for cells in compacted]):
            encoded[:, index] = to_float32(frame[column.name], feature)
            index += 1
    return encoded


def to_float32(cells: pl.Series, feature: NDArray[Any]) -> NDArray[np.float32]:
    """A feature in float32; raises InvalidCellError for the first value that is not finite in it."""
    require(cells, pl.Series(np.abs(feature) <= MAX_FLOAT32), "is not a finite 32-bit float")  # false for NaN
    return feature.astype(np.float32)


def _compact_label(cells: pl.Series, schema: Schema) -> pl.Series:
    if not schema.label.classes:
        return cells
    codes = {text: code for code, text in enumerate(schema.label.classes)}
    indices = _map_texts(cells, count_texts(cells), codes, (None, None))
    require(cells, indices.is_not_null(), "is none of the classes that were found when the table was checked")
    return indices


def _compact_column(cells: pl.Series, column: NumberColumn | CategoryColumn | DateColumn) -> list[pl.Series]:
    if isinstance(column, CategoryColumn):
        return [category_codes(cells, column, count_texts(cells))]
    values = read_values(cells, column)
    if column.fill is None:
        require(cells, values.is_not_null(), "is missing, but the column had no missing cells when the schema was made")
    return fill_missing(values, column)


def count_texts(cells: pl.Series) -> pl.DataFrame:
    """The different cells that are not null, as `cell`, each with its canonical `text`, null if missing, and `rows`."""
    found = cells.alias("cell").drop_nulls().value_counts(name="rows")
    return found.with_columns(text=canonical_texts(found["cell"]))


def category_codes(cells: pl.Series, column: CategoryColumn, counted: pl.DataFrame) -> pl.Series:
    """The code of each cell's category; `counted` is from `count_texts`."""
    return _map_texts(cells, counted, column.codes, (column.other_code, column.missing_code))


def read_values(cells: pl.Series, column: NumberColumn | DateColumn) -> pl.Series:
    """The number, or the seconds since 1970, of each cell; null where it is missing.

    Raises InvalidCellError for a cell that is not a number, or not a date in the column's format.
    """
    if isinstance(column, DateColumn):
        return to_seconds(cells, column.format)
    if cells.dtype.is_integer() and column.fill is None:
        return cells  # large integers stay exact
    return to_numbers(cells)


def fill_missing(values: pl.Series, column: NumberColumn | DateColumn) -> list[pl.Series]:
    """The compact form of a column of `read_values`."""
    if column.fill is None:
        return [values]
    return [values.fill_null(column.fill), *[values.is_null()] * column.indicator]


def _map_texts(
    cells: pl.Series, counted: pl.DataFrame, codes: Mapping[str, int], others: tuple[int | None, int | None]
) -> pl.Series:
    """The code of each cell's canonical text; `others` are those of other texts and of missing cells."""
    other, missing = others
    found = [missing if text is None else codes.get(text, other) for text in counted["text"]]
    values = pl.Series(found, dtype=pl.UInt32)
    return cells.replace_strict(counted["cell"], values, default=missing, return_dtype=pl.UInt32)
