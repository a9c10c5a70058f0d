"""Read a table's files (CSV, compressed CSV or Parquet) in chunks of typed columns, with bounded memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

import polars as pl

from aws.workspace import Workspace
from linear_learner.columns import list_missing
from linear_learner.errors import DataError
from tasks.caching.policy import fingerprint
from tasks.data.conversion import convert_column
from tasks.data.csv_file import CsvFile
from tasks.data.parquet_file import ParquetFile, is_parquet
from tasks.data.source import Partition, TablePart, local_copy_folder, make_local_copy
from tasks.environment.folders import write_atomically
from tasks.parameters import Dataset, Reading

ColumnTypes = Mapping[str, pl.DataType]
_DEFAULT_READING = Reading()


@dataclass(frozen=True)
class Rows:
    """Some rows of a file: typed cells, and columns as they are in the file."""

    cells: pl.DataFrame
    originals: pl.DataFrame

    @property
    def height(self) -> int:
        return self.cells.height


@dataclass(frozen=True)
class TableFile:
    """A file of a table: its columns, and one column for each of its Hive partitions; errors name it `name`.

    A chunk is a frame with the types Boolean, Int*, UInt*, Float64, String, Date and Datetime, and null for missing
    values. A column of a CSV file is String in a chunk in which any of its cells is neither a number nor a boolean.
    """

    path: Path
    name: str
    reading: Reading = _DEFAULT_READING
    partition: Partition = ()

    @classmethod
    def of(cls, workspace: Workspace, part: TablePart, reading: Reading) -> "TableFile":
        """The local copy of a part, which is downloaded if necessary."""
        return cls(make_local_copy(workspace, part), part.uri, reading, part.partition)

    @cached_property
    def _content(self) -> CsvFile | ParquetFile:
        return (ParquetFile if is_parquet(self.path) else CsvFile)(self.path, self.name, self.reading)

    @property
    def description(self) -> str:
        """How the file is written, such as `CSV separated by semicolons, with decimal commas, in UTF-16-LE`."""
        return self._content.description

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, partitions last; raises DataError when the file is no table."""
        names = self._content.names
        repeated = [column for column, count in Counter(names).items() if count > 1]
        if repeated:
            raise DataError(
                f"{self.name} has more than one column named {repeated[0]!r}. Rename or remove one of them."
            )
        return (*names, *(column for column, _ in self.partition if column not in names))

    def chunks(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The columns, in that order, in chunks of bounded size; the types are inferred for each chunk.

        Raises DataError for rows that cannot be read, and for columns of a type that has no numbers, texts or dates.
        """
        for rows in self.chunks_with_originals(columns, ()):
            yield rows.cells

    def chunks_with_originals(self, columns: Sequence[str], originals: Sequence[str]) -> Iterator[Rows]:
        """The `columns` as from `chunks`, and the columns `originals` unchanged.

        Unchanged are the texts of a CSV file, also of missing values, numbers and dates, and the types of a Parquet
        file. Only empty cells of a CSV file are null.
        """
        partitions = dict(self.partition)  # as for polars and Spark, a partition replaces a column of its name
        stored = [column for column in columns if column not in partitions] or self._content.names[:1]
        unchanged = [column for column in originals if column not in partitions]
        for cells, texts in self._content.chunks_with_originals(stored, unchanged):
            values = [self._partition_values(column, cells.height) for column in columns if column in partitions]
            found = {column.name: column for column in texts}
            found |= {column: self._folder_names(column, cells.height) for column in originals if column in partitions}
            yield Rows(
                cells.with_columns(values).select(columns) if values else cells,
                pl.DataFrame([found[column] for column in originals]),
            )

    def text_column(self, column: str) -> pl.Series:
        """One whole column as text without white space around it; null where a value is missing."""
        if column not in dict(self.partition):
            return self._content.text_column(column)
        height = len(self._content.text_column(self._content.names[0]))
        return self._partition_values(column, height).cast(pl.String)

    def _partition_values(self, column: str, height: int) -> pl.Series:
        value = self._folder_names(column, 1)
        cells = convert_column(value, self.reading.missing)
        return (value if cells is None else cells).new_from_index(0, height)

    def _folder_names(self, column: str, height: int) -> pl.Series:
        return pl.Series(column, [dict(self.partition)[column]], pl.String).new_from_index(0, height)


def select_columns(file: TableFile, dataset: Dataset) -> tuple[str, ...]:
    """The file's columns without the ignored ones; raises DataError for unknown names, or when no feature is left."""
    check_column_exists(file, dataset.target, "to predict")
    for columns, purpose in ((dataset.ignore, "to ignore"), (dataset.categorical, "to use as a category")):
        for column in columns:
            check_column_exists(file, column, purpose)
    chosen = tuple(column for column in file.names if column not in dataset.ignore)
    if len(chosen) == 1:
        message = f"{file.name} has only the column {dataset.target!r} that is not ignored."
        raise DataError(f"{message} Linear Learner also needs at least one feature.")
    return chosen


def check_column_exists(file: TableFile, column: str, purpose: str) -> None:
    """Raise DataError, with the most similar name, when the file has no such column; contains `purpose`."""
    if column not in file.names:
        names = f"It has: {', '.join(file.names[:30])[:300]}."
        raise DataError(f"{file.name} has no {list_missing([column], file.names)} {purpose}. {names}")


def spill_folder(part: TablePart, columns: Sequence[str], reading: Reading) -> Path:
    """The folder for the chunks of these columns of this file between two passes."""
    facts = [*columns, str(part.partition), reading.model_dump_json()]
    return local_copy_folder(part) / f"chunks-{fingerprint(*facts)}"


def spill_chunks(chunks: Iterable[pl.DataFrame], folder: Path, needed: int | None = None) -> Iterator[pl.DataFrame]:
    """Yield the chunks and store them in `folder`, which is created after the last chunk.

    Parsing takes most of the time of a pass; stored chunks are read twenty times as fast. `needed` is about the number
    of bytes, for the error of a full disk.
    """
    with write_atomically(folder, needed) as temporary:
        temporary.mkdir()
        for number, chunk in enumerate(chunks):
            chunk.write_ipc_stream(temporary / f"{number:06d}")
            yield chunk
        rmtree(folder, ignore_errors=True)


def read_spilled_chunks(folder: Path) -> Iterator[pl.DataFrame] | None:
    """The chunks in `folder`, which remain there; None when the folder does not exist."""
    return map(pl.read_ipc_stream, sorted(folder.iterdir())) if folder.is_dir() else None


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
