"""Parse lines of comma-separated numbers into a float32 matrix, or report the first error with row and column."""

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from linear_learner.errors import DataError

_BLOCK_BYTES = 4 << 20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_BLANKS = " \t\v\f"
_MAX_MISSING_SHOWN = 16  # as in the container's message
_MAX_PLAIN_BYTES = 1 << 20
_PLAIN = b"0123456789+-.eE,\n\r \t"
_ROWS = TypeAdapter(list[list[float]])


@dataclass(frozen=True)
class BlockPosition:
    """The position of a block of lines: its source, and the rows before it in this file and in earlier files."""

    source: str
    rows_before: int = 0
    channel_rows_before: int = 0

    def row(self, index: int) -> str:
        """Row `index` of the block, counted from 1 in its file and, if other files precede it, in the channel."""
        row = self.rows_before + index + 1
        if not self.channel_rows_before:
            return f"{self.source}, row {row}"
        return f"{self.source}, row {row} (row {self.channel_rows_before + row} of the channel)"


def read_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Blocks of about 4 MiB of whole lines, without their last line end; empty lines at the file's end are dropped."""
    rest = stream.read(_BLOCK_BYTES)
    while more := stream.read(_BLOCK_BYTES):
        cut = rest.rfind(b"\n", 0, len(rest.rstrip(b"\r\n")))
        if cut >= 0:
            yield rest[:cut]
        rest = rest[cut + 1 :] + more
    if rest := rest.rstrip(b"\r\n"):
        yield rest


def parse_block(block: bytes, columns: int, position: BlockPosition) -> NDArray[np.float32]:
    """The lines of a block as (rows, columns), float32; with `columns` 0 the first line determines the number.

    Numbers may be in scientific notation and have blanks around them. Raises DataError with row and column for text,
    quotes, missing and non-finite values, empty lines and lines of another length.
    """
    columns = columns or block.partition(b"\n")[0].count(b",") + 1
    if (numbers := _parse_plain(block, columns)) is not None:
        return numbers
    if block.strip() and block.isascii():
        with suppress(ValueError):
            numbers = np.loadtxt(io.BytesIO(block), np.float32, delimiter=",", comments=None, ndmin=2)
            # numpy skips empty lines, which changes the number of rows.
            if numbers.shape == (block.count(b"\n") + 1, columns) and np.isfinite(numbers).all():
                return numbers
    raise _diagnose(block.decode("utf-8", "backslashreplace"), columns, position)


def _parse_plain(block: bytes, columns: int) -> NDArray[np.float32] | None:
    """The numbers of a small block whose lines are also the content of JSON arrays; None for any other block.

    pydantic reads them in a quarter of the time that numpy needs. Some numbers, such as `+1` or `.5`, are no JSON.
    """
    if len(block) > _MAX_PLAIN_BYTES or block.translate(None, _PLAIN):
        return None
    try:
        rows = _ROWS.validate_json(b"[[%b]]" % block.replace(b"\n", b"],["), strict=True)
    except ValidationError:
        return None
    if set(map(len, rows)) != {columns}:
        return None
    with np.errstate(over="ignore"):
        numbers = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * columns).astype(np.float32)
    return numbers.reshape(-1, columns) if np.isfinite(numbers).all() else None


def _diagnose(block: str, columns: int, position: BlockPosition) -> DataError:
    """The first error in an invalid block; missing values are listed as in the container's message."""
    missing: list[str] = []
    for index, line in enumerate(block.split("\n")):
        fields = [field.strip(_BLANKS) for field in line.removesuffix("\r").split(",")]
        row = position.rows_before + index + 1
        problem = _find_line_problem(fields, columns, first=row == 1)
        if problem and not missing:
            return DataError(f"{position.row(index)}{problem}")
        if problem or len(missing) >= _MAX_MISSING_SHOWN:
            break
        missing += [f"Row {row}, column {column}" for column, field in enumerate(fields, start=1) if not field]
    shown = missing[:_MAX_MISSING_SHOWN]
    listed = "\n".join(shown)
    return DataError(
        f"Found at least {len(shown)} entries in {position.source} with missing values:\n{listed}\n"
        "Fill them or drop their rows; Linear Learner does not accept missing values."
    )


def _find_line_problem(fields: list[str], columns: int, *, first: bool) -> str | None:
    if fields == [""]:
        return " is empty; remove it"
    if len(fields) != columns:
        return f" has {len(fields)} columns where {columns} are expected; every row needs the same number"
    if first and not any(_NUMBER.fullmatch(field) for field in fields) and any(fields):
        return f" looks like a header: {','.join(fields)[:60]!r}; Linear Learner accepts none, remove it"
    for column, field in enumerate(fields, start=1):
        if field and (problem := _find_field_problem(field)):
            return f", column {column}: found {field[:40]!r}, {problem}"
    return None


def _find_field_problem(field: str) -> str | None:
    if field.startswith("\ufeff"):
        return "a UTF-8 byte order mark before the number; save the file without one"
    if _NUMBER.fullmatch(field):
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.float32(field))
        return None if finite else "which is outside float32's range of ±3.4e38; rescale the column"
    if field.lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        return "which is not finite; fill it or drop the row"
    if field[0] in "\"'":
        return "which is quoted; write numbers without quotes"
    return "which is not a number; encode or drop the column"
