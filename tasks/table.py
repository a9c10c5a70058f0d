"""A CSV file as columns of numbers: read, checked, written label first. Columnar throughout, with polars."""

import csv
import os
from collections import Counter
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from linear_learner.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BOOLEANS = {"true": 1, "false": 0}
"""What get_dummies and friends leave in a CSV; Linear Learner reads numbers only."""


def read_table(path: Path, target: str, name: str | None = None) -> pl.DataFrame:
    """The file as a frame of numeric columns, true and false as 1 and 0.

    `name` stands for the file in messages. Raises DataError naming the row (1 is the first below the header), the
    column and the cure when the file is empty or ragged, the target no column, a cell missing, text or not finite.
    """
    name = name or path.name
    header = _header(path, name)
    _check_header(header, target, name)
    try:
        frame = pl.read_csv(path, infer_schema_length=None, encoding="utf8")
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, name, len(header), error) from error
    if frame.height == 0:
        raise DataError(f"{name} has a header but no rows. Give it at least one row of numbers.")
    while frame.height > 1 and all(cell is None for cell in frame.row(-1)):
        frame = frame.head(-1)  # blank lines at the end, which pandas skips too
    return frame.select(_numbers(frame[column], name) for column in frame.columns)


def write_channel(frame: pl.DataFrame, target: str, rows: "NDArray[np.intp]", path: Path) -> None:
    """Write the chosen rows in their order, target first, without a header; nothing half-written keeps the name."""
    half = path.with_name(f"{path.name}.{os.getpid()}")  # another run may be writing the same
    half.parent.mkdir(parents=True, exist_ok=True)
    frame.select(target, pl.exclude(target))[rows].write_csv(half, include_header=False)
    half.replace(path)


def _header(path: Path, name: str) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), [])
    except csv.Error as error:
        raise DataError(f"{name} has no readable header ({error}). Is a quote never closed?") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not text in UTF-8 ({error.reason}). Save it as a CSV file in UTF-8.") from error


def _check_header(header: list[str], target: str, name: str) -> None:
    if not any(header):
        raise DataError(f"{name} is empty. It needs a header line and rows of numbers, separated by commas.")
    twice = [column for column, count in Counter(header).items() if count > 1]
    if twice:
        raise DataError(f"{name} has more than one column named {twice[0]!r}. Rename or remove one of them.")
    if target not in header:
        close = get_close_matches(target, header, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(header[:30])[:300]}."
        raise DataError(f"{name} has no column {target!r} to predict. {hint}")
    if len(header) == 1:
        raise DataError(f"{name} has only the column {target!r}. Linear Learner needs at least one feature beside it.")


def _unreadable(path: Path, name: str, width: int, error: Exception) -> DataError:
    with suppress(csv.Error), path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for number, cells in enumerate(csv.reader(file)):
            if cells and len(cells) != width:
                return DataError(
                    f"{name}, row {number}: {len(cells)} values where the header names {width}. Repair it."
                )
    return DataError(f"{name} cannot be read as CSV: {str(error).splitlines()[0]}")


def _numbers(column: pl.Series, name: str) -> pl.Series:
    if column.dtype == pl.Boolean:
        numbers = column.cast(pl.Int8)
    elif column.dtype == pl.String:
        text = column.str.strip_chars()
        flags = text.str.to_lowercase().replace_strict(BOOLEANS, default=None, return_dtype=pl.Int8)
        numbers = flags if flags.null_count() == text.null_count() else text.cast(pl.Float64, strict=False)
    else:
        numbers = column
    bad = numbers.is_null() | ~numbers.cast(pl.Float64).is_finite()
    if bad.any():
        row = int(bad.fill_null(value=True).arg_true()[0])
        raise DataError(f"{name}, row {row + 1}, column {column.name!r}: {_complaint(column[row])}")
    return numbers


def _complaint(found: object) -> str:
    if found is None or not str(found).strip():
        return "the value is missing. Fill it in or drop the row; Linear Learner takes no missing values."
    if str(found).strip().lstrip("+-").lower() in {"nan", "inf", "infinity"}:
        return f"{found} is not a finite number. Replace it or drop the row."
    return f"{str(found)[:60]!r} is not a number. Encode it as numbers (one-hot, for a category) or drop the column."
