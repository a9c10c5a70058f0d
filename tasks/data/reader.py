"""Read a table's files (CSV, compressed CSV or Parquet) in chunks of typed columns, with bounded memory."""

import csv
import gzip
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from itertools import chain, repeat
from pathlib import Path
from shutil import rmtree
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

import polars as pl

from aws.storage import StoredObject
from linear_learner.errors import DataError
from tasks.caching.policy import fingerprint
from tasks.data.profile import TextCells
from tasks.data.source import local_copy_folder
from tasks.environment.errors import os_error_number
from tasks.environment.folders import write_atomically

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK_BYTES = 8 << 20
"""Bytes of text read at once: enough to use all cores, few enough to reuse the same memory."""
FIRST_BLOCK_BYTES = 128 << 10
PARQUET_CHUNK_ROWS = 1 << 19
MISSING_VALUES = (
    "", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "<NA>", "#N/A", "#NA", "?",
)  # fmt: skip
"""Texts that mean a missing value: pandas' list, and the question mark of many public tables."""
_BOOLEANS = {"true": True, "false": False}
_DECOMPRESSORS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\x28\xb5\x2f\xfd": zstd.ZstdFile,
}
_PARQUET_MAGIC = b"PAR1"
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
"""First bytes of formats that users mistake for CSV."""
_BLANK_LINE = re.compile(rb"(?<=\n)[ \t]*\r?\n")
_MAX_LINE_BYTES = 8 << 20

ColumnTypes = Mapping[str, pl.DataType]


class Chunk(NamedTuple):
    """Some rows: columns of numbers or booleans, null where a value is missing or text, and the text cells."""

    frame: pl.DataFrame
    texts: Mapping[str, TextCells]

    @property
    def height(self) -> int:
        return self.frame.height


