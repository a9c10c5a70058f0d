"""A table's files, CSV or Parquet, compressed or not, read in chunks of typed columns with bounded memory."""

import csv
import gzip
import io
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import polars as pl

from linear_learner.errors import DataError
from tasks.data.columns import TextCells

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK = 8 << 20
"""Bytes of text read at once: enough to keep the cores busy, few enough to stay in memory that is used again."""
PARQUET, _GZIP, _ZSTD = b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BOM = b"\xef\xbb\xbf"
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"ARROW1": "an Arrow file",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"{": "JSON",
    b"\x89HDF": "an HDF5 file",
}
"""How files begin that are taken for CSV now and then."""
_BLANK_LINE = re.compile(rb"(?<=\n)[ \t]*\r?\n")
_MAX_HEADER_BYTES = 8 << 20


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet does; its name does not matter."""
    with path.open("rb") as file:
        return file.read(4) == PARQUET


@contextmanager
def opened(path: Path, name: str) -> Iterator[BinaryIO]:
    """The file's text, decompressed by what its first bytes say; raises DataError, with `name`, for what is no CSV."""
    with path.open("rb") as file:
        stream = _decompressed(file)
        try:
            _check_text(stream, name)
            yield stream
        except (gzip.BadGzipFile, EOFError, zlib.error, zstd.ZstdError) as error:
            raise DataError(f"{name} is damaged: {error}. Compress and upload it again.") from error


def header(stream: BinaryIO, name: str) -> tuple[str, ...]:
    """Names of the columns, from the first line; the stream goes on behind it."""
    line = stream.readline(_MAX_HEADER_BYTES).removeprefix(_BOM)
    while line.count(b'"') % 2 and len(line) < _MAX_HEADER_BYTES and (more := stream.readline(_MAX_HEADER_BYTES)):
        line += more  # a quoted name may hold line ends
    try:
        names = next(csv.reader(io.StringIO(line.decode(), newline="")), [])
    except csv.Error as error:
        raise DataError(f"{name} has no readable header ({error}). Is a quote never closed?") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not text in UTF-8 ({error.reason}). Save it as a CSV file in UTF-8.") from error
    if not any(names):
        raise DataError(f"{name} is empty. It needs a header line and rows of numbers, separated by commas.")
    return tuple(names)


def check_names(names: tuple[str, ...], name: str) -> None:
    """Raise DataError when two columns share a name, or when the separator is none of ours."""
    twice = [column for column, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{name} has more than one column named {twice[0]!r}. Rename or remove one of them.")
    for separator, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and separator in names[0]:
            raise DataError(f"{name} seems to be separated by {called}. Separate it by commas.")


def blocks(stream: BinaryIO, size: int = BLOCK) -> Iterator[bytes]:
    """The lines behind the header in blocks of about `size` bytes; a quoted line end cuts nothing in two."""
    while block := stream.read(size):
        lines = [block, stream.readline(size)]
        within = sum(line.count(b'"') for line in lines) % 2
        # A quote that is never closed must not take the rest of the file with it.
        left = size
        while within and left > 0 and (more := stream.readline(left)):
            lines.append(more)
            left -= len(more)
            within ^= more.count(b'"') % 2
        yield b"".join(lines)


def without_blank_lines(block: bytes) -> bytes:
    """The block as pandas reads it, which skips empty lines; among quotes they stay, as they may be part of a text."""
    return block if b'"' in block else _BLANK_LINE.sub(b"", b"\n" + block)[1:]


def _decompressed(file: BinaryIO) -> BinaryIO:
    start = cast("io.BufferedReader", file).peek(8)
    if start.startswith(_GZIP):
        return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=file)), 1 << 20))
    if start.startswith(_ZSTD):
        return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", zstd.ZstdFile(file)), 1 << 20))
    return file


def _check_text(stream: BinaryIO, name: str) -> None:
    start = cast("io.BufferedReader", stream).peek(8)[:8]
    for magic, kind in _FOREIGN.items():
        if start.startswith(magic):
            raise DataError(f"{name} is {kind}. Save it as a CSV file in UTF-8, or as Parquet.")


BOOLEANS = {"true": 1.0, "false": 0.0}
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "<NA>", "#N/A", "#NA", "?")
"""What stands for a missing value; pandas' list, and the question mark of many public tables."""
PIECE_ROWS = 1 << 19
"""Rows of Parquet read at once."""

Types = dict[str, pl.DataType]
INTEGERS: dict[pl.DataType, int] = {pl.Int8(): 1, pl.Int16(): 2, pl.Int32(): 4, pl.Int64(): 8}
"""The narrowest first, with their bytes."""


