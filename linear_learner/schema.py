"""The schema of a model: what becomes of each column of a table, in training and in prediction.

It is stored as `schema.json` next to the model and needs no library for tables: `Schema.encode` turns rows, and
`Schema.encode_columns` columns, by name, into the features that the model was trained with.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from math import isfinite
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from linear_learner.cells import (
    MAX_FLOAT32,
    DateFormat,
    canonical,
    describe,
    parse_date,
    parse_number,
)
from linear_learner.columns import Cells, Table, count_rows, find_distinct, require_columns, to_cells, to_numbers
from linear_learner.errors import DataError
from linear_learner.versioned_document import VersionedDocument

SCHEMA_FORMAT = 1
"""Version of the schema's format; a schema with a higher one is refused."""
MISSING, OTHER = "(missing)", "(other)"

DatePart = Literal["year", "month", "weekday", "hour"]
Column = NDArray[Any]
Floats = NDArray[np.float32]
Keys = NDArray[np.int32]


class _Model(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    pass


class LabelSchema(_Model):
    """The target: its classes, of which the algorithm gets the indices; a regressor's has none."""

    name: str
    classes: tuple[str, ...] = ()


class NumberColumn(_Model):
    """A number, with `fill` for missing cells; None: no cell may be missing.

    With `indicator`, a second feature is 1 where the cell is missing.
    """

    kind: Literal["number"] = "number"
    name: str
    fill: float | None = None
    indicator: bool = False

    @property
    def feature_names(self) -> list[str]:
        return [self.name] + [f"{self.name}={MISSING}"] * self.indicator

    def compact_cell(self, cell: Any, text: str | None) -> tuple[float, ...]:
        """The values of one cell, one for each column of the compact form; ValueError for an invalid cell.

        `text` is the cell's canonical text; None if it is missing.
        """
        if text is None and self.fill is None:
            raise ValueError("the cell is missing, but no training row had a missing cell there; give a number")
        number = self.fill if text is None else parse_number(cell)
        if number is None or not abs(number) <= MAX_FLOAT32:
            raise ValueError(f"{describe(cell)} is not a finite 32-bit float")
        return (number, float(text is None)) if self.indicator else (number,)

    def expand(self, values: Sequence[Column]) -> list[Column]:
        return list(values)


class CategoryColumn(_Model):
    """A category: one feature for each of the `categories`, which are canonical texts, and for other and missing ones.

    Without `other` or `missing`, all features of such a cell are 0.
    """

    kind: Literal["category"] = "category"
    name: str
    categories: tuple[str, ...]
    other: bool = False
    missing: bool = False

    @property
    def feature_names(self) -> list[str]:
        return [
            f"{self.name}={value}" for value in (*self.categories, *[OTHER] * self.other, *[MISSING] * self.missing)
        ]

    @property
    def size(self) -> int:
        """Number of features, and the code of a cell for which all of them are 0."""
        return len(self.categories) + self.other + self.missing

    @property
    def other_code(self) -> int:
        return len(self.categories) if self.other else self.size

    @property
    def missing_code(self) -> int:
        return self.size - 1 if self.missing else self.size

    @cached_property
    def codes(self) -> dict[str, int]:
        return {text: code for code, text in enumerate(self.categories)}

    def compact_cell(self, _cell: Any, text: str | None) -> tuple[int]:
        return (self.missing_code if text is None else self.codes.get(text, self.other_code),)

    def expand(self, values: Sequence[Column]) -> list[Column]:
        (codes,) = values
        return [(codes == code).view(np.uint8) for code in range(self.size)]


class DateColumn(_Model):
    """A date or time in UTC: its `parts` and the days since `origin`, with `fill` for missing cells.

    `origin` and `fill` are seconds since 1970. Weekdays are 1 (Monday) to 7; a part of a day counts as days.
    """

    kind: Literal["date"] = "date"
    name: str
    format: DateFormat | None
    parts: tuple[DatePart, ...]
    origin: int
    fill: int
    indicator: bool = False

    @property
    def feature_names(self) -> list[str]:
        return [f"{self.name}.{part}" for part in (*self.parts, "days")] + [f"{self.name}={MISSING}"] * self.indicator

    def compact_cell(self, cell: Any, text: str | None) -> tuple[int, ...]:
        seconds = self.fill if text is None else parse_date(cell, self.format)
        return (seconds, int(text is None)) if self.indicator else (seconds,)

    def expand(self, values: Sequence[Column]) -> list[Column]:
        seconds, *indicator = values
        parts = date_parts(seconds)
        return [*(parts[part] for part in self.parts), (seconds - self.origin) / 86_400, *indicator]


class LeftOutColumn(_Model):
    """A column of the table that is no feature, and the reason."""

    name: str
    reason: str


AnyColumn = Annotated[NumberColumn | CategoryColumn | DateColumn, Field(discriminator="kind")]


def date_parts(seconds: NDArray[np.int64]) -> dict[DatePart, NDArray[np.int64]]:
    """The parts of times, given in seconds since 1970."""
    days = seconds // 86_400
    dates = days.astype("M8[D]")
    return {
        "year": dates.astype("M8[Y]").astype(np.int64) + 1970,
        "month": dates.astype("M8[M]").astype(np.int64) % 12 + 1,
        "weekday": (days + 3) % 7 + 1,
        "hour": seconds % 86_400 // 3600,
    }


class Schema(VersionedDocument, _Model):
    """The content of `schema.json`.

    The compact form of a column is a filled number, a category's code or a time in seconds, and for a column with an
    indicator a second column of 1 and 0.
    """

    FILE_NAME: ClassVar[str] = "schema.json"
    LATEST_FORMAT: ClassVar[int] = SCHEMA_FORMAT

    format: int = SCHEMA_FORMAT
    label: LabelSchema
    columns: tuple[AnyColumn, ...]
    """The columns that become features, in the order of the features."""
    left_out: tuple[LeftOutColumn, ...] = ()
    missing_values: tuple[str, ...] = ()
    """The texts that mean a missing cell."""

    def to_json(self) -> str:
        """The text of `schema.json`; equal schemas have the same text."""
        return self.model_dump_json(indent=2) + "\n"

    @property
    def sha256(self) -> str:
        """The checksum of `schema.json`."""
        return sha256(self.to_json().encode()).hexdigest()

    @model_validator(mode="after")
    def _has_no_repetition(self) -> Self:
        for names in ([self.label.name, *(column.name for column in self.columns)], self.label.classes, *self._lists):
            if len(set(names)) != len(names):
                raise ValueError(f"a name is repeated in {names!r:.200}")
        return self

    @property
    def _lists(self) -> list[tuple[str, ...]]:
        return [column.categories for column in self.columns if isinstance(column, CategoryColumn)]

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The names of the features; a name that would be repeated gets a number."""
        return unique_names([name for column in self.columns for name in column.feature_names], self.sources)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The table's column of each feature."""
        return tuple(column.name for column in self.columns for _ in column.feature_names)

    @property
    def table_columns(self) -> tuple[str, ...]:
        """The target and the columns that become features."""
        return (self.label.name, *self.feature_columns)

    @property
    def is_identity(self) -> bool:
        """Whether the table's rows are encoded as they are: complete numbers, and a label without other names."""
        complete = all(isinstance(column, NumberColumn) and column.fill is None for column in self.columns)
        return complete and list(self.label.classes) == [str(index) for index in range(len(self.label.classes))]

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The columns that become features, which a table needs for predictions."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def missing_numbers(self) -> tuple[float, ...]:
        """The numbers that mean a missing cell, such as -999."""
        numbers = []
        for text in self.missing_values:
            with suppress(ValueError):
                numbers.append(float(text))
        return tuple(filter(isfinite, numbers))

    @cached_property
    def missing_texts(self) -> frozenset[str]:
        """The canonical and other texts that mean a missing cell."""
        return frozenset((*self.missing_values, *(str(canonical(number)) for number in self.missing_numbers)))

    def encode(self, rows: Sequence[Mapping[str, Any]], first_row: int = 1) -> Floats:
        """The features (rows, features) of rows by column name; other columns are ignored.

        A cell is a text, number, boolean, date, datetime or None; numbers may be given as texts and texts as numbers.
        Raises DataError, with the number of the row (`first_row` is that of the first one) and the column, for missing
        columns and an invalid cell.
        """
        try:
            cells: dict[str, Cells] = {name: [row[name] for row in rows] for name in self.feature_columns}
        except KeyError:
            for number, row in enumerate(rows, first_row):
                require_columns(self.feature_columns, row, f"row {number}")
            raise
        return self._encode(cells, range(first_row, first_row + len(rows)))

    def encode_columns(self, columns: Table, first_row: int = 1) -> Floats:
        """The features (rows, features) of columns by name, as `encode` gives them for rows; also of a frame.

        A column is a sequence of cells, an array, or a Series of pandas or polars. Raises the same errors as `encode`.
        """
        require_columns(self.feature_columns, set(getattr(columns, "columns", columns)), "the table")
        cells = {name: to_cells(columns[name], name) for name in self.feature_columns}
        return self._encode(cells, range(first_row, first_row + count_rows(cells)))

    def _encode(self, cells: Mapping[str, Cells], rows: range) -> Floats:
        encoded = np.empty((len(rows), len(self.features)), np.float32)
        start = 0
        for column in self.columns if rows else ():
            for feature in column.expand(self._compact(column, cells[column.name], rows)):
                encoded[:, start] = feature
                start += 1
        return encoded

    def _compact(self, column: AnyColumn, cells: Cells, rows: range) -> list[Column]:
        if isinstance(column, NumberColumn) and (numbers := to_numbers(cells)) is not None:
            return self._compact_numbers(column, cells, numbers, rows)
        return self._compact_distinct(column, cells, rows)

    def _compact_numbers(
        self, column: NumberColumn, cells: Cells, numbers: NDArray[np.float64], rows: range
    ) -> list[Column]:
        """The compact form of cells that are `numbers`; those that are missing or invalid are treated one by one."""
        is_plain = np.abs(numbers) <= MAX_FLOAT32  # false for NaN
        for number in self.missing_numbers:
            is_plain &= numbers != number
        compact: list[Column] = [numbers]
        if column.indicator:
            compact.append(np.zeros(len(numbers), np.uint8))
        if len(others := np.flatnonzero(~is_plain)):
            unusual = cells[others] if isinstance(cells, np.ndarray) else [cells[index] for index in others]
            found = self._compact_distinct(column, unusual, others + rows.start)
            for values, replacements in zip(compact, found, strict=True):
                values[others] = replacements
        return compact

    def _compact_distinct(self, column: AnyColumn, cells: Cells, rows: range | NDArray[np.intp]) -> list[Column]:
        """The compact form of cells in these rows, computed once for each distinct cell."""
        distinct, indices = find_distinct(cells)
        compact = []
        for index, cell in enumerate(distinct):
            try:
                compact.append(column.compact_cell(cell, canonical(cell, self.missing_texts)))
            except (ValueError, OverflowError) as error:  # the latter for a time that has no equal in UTC
                row = rows[index if indices is None else int(np.argmax(indices == index))]
                raise DataError(f"row {row}, column {column.name!r}: {error}") from error
        columns = map(np.array, zip(*compact, strict=True))
        return [*columns] if indices is None else [values[indices] for values in columns]

    def expand(self, compact: Sequence[Column]) -> list[Column]:
        """The features, each (rows,), of the compact columns without the label."""
        return [feature for column, values in self._compact_columns(compact) for feature in column.expand(values)]

    def expand_sparse(self, compact: Sequence[Column]) -> tuple[Floats, Keys]:
        """The features as values and the features' indices, both (rows, stored values); -1 where nothing is stored.

        A category is one value; numbers are always stored, also if they are 0.
        """
        columns: list[tuple[Column | float, Column | int]] = []
        first = 0
        for column, values in self._compact_columns(compact):
            if isinstance(column, CategoryColumn):
                codes = values[0].astype(np.int32)
                columns.append((1.0, np.where(codes < column.size, first + codes, -1)))
            else:
                columns += [(feature, first + index) for index, feature in enumerate(column.expand(values))]
            first += len(column.feature_names)
        shape = (len(compact[0]) if compact else 0, len(columns))
        stored, keys = np.empty(shape, np.float32), np.empty(shape, np.int32)
        for index, (value, key) in enumerate(columns):
            stored[:, index], keys[:, index] = value, key
        return stored, keys

    def _compact_columns(self, compact: Sequence[Column]) -> list[tuple[AnyColumn, Sequence[Column]]]:
        found, start = [], 0
        for column in self.columns:
            end = start + 1 + (not isinstance(column, CategoryColumn) and column.indicator)
            found.append((column, compact[start:end]))
            start = end
        return found

    def label_index(self, value: Any) -> float:
        """The number that the algorithm gets for a label: the index of its class, or a regressor's number."""
        if not self.label.classes:
            return parse_number(value)
        text = canonical(value, self.missing_texts)
        if text not in self.label.classes:
            raise DataError(f"{describe(value)} is none of the classes of {self.label.name!r}")
        return float(self.label.classes.index(text))

    def class_name(self, index: int) -> str:
        """The name of the class with this index; the index itself for a model without named classes."""
        return self.label.classes[index] if self.label.classes else str(index)


def unique_names(names: Sequence[str], sources: Sequence[str]) -> tuple[str, ...]:
    """The names of what is made of the columns `sources`; a repeated one gets a number, as in `age=(missing) (2)`.

    What has the name of its column keeps it.
    """
    used = {source for name, source in zip(names, sources, strict=True) if name == source}
    unique = []
    for name, source in zip(names, sources, strict=True):
        candidate, number = name, 2
        while name != source and candidate in used:
            candidate, number = f"{name} ({number})", number + 1
        used.add(candidate)
        unique.append(candidate)
    return tuple(unique)
