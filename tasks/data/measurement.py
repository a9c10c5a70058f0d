"""Column statistics of a table, computed in one pass per file, and the narrowest types that store the columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aws.workspace import Workspace
from linear_learner.cells import canonical
from tasks.data.column_facts import Facts, column_keys, count, measure_values, merge_facts
from tasks.data.determination import find_determining_columns
from tasks.data.parallel import prefetch
from tasks.data.profile import MAX_LABELS, ColumnKind, ColumnProfile, LabelCount, Profile
from tasks.data.reader import TableFile, check_column_exists, spill_chunks, spill_folder
from tasks.data.row_sketch import (
    DistinctRows,
    Hashes,
    RowSample,
    count_distinct_rows,
    merge_distinct_rows,
    merge_samples,
    sample_rows,
)
from tasks.data.source import TablePart
from tasks.data.text_cells import (
    ALL_DATE_FORMATS,
    TextCells,
    date_texts,
    estimate_distinct_numbers,
    hash_texts,
    measure_booleans,
    measure_texts,
    merge_texts,
    parse_booleans,
    profile_text,
    without_text,
)
from tasks.parameters import Reading

_INTEGERS = (pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64())  # the narrowest first


def storage_types(profile: Profile) -> dict[str, pl.DataType]:
    """The narrowest numeric type for each column that loses no value; booleans are stored as 1 and 0."""
    return {column.name: _storage_type(column) for column in profile.columns}


def _storage_type(column: ColumnProfile) -> pl.DataType:
    if column.kind not in {"boolean", "integer"} or column.missing or column.minimum is None or column.maximum is None:
        return pl.Float64()
    bounds = ((kind, np.iinfo(numpy_type(kind)).max + 1) for kind in _INTEGERS)
    return next((kind for kind, bound in bounds if -bound <= column.minimum and column.maximum < bound), pl.Int64())


def numpy_type(kind: pl.DataType) -> np.dtype[Any]:
    return np.dtype(str(kind).lower())


def row_bytes(types: Mapping[str, pl.DataType]) -> int:
    return sum(numpy_type(kind).itemsize for kind in types.values())


@dataclass(frozen=True)
class Measurement:
    """Statistics of consecutive rows of a table, enough to check the rows without reading them again."""

    names: tuple[str, ...]
    target: str
    facts: Facts
    labels: pl.DataFrame | None
    """Each finite value of the target, its number of rows and its first row; None for more than MAX_LABELS values."""

    texts: Mapping[str, TextCells]
    """The text cells of each column that has text, booleans or declared dates."""
    distinct_rows: DistinctRows
    sample: RowSample

    @property
    def rows(self) -> int:
        return int(self.facts["rows"][0])

    def profile(self) -> Profile:
        facts, target = self.facts, self.names.index(self.target)
        constant, whole = facts["minimum"] == facts["maximum"], facts["known"] == facts["rows"]
        with np.errstate(all="ignore"):
            std = np.sqrt(facts["square"] / facts["known"])
            correlation = facts["product"] / np.sqrt(facts["square"]) / np.sqrt(facts["square"][target])
        defined = whole & whole[target] & ~(constant | constant[target])
        figures = facts | {
            "mean": np.where(constant | (facts["known"] == 0), facts["minimum"], facts["mean"]),
            "std": np.where(constant, 0, std),
            "correlation": np.where(defined, np.clip(correlation, -1, 1), np.nan),
            "digest": np.array([f"{digest:016x}" for digest in facts["digest"]]),
            "counts_rows": (facts["counts_from_0"] | facts["counts_from_1"]) & (facts["rows"] > 0),
        }
        fields = [name for name in ColumnProfile.model_fields if name in figures]
        table = zip(*(map(_finite_or_none, figures[name].tolist()) for name in fields), strict=True)
        columns = tuple(
            self._profile_column(index, dict(zip(fields, column, strict=True))) for index, column in enumerate(table)
        )
        return Profile(
            rows=self.rows,
            target=self.target,
            columns=columns,
            labels=self._list_labels(columns[target].kind),
            fractional_label_row=_finite_or_none(facts["fraction_row"].tolist()[target]),
            duplicates=self.distinct_rows.duplicates,
            determining=find_determining_columns(self.sample.values, target, columns),
        )

    def _profile_column(self, index: int, figures: Mapping[str, Any]) -> ColumnProfile:
        name = self.names[index]
        cells = self.texts.get(name) or without_text(self.rows)
        numbers = self.rows - figures["missing"] - cells.count
        kind = _column_kind(cells, numbers, real=bool(self.facts["real"][index]))
        text: dict[str, Any] = dict.fromkeys(("text_row", "text_example", "text_profile"))
        if kind == "text":
            first = min(cells.kinds.values(), key=lambda one: one.row)
            distinct = estimate_distinct_numbers(self.sample.values[:, index], numbers)
            text = {
                "text_row": first.row,
                "text_example": first.example,
                "text_profile": profile_text(cells, numbers, distinct),
            }
        return ColumnProfile(name=name, kind=kind, text=cells.count if kind == "text" else 0, **text, **figures)

    def _list_labels(self, kind: ColumnKind) -> tuple[LabelCount, ...] | None:
        """The labels of a target; None if there are too many."""
        cells = self.texts.get(self.target) or without_text(self.rows)
        if self.labels is None or cells.values is None or self.labels.height + len(cells.values) > MAX_LABELS:
            return None
        numbers = list(self.labels.sort("value").iter_rows())
        if kind not in {"boolean", "text", "date"}:
            return tuple(LabelCount(value=value, rows=rows, first_row=row) for value, rows, row in numbers)
        texts = [(str(canonical(value)), rows, row) for value, rows, row in numbers]
        found = sorted([*texts, *((text, *count) for text, count in cells.values.items())])
        return tuple(LabelCount(value=text, rows=rows, first_row=row) for text, rows, row in found)


def measure_file(
    workspace: Workspace, part: TablePart, wanted: Sequence[str], target: str, reading: Reading
) -> Measurement:
    """Measure the `wanted` columns of a file; raises DataError when one is missing."""
    file = TableFile.of(workspace, part, reading)
    for column in wanted:
        check_column_exists(file, column, "that the first file has")
    chunks = spill_chunks(file.chunks(wanted), spill_folder(part, wanted, reading), part.size)
    return measure_chunks(prefetch(chunks, f"reading {part.uri}"), wanted, target)


def measure_chunks(chunks: Iterable[pl.DataFrame], columns: Sequence[str], target: str) -> Measurement:
    """Measure the `columns` of all chunks of a file: booleans, numbers, dates, and text, null where it is missing."""
    found = _measure_chunk(pl.DataFrame(schema=dict.fromkeys(columns, pl.Boolean)), target, None)
    for chunk in chunks:
        found = merge([found, _measure_chunk(chunk.select(columns), target, found)])
    return found


def merge(parts: Sequence[Measurement]) -> Measurement:
    """The measurement of the rows of all parts, one part after another."""
    parts = [part for part in parts if part.rows] or parts[:1]
    labels, start = [], 0
    for part in parts:
        if part.labels is not None:
            labels.append(part.labels.with_columns(pl.col("first_row") + start))
        start += part.rows
    names, target = parts[0].names, parts[0].target
    return Measurement(
        names=names,
        target=target,
        facts=merge_facts([part.facts for part in parts], names.index(target)),
        labels=_sum_labels(pl.concat(labels)) if len(labels) == len(parts) else None,
        texts=_merge_columns_of_text(parts),
        distinct_rows=merge_distinct_rows([part.distinct_rows for part in parts]),
        sample=merge_samples([part.sample for part in parts]),
    )


def _merge_columns_of_text(parts: Sequence[Measurement]) -> dict[str, TextCells]:
    found = dict.fromkeys(name for part in parts for name in part.texts)
    return {name: merge_texts([part.texts.get(name) or without_text(part.rows) for part in parts]) for name in found}


def _measure_chunk(chunk: pl.DataFrame, target: str, before: Measurement | None) -> Measurement:
    """Measure a chunk; `before` is the measurement of the file's earlier chunks, which may make some work needless."""
    names, start = tuple(chunk.columns), before.rows if before else 0
    split = [_split_cells(column, before.texts.get(column.name) if before else None) for column in chunk]
    values = pl.DataFrame([cells.numbers for cells in split]).cast(pl.Float64).to_numpy().T
    facts, digests = measure_values(values, names.index(target))
    with np.errstate(over="ignore"):
        spread = facts["maximum"] - facts["minimum"]
    facts |= {
        "real": np.array([column.dtype.is_float() and column.null_count() < len(column) for column in chunk]),
        "distinct": np.array([_is_distinct(*one) for one in zip(chunk, spread, strict=True)]),
        **{
            f"counts_from_{first}": np.array([_counts_rows(column, first + start) for column in chunk])
            for first in (0, 1)
        },
    }
    for index, cells in enumerate(split):
        if cells.missing is not None:
            facts["missing"][index], facts["missing_row"][index] = count(cells.missing)
        if cells.hashes is not None:
            digests += cells.hashes * column_keys(len(names))[index]
    labels = None if before and before.labels is None else _count_labels(chunk[target])
    return Measurement(
        names=names,
        target=target,
        facts=facts,
        labels=labels,
        texts={column.name: cells.texts for column, cells in zip(chunk, split, strict=True) if cells.texts},
        distinct_rows=count_distinct_rows(digests, before.distinct_rows.bound)
        if before
        else count_distinct_rows(digests),
        sample=sample_rows(values, start, before.sample.bound) if before else sample_rows(values, start),
    )


