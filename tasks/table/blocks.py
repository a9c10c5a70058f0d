"""A text file, compressed or not, as blocks of whole lines: any size in little memory."""

import csv
import gzip
import io
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from linear_learner.errors import DataError

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
_LONGEST_HEADER = 8 << 20


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
    line = stream.readline(_LONGEST_HEADER).removeprefix(_BOM)
    while line.count(b'"') % 2 and len(line) < _LONGEST_HEADER and (more := stream.readline(_LONGEST_HEADER)):
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
