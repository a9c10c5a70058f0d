"""Statistics of a column's text cells: distinct values, date formats, and what the texts are."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Final, NamedTuple, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linear_learner.cells import DATE_FORMATS, DateFormat
from tasks.data.cells import parse_dates
from tasks.data.profile import MAX_LABELS, TextCount, TextKind, TextProfile
from tasks.data.row_sketch import Hashes, estimate_distinct, mix, smallest
from tasks.data.text_problems import MARKER_PATTERN

MAX_EXAMPLE_LENGTH: Final = 60
BOOLEANS: Final = {"true": True, "false": False}
_HASH_SEED: Final = 1
_SIGN = "[+\u2212-]?"
_SPACE = "[ \u00a0\u2009\u202f]"
_GROUP_SIGN = "[ \u00a0\u2009\u202f'\u2019_]"
_AMOUNT = rf"(?:\d[\d.,'\u2019]*(?:{_SPACE}\d{{3}})*(?:[.,]\d+)?|[.,]\d+)"
_CODES = "USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|INR|CNY|RMB|KRW|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|TRY|RUB|SGD|HKD"
_CURRENCY = rf"(?:(?:US|CA|AU|A|C|R|HK|S|NZ)?[$]|[€£¥₹₽₩₺₪฿₫₴]|(?:{_CODES})|Rs\.?|zł|kr\.?)"
_PATTERNS: Final[Mapping[TextKind, str]] = {
    "boolean": r"(?i)^(?:true|false)$",
    "missing marker": MARKER_PATTERN,
    "thousands separator": rf"^{_SIGN}(?:\d{{1,3}}(?:,\d{{3}}){{2,}}(?:\.\d+)?|\d{{1,3}},\d{{3}}\.\d+"
    rf"|\d{{1,2}}(?:,\d{{2}})+,\d{{3}}(?:\.\d+)?|\d{{1,3}}(?:\.\d{{3}}){{2,}}"
    rf"|\d{{1,3}}(?:{_GROUP_SIGN}\d{{3}})+(?:\.\d+)?)$",
    "ambiguous comma": rf"^{_SIGN}[1-9]\d{{0,2}},\d{{3}}$",
    "decimal comma": rf"^{_SIGN}(?:\d*,\d+(?:[eE][+-]?\d+)?|\d{{1,3}}(?:(?:\.|{_GROUP_SIGN})\d{{3}})+,\d+)$",
    "percent": rf"^{_SIGN}{_SPACE}?{_AMOUNT}{_SPACE}?[%‰]$",
    "currency": rf"^\(?{_SIGN}{_SPACE}?(?:{_CURRENCY}{_SPACE}?{_SIGN}{_AMOUNT}[kKmMbB]?|{_AMOUNT}[kKmMbB]?{_SPACE}?"
    rf"{_CURRENCY})\)?$",
    "date": rf"^(?:{re.sub(r'[?]P<[a-z_]+>', '?:', '|'.join(DATE_FORMATS.values()))})(?:[T ].*)?$",
}
"""What a text is: the first pattern that it matches."""
ALL_DATE_FORMATS: Final[frozenset[DateFormat]] = frozenset(get_args(DateFormat))
_MAX_VALUES: Final = 50
_MOSTLY_DISTINCT: Final = 0.9


class ValueCount(NamedTuple):
    """How many cells of some rows have a value, and the first such row, from 1."""

    rows: int
    first_row: int


@dataclass(frozen=True)
class TextCells:
    """The cells of a column that are no numbers: text, booleans (as `true` and `false`) and declared dates (ISO)."""

    rows: int
    """All rows of the part, whatever their cells."""
    count: int
    declared_dates: int
    """Cells of a column that the file declares as dates."""
    values: Mapping[str, ValueCount] | None
    """The distinct cells; None for more than MAX_LABELS."""
    hashes: Hashes | None
    """A sketch of the distinct cells when there are too many to list."""
    formats: frozenset[DateFormat]
    """The formats by which all cells are dates."""
    kinds: Mapping[TextKind, TextCount]
    characters: int
    max_length: int

    @property
    def distinct(self) -> int:
        return len(self.values) if self.values is not None else estimate_distinct(self._sketch())

    def _sketch(self) -> Hashes:
        return self.hashes if self.hashes is not None else smallest(hash_texts(pl.Series([*(self.values or ())])))


def profile_text(cells: TextCells, numbers: int, distinct_numbers: int) -> TextProfile:
    """The profile of a column with text cells, `numbers` cells of which, with so many values, are numbers."""
    values = sorted(cells.values or {}, key=lambda text: (-(cells.values or {})[text].rows, text))
    return TextProfile(
        text=cells.count,
        numbers=numbers,
        distinct=cells.distinct + distinct_numbers,
        date_formats=() if numbers else tuple(one for one in get_args(DateFormat) if one in cells.formats),
        kinds=tuple(sorted(cells.kinds.values(), key=lambda one: (-one.count, one.row))),
        values=tuple(values) if len(values) <= _MAX_VALUES and cells.max_length <= MAX_EXAMPLE_LENGTH else (),
        mean_length=cells.characters / cells.count,
        max_length=cells.max_length,
    )


def estimate_distinct_numbers(sample: NDArray[np.float64], numbers: int) -> int:
    """The distinct numbers of a column's sampled cells; if nearly all of them differ, of its `numbers` cells."""
    known = sample[~np.isnan(sample)]
    distinct = len(np.unique(known))
    share = distinct / max(len(known), 1)
    return min(numbers, max(distinct, round(numbers * share) if share > _MOSTLY_DISTINCT else 0))