class Chunk(NamedTuple):
    """Some rows: columns of numbers or booleans, null where a value is missing or text, and what text there was."""

    frame: pl.DataFrame
    texts: Mapping[str, TextCells]


def columns_of(path: Path, name: str) -> tuple[str, ...]:
    """Names of the file's columns; raises DataError, with the file called `name`, when it is not a table."""
    if is_parquet(path):
        with _readable_parquet(name):
            names = tuple(pl.read_parquet_schema(path))
    else:
        with opened(path, name) as stream:
            names = header(stream, name)
    check_names(names, name)
    return names


def chosen_columns(path: Path, name: str, target: str, ignore: Sequence[str]) -> tuple[str, ...]:
    """The file's columns but the ignored ones; raises DataError for unknown names, and when no feature is left."""
    names = columns_of(path, name)
    check_known(names, target, "to predict", name)
    for column in ignore:
        check_known(names, column, "to ignore", name)
    chosen = tuple(column for column in names if column not in ignore)
    if len(chosen) == 1:
        said = f"{name} has only the column {target!r} to use."
        raise DataError(f"{said} Linear Learner needs at least one feature beside it.")
    return chosen


def check_known(names: Sequence[str], column: str, purpose: str, name: str) -> None:
    """Raise DataError, with the likely name, when `column` is none of `names`."""
    if column not in names:
        close = get_close_matches(column, names, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(names[:30])[:300]}."
        raise DataError(f"{name} has no column {column!r} {purpose}. {hint}")


def pieces(path: Path, name: str, wanted: Sequence[str], types: Types | None = None) -> Iterator[Chunk]:
    """The `wanted` columns, in that order, in pieces of bounded size.

    `types` are tried first; a column that does not fit them is read as what it is. Raises DataError with row (1 is the
    first below the header) for lines of another length than the header and bytes that are not UTF-8.
    """
    if is_parquet(path):
        yield from _parquet_pieces(path, name, wanted)
        return
    with opened(path, name) as stream:
        yield from _csv_pieces(stream, name, wanted, types)


def text_column(path: Path, name: str, column: str) -> pl.Series:
    """One whole column as text, whatever it holds; null where it is empty."""
    if is_parquet(path):
        with _readable_parquet(name):
            return pl.read_parquet(path, columns=[column])[column].cast(pl.String)
    with opened(path, name) as stream:
        names, rows, found = header(stream, name), 0, []
        for block in blocks(stream):
            frame = _parsed(block, names, [column], {column: pl.String()}, name, rows)
            rows += frame.height
            found.append(frame[column])
    return pl.concat(found) if found else pl.Series(column, [], pl.String)


def _csv_pieces(stream: BinaryIO, name: str, wanted: Sequence[str], types: Types | None) -> Iterator[Chunk]:
    names, rows = header(stream, name), 0
    seen: Types = dict(types or {})
    for block in blocks(stream):
        expected = seen or _guess(block, names, wanted)
        frame = _read_somehow(block, names, wanted, expected, name, rows)
        rows += frame.height
        piece = _typed(frame)
        yield piece
        seen = {one.name: pl.String() if one.name in piece.texts else _next(seen, one) for one in piece.frame}


def _read_somehow(  # noqa: PLR0913, PLR0917 - what to read, and where it stands
    block: bytes, names: Sequence[str], wanted: Sequence[str], expected: Types, name: str, rows: int
) -> pl.DataFrame:
    """The block as the expected types; with wider integers where those do not hold it, else as text."""
    wide = {column: pl.Int64() if kind.is_integer() else kind for column, kind in expected.items()}
    for types in (expected, wide):
        with suppress(pl.exceptions.PolarsError):
            return _read(block, names, wanted, types)
    return _parsed(block, names, wanted, {column: pl.String() for column in wanted}, name, rows)


