"""A table's files, CSV or Parquet, compressed or not, read in chunks of typed columns with bounded memory."""

import csv
import gzip
import io
import os
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from shutil import rmtree
from typing import BinaryIO, NamedTuple, cast
from uuid import uuid4

import polars as pl

from aws.storage import StoredObject
from linear_learner.errors import DataError
from tasks.caching.policy import fingerprint
from tasks.data.profile import TextCells
from tasks.data.source import local_copy_folder

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK_BYTES = 8 << 20
"""Bytes of text read at once: enough to keep the cores busy, few enough to stay in memory that is used again."""
PARQUET_MAGIC, _GZIP_MAGIC, _ZSTD_MAGIC = b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BOM = b"\xef\xbb\xbf"
_OTHER_FORMATS = {
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
        return file.read(4) == PARQUET_MAGIC


@contextmanager
def open_text(path: Path, name: str) -> Iterator[BinaryIO]:
    """The file's text, decompressed by what its first bytes say; raises DataError, with `name`, for what is no CSV."""
    with path.open("rb") as file:
        stream = _decompress(file)
        try:
            _check_text(stream, name)
            yield stream
        except (gzip.BadGzipFile, EOFError, zlib.error, zstd.ZstdError) as error:
            raise DataError(f"{name} is damaged: {error}. Compress and upload it again.") from error


def read_header(stream: BinaryIO, name: str) -> tuple[str, ...]:
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


def check_column_names(names: tuple[str, ...], name: str) -> None:
    """Raise DataError when two columns share a name, or when the separator is none of ours."""
    twice = [column for column, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{name} has more than one column named {twice[0]!r}. Rename or remove one of them.")
    for separator, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and separator in names[0]:
            raise DataError(f"{name} seems to be separated by {called}. Separate it by commas.")


def read_blocks(stream: BinaryIO, size: int = BLOCK_BYTES) -> Iterator[bytes]:
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


def drop_blank_lines(block: bytes) -> bytes:
    """The block as pandas reads it, which skips empty lines; among quotes they stay, as they may be part of a text."""
    return block if b'"' in block else _BLANK_LINE.sub(b"", b"\n" + block)[1:]


def _decompress(file: BinaryIO) -> BinaryIO:
    start = cast("io.BufferedReader", file).peek(8)
    if start.startswith(_GZIP_MAGIC):
        return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=file)), 1 << 20))
    if start.startswith(_ZSTD_MAGIC):
        return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", zstd.ZstdFile(file)), 1 << 20))
    return file


def _check_text(stream: BinaryIO, name: str) -> None:
    start = cast("io.BufferedReader", stream).peek(8)[:8]
    for magic, kind in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise DataError(f"{name} is {kind}. Save it as a CSV file in UTF-8, or as Parquet.")


BOOLEANS = {"true": 1.0, "false": 0.0}
MISSING_VALUES = (
    "", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "<NA>", "#N/A", "#NA", "?",
)  # fmt: skip
"""What stands for a missing value; pandas' list, and the question mark of many public tables."""
PARQUET_CHUNK_ROWS = 1 << 19
"""Rows of Parquet read at once."""

ColumnTypes = dict[str, pl.DataType]
INTEGER_BYTES: dict[pl.DataType, int] = {pl.Int8(): 1, pl.Int16(): 2, pl.Int32(): 4, pl.Int64(): 8}
"""The narrowest first, with their bytes."""


class Chunk(NamedTuple):
    """Some rows: columns of numbers or booleans, null where a value is missing or text, and what text there was."""

    frame: pl.DataFrame
    texts: Mapping[str, TextCells]

    @property
    def height(self) -> int:
        """The number of rows."""
        return self.frame.height


def read_column_names(path: Path, name: str) -> tuple[str, ...]:
    """Names of the file's columns; raises DataError, with the file called `name`, when it is not a table."""
    if is_parquet(path):
        with _parquet_errors(name):
            names = tuple(pl.read_parquet_schema(path))
    else:
        with open_text(path, name) as stream:
            names = read_header(stream, name)
    check_column_names(names, name)
    return names


def select_columns(path: Path, name: str, target: str, ignore: Sequence[str]) -> tuple[str, ...]:
    """The file's columns but the ignored ones; raises DataError for unknown names, and when no feature is left."""
    names = read_column_names(path, name)
    check_column_exists(names, target, "to predict", name)
    for column in ignore:
        check_column_exists(names, column, "to ignore", name)
    chosen = tuple(column for column in names if column not in ignore)
    if len(chosen) == 1:
        message = f"{name} has only the column {target!r} to use."
        raise DataError(f"{message} Linear Learner needs at least one feature beside it.")
    return chosen


