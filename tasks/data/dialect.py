"""Recognise how a text file writes a table: line ends, separator, decimal commas and the line with the names."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from tasks.data.conversion import MISSING_VALUES

SPACES = " "
"""The separator of columns that are separated by any number of spaces and tabs."""
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", SPACES: "spaces"}
"""The separators and their names; of those that explain the lines equally well, the first is chosen.

A tab is rarely a part of a text, and a comma often is.
"""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
MAX_SAMPLE_ROWS = 200
MIN_SHARE_FOR_SPACES = 0.8
"""Share of the lines that have the same number of words if spaces separate columns, and not the words of texts."""
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_LONE_CARRIAGE_RETURN = re.compile(rb"\r(?!\n)")

Rows = list[list[str]]


@dataclass(frozen=True)
class Dialect:
    """How a text file writes a table."""

    encoding: str = "utf-8"
    carriage_returns: bool = False
    """Whether lines end with CR, without LF."""
    separator: str = ","
    decimal_comma: bool = False
    skipped_lines: int = 0
    """Blank lines, and a line such as `sep=;`, before the table."""
    header_lines: int = 1
    """Lines of the first record, which has the names unless they are given; several if a name contains line ends."""

    @property
    def description(self) -> str:
        parts = [
            f"CSV separated by {SEPARATORS.get(self.separator, self.separator)}",
            *(["with decimal commas"] if self.decimal_comma else []),
            *(["with CR line ends"] if self.carriage_returns else []),
            f"in {self.encoding.upper()}",
        ]
        return ", ".join(parts)


@dataclass(frozen=True)
class Sample:
    """The dialect of a file and its first records; the first one has the names, unless they are given."""

    dialect: Dialect
    rows: Rows


def has_carriage_returns(sample: bytes) -> bool:
    """Whether lines end with CR alone: there are more such line ends than LFs outside of quotes."""
    if b"\r" not in sample:
        return False
    outside = b"".join(sample.split(b'"')[::2])
    return len(_LONE_CARRIAGE_RETURN.findall(outside)) > outside.count(b"\n")


def recognise(sample: bytes, encoding: str, *, complete: bool, missing: Sequence[str]) -> Sample:
    """Recognise the dialect of a sample in UTF-8: the first lines of a file, or with `complete` all of them."""
    carriage_returns = has_carriage_returns(sample)
    text = sample.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    text = text.replace("\r", "\n" if carriage_returns else " ")
    if not complete:
        text = _cut_to_lines(text)
    skipped, separator = _read_preamble(text)
    text = "".join(islice(io.StringIO(text, newline="\n"), skipped, None))
    separator = separator or _choose_separator(text, missing)
    records = _parse(text, separator)
    rows = [row for row, _ in records]
    dialect = Dialect(
        encoding=encoding,
        carriage_returns=carriage_returns,
        separator=separator,
        decimal_comma=separator != "," and _has_decimal_commas(rows, missing),
        skipped_lines=skipped,
        header_lines=records[0][1] if records else 1,
    )
    return Sample(dialect, rows)


def _cut_to_lines(text: str) -> str:
    """Remove the last line, which is not complete, and the lines of a quoted text that is not."""
    whole = text[: text.rfind('"')] if text.count('"') % 2 else text
    return whole[: whole.rfind("\n") + 1] or text


def collapse_spaces(block: bytes) -> bytes:
    """Replace each run of spaces and tabs outside of quotes with one space, and remove those at the ends of lines."""
    parts = block.split(b'"')
    for index in range(0, len(parts), 2):
        part = parts[index].replace(b"\t", b" ").replace(b"\r\n", b"\n")
        while b"  " in part:
            part = part.replace(b"  ", b" ")
        parts[index] = part.replace(b"\n ", b"\n").replace(b" \n", b"\n")
    return b'"'.join(parts).strip(b" ")


def _read_preamble(text: str) -> tuple[int, str]:
    """The number of lines before the table, and the separator that Excel's line `sep=;` declares, if there is one."""
    lines = io.StringIO(text, newline="\n")
    blank = sum(1 for _ in takewhile(lambda line: not line.strip(), lines))
    lines.seek(0)
    declared = _SEPARATOR_LINE.fullmatch(next(islice(lines, blank, None), ""))
    return (blank + 1, declared[1]) if declared else (blank, "")


def _parse(text: str, separator: str) -> list[tuple[list[str], int]]:
    """The first records, without blank lines, each with the number of the line in which it ends; [] if unreadable."""
    if separator == SPACES:
        text = collapse_spaces(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=separator)
    try:
        found = ((row, reader.line_num) for row in reader if any(cell.strip() for cell in row) or len(row) > 1)
        return list(islice(found, MAX_SAMPLE_ROWS + 1))
    except csv.Error:
        return []


def _choose_separator(text: str, missing: Sequence[str]) -> str:
    """The separator that gives most of the lines the same number of values; of several, the one with most numbers."""
    scores = {}
    for separator in SEPARATORS:
        rows = [row for row, _ in _parse(text, separator)]
        widths = Counter(map(len, rows))
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        if width == 1:
            continue
        if separator == SPACES and (count < MIN_SHARE_FOR_SPACES * len(rows) or _has_other_separators(text)):
            continue  # texts have spaces, too
        scores[separator] = count / len(rows), _share_of_numbers(rows, separator, missing)
    return max(scores, key=lambda separator: scores[separator], default=",")


def _has_other_separators(text: str) -> bool:
    """Whether there is another separator between the spaces, outside of quotes and not as a decimal comma."""
    others = set(SEPARATORS) - {SPACES, "\t"}
    words = "".join(text.split('"')[::2]).split()
    return any(others & set(word) and not _DECIMAL_COMMA.fullmatch(word) for word in words)


def _share_of_numbers(rows: Rows, separator: str, missing: Sequence[str]) -> float:
    number = NUMBER if separator == "," else re.compile(f"{NUMBER.pattern}|{_DECIMAL_COMMA.pattern}")
    cells = [cell for row in rows for cell in _known(row, missing)]
    return sum(number.fullmatch(cell) is not None for cell in cells) / max(1, len(cells))


def _has_decimal_commas(rows: Rows, missing: Sequence[str]) -> bool:
    """Whether a column consists of numbers with decimal commas, and no column of numbers with decimal points.

    `1,234` may also be a number with a thousands separator, and decides nothing.
    """
    commas = False
    for column in _columns(rows[1:] or rows):
        cells = list(_known(column, missing))
        if any("," in cell and not _THOUSANDS.fullmatch(cell) for cell in cells):
            commas |= all(map(_DECIMAL_COMMA.fullmatch, cells))
        elif any("." in cell and not _THOUSANDS.fullmatch(cell) for cell in cells) and all(
            map(NUMBER.fullmatch, cells)
        ):
            return False
    return commas


def _columns(rows: Rows) -> Iterator[tuple[str, ...]]:
    """The columns of the rows that have as many cells as most rows."""
    widths = Counter(map(len, rows))
    width = max(widths, key=lambda width: widths[width], default=0)
    return zip(*(row for row in rows if len(row) == width), strict=True)


def _known(cells: Sequence[str], missing: Sequence[str]) -> Iterator[str]:
    """The cells, without white space around them, that are not missing."""
    stripped = (cell.strip() for cell in cells)
    return (cell for cell in stripped if cell not in MISSING_VALUES and cell not in missing)
