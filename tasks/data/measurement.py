"""Column statistics of a table, computed in one pass per file, and the narrowest types that store the columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aws.storage import StoredObject
from aws.workspace import Workspace
from tasks.data.parallel import prefetch
from tasks.data.profile import COLUMN_KINDS, MAX_LABELS, ColumnKind, ColumnProfile, LabelCount, Profile
from tasks.data.reader import (
    Chunk,
    check_column_exists,
    read_chunks,
    read_column_names,
    spill_chunks,
    spill_folder,
)
from tasks.data.source import make_local_copy

MAX_EXAMPLE_LENGTH = 60
MAX_FLOAT32 = float(np.finfo(np.float32).max)  # the algorithm computes with float32
_BLOCK_CELLS = 1 << 18  # measured at once; they fit into the processor's cache
_INTEGERS = (pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64())  # the narrowest first

Floats = NDArray[np.float64]
Facts = dict[str, NDArray[Any]]


def storage_types(profile: Profile) -> dict[str, pl.DataType]:
    """The narrowest numeric type for each column that loses no value; booleans are stored as 1 and 0."""
    return {column.name: _storage_type(column) for column in profile.columns}


def _storage_type(column: ColumnProfile) -> pl.DataType:
    if column.kind not in {"boolean", "integer"} or column.minimum is None or column.maximum is None:
        return pl.Float64()
    bounds = ((kind, np.iinfo(numpy_type(kind)).max + 1) for kind in _INTEGERS)
    return next((kind for kind, bound in bounds if -bound <= column.minimum and column.maximum < bound), pl.Int64())


def numpy_type(kind: pl.DataType) -> np.dtype[Any]:
    return np.dtype(str(kind).lower())


def row_bytes(types: Mapping[str, pl.DataType]) -> int:
    return sum(numpy_type(kind).itemsize for kind in types.values())


@dataclass(frozen=True)
class Measurement:
    """Statistics of consecutive rows of a table, enough to check the rows without reading them again.

    Each of the `facts` is an array (columns,). `…_row` is the first row with such a cell, from 1, infinite if there is
    none; `known` counts the finite cells; `square` is the sum of their squared deviations from the mean, and `product`
    the sum of their deviations times those of the target.
    """

    names: tuple[str, ...]
    target: str
    facts: Facts
    labels: pl.DataFrame | None
    """Each finite value of the target, its number of rows and its first row; None for more than MAX_LABELS values."""

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
            "name": np.array(self.names),
            "kind": np.array(COLUMN_KINDS)[facts["kind"]],
            "mean": np.where(constant | (facts["known"] == 0), facts["minimum"], facts["mean"]),
            "std": np.where(constant, 0, std),
            "correlation": np.where(defined, np.clip(correlation, -1, 1), np.nan),
            "digest": np.array([f"{digest:016x}" for digest in facts["digest"]]),
        }
        fields = {name: map(_finite_or_none, figures[name].tolist()) for name in ColumnProfile.model_fields}
        labels = None if self.labels is None else self.labels.sort("value").iter_rows(named=True)
        return Profile(
            rows=self.rows,
            target=self.target,
            columns=tuple(
                ColumnProfile(**dict(zip(fields, column, strict=True))) for column in zip(*fields.values(), strict=True)
            ),
            labels=None if labels is None else tuple(LabelCount(**label) for label in labels),
            fractional_label_row=_finite_or_none(facts["fraction_row"].tolist()[target]),
        )


def measure_file(workspace: Workspace, part: StoredObject, wanted: Sequence[str], target: str) -> Measurement:
    """Measure the `wanted` columns of a file; raises DataError when one is missing."""
    path = make_local_copy(workspace, part)
    names = read_column_names(path, part.uri)
    for column in wanted:
        check_column_exists(names, column, "that the first file has", part.uri)
    chunks = spill_chunks(read_chunks(path, part.uri, wanted), spill_folder(part, wanted), part.size)
    return measure_chunks(prefetch(chunks, f"reading {part.uri}"), wanted, target)


def measure_chunks(chunks: Iterable[Chunk], columns: Sequence[str], target: str) -> Measurement:
    """Measure the `columns` of all chunks of a file."""
    found = _measure_chunk(Chunk(pl.DataFrame(np.empty((0, len(columns)), np.bool_)), {}), columns, target)
    for chunk in chunks:
        found = merge([found, _measure_chunk(chunk, columns, target, list_labels=found.labels is not None)])
    return found


def merge(parts: Sequence[Measurement]) -> Measurement:
    """The measurement of the rows of all parts, one part after another."""
    parts = [part for part in parts if part.rows] or parts[:1]
    labels, start = [], 0
    for part in parts:
        if part.labels is not None:
            labels.append(part.labels.with_columns(pl.col("first_row") + start))
        start += part.rows
    listed = _sum_labels(pl.concat(labels)) if len(labels) == len(parts) else None
    label = parts[0].names.index(parts[0].target)
    return Measurement(parts[0].names, parts[0].target, _merge_facts([part.facts for part in parts], label), listed)


def _measure_chunk(chunk: Chunk, names: Sequence[str], target: str, *, list_labels: bool = True) -> Measurement:
    values, label = chunk.frame.cast(pl.Float64).to_numpy().T, names.index(target)
    step = max(1024, _BLOCK_CELLS // len(names))
    with np.errstate(over="ignore", invalid="ignore"):  # values beyond float32 are reported later
        blocks = [_measure_block(values[:, at : at + step], label) for at in range(0, max(chunk.height, 1), step)]
        facts = _merge_facts(blocks, label)
        spread = facts["maximum"] - facts["minimum"]
    facts |= {
        "kind": np.array([COLUMN_KINDS.index(_column_kind(column)) for column in chunk.frame]),
        "distinct": np.array([_is_distinct(*one) for one in zip(chunk.frame, spread, strict=True)]),
        "text_example": np.full(len(names), None),
    }
    for name, text in chunk.texts.items():
        column = names.index(name)
        missing = np.isnan(values[column])
        missing[text.rows] = False
        facts["kind"][column] = COLUMN_KINDS.index("text")
        facts["missing"][column], facts["missing_row"][column] = _count(missing)
        facts["text"][column], facts["text_row"][column] = len(text.rows), text.rows[0] + 1
        facts["text_example"][column] = text.example[:MAX_EXAMPLE_LENGTH]
    return Measurement(tuple(names), target, facts, _count_labels(values[label]) if list_labels else None)


def _column_kind(column: pl.Series) -> ColumnKind:
    if column.dtype == pl.Boolean:
        return "boolean"
    return "integer" if column.dtype.is_integer() else "number"


def _is_distinct(column: pl.Series, spread: float) -> bool:
    possible = column.dtype.is_integer() and not column.null_count() and spread >= len(column) - 1
    return possible and column.n_unique() == len(column)


def _count_labels(values: Floats) -> pl.DataFrame | None:
    cells = pl.DataFrame({"value": values + 0.0}).with_columns(rows=1, first_row=pl.int_range(1, pl.len() + 1))
    return _sum_labels(cells.filter(pl.col("value").is_finite()))


def _sum_labels(labels: pl.DataFrame) -> pl.DataFrame | None:
    summed = labels.group_by("value").agg(pl.col("rows").sum(), pl.col("first_row").min())
    return summed if summed.height <= MAX_LABELS else None


def _measure_block(values: Floats, label: int) -> Facts:
    """Facts about values (columns, rows), of which `values[label]` is the target."""
    columns, rows = values.shape
    low, high = values.min(axis=1, initial=np.inf), values.max(axis=1, initial=-np.inf)
    sound = bool(((low >= -MAX_FLOAT32) & (high <= MAX_FLOAT32)).all())  # false for NaN as well
    unsound = values[:, :0] if sound else values
    finite, known, cells = values, np.full(columns, rows), np.isfinite(unsound)
    if not sound:
        finite, known = np.where(cells, values, 0), cells.sum(axis=1)
        low = values.min(axis=1, initial=np.inf, where=cells)
        high = values.max(axis=1, initial=-np.inf, where=cells)
    mean = finite.sum(axis=1) / np.maximum(known, 1)
    deviations = finite - mean[:, None]
    if not sound:
        deviations *= cells
    fraction_row = np.full(columns, np.inf)
    fraction_row[label] = _count(finite[label] != np.floor(finite[label]))[1]
    return {
        "rows": np.full(columns, rows),
        "digest": _digest((values + 0.0).view(np.uint64)),  # + 0.0 turns -0 into 0, which it equals
        "fraction_row": fraction_row,
        "minimum": low,
        "maximum": high,
        "known": known,
        "mean": mean,
        "square": np.einsum("ij,ij->i", deviations, deviations),
        "product": np.einsum("ij,j->i", deviations, deviations[label]),
        **_count_problems(unsound),
    }


def _count_problems(values: Floats) -> Facts:
    problems = {
        "missing": np.isnan(values),
        "infinite": np.isinf(values),
        "text": np.zeros(values.shape, np.bool_),  # NaN here, and counted separately
        "too_large": np.isfinite(values) & (np.abs(values) > MAX_FLOAT32),
    }
    facts: Facts = {}
    for problem, mask in problems.items():
        facts[problem], facts[f"{problem}_row"] = _count(mask)
    return facts


def _count(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats]:
    """The number of true cells along the last axis, and the position of the first, from 1."""
    rows = np.where(mask, np.arange(1, mask.shape[-1] + 1), np.inf)
    return mask.sum(axis=-1), rows.min(axis=-1, initial=np.inf)


def _digest(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of each row of words that depends on their order; different rows very probably have different hashes."""
    keys = np.random.default_rng(0).integers(2**64, size=words.shape[1], dtype=np.uint64) | np.uint64(1)
    # Fold the upper half into the lower: as a float64, a whole number ends in zero bits, and so would its product.
    folded = words >> np.uint64(32)
    folded ^= words
    folded *= keys
    digest: NDArray[np.uint64] = folded.sum(axis=1, dtype=np.uint64)
    return digest