class _Cells(NamedTuple):
    """The cells of a chunk's column."""

    numbers: pl.Series
    """Numbers and booleans; null for missing cells and text."""
    texts: TextCells | None = None
    missing: NDArray[np.bool_] | None = None
    """Which cells are missing; None if they are those that are no numbers."""
    hashes: Hashes | None = None
    """A hash of each text, 0 for other cells; None if there is none."""


def _split_cells(column: pl.Series, before: TextCells | None) -> _Cells:
    if column.dtype == pl.Boolean:
        return _Cells(column, measure_booleans(column))
    if column.dtype.is_numeric():
        return _Cells(column)
    texts, numbers = date_texts(column), _parse_numbers(column)
    missing = column.is_null() | numbers.is_nan().fill_null(value=False)
    values = numbers.zip_with(numbers.is_not_null(), parse_booleans(texts).cast(pl.Float64))
    measured = measure_texts(column.set(numbers.is_not_null(), None), before.formats if before else ALL_DATE_FORMATS)
    hashes = np.where((values.is_null() & ~missing).to_numpy(), hash_texts(texts), np.uint64(0))
    return _Cells(values.alias(column.name), measured, missing.to_numpy(), hashes)


def _parse_numbers(column: pl.Series) -> pl.Series:
    """The numbers of a column of text or dates; null for other cells."""
    if column.dtype == pl.String:
        return column.cast(pl.Float64, strict=False)
    return pl.repeat(None, len(column), dtype=pl.Float64, eager=True).alias(column.name)