def without_text(rows: int) -> TextCells:
    """The text cells of rows of numbers."""
    return TextCells(rows, 0, 0, {}, None, ALL_DATE_FORMATS, {}, 0, 0)


def hash_texts(texts: pl.Series) -> Hashes:
    """A hash of each text; it depends on the version of polars, and on nothing else."""
    return mix(texts.cast(pl.String).hash(_HASH_SEED).to_numpy())


def parse_booleans(texts: pl.Series) -> pl.Series:
    """True and false in any case; null for other texts."""
    found = texts.str.contains(_PATTERNS["boolean"]).fill_null(value=False)
    parsed = pl.Series(texts.name, [None], pl.Boolean).new_from_index(0, len(texts))
    return texts.str.to_lowercase().eq("true").zip_with(found, parsed) if found.any() else parsed


def measure_booleans(cells: pl.Series) -> TextCells:
    """Measure a column of booleans and missing values."""
    known, true = len(cells) - cells.null_count(), int(cells.sum() or 0)
    counts = {text: count for text, count in (("false", known - true), ("true", true)) if count}
    values = {text: ValueCount(count, (cells.index_of(BOOLEANS[text]) or 0) + 1) for text, count in counts.items()}
    if not values:
        return without_text(len(cells))
    text, first = min(values.items(), key=lambda one: one[1].first_row)
    kinds: dict[TextKind, TextCount] = {
        "boolean": TextCount(kind="boolean", count=known, row=first.first_row, example=text)
    }
    length = sum(len(text) * count for text, count in counts.items())
    return TextCells(len(cells), known, 0, values, None, frozenset(), kinds, length, max(map(len, values)))


def measure_texts(cells: pl.Series, formats: Iterable[DateFormat] = ALL_DATE_FORMATS) -> TextCells:
    """Measure a column of text, null where a cell is missing or a number, or of dates.

    `formats` are the date formats that apply to the rows before these; others are not tried.
    """
    declared = cells.dtype != pl.String
    texts = _count_texts(date_texts(cells) if declared else cells)
    if not texts.height:
        return without_text(len(cells))
    unique, lengths = texts["text"], texts["text"].str.len_chars()
    listed = texts.height <= MAX_LABELS
    dates = frozenset[DateFormat](["%Y-%m-%d"] if declared else [one for one in formats if _are_dates(unique, one)])
    count = int(texts["rows"].sum())
    return TextCells(
        rows=len(cells),
        count=count,
        declared_dates=count if declared else 0,
        values={text: ValueCount(rows, first) for text, rows, first in texts.iter_rows()} if listed else None,
        hashes=None if listed else smallest(hash_texts(unique)),
        formats=dates,
        kinds=_count_kinds(texts.with_columns(kind=pl.lit("date"))) if dates else _classify(texts),
        characters=int((lengths * texts["rows"]).sum()),
        max_length=int(lengths.to_numpy().max()),
    )


