"""Read a CSV file in any dialect, in blocks of typed columns."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from re import compile as pattern
from typing import BinaryIO

import polars as pl

from linear_learner.errors import DataError
from tasks.data.conversion import MISSING_VALUES, clean_texts, convert_column
from tasks.data.dialect import SEPARATORS, SPACES, Dialect, Sample, collapse_spaces, recognise
from tasks.data.header import lacks_name, looks_like_data, name_columns
from tasks.data.text_stream import convert_text, open_text, read_blocks, read_sample
from tasks.parameters import Reading

ColumnTypes = Mapping[str, pl.DataType]
MAX_EXAMPLE_NAMES = 500
_BLANK_LINE = pattern(rb"(?<=\n)[ \t]*\r?\n")
_BLANK_LINE_BETWEEN_TABS = pattern(rb"(?<=\n) *\r?\n")


@dataclass(frozen=True)
class CsvFile:
    """A CSV file, also compressed; errors name it `name`."""

    path: Path
    name: str
    reading: Reading

    @cached_property
    def sample(self) -> Sample:
        with open_text(self.path, self.name, self.reading.encoding) as (stream, encoding):
            converted = convert_text(stream, encoding, carriage_returns=False)
            sample, complete = read_sample(converted)
        if b"\0" in sample:
            raise DataError(
                f"{self.name} contains zero bytes: it is no text, or text in UTF-16 without a byte order mark. "
                "Save it as a CSV file in UTF-8, or as Parquet."
            )
        found = recognise(sample, encoding, complete=complete, missing=self.reading.missing)
        if not found.rows:
            problem = "has no readable header. Check for an unclosed quote" if sample.strip() else "is empty"
            raise DataError(f"{self.name} {problem}. It needs a header line and rows.")
        return found

    @property
    def description(self) -> str:
        return self.sample.dialect.description

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns; raises DataError for a first line that is data or no text in the encoding."""
        first, *rows = self.sample.rows
        if self.reading.columns:
            return self._given_names(first)
        try:
            "".join(first).encode()
        except UnicodeEncodeError:
            raise self.encoding_error("its header") from None
        dialect = self.sample.dialect
        if looks_like_data(first, rows, self.reading.missing, decimal_comma=dialect.decimal_comma):
            raise DataError(f"{self.name}: {_describe_header(first)}")
        return name_columns(["", *first] if lacks_name(first, rows, dialect.separator) else first)

    def _given_names(self, first: Sequence[str]) -> tuple[str, ...]:
        names = self.reading.columns
        if len(first) != len(names):
            given = f"{len(names)} name{'s' * (len(names) > 1)}"
            found = f"{len(first)} column{'s' * (len(first) > 1)}"
            raise DataError(f"{self.name} has {found}, but dataset.columns has {given}. Give one name for each column.")
        if [name.strip() for name in first] == list(names):
            raise DataError(f"{self.name} has these names in its first line. Leave dataset.columns empty.")
        return names

    def chunks(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The columns, in that order, block by block, as numbers, booleans or texts (see `convert_column`).

        Raises DataError with the row, from 1 for the first below the header, for a line with more or fewer values than
        the header and for bytes that are no text in the encoding.
        """
        for cells, _ in self.chunks_with_originals(columns, ()):
            yield cells

    def chunks_with_originals(
        self, columns: Sequence[str], originals: Sequence[str]
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """The `columns` as from `chunks`, and the columns `originals` as unchanged texts."""
        types: pl.DataFrame | None = None
        with self._open_rows(columns, originals) as (rows, blocks):
            for block in blocks:
                cells, texts = rows.parse(block, {} if types is None else types.schema)
                if not cells.height:
                    continue
                yield cells, texts
                found = cells.clear()
                # The wider type of both: the next block is read as these types if it can be.
                types = found if types is None else pl.concat([types, found], how="vertical_relaxed")

    def text_column(self, column: str) -> pl.Series:
        """A whole column as text; null where a value is missing."""
        with self._open_rows([column]) as (rows, blocks):
            found = [rows.parse_texts(block)[column] for block in blocks]
        return pl.concat(found) if found else pl.Series(column, [], pl.String)

    @contextmanager
    def _open_rows(
        self, columns: Sequence[str], originals: Sequence[str] = ()
    ) -> "Iterator[tuple[_Rows, Iterator[bytes]]]":
        dialect = self.sample.dialect
        with open_text(self.path, self.name, self.reading.encoding) as (stream, encoding):
            converted = convert_text(stream, encoding, carriage_returns=dialect.carriage_returns)
            for _ in range(dialect.skipped_lines + (0 if self.reading.columns else dialect.header_lines)):
                converted.readline()
            yield _Rows(self, columns, originals), _read_lines(converted, dialect)

    def encoding_error(self, place: str) -> DataError:
        encoding = self.sample.dialect.encoding
        remedy = "Save it in UTF-8"
        if encoding == "utf-8":
            remedy += ", or, if it is in Latin-1 (Western European), give --dataset.encoding latin-1"
        return DataError(f"{self.name}, {place}: not text in {encoding.upper()}. {remedy}.")


def _describe_header(first: Sequence[str]) -> str:
    shown = ", ".join(repr(cell.strip()) for cell in first[:6]) + ", …" * (len(first) > 6)
    names = ",".join(f"c{number}" for number in range(1, len(first) + 1)[:MAX_EXAMPLE_NAMES])
    return (
        f"the first line looks like data, not like a header: {shown}. Put a line with the names of the columns before "
        f"it, or name its {len(first)} columns, for example with --dataset.columns {names}"
        + f",… and so on up to c{len(first)}."
        * (len(first) > MAX_EXAMPLE_NAMES)
    )


def _read_lines(stream: BinaryIO, dialect: Dialect) -> Iterator[bytes]:
    blocks = read_blocks(stream)
    return map(collapse_spaces, blocks) if dialect.separator == SPACES else blocks


class _Rows:
    """The rows of a CSV file below its header, which are parsed block by block."""

    def __init__(self, file: CsvFile, columns: Sequence[str], originals: Sequence[str]) -> None:
        self._file, self._columns, self._dialect = file, columns, file.sample.dialect
        self._originals = originals
        self._stored = list(dict.fromkeys([*columns, *originals]))
        self._positions = [file.names.index(column) for column in self._stored]
        self._missing, self._count = file.reading.missing, 0
        self._null_values: tuple[str, ...] | None = None

    def parse(self, block: bytes, types: ColumnTypes) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The columns of the next block, as `types` or wider integers if it has such cells, and the original texts.

        Raises DataError.
        """
        typed = self._parse_types(block, {**types, **dict.fromkeys(self._originals, pl.String())}) if types else None
        frame = self._parse_texts(block) if typed is None else typed
        converted = [self._convert(frame[column]) for column in self._columns]
        self._count += frame.height
        if typed is not None and self._null_values and self._originals:
            frame = self._read(block, {})  # the markers of missing values are null in `typed`
        return pl.DataFrame(converted), pl.DataFrame([frame[column] for column in self._originals])

    def parse_texts(self, block: bytes) -> pl.DataFrame:
        """The columns of the next block as text; null where a value is missing."""
        frame = self._parse_texts(block)
        self._count += frame.height
        comma = self._dialect.decimal_comma
        return pl.DataFrame([clean_texts(column, self._missing, decimal_comma=comma) for column in frame])

    def _convert(self, column: pl.Series) -> pl.Series:
        comma = self._dialect.decimal_comma
        cells = convert_column(column, self._missing, decimal_comma=comma)
        if cells is None:  # not for the types of a CSV file
            raise TypeError(column.dtype)
        if comma and column.dtype == pl.String and cells.dtype.is_numeric():
            points = column.str.contains(".", literal=True).fill_null(value=False)
            if points.any():
                row = int(points.arg_true()[0])
                raise DataError(
                    f"{self._file.name}, row {self._count + row + 1}, column {column.name!r}: {column[row].strip()!r} "
                    "has a point, but the numbers of this file have decimal commas. Write all numbers alike."
                )
        return cells

    def _parse_types(self, block: bytes, types: ColumnTypes) -> pl.DataFrame | None:
        if self._dialect.decimal_comma and b"." in block:
            return None  # polars would take both for the decimal point
        wide = {column: pl.Int64() if kind.is_integer() else kind for column, kind in types.items()}
        for null_values in (self._null_values,) if self._null_values else (None, (*MISSING_VALUES, *self._missing)):
            for kinds in (types, wide):
                with suppress(pl.exceptions.PolarsError):
                    frame = self._read(block, kinds, null_values)
                    if self._is_complete(block, frame) and not _may_have_blank_lines(block, frame):
                        self._null_values = null_values
                        return frame
        return None

    def _parse_texts(self, block: bytes) -> pl.DataFrame:
        lines = _drop_blank_lines(block, self._dialect.separator)
        try:
            frame = self._read(lines, {}) if lines else self._empty()
        except pl.exceptions.PolarsError as error:
            return self._parse_records(lines, error)
        if not self._is_complete(lines, frame):
            self._check_records(lines)
        return frame

    def _parse_records(self, lines: bytes, error: Exception) -> pl.DataFrame:
        """Parse lines that polars does not read, such as those with a quote within a text: `5" pipe`."""
        reason = str(error).splitlines()[0]
        if records := self._check_records(lines):
            with io.StringIO(newline="") as written:
                csv.writer(written, delimiter=self._dialect.separator, lineterminator="\n").writerows(records)
                quoted = written.getvalue().encode()
            try:
                return self._read(quoted, {})
            except pl.exceptions.PolarsError as second:
                reason = str(second).splitlines()[0]
        raise DataError(f"{self._file.name} cannot be read as CSV after row {self._count}: {reason}") from error

    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=dict.fromkeys(self._stored, pl.String()))

    def _read(self, block: bytes, types: ColumnTypes, null_values: Sequence[str] | None = None) -> pl.DataFrame:
        schema = {name: types.get(name, pl.String()) for name in self._file.names}
        # Without the last column polars does not notice a quote within a text, and joins the row with the next ones.
        quoted = [len(schema) - 1] if b'"' in block else []
        frame = pl.read_csv(
            block,
            has_header=False,
            schema=schema,
            columns=sorted({*self._positions, *quoted}),
            separator=self._dialect.separator,
            decimal_comma=self._dialect.decimal_comma,
            null_values=None if null_values is None else list(null_values),
        )
        return frame.select(self._stored).rechunk()

    def _is_complete(self, block: bytes, frame: pl.DataFrame) -> bool:
        """Whether there are as many values as the header has in each line.

        polars reads missing values as null, and notices additional ones only if it reads all columns.
        """
        outside = b"".join(block.split(b'"')[::2]) if b'"' in block else block
        return outside.count(self._dialect.separator.encode()) == frame.height * (len(self._file.names) - 1)

    def _check_records(self, lines: bytes) -> list[list[str]]:
        """The cells of each line, or [] if Python's csv does not read all lines either.

        Raises DataError for a line with too few or too many values, or that is no text in the encoding.
        """
        try:
            text = lines.decode()
        except UnicodeDecodeError as broken:
            before, _ = self._records(lines[: broken.start].decode() + "x")
            raise self._file.encoding_error(f"row {self._count + len(before)}") from broken
        width, separators = len(self._file.names), SEPARATORS.get(self._dialect.separator, "separators")
        records, complete = self._records(text)
        for row, cells in enumerate(records, start=self._count + 1):
            if len(cells) != width:
                expected = f"there are {width} columns" if self._file.reading.columns else f"the header has {width}"
                found = f"{len(cells)} value{'s' * (len(cells) > 1)}, but {expected}"
                remedy = f"Repair the row: check its quotes and {separators}."
                raise DataError(f"{self._file.name}, row {row}: {found}. {remedy}")
        return records if complete else []

    def _records(self, text: str) -> tuple[list[list[str]], bool]:
        reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=self._dialect.separator)
        records: list[list[str]] = []
        try:
            for row in reader:
                if row:
                    records.append(row)  # noqa: PERF401 - the rows before an error are needed
        except csv.Error:
            return records, False
        return records, True


def _may_have_blank_lines(block: bytes, frame: pl.DataFrame) -> bool:
    """Whether there may be blank lines, which are read as rows of missing values, or of white space in the first."""
    if any(column.dtype != pl.String and not column.null_count() for column in frame):
        return False
    return block[:1].isspace() or any(start in block for start in (b"\n\n", b"\n\r", b"\n ", b"\n\t"))


def _drop_blank_lines(block: bytes, separator: str) -> bytes:
    """Remove blank lines, which pandas skips too, unless they are within quotes."""
    blank = _BLANK_LINE_BETWEEN_TABS if separator == "\t" else _BLANK_LINE
    parts = (b"\n" + block).split(b'"')
    parts[::2] = [blank.sub(b"", part) for part in parts[::2]]
    return b'"'.join(parts)[1:]
