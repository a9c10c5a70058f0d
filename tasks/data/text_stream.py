"""The text of a file as a stream of UTF-8 with LF line ends, whatever its compression, encoding and line ends are."""

import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO

from linear_learner.errors import DataError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK_BYTES = 8 << 20
"""Bytes of text read at once: enough to use all cores, few enough to reuse the same memory."""
FIRST_BLOCK_BYTES = 128 << 10
MAX_LINE_BYTES = 8 << 20
_MIN_LINES = 3
_CONVERTED_BYTES = 1 << 20
_DECOMPRESSORS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\x28\xb5\x2f\xfd": zstd.ZstdFile,
}
_BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\0\0": "utf-32-le",
    b"\0\0\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}
_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"ARROW1": "an Arrow file",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"{": "JSON",
    b"\x89HDF": "an HDF5 file",
}
"""First bytes of formats that users mistake for CSV."""


@contextmanager
def open_text(path: Path, name: str, encoding: str) -> Iterator[tuple[BinaryIO, str]]:
    """Open the file's text, decompressed; the first bytes identify the format. Raises DataError for other formats.

    Yields the stream, after the byte order mark, and its encoding: the mark's, or else `encoding`.
    """
    with path.open("rb") as file:
        start = file.peek(8)
        stream: Any = next((open_(file) for magic, open_ in _DECOMPRESSORS.items() if start.startswith(magic)), file)
        try:
            start = stream.peek(8)
            for magic, kind in _OTHER_FORMATS.items():
                if start.startswith(magic):
                    raise DataError(f"{name} is {kind}. Save it as a CSV file in UTF-8, or as Parquet.")
            mark = next((mark for mark in _BYTE_ORDER_MARKS if start.startswith(mark)), b"")
            stream.read(len(mark))
            yield stream, _BYTE_ORDER_MARKS.get(mark, encoding)
        except (gzip.BadGzipFile, EOFError, zlib.error, zstd.ZstdError) as error:
            raise DataError(f"{name} is damaged: {error}. Compress and upload it again.") from error


def convert_text(stream: BinaryIO, encoding: str, *, carriage_returns: bool) -> BinaryIO:
    """Convert a stream to UTF-8, and its line ends to LF if they are carriage returns; UTF-8 with LF is not copied."""
    if encoding == "utf-8" and not carriage_returns:
        return stream
    return io.BufferedReader(_ConvertedText(stream, encoding, carriage_returns=carriage_returns), _CONVERTED_BYTES)


def _mark_invalid(error: UnicodeError) -> tuple[str, int]:
    """Replace bytes that are invalid in their encoding with one that is invalid in UTF-8, so that its row is found."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


codecs.register_error("mark invalid", _mark_invalid)


class _ConvertedText(io.RawIOBase):
    def __init__(self, stream: BinaryIO, encoding: str, *, carriage_returns: bool) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("mark invalid")
        self._line_ends = io.IncrementalNewlineDecoder(None, translate=True) if carriage_returns else None
        self._converted, self._ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._converted and not self._ended:
            content = self._stream.read(_CONVERTED_BYTES)
            self._ended = not content
            text = self._decoder.decode(content, final=self._ended)
            if self._line_ends:
                text = self._line_ends.decode(text, final=self._ended)
            self._converted = text.encode("utf-8", "surrogateescape")
        size = min(len(buffer), len(self._converted))
        buffer[:size], self._converted = self._converted[:size], self._converted[size:]
        return size


def read_sample(stream: BinaryIO) -> tuple[bytes, bool]:
    """Read the first lines: at least three, however long, if they are complete; and whether this is the whole text."""
    sample = stream.read(FIRST_BLOCK_BYTES)
    complete = len(sample) < FIRST_BLOCK_BYTES
    lines, line_ends = sample.count(b"\n"), not (b"\r" in sample and b"\n" not in sample)
    while not complete and line_ends and lines < _MIN_LINES and len(sample) < MAX_LINE_BYTES:
        line = stream.readline(MAX_LINE_BYTES)
        complete, lines = not line, lines + 1
        sample += line
    return sample, complete


def read_blocks(stream: BinaryIO, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the lines below the header in blocks of about `size` bytes; a block never ends within quotes.

    The first block is small: it is parsed as text, to infer the types of the next blocks.
    """
    sizes = chain([min(size, FIRST_BLOCK_BYTES)], repeat(size))
    while block := stream.read(next(sizes)):
        lines = [block, stream.readline(size)]
        within = sum(line.count(b'"') for line in lines if b'"' in line) % 2  # to search is much faster than to count
        # An unclosed quote must not load the rest of the file into memory.
        left = size
        while within and left > 0 and (more := stream.readline(left)):
            lines.append(more)
            left -= len(more)
            within ^= more.count(b'"') % 2
        yield b"".join(lines)