def _read(block: bytes, names: Sequence[str], wanted: Sequence[str], types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    schema = {name: types.get(name, pl.String()) for name in names}
    places = None if tuple(names) == tuple(wanted) else [names.index(column) for column in wanted]
    frame = pl.read_csv(block, has_header=False, schema=schema, columns=places)
    if all(column.null_count() or column.dtype == pl.String for column in frame):  # empty lines are read like this
        frame = pl.read_csv(without_blank_lines(block), has_header=False, schema=schema, columns=places)
    return (frame if places is None else frame.select(wanted)).rechunk()


def _guess(block: bytes, names: Sequence[str], wanted: Sequence[str]) -> Types:
    """Types from the first thousand rows: whole numbers, numbers, booleans; text for all else."""
    with suppress(pl.exceptions.PolarsError):
        some = pl.read_csv(block, has_header=False, new_columns=list(names), infer_schema_length=1000, n_rows=1000)
        return {column: _plain(some.schema[column]) for column in wanted}
    return {column: pl.String() for column in wanted}


def _plain(kind: pl.DataType) -> pl.DataType:
    return kind if kind in {pl.Int64, pl.Float64, pl.Boolean} else pl.String()


def _next(seen: Types, column: pl.Series) -> pl.DataType:
    """The type to expect of a column from here on: the narrowest that holds what it has held so far."""
    found = column.shrink_dtype().dtype if column.dtype == pl.Int64 else column.dtype
    before = seen.get(column.name, found)
    if before.is_integer() and found.is_integer():
        return max(before, found, key=list(INTEGERS).index)
    return before if before == pl.Float64 and found != pl.Boolean else found


def _parsed(  # noqa: PLR0913, PLR0917 - what to read, and where it stands
    block: bytes, names: Sequence[str], wanted: Sequence[str], types: Types, name: str, rows: int
) -> pl.DataFrame:
    lines = without_blank_lines(block)
    try:
        return _read(lines, names, wanted, types)
    except pl.exceptions.PolarsError as error:
        raise _unreadable(lines, len(names), name, rows, error) from error


def _unreadable(block: bytes, width: int, name: str, rows: int, error: Exception) -> DataError:
    try:
        lines = block.decode().splitlines(keepends=True)
    except UnicodeDecodeError as broken:
        row = rows + block.count(b"\n", 0, broken.start) + 1
        return DataError(f"{name}, row {row}: not text in UTF-8 ({broken.reason}). Save it as a CSV file in UTF-8.")
    with suppress(csv.Error):
        for number, cells in enumerate(csv.reader(lines), start=rows + 1):
            if cells and len(cells) != width:
                found = f"{len(cells)} value{'s' * (len(cells) > 1)} where the header names {width}"
                return DataError(f"{name}, row {number}: {found}. Repair it; is a quote or a comma too many?")
    return DataError(f"{name} cannot be read as CSV behind row {rows}: {str(error).splitlines()[0]}")


def _typed(frame: pl.DataFrame) -> Chunk:
    columns, texts = [], {}
    for column in frame:
        numbers = column
        if column.dtype == pl.String:
            numbers, text = _from_text(column)
            if text:
                texts[column.name] = text
        elif not (column.dtype.is_integer() or column.dtype.is_float() or column.dtype == pl.Boolean):
            numbers, text = _from_other(column)
            if text:
                texts[column.name] = text
        columns.append(numbers)
    return Chunk(pl.DataFrame(columns), texts)


def _from_text(column: pl.Series) -> tuple[pl.Series, TextCells | None]:
    cells = column.str.strip_chars()
    missing = cells.is_null() | cells.is_in(MISSING)
    flags = cells.str.to_lowercase().replace_strict(BOOLEANS, default=None, return_dtype=pl.Float64)
    if not (flags.is_null() & ~missing).any() and not missing.all():
        return flags.cast(pl.Boolean), None
    numbers = cells.cast(pl.Float64, strict=False)
    text = numbers.is_null() & ~missing
    whole = cells.cast(pl.Int64, strict=False)
    if not (whole.is_null() & ~missing).any() and not missing.all():
        return whole, None
    numbers = numbers.set(missing, None)
    return numbers, _text_cells(column, text)


def _from_other(column: pl.Series) -> tuple[pl.Series, TextCells | None]:
    """Decimals are numbers; of dates, lists and the like every cell counts as text."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64), None
    text = column.is_not_null()
    numbers = pl.Series(column.name, [None], pl.Float64).extend_constant(None, len(column) - 1)
    return numbers, _text_cells(column, text)


def _text_cells(column: pl.Series, text: pl.Series) -> TextCells | None:
    rows = text.arg_true()
    return TextCells(rows.cast(pl.Int64).to_numpy(), str(column[int(rows[0])])) if len(rows) else None


def _parquet_pieces(path: Path, name: str, wanted: Sequence[str]) -> Iterator[Chunk]:
    with _readable_parquet(name):
        table = pl.scan_parquet(path).select(wanted)
        height = table.select(pl.len()).collect().item()
        for start in range(0, height, PIECE_ROWS):
            yield _typed(table.slice(start, PIECE_ROWS).collect().rechunk())


@contextmanager
def _readable_parquet(name: str) -> Iterator[None]:
    try:
        yield
    except pl.exceptions.PolarsError as error:
        said = str(error).splitlines()[0]
        raise DataError(f"{name} cannot be read as Parquet: {said}. Write it again.") from error