def check_column_exists(names: Sequence[str], column: str, purpose: str, name: str) -> None:
    """Raise DataError, with the likely name, when `column` is none of `names`."""
    if column not in names:
        close = get_close_matches(column, names, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(names[:30])[:300]}."
        raise DataError(f"{name} has no column {column!r} {purpose}. {hint}")


def read_chunks(path: Path, name: str, wanted: Sequence[str], types: ColumnTypes | None = None) -> Iterator[Chunk]:
    """The `wanted` columns, in that order, in chunks of bounded size.

    `types` are tried first; a column that does not fit them is read as what it is. Raises DataError with row (1 is the
    first below the header) for lines of another length than the header and bytes that are not UTF-8.
    """
    if is_parquet(path):
        yield from _read_parquet_chunks(path, name, wanted)
        return
    with open_text(path, name) as stream:
        yield from _read_csv_chunks(stream, name, wanted, types)


def read_text_column(path: Path, name: str, column: str) -> pl.Series:
    """One whole column as text, whatever it holds; null where it is empty."""
    if is_parquet(path):
        with _parquet_errors(name):
            return pl.read_parquet(path, columns=[column])[column].cast(pl.String)
    with open_text(path, name) as stream:
        names, rows, found = read_header(stream, name), 0, []
        for block in read_blocks(stream):
            frame = _parse_block(block, names, [column], {column: pl.String()}, name, rows)
            rows += frame.height
            found.append(frame[column])
    return pl.concat(found) if found else pl.Series(column, [], pl.String)


def _read_csv_chunks(stream: BinaryIO, name: str, wanted: Sequence[str], types: ColumnTypes | None) -> Iterator[Chunk]:
    names, rows = read_header(stream, name), 0
    seen: ColumnTypes = dict(types or {})
    for block in read_blocks(stream):
        expected = seen or _infer_types(block, names, wanted)
        frame = _read_with_fallback(block, names, wanted, expected, name, rows)
        rows += frame.height
        chunk = _to_chunk(frame)
        yield chunk
        seen = {one.name: pl.String() if one.name in chunk.texts else _expected_type(seen, one) for one in chunk.frame}


def _read_with_fallback(  # noqa: PLR0913, PLR0917 - what to read, and where it stands
    block: bytes, names: Sequence[str], wanted: Sequence[str], expected: ColumnTypes, name: str, rows: int
) -> pl.DataFrame:
    """The block as the expected types; with wider integers where those do not hold it, else as text."""
    wide = {column: pl.Int64() if kind.is_integer() else kind for column, kind in expected.items()}
    for types in (expected, wide):
        with suppress(pl.exceptions.PolarsError):
            return _read_block(block, names, wanted, types)
    return _parse_block(block, names, wanted, {column: pl.String() for column in wanted}, name, rows)


