"""Read a Parquet file in chunks of typed columns."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
from polars.selectors import by_name

from linear_learner.errors import DataError
from tasks.data.conversion import clean_texts, convert_column
from tasks.data.header import name_columns
from tasks.environment.errors import os_error_number
from tasks.parameters import Reading

PARQUET_CHUNK_ROWS = 1 << 19
_MAGIC = b"PAR1"


def is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file; errors name it `name`."""

    path: Path
    name: str
    reading: Reading

    description = "Parquet"

    @cached_property
    def names(self) -> tuple[str, ...]:
        if self.reading.columns:
            raise DataError(
                f"{self.name} is a Parquet file, which names its columns; dataset.columns is for CSV files without a "
                "header. Leave dataset.columns empty."
            )
        if not self._stored_names:
            raise DataError(f"{self.name} is empty: it has no columns.")
        return name_columns(self._stored_names)

    @cached_property
    def _stored_names(self) -> tuple[str, ...]:
        with self._explain_errors():
            return tuple(pl.read_parquet_schema(self.path))

    def chunks(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The columns, in that order, in chunks of bounded size (see `convert_column`).

        Raises DataError for a column of lists, structures or bytes.
        """
        for cells, _ in self.chunks_with_originals(columns, ()):
            yield cells

    def chunks_with_originals(
        self, columns: Sequence[str], originals: Sequence[str]
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """The `columns` as from `chunks`, and the columns `originals` as they are stored."""
        for frame in self._read(list(dict.fromkeys([*columns, *originals]))):
            cells = pl.DataFrame([self._convert(frame[column]) for column in columns])
            yield cells, pl.DataFrame([frame[column] for column in originals])

    def text_column(self, column: str) -> pl.Series:
        """A whole column as text; null where a value is missing."""
        found = [self._to_texts(frame.to_series()) for frame in self._read([column])]
        return pl.concat(found) if found else pl.Series(column, [], pl.String)

    def _to_texts(self, column: pl.Series) -> pl.Series:
        if isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum):
            return clean_texts(column.cast(pl.String), self.reading.missing)
        return self._convert(column).cast(pl.String)

    def _convert(self, column: pl.Series) -> pl.Series:
        with self._explain_errors():
            cells = convert_column(column, self.reading.missing)
        if cells is None:
            raise DataError(
                f"{self.name}: the column {column.name!r} has the type {column.dtype}, which is neither a number nor a "
                "text, a date or a time. Ignore the column, or write it again as one of these."
            )
        return cells

    def _read(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        stored = dict(zip(self.names, self._stored_names, strict=True))
        with self._explain_errors():
            table = pl.scan_parquet(self.path, glob=False).select(
                by_name(stored[column]).alias(column)
                for column in columns  # a name in pl.col() may be a pattern
            )
            height = table.select(pl.len()).collect().item()
            for start in range(0, height, PARQUET_CHUNK_ROWS):
                yield table.slice(start, PARQUET_CHUNK_ROWS).collect().rechunk()

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            if os_error_number(error) is not None:
                raise  # the file could not be read, whatever its content is
            message = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{self.name} cannot be read as Parquet: {message}. Write it again.") from error
