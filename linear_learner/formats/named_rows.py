"""Rows by column name from CSV, JSON or JSON lines; those of a file in chunks."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from itertools import chain, islice
from typing import Any, BinaryIO

from linear_learner.columns import require_columns
from linear_learner.errors import DataError
from linear_learner.formats.recordio_wire import MAGIC

CHUNK_ROWS = 4096

NamedRow = dict[str, Any]

_DOCUMENT = re.compile(rb'\s*\{\s*(?:"instances"|$)')
_BYTE_ORDER_MARK = "\ufeff".encode()
_RECORDIO_START = MAGIC.to_bytes(4, "little")


def read_named_rows(stream: BinaryIO, needed: Sequence[str]) -> Iterator[list[NamedRow]]:
    """The rows of a CSV with a header, of `{"instances": [{NAME: …}, …]}` or of JSON lines, in chunks of CHUNK_ROWS.

    Only a JSON document is in memory as a whole. Raises DataError, with the row from 1, for invalid rows, and for a CSV
    whose header lacks some of the `needed` columns.
    """
    start = stream.read(len(_RECORDIO_START))
    if start == _RECORDIO_START:
        raise DataError("RecordIO has no names of columns; give CSV or JSON, or --by-position for encoded features")
    lines = chain(BytesIO(start.removeprefix(_BYTE_ORDER_MARK) + stream.readline()), stream)
    first = next((line for line in lines if line.strip()), b"")
    if not first:
        raise DataError("the input is empty; give CSV with a header, JSON or JSON lines")
    rows: Iterator[NamedRow]
    if _DOCUMENT.match(first):
        rows = _read_document(first + b"".join(lines))
    elif first.lstrip().startswith(b"{"):
        rows = _read_lines(chain([first], lines))
    else:
        rows = _read_csv(chain([first], lines), needed)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield chunk


def _read_document(text: bytes) -> Iterator[NamedRow]:
    document = _parse_json(text, "the input")
    rows = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise DataError('the input is not {"instances": [{"COLUMN": VALUE, ...}, ...]}')
    return (require_object(row, number) for number, row in enumerate(rows, 1))


def _read_lines(lines: Iterable[bytes]) -> Iterator[NamedRow]:
    for number, line in enumerate((line for line in lines if line.strip()), 1):
        yield require_object(_parse_json(line, f"row {number}"), number)


def _parse_json(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}") from error


def require_object(row: Any, number: int) -> NamedRow:
    """The row itself; raises DataError unless it is an object of JSON."""
    if not isinstance(row, dict):
        raise DataError(f"row {number} is {json.dumps(row):.40}, not an object with the names of the columns")
    return row


def read_csv_rows(body: bytes, needed: Sequence[str]) -> list[NamedRow]:
    """The rows of a CSV: with a header, by name, if its first row contains one of the `needed` names, else by position.

    Without a header, each row has the cells of the `needed` columns in their order. Raises DataError, with the row from
    1, for invalid rows, and for a header that lacks some of the `needed` columns.
    """
    body = _strip_start(body)
    if is_header(read_first_row(body), needed):
        return list(_read_csv(BytesIO(body), needed))
    return list(_name_cells(_read_records(BytesIO(body)), needed, f"the model needs {len(needed)} columns"))


def read_first_row(body: bytes) -> list[str]:
    """The cells of the first row of a CSV, which may be its header; none if it is empty."""
    return next(_read_records(BytesIO(_strip_start(body))), [])


def is_header(cells: Sequence[str], needed: Sequence[str]) -> bool:
    """Whether the first row of a CSV contains the name of a needed column, in upper or lower case."""
    return bool({cell.strip().lower() for cell in cells} & {name.lower() for name in needed})


def _strip_start(body: bytes) -> bytes:
    return body.removeprefix(_BYTE_ORDER_MARK).lstrip(b"\r\n")


def _read_csv(lines: Iterable[bytes], needed: Sequence[str]) -> Iterator[NamedRow]:
    records = _read_records(lines, has_header=True)
    names = [name.strip() or f"Unnamed: {index}" for index, name in enumerate(next(records))]
    _check_header(names, needed)
    return _name_cells(records, names, f"the header has {len(names)} names")


def _name_cells(records: Iterable[list[str]], names: Sequence[str], expected: str) -> Iterator[NamedRow]:
    for number, cells in enumerate(records, 1):
        if len(cells) != len(names):
            raise DataError(f"row {number} has {len(cells)} values, but {expected}")
        yield dict(zip(names, cells, strict=True))


def _read_records(lines: Iterable[bytes], *, has_header: bool = False) -> Iterator[list[str]]:
    """The rows of a CSV, of which the first may be its header, without empty lines after it."""
    records = csv.reader(_decode(lines), strict=True, skipinitialspace=True)
    number = 0 if has_header else 1
    try:
        for cells in records:
            if cells or not number:
                yield cells
                number += 1
    except csv.Error as error:
        where = f"row {number}" if number else "the header"
        raise DataError(f"{where} is not valid CSV: {error}; check its quotes") from error


def _decode(lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"line {number} is not text in UTF-8; save the file in UTF-8") from error


def _check_header(names: Sequence[str], needed: Sequence[str]) -> None:
    if not set(names) & set(needed) and not {name.lower() for name in names} & {name.lower() for name in needed}:
        shown = ",".join(names)
        raise DataError(
            f"the first line, {shown!r:.60}, has none of the model's columns, such as {needed[0]!r}: put a line with "
            "the names of the columns before it, or give --by-position for encoded features"
        )
    require_columns(needed, names, "the header")
    counts = Counter(names)
    if repeated := [name for name in needed if counts[name] > 1]:
        raise DataError(f"the header has the column {repeated[0]!r} {counts[repeated[0]]} times; rename the others")
