"""Rows by column name that a schema encodes to given features: the inverse of `Schema.encode`."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_learner.cells import ISO_DATE
from linear_learner.schema import OTHER, AnyColumn, CategoryColumn, DateColumn, NumberColumn, Schema

DATE_PRECISION_SECONDS = 600
"""A float32 of up to 90 years in days is exact to 340 seconds."""


def decode(schema: Schema, features: NDArray[np.float32]) -> list[dict[str, Any]]:
    """One row by column name for each row of `features` (rows, features), with JSON values.

    A filled number is decoded as a number if the schema has no indicator of missing cells, a category beyond the
    frequent ones as the text `(other)`, and a date to DATE_PRECISION_SECONDS.
    """
    cells: dict[str, list[Any]] = {}
    start = 0
    for column in schema.columns:
        end = start + len(column.feature_names)
        cells[column.name] = list(_decode_column(column, features[:, start:end]))
        start = end
    return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]


def _decode_column(column: AnyColumn, features: NDArray[np.float32]) -> Iterator[Any]:
    for row in features.tolist():
        if isinstance(column, CategoryColumn):
            yield _decode_category(column, row)
        elif column.indicator and row[-1]:
            yield None
        elif isinstance(column, NumberColumn):
            yield row[0]
        else:
            yield _decode_date(column, row[len(column.parts)])


def _decode_category(column: CategoryColumn, row: Sequence[float]) -> str | None:
    code = row.index(1) if 1 in row else column.size
    if code < len(column.categories):
        return column.categories[code]
    # Without a feature of its own, a missing or other cell has the code `size`.
    return OTHER if code == column.other_code and code != column.missing_code else None


def _decode_date(column: DateColumn, days: float) -> str:
    seconds = round((column.origin + days * 86_400) / DATE_PRECISION_SECONDS) * DATE_PRECISION_SECONDS
    moment = datetime.fromtimestamp(seconds, UTC)
    has_time = moment.hour or moment.minute or moment.second
    return moment.strftime((column.format or ISO_DATE) + (" %H:%M:%S" if has_time else ""))