def _read_block(
    block: bytes, names: Sequence[str], wanted: Sequence[str], types: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    schema = {name: types.get(name, pl.String()) for name in names}
    places = None if tuple(names) == tuple(wanted) else [names.index(column) for column in wanted]
    frame = pl.read_csv(block, has_header=False, schema=schema, columns=places)
    if all(column.null_count() or column.dtype == pl.String for column in frame):  # empty lines are read like this
        frame = pl.read_csv(drop_blank_lines(block), has_header=False, schema=schema, columns=places)
    return (frame if places is None else frame.select(wanted)).rechunk()


def _infer_types(block: bytes, names: Sequence[str], wanted: Sequence[str]) -> ColumnTypes:
    """Types from the first thousand rows: whole numbers, numbers, booleans; text for all else."""
    with suppress(pl.exceptions.PolarsError):
        some = pl.read_csv(block, has_header=False, new_columns=list(names), infer_schema_length=1000, n_rows=1000)
        return {column: _supported_type(some.schema[column]) for column in wanted}
    return {column: pl.String() for column in wanted}


def _supported_type(kind: pl.DataType) -> pl.DataType:
    return kind if kind in {pl.Int64, pl.Float64, pl.Boolean} else pl.String()


def _expected_type(seen: ColumnTypes, column: pl.Series) -> pl.DataType:
    """The type to expect of a column from here on: the narrowest that holds what it has held so far."""
    found = column.shrink_dtype().dtype if column.dtype == pl.Int64 else column.dtype
    before = seen.get(column.name, found)
    if before.is_integer() and found.is_integer():
        return max(before, found, key=list(INTEGER_BYTES).index)
    return before if before == pl.Float64 and found != pl.Boolean else found


def _parse_block(  # noqa: PLR0913, PLR0917 - what to read, and where it stands
    block: bytes, names: Sequence[str], wanted: Sequence[str], types: ColumnTypes, name: str, rows: int
) -> pl.DataFrame:
    lines = drop_blank_lines(block)
    try:
        return _read_block(lines, names, wanted, types)
    except pl.exceptions.PolarsError as error:
        raise _parse_error(lines, len(names), name, rows, error) from error


def _parse_error(block: bytes, width: int, name: str, rows: int, error: Exception) -> DataError:
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


def _to_chunk(frame: pl.DataFrame) -> Chunk:
    columns, texts = [], {}
    for column in frame:
        numbers = column
        if column.dtype == pl.String:
            numbers, text = _parse_text(column)
            if text:
                texts[column.name] = text
        elif not (column.dtype.is_integer() or column.dtype.is_float() or column.dtype == pl.Boolean):
            numbers, text = _convert_other(column)
            if text:
                texts[column.name] = text
        columns.append(numbers)
    return Chunk(pl.DataFrame(columns), texts)


def _parse_text(column: pl.Series) -> tuple[pl.Series, TextCells | None]:
    cells = column.str.strip_chars()
    missing = cells.is_null() | cells.is_in(MISSING_VALUES)
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


def _convert_other(column: pl.Series) -> tuple[pl.Series, TextCells | None]:
    """Decimals are numbers; of dates, lists and the like every cell counts as text."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64), None
    text = column.is_not_null()
    numbers = pl.Series(column.name, [None], pl.Float64).extend_constant(None, len(column) - 1)
    return numbers, _text_cells(column, text)


def _text_cells(column: pl.Series, text: pl.Series) -> TextCells | None:
    rows = text.arg_true()
    return TextCells(rows.cast(pl.Int64).to_numpy(), str(column[int(rows[0])])) if len(rows) else None


def _read_parquet_chunks(path: Path, name: str, wanted: Sequence[str]) -> Iterator[Chunk]:
    with _parquet_errors(name):
        table = pl.scan_parquet(path).select(wanted)
        height = table.select(pl.len()).collect().item()
        for start in range(0, height, PARQUET_CHUNK_ROWS):
            yield _to_chunk(table.slice(start, PARQUET_CHUNK_ROWS).collect().rechunk())


@contextmanager
def _parquet_errors(name: str) -> Iterator[None]:
    try:
        yield
    except pl.exceptions.PolarsError as error:
        message = str(error).splitlines()[0]
        raise DataError(f"{name} cannot be read as Parquet: {message}. Write it again.") from error


def spill_chunks(chunks: Iterable[Chunk], folder: Path) -> Iterator[Chunk]:
    """Yield the same chunks and store them in `folder`, which exists only once the last one has been read.

    Parsing is most of the work of a pass; columns in their narrowest types are read again twenty times as fast.
    """
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}")
    rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for number, chunk in enumerate(chunks):
        narrow = chunk.frame.with_columns(_shrink_integers(column) for column in chunk.frame)
        narrow.write_ipc_stream(temporary / f"{number:06d}")
        yield chunk
    rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def take_spilled_chunks(folder: Path) -> Iterator[pl.DataFrame] | None:
    """The chunks in `folder`, each deleted once it has been read; None when there is no such folder."""
    own = folder.with_name(f"{folder.name}.{uuid4().hex}")
    try:
        folder.rename(own)
    except FileNotFoundError:
        return None
    return _read_and_delete(own)


def _read_and_delete(folder: Path) -> Iterator[pl.DataFrame]:
    for file in sorted(folder.iterdir()):
        frame = pl.read_ipc_stream(file)
        file.unlink()
        yield frame
    folder.rmdir()


def _shrink_integers(column: pl.Series) -> pl.Series:
    return column.shrink_dtype() if column.dtype == pl.Int64 else column


def spill_folder(part: StoredObject, columns: Sequence[str]) -> Path:
    """The folder for the spilled chunks of these columns of this file."""
    return local_copy_folder(part) / f"chunks-{fingerprint(*columns)}"
