"""Recognise a first line that is a row of data, and name columns without a name as pandas does."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from tasks.data.conversion import MISSING_VALUES
from tasks.data.dialect import NUMBER, Rows

MIN_ROWS_FOR_RANGES = 5
MIN_SEQUENCE = 6
"""Numbers that are rarely in ascending or descending order by chance."""
_LETTER_OR_DIGIT = re.compile(r"\w")
_DIGIT = re.compile(r"\d")
_YEARS = range(1800, 2201)

ToNumber = Callable[[str], float | None]


def name_columns(header: Sequence[str]) -> tuple[str, ...]:
    """The names without white space around them; an empty one at position 2, from 0, is `Unnamed: 2`, as in pandas.

    If another column has that name, a suffix is appended: `Unnamed: 2.1`.
    """
    names = [name.strip() for name in header]
    for position, name in enumerate(names):
        if not name:
            unnamed, suffix = f"Unnamed: {position}", 0
            while unnamed in names:
                suffix += 1
                unnamed = f"Unnamed: {position}.{suffix}"
            names[position] = unnamed
    return tuple(names)


def lacks_name(header: Sequence[str], rows: Rows, separator: str) -> bool:
    """Whether the first column, that of the row names, has no name, as R's `write.table` writes it.

    Row names differ. Between commas only numbers from 1 are row names, as the additional comma may be that of a text.
    If the last cells are empty, the rows may end with a separator instead.
    """
    if not rows or any(len(row) != len(header) + 1 for row in rows) or not any(row[-1].strip() for row in rows):
        return False
    names = [row[0] for row in rows]
    if separator == ",":
        return names == [str(number) for number in range(1, len(rows) + 1)]
    return len(set(names)) == len(names)


def looks_like_data(header: Sequence[str], rows: Rows, missing: Sequence[str], *, decimal_comma: bool) -> bool:
    """Whether a file's first record is data rather than names, judged by the next records.

    A name that does not suit its column, such as `age` above numbers, shows a header. Otherwise the record is data if
    its texts occur in their columns again, or if it has numbers above numbers, except for series such as years.
    """
    rows = [row for row in rows if len(row) == len(header) and row != list(header)]
    if not rows:
        numbers = [_to_number(name.strip(), decimal_comma=decimal_comma) for name in header]
        return None not in numbers and len(set(numbers)) < len(numbers)
    columns = [
        _Column(name.strip(), _known(cells, missing), decimal_comma=decimal_comma)
        for name, cells in zip(header, zip(*rows, strict=True), strict=True)
        if _LETTER_OR_DIGIT.search(name) and name.strip() not in {*MISSING_VALUES, *missing}
    ]
    if any(column.has_name for column in columns):
        return False
    texts = [column for column in columns if column.cells and column.numbers is None]
    repeated = sum(column.repeats_name for column in texts)
    if repeated and 2 * repeated >= len(texts):
        return True
    numeric = [column for column in columns if column.numbers is not None]
    if len(numeric) == 1 and texts:
        return True
    return bool(numeric) and not _is_series(numeric, rows)


class _Column:
    """A named column, with its known cells of the first rows."""

    def __init__(self, name: str, cells: Sequence[str], *, decimal_comma: bool) -> None:
        self.name, self.cells = name, cells
        numbers = [_to_number(cell, decimal_comma=decimal_comma) for cell in cells]
        self.numbers = [number for number in numbers if number is not None] if None not in numbers and cells else None
        self.number = _to_number(name, decimal_comma=decimal_comma)

    @property
    def has_name(self) -> bool:
        """Whether the name certainly is no value of the column."""
        if self.numbers is not None:
            return self.number is None
        return bool(self.cells) and not _DIGIT.search(self.name) and all(map(_DIGIT.search, self.cells))

    @property
    def repeats_name(self) -> bool:
        """Whether the name is also a value of the column, and not only once by chance."""
        count = self.cells.count(self.name)
        return count > 1 or 5 * count > len(self.cells)

    @property
    def is_far_away(self) -> bool:
        """Whether the number that is the name is far outside of the numbers of the column."""
        low, high = min(self.numbers or ()), max(self.numbers or ())
        return self.number is not None and not 2 * low - high <= self.number <= 2 * high - low


def _is_series(columns: Sequence[_Column], rows: Rows) -> bool:
    """Whether numbers name the columns: positions, years, wavelengths or codes that are no values of the columns."""
    numbers = [column.number or 0.0 for column in columns]
    if len(set(numbers)) < len(numbers):
        return False
    if _are_positions(numbers) or (len(numbers) > 1 and _are_years(numbers)):
        return True
    if len(rows) >= MIN_ROWS_FOR_RANGES and 2 * sum(column.is_far_away for column in columns) > len(columns):
        return True
    evenly = len(numbers) > 2 and len({round(two - one, 9) for one, two in pairwise(numbers)}) == 1
    others = list(zip(*(column.numbers or () for column in columns), strict=False))
    sorted_rows = sum(_is_monotonic(row) for row in others)
    return (evenly or (len(numbers) >= MIN_SEQUENCE and _is_monotonic(numbers))) and 2 * sorted_rows < len(others)


def _are_positions(numbers: Sequence[float]) -> bool:
    """Whether the names are 0, 1, 2, …, as pandas numbers columns without names; some numbers may be missing."""
    whole = all(number.is_integer() and number >= 0 for number in numbers)
    return whole and all(one < two for one, two in pairwise(numbers)) and numbers[-1] <= 2 * len(numbers)


def _are_years(numbers: Sequence[float]) -> bool:
    return all(number in _YEARS for number in numbers) and _is_monotonic(numbers)


def _is_monotonic(numbers: Sequence[float]) -> bool:
    pairs = list(pairwise(numbers))
    return all(one < two for one, two in pairs) or all(one > two for one, two in pairs)


def _to_number(text: str, *, decimal_comma: bool) -> float | None:
    text = text.replace(",", ".") if decimal_comma else text
    return float(text) if NUMBER.fullmatch(text) else None


def _known(cells: Sequence[str], missing: Sequence[str]) -> list[str]:
    stripped: Iterator[str] = (cell.strip() for cell in cells)
    return [cell for cell in stripped if cell not in MISSING_VALUES and cell not in missing]