def date_texts(cells: pl.Series) -> pl.Series:
    """Dates and times as ISO text, times in UTC; text is unchanged."""
    if isinstance(cells.dtype, pl.Datetime) and cells.dtype.time_zone:
        cells = cells.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return cells.cast(pl.String)


def _count_texts(cells: pl.Series) -> pl.DataFrame:
    """The distinct texts, their number of rows and their first row, in the order of the first rows."""
    frame = pl.DataFrame({"text": cells}).with_columns(row=pl.int_range(1, pl.len() + 1, dtype=pl.Int64)).drop_nulls()
    counts = frame.group_by("text").agg(rows=pl.len().cast(pl.Int64), row=pl.col("row").min()).sort("row")
    booleans = counts["text"].str.contains(_PATTERNS["boolean"])
    if not booleans.any():
        return counts
    same = counts.with_columns(text=counts["text"].str.to_lowercase().zip_with(booleans, counts["text"]))
    return same.group_by("text").agg(pl.col("rows").sum(), pl.col("row").min()).sort("row")


def _are_dates(texts: pl.Series, date_format: DateFormat) -> bool:
    first = re.fullmatch(DATE_FORMATS[date_format], str(texts[0]))
    return first is not None and not parse_dates(texts, date_format).null_count()


def _classify(texts: pl.DataFrame) -> dict[TextKind, TextCount]:
    """The number of cells and the first cell of each kind."""
    known = texts["text"].str.contains("|".join(_PATTERNS.values()))  # one search, as most texts match none
    branches = [pl.when(pl.col("text").str.contains(pattern)).then(pl.lit(kind)) for kind, pattern in _PATTERNS.items()]
    kinds = texts.filter(known).with_columns(kind=pl.coalesce(*branches, pl.lit("other")))
    return {**_count_kinds(kinds), **_count_kinds(texts.filter(~known).with_columns(kind=pl.lit("other")))}


def _count_kinds(texts: pl.DataFrame) -> dict[TextKind, TextCount]:
    grouped = texts.group_by("kind", maintain_order=True)
    counts = grouped.agg(pl.col("rows").sum().alias("count"), pl.col("row", "text").first())
    return {
        kind: TextCount(kind=kind, count=count, row=row, example=text[:MAX_EXAMPLE_LENGTH])
        for kind, count, row, text in counts.iter_rows()
    }


def merge_texts(parts: Sequence[TextCells]) -> TextCells:
    """The text cells of the rows of all parts, one part after another."""
    starts = [0, *accumulate(part.rows for part in parts)]
    values = _merge_values(parts, starts)
    return TextCells(
        rows=starts[-1],
        count=sum(part.count for part in parts),
        declared_dates=sum(part.declared_dates for part in parts),
        values=values,
        hashes=None if values is not None else smallest(np.concatenate([part._sketch() for part in parts])),  # noqa: SLF001
        formats=reduce(frozenset.intersection, (part.formats for part in parts)),
        kinds=_merge_kinds(parts, starts),
        characters=sum(part.characters for part in parts),
        max_length=max(part.max_length for part in parts),
    )


def _merge_values(parts: Sequence[TextCells], starts: Sequence[int]) -> dict[str, ValueCount] | None:
    merged: dict[str, ValueCount] = {}
    for part, start in zip(parts, starts, strict=False):
        if part.values is None:
            return None
        for text, (rows, first) in part.values.items():
            before = merged.get(text)
            merged[text] = (
                ValueCount(before.rows + rows, before.first_row) if before else ValueCount(rows, first + start)
            )
    return merged if len(merged) <= MAX_LABELS else None


def _merge_kinds(parts: Sequence[TextCells], starts: Sequence[int]) -> dict[TextKind, TextCount]:
    merged: dict[TextKind, TextCount] = {}
    for part, start in zip(parts, starts, strict=False):
        for kind, one in part.kinds.items():
            before = merged.get(kind)
            changes = {"count": before.count + one.count} if before else {"row": one.row + start}
            merged[kind] = (before or one).model_copy(update=changes)
    return merged