def _counts_rows(column: pl.Series, first: int) -> bool:
    """Whether the cells are the integers from `first` on."""
    if not column.dtype.is_integer() or column.null_count():
        return False
    last = first + len(column) - 1
    possible = not len(column) or (column[0] == first and column[-1] == last)
    return possible and bool((column.cast(pl.Int64) == pl.int_range(first, last + 1, eager=True)).all())


def _is_distinct(column: pl.Series, spread: float) -> bool:
    possible = column.dtype.is_integer() and not column.null_count() and spread >= len(column) - 1
    return possible and column.n_unique() == len(column)


def _count_labels(column: pl.Series) -> pl.DataFrame | None:
    """Count the finite numbers; text, true and false are not among them."""
    numbers = column.cast(pl.Float64) if column.dtype.is_numeric() else _parse_numbers(column)
    cells = pl.DataFrame({"value": numbers + 0.0}).with_columns(rows=1, first_row=pl.int_range(1, pl.len() + 1))
    return _sum_labels(cells.filter(pl.col("value").is_finite()))


def _sum_labels(labels: pl.DataFrame) -> pl.DataFrame | None:
    summed = labels.group_by("value").agg(pl.col("rows").sum(), pl.col("first_row").min())
    return summed if summed.height <= MAX_LABELS else None


def _column_kind(cells: TextCells, numbers: int, *, real: bool) -> ColumnKind:
    booleans = cells.kinds["boolean"].count if "boolean" in cells.kinds else 0
    if not cells.count:
        return "number" if real or not numbers else "integer"
    if numbers:
        return "text"
    return "boolean" if cells.count == booleans else "date" if cells.count == cells.declared_dates else "text"


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