_REDUCTIONS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    **dict.fromkeys(("rows", "known", "missing", "infinite", "text", "too_large"), partial(np.sum, axis=0)),
    **dict.fromkeys(("minimum", "distinct"), partial(np.min, axis=0)),
    **dict.fromkeys(("maximum", "kind"), partial(np.max, axis=0)),
    "text_example": lambda parts: parts[(parts != None).argmax(axis=0), np.arange(parts.shape[1])],  # noqa: E711
    "digest": lambda parts: _digest(parts.T),
}


def _merge_facts(parts: Sequence[Facts], label: int) -> Facts:
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    merged = {name: _REDUCTIONS[name](of) for name, of in stacked.items() if name in _REDUCTIONS}
    start = np.cumsum(stacked["rows"], axis=0) - stacked["rows"]
    merged |= {name: (of + start).min(axis=0) for name, of in stacked.items() if name.endswith("_row")}
    distance, known = stacked["mean"] - stacked["mean"][0], stacked["known"]
    shift = (known * distance).sum(axis=0) / np.maximum(merged["known"], 1)
    distance -= shift
    merged["mean"] = stacked["mean"][0] + shift
    # Sums of products after Chan, Golub and LeVeque (1979).
    merged["square"] = (stacked["square"] + known * distance * distance).sum(axis=0)
    merged["product"] = (stacked["product"] + known * distance * distance[:, [label]]).sum(axis=0)
    return merged


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