def read_column_names(path: Path, name: str) -> tuple[str, ...]:
    """The names of the file's columns; raises DataError, which names the file `name`, when it is not a table."""
    if _is_parquet(path):
        with _parquet_errors(name):
            names = tuple(pl.read_parquet_schema(path))
    else:
        with _open_text(path, name) as stream:
            names = _read_header(stream, name)
    repeated = [column for column, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{name} has more than one column named {repeated[0]!r}. Rename or remove one of them.")
    for separator, plural in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and separator in names[0]:
            raise DataError(f"{name} seems to be separated by {plural}. Separate it by commas.")
    return names


def select_columns(path: Path, name: str, target: str, ignore: Sequence[str]) -> tuple[str, ...]:
    """The file's columns without the ignored ones; raises DataError for unknown names, or when no feature is left."""
    names = read_column_names(path, name)
    check_column_exists(names, target, "to predict", name)
    for column in ignore:
        check_column_exists(names, column, "to ignore", name)
    chosen = tuple(column for column in names if column not in ignore)
    if len(chosen) == 1:
        message = f"{name} has only the column {target!r} that is not ignored."
        raise DataError(f"{message} Linear Learner also needs at least one feature.")
    return chosen


def check_column_exists(names: Sequence[str], column: str, purpose: str, name: str) -> None:
    """Raise DataError, with the most similar name, when `column` is not in `names`."""
    if column not in names:
        close = get_close_matches(column, names, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(names[:30])[:300]}."
        raise DataError(f"{name} has no column {column!r} {purpose}. {hint}")


def read_chunks(path: Path, name: str, columns: Sequence[str]) -> Iterator[Chunk]:
    """The `columns`, in that order, in chunks of bounded size; the types are inferred for each chunk.

    Raises DataError with the row (1 is the first below the header) for a line with more or fewer values than the header
    and for bytes that are not UTF-8.
    """
    if _is_parquet(path):
        yield from map(_to_chunk, _read_parquet(path, name, columns))
        return
    with _open_text(path, name) as stream:
        file, types = _CsvFile(stream, name, columns), None
        for block in read_blocks(stream):
            chunk = _to_chunk(file.parse(block, {} if types is None else types.schema))
            yield chunk
            found = chunk.frame.clear().cast(dict.fromkeys(chunk.texts, pl.String()))
            types = found if types is None else pl.concat([types, found], how="vertical_relaxed")  # the wider types


def read_text_column(path: Path, name: str, column: str) -> pl.Series:
    """One whole column as text; null where a cell is empty."""
    if _is_parquet(path):
        found = [frame[column].cast(pl.String) for frame in _read_parquet(path, name, [column])]
    else:
        with _open_text(path, name) as stream:
            file = _CsvFile(stream, name, [column])
            found = [file.parse(block, {})[column] for block in read_blocks(stream)]
    return pl.concat(found) if found else pl.Series(column, [], pl.String)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC


def _read_parquet(path: Path, name: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    with _parquet_errors(name):
        table = pl.scan_parquet(path).select(columns)
        height = table.select(pl.len()).collect().item()
        for start in range(0, height, PARQUET_CHUNK_ROWS):
            yield table.slice(start, PARQUET_CHUNK_ROWS).collect().rechunk()


@contextmanager
def _parquet_errors(name: str) -> Iterator[None]:
    try:
        yield
    except pl.exceptions.PolarsError as error:
        if os_error_number(error) is not None:
            raise  # the file could not be read, whatever its content is
        message = str(error).splitlines()[0]
        raise DataError(f"{name} cannot be read as Parquet: {message}. Write it again.") from error


@contextmanager
def _open_text(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open the file's text, decompressed; the first bytes identify the format. Raises DataError for other formats."""
    with path.open("rb") as file:
        start = file.peek(8)
        stream: Any = next((open_(file) for magic, open_ in _DECOMPRESSORS.items() if start.startswith(magic)), file)
        try:
            start = stream.peek(8)
            for magic, kind in _OTHER_FORMATS.items():
                if start.startswith(magic):
                    raise DataError(f"{name} is {kind}. Save it as a CSV file in UTF-8, or as Parquet.")
            yield stream
        except (gzip.BadGzipFile, EOFError, zlib.error, zstd.ZstdError) as error:
            raise DataError(f"{name} is damaged: {error}. Compress and upload it again.") from error


def _read_header(stream: BinaryIO, name: str) -> tuple[str, ...]:
    """Read the column names and no further: one line, or several if a quoted name contains line ends."""
    lines = iter(lambda: stream.readline(_MAX_LINE_BYTES).decode("utf-8-sig"), "")
    try:
        names = next(csv.reader(lines), [])
    except csv.Error as error:
        raise DataError(f"{name} has no readable header ({error}). Check for an unclosed quote.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not text in UTF-8 ({error.reason}). Save it as a CSV file in UTF-8.") from error
    if not any(names):
        raise DataError(f"{name} is empty. It needs a header line and rows of numbers, separated by commas.")
    return tuple(names)


def read_blocks(stream: BinaryIO, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the lines below the header in blocks of about `size` bytes; a block never ends within quotes.

    The first block is small: it is parsed as text, to infer the types of the next blocks.
    """
    sizes = chain([min(size, FIRST_BLOCK_BYTES)], repeat(size))
    while block := stream.read(next(sizes)):
        lines = [block, stream.readline(size)]
        within = sum(line.count(b'"') for line in lines) % 2
        # An unclosed quote must not load the rest of the file into memory.
        left = size
        while within and left > 0 and (more := stream.readline(left)):
            lines.append(more)
            left -= len(more)
            within ^= more.count(b'"') % 2
        yield b"".join(lines)


class _CsvFile:
    """A CSV file that is parsed block by block, from a stream positioned at its header."""

    def __init__(self, stream: BinaryIO, name: str, columns: Sequence[str]) -> None:
        self.name, self.header = name, _read_header(stream, name)
        self._columns, self._positions = columns, [self.header.index(column) for column in columns]
        self._rows = 0

    def parse(self, block: bytes, types: ColumnTypes) -> pl.DataFrame:
        """The columns of the next block, as `types` or wider integers, else as text; raises DataError."""
        wide = {column: pl.Int64() if kind.is_integer() else kind for column, kind in types.items()}
        for kinds in (types, wide) if types else ():
            with suppress(pl.exceptions.PolarsError):
                frame = self._read(block, kinds)
                # If every column has a null, there may be empty lines, which are read as rows of missing values.
                if any(column.dtype != pl.String and not column.null_count() for column in frame):
                    self._rows += frame.height
                    return frame
        lines = _drop_blank_lines(block)
        try:
            frame = self._read(lines, {})
        except pl.exceptions.PolarsError as error:
            raise self._parse_error(lines, error) from error
        self._rows += frame.height
        return frame

    def _read(self, block: bytes, types: ColumnTypes) -> pl.DataFrame:
        schema = {name: types.get(name, pl.String()) for name in self.header}
        frame = pl.read_csv(block, has_header=False, schema=schema, columns=self._positions)
        return frame.select(self._columns).rechunk()

    def _parse_error(self, block: bytes, error: Exception) -> DataError:
        try:
            lines = block.decode().splitlines(keepends=True)
        except UnicodeDecodeError as broken:
            row = self._rows + block.count(b"\n", 0, broken.start) + 1
            problem = f"not text in UTF-8 ({broken.reason})"
            return DataError(f"{self.name}, row {row}: {problem}. Save it as a CSV file in UTF-8.")
        width = len(self.header)
        with suppress(csv.Error):
            for row, cells in enumerate(csv.reader(lines), start=self._rows + 1):
                if cells and len(cells) != width:
                    found = f"{len(cells)} value{'s' * (len(cells) > 1)}, but the header has {width}"
                    return DataError(f"{self.name}, row {row}: {found}. Repair the row: check its quotes and commas.")
        return DataError(f"{self.name} cannot be read as CSV after row {self._rows}: {str(error).splitlines()[0]}")


def _drop_blank_lines(block: bytes) -> bytes:
    """Remove blank lines, which pandas skips too; a block with quotes is unchanged, as they may be part of a text."""
    return block if b'"' in block else _BLANK_LINE.sub(b"", b"\n" + block)[1:]


def _to_chunk(frame: pl.DataFrame) -> Chunk:
    numbers, texts = [], {}
    for column in frame:
        cells = column
        if column.dtype == pl.String:
            cells = column.str.strip_chars().replace(MISSING_VALUES, None)
        parsed = _to_numbers(cells)
        if parsed.null_count() > cells.null_count():
            rows = (parsed.is_null() & cells.is_not_null()).arg_true()
            texts[column.name] = TextCells(rows.cast(pl.Int64).to_numpy(), str(column[int(rows[0])]))
        numbers.append(parsed.shrink_dtype() if parsed.dtype == pl.Int64 else parsed)
    return Chunk(pl.DataFrame(numbers), texts)


def _to_numbers(cells: pl.Series) -> pl.Series:
    """Convert to numbers or booleans, null where a cell is neither; other types, such as dates, count as text."""
    kind = cells.dtype
    if kind == pl.String:
        flags = cells.str.to_lowercase().replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean)
        for parsed in (flags, cells.cast(pl.Int64, strict=False)):
            if parsed.null_count() == cells.null_count() < len(cells):
                return parsed
        return cells.cast(pl.Float64, strict=False)
    if kind == pl.Boolean or kind.is_integer() or kind.is_float():
        return cells
    if kind.is_numeric():
        return cells.cast(pl.Float64)
    return pl.repeat(None, len(cells), dtype=pl.Float64, eager=True).alias(cells.name)


def spill_folder(part: StoredObject, columns: Sequence[str]) -> Path:
    """The folder for the chunks of these columns of this file between two passes."""
    return local_copy_folder(part) / f"chunks-{fingerprint(*columns)}"


def spill_chunks(chunks: Iterable[Chunk], folder: Path, needed: int | None = None) -> Iterator[Chunk]:
    """Yield the chunks and store them in `folder`, which is created after the last chunk.

    Parsing takes most of the time of a pass; stored chunks are read twenty times as fast. `needed` is about the number
    of bytes, for the error of a full disk.
    """
    with write_atomically(folder, needed) as temporary:
        temporary.mkdir()
        for number, chunk in enumerate(chunks):
            chunk.frame.write_ipc_stream(temporary / f"{number:06d}")
            yield chunk
        rmtree(folder, ignore_errors=True)


def take_spilled_chunks(folder: Path) -> Iterator[pl.DataFrame] | None:
    """The chunks in `folder`, each deleted after it is read; None when the folder does not exist."""
    renamed = folder.with_name(f"{folder.name}.{uuid4().hex}")
    try:
        folder.rename(renamed)
    except FileNotFoundError:
        return None
    return _read_and_delete(renamed)


def _read_and_delete(folder: Path) -> Iterator[pl.DataFrame]:
    for file in sorted(folder.iterdir()):
        frame = pl.read_ipc_stream(file)
        file.unlink()
        yield frame
    folder.rmdir()
