"""Write the output of a scoring, chunk by chunk: a file in the format of its name, or none."""

import gzip
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import polars as pl

from linear_learner.errors import DataError
from tasks.environment.folders import write_atomically

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_LEVEL = 1
"""The fastest: the next levels take twice as long for a few percent."""


def check_output_name(path: Path) -> None:
    """Raise DataError when the name of an output has the ending of no format."""
    if _ending(path) is None:
        raise DataError(f"The output {path} has an unknown ending. Give a name with one of {', '.join(_WRITERS)}.")


def write_predictions(frames: Iterable[pl.DataFrame], path: Path) -> None:
    """Write frames of the same columns, at least one, one after another.

    The ending of the name gives the format; CSV has a header. `path` is never an incomplete file, and unchanged after
    an error. Raises DataError for a column that CSV cannot hold.
    """
    check_output_name(path)
    with write_atomically(path) as temporary:
        _WRITERS[_ending(path) or ""](frames, temporary)


def _ending(path: Path) -> str | None:
    return next((ending for ending in _WRITERS if path.name.lower().endswith(ending)), None)


@contextmanager
def _open_gzip(path: Path) -> Iterator[IO[bytes]]:
    # Without the time and the temporary name, equal rows are equal files.
    with path.open("wb") as file, gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as stream:
        yield stream  # type: ignore[misc] # it has all of IO[bytes] that is needed


def _write_csv(open_file: Callable[[Path], Any], frames: Iterable[pl.DataFrame], path: Path) -> None:
    with open_file(path) as file:
        for number, frame in enumerate(frames):
            if not number:
                _check_csv_types(frame)
            frame.write_csv(file, include_header=not number)


def _check_csv_types(frame: pl.DataFrame) -> None:
    for name, kind in frame.schema.items():
        if kind.is_nested() or kind in {pl.Binary, pl.Duration, pl.Object}:
            raise DataError(
                f"The column {name!r} has the type {kind}, which a CSV file cannot hold. Write a .parquet file, or "
                "leave it out of the columns to keep."
            )


def _write_parquet(frames: Iterable[pl.DataFrame], path: Path) -> None:
    """Write a Parquet file of large row groups; polars cannot append to one, so the chunks are stored first."""
    with TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as name:
        folder = Path(name)
        for number, frame in enumerate(frames):
            frame.write_parquet(folder / f"{number:08d}", compression="lz4", statistics=False)
        pl.scan_parquet(sorted(folder.iterdir()), glob=False).sink_parquet(path)


_WRITERS: dict[str, Callable[[Iterable[pl.DataFrame], Path], None]] = {
    ".csv": partial(_write_csv, lambda path: path.open("wb")),
    ".csv.gz": partial(_write_csv, _open_gzip),
    ".csv.zst": partial(_write_csv, lambda path: zstd.open(path, "wb")),
    ".parquet": _write_parquet,
}
