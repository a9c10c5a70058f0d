"""One pass over each file of a table: what its columns hold, and the narrowest types that hold them."""

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
from tasks.data.parallel import log_progress, prefetch
from tasks.data.profile import COLUMN_KINDS, MAX_LABELS, ColumnKind, ColumnProfile, LabelCount, Profile
from tasks.data.reader import (
    INTEGER_BYTES,
    Chunk,
    check_column_exists,
    read_chunks,
    read_column_names,
    spill_chunks,
    spill_folder,
)
from tasks.data.source import make_local_copy

MAX_EXAMPLE_LENGTH = 60
MAX_FLOAT32 = float(np.finfo(np.float32).max)
"""The largest number the algorithm can hold, about 3.4e38."""
_BLOCK_CELLS = 1 << 18
"""Cells measured at once: so few that they stay in the processor's cache."""
_SAMPLE_ROWS = 4096
_NUMPY_TYPES: dict[pl.DataType, str] = {
    pl.Boolean(): "<i1",
    **{kind: f"<i{size}" for kind, size in INTEGER_BYTES.items()},
    pl.Float64(): "<f8",
}

Floats = NDArray[np.float64]
Facts = dict[str, NDArray[Any]]


def storage_types(profile: Profile) -> dict[str, pl.DataType]:
    """The narrowest types that hold the columns without loss."""
    return {column.name: _storage_type(column) for column in profile.columns}


def _storage_type(column: ColumnProfile) -> pl.DataType:
    if column.kind == "boolean":
        return pl.Boolean()
    if column.kind != "integer" or column.minimum is None or column.maximum is None:
        return pl.Float64()
    bounds = ((kind, 2 ** (8 * size - 1)) for kind, size in INTEGER_BYTES.items())
    return next((kind for kind, bound in bounds if -bound <= column.minimum and column.maximum < bound), pl.Int64())


def numpy_types(types: Mapping[str, pl.DataType]) -> dict[str, str]:
    """The same types as numpy calls them, true and false being numbers."""
    return {name: _NUMPY_TYPES[kind] for name, kind in types.items()}


def row_bytes(types: Mapping[str, pl.DataType]) -> int:
    """Bytes of a row."""
    return sum(int(_NUMPY_TYPES[kind][-1]) for kind in types.values())


@dataclass(frozen=True)
class Measurement:
    """What is known of some successive rows of a table: enough to check them without reading them again.

    Each of the `facts` is an array (columns,). Those named `…_row` are the first row with such a cell, from 1, and
    infinite where there is none; `known` are the finite cells, `pairs` those in rows where the target is finite too.
    """

    names: tuple[str, ...]
    target: str
    facts: Facts
    labels: pl.DataFrame | None
    """The target's finite values, with the number of their rows and the first; None for more than MAX_LABELS."""

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.facts["rows"][0])

    def profile(self) -> Profile:
        """The profile of these rows."""
        facts, target = self.facts, self.names.index(self.target)
        constant = facts["minimum"] == facts["maximum"]
        with np.errstate(all="ignore"):
            std = np.sqrt(facts["square"] / facts["known"])
            correlation = facts["pair_product"] / np.sqrt(facts["pair_square"]) / np.sqrt(facts["label_square"])
        figures = facts | {
            "name": np.array(self.names),
            "kind": np.array(COLUMN_KINDS)[facts["kind"]],
            "mean": np.where(constant | (facts["known"] == 0), facts["minimum"], facts["mean"]),
            "std": np.where(constant, 0, std),
            "correlation": np.where(constant | constant[target], np.nan, np.clip(correlation, -1, 1)),
            "counts_up": facts["consecutive"] & np.isin(facts["first"], (0, 1)),
            "digest": np.array([f"{digest:016x}" for digest in facts["digest"]]),
        }
        fields = {name: map(_finite_or_none, figures[name].tolist()) for name in ColumnProfile.model_fields}
        labels = None if self.labels is None else self.labels.sort("value").to_dicts()
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
    """What the file's columns hold; raises DataError when it lacks one."""
    path = make_local_copy(workspace, part)
    names = read_column_names(path, part.uri)
    for column in wanted:
        check_column_exists(names, column, "that the first file has", part.uri)
    chunks = prefetch(spill_chunks(read_chunks(path, part.uri, wanted), spill_folder(part, wanted)))
    return measure_chunks(log_progress(chunks, f"reading {part.uri}"), wanted, target)


def measure_chunks(chunks: Iterable[Chunk], wanted: Sequence[str], target: str) -> Measurement:
    """What the `wanted` columns of a file's chunks hold."""
    found = _measure_chunk(Chunk(pl.DataFrame(np.empty((0, len(wanted)), np.bool_)), {}), wanted, target)
    for chunk in chunks:
        more = _measure_chunk(chunk, wanted, target, list_labels=found.labels is not None)
        found = merge([found, more], same_file=True)
    return found


def merge(parts: Sequence[Measurement], *, same_file: bool = False) -> Measurement:
    """What the rows of all parts come to, each part's following those of the part before it.

    An index may begin anew in each part, unless all are of the same file.
    """
    parts = [part for part in parts if part.rows] or parts[:1]
    labels, start = [], 0
    for part in parts:
        if part.labels is not None:
            labels.append(part.labels.with_columns(pl.col("first_row") + start))
        start += part.rows
    listed = _sum_labels(pl.concat(labels)) if len(labels) == len(parts) else None
    facts = _merge_facts([part.facts for part in parts], same_file)
    return Measurement(parts[0].names, parts[0].target, facts, listed)


def _measure_chunk(chunk: Chunk, names: Sequence[str], target: str, *, list_labels: bool = True) -> Measurement:
    values, label = chunk.frame.cast(pl.Float64).to_numpy().T, names.index(target)
    step = max(1024, _BLOCK_CELLS // len(names))
    with np.errstate(over="ignore", invalid="ignore"):  # of values that no float32 holds, and that are reported
        blocks = [_measure_block(values[:, at : at + step], label) for at in range(0, max(chunk.height, 1), step)]
        facts = _merge_facts(blocks, same_file=True)
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
    if len(values) > _SAMPLE_ROWS and _count_labels(values[:_SAMPLE_ROWS]) is None:
        return None  # a target of real numbers is known soon
    cells = pl.DataFrame({"value": values + 0.0}).with_columns(rows=1, first_row=pl.int_range(1, pl.len() + 1))
    return _sum_labels(cells.filter(pl.col("value").is_finite()))


def _sum_labels(labels: pl.DataFrame) -> pl.DataFrame | None:
    summed = labels.group_by("value").agg(pl.col("rows").sum(), pl.col("first_row").min())
    return summed if summed.height <= MAX_LABELS else None


def _measure_block(values: Floats, label: int) -> Facts:
    """Facts of values (columns, rows) of which the row `label` is the target."""
    columns, rows = values.shape
    low, high = values.min(axis=1, initial=np.inf), values.max(axis=1, initial=-np.inf)
    ends = values[:, [0, -1]] if rows else np.full((columns, 2), np.nan)
    consecutive = (high - low == rows - 1) & (ends[:, 1] - ends[:, 0] == rows - 1)
    consecutive[consecutive] = (np.diff(values[consecutive]) == 1).all(axis=1)
    facts = {
        "rows": np.full(columns, rows),
        "first": ends[:, 0],
        "last": ends[:, 1],
        "consecutive": consecutive,
        "digest": _digest((values + 0.0).view(np.uint64)),  # 0 makes -0 a 0, which it equals
        "fraction_row": np.full(columns, np.inf),
    }
    target = values[label]
    facts["fraction_row"][label] = _count(np.isfinite(target) & (target != np.floor(target)))[1]
    known = pairs = np.ones((1, rows), np.bool_)
    unsound = values[:, :0]
    if not ((low >= -MAX_FLOAT32) & (high <= MAX_FLOAT32)).all():  # or one is NaN
        unsound, known = values, np.isfinite(values)
        pairs = known & known[label]
        low = values.min(axis=1, initial=np.inf, where=known)
        high = values.max(axis=1, initial=-np.inf, where=known)
    moments = _moments(values, target[None], pairs)
    own = moments if pairs is known else _moments(values, target[None], known)
    facts |= {"minimum": low, "maximum": high, "known": own["pairs"], "mean": own["pair_mean"]}
    return facts | {"square": own["pair_square"]} | moments | _count_problems(unsound)


def _count_problems(values: Floats) -> Facts:
    problems = {
        "missing": np.isnan(values),
        "infinite": np.isinf(values),
        "text": np.zeros(values.shape, np.bool_),  # missing here
        "too_large": np.isfinite(values) & (np.abs(values) > MAX_FLOAT32),
    }
    facts: Facts = {}
    for problem, mask in problems.items():
        facts[problem], facts[f"{problem}_row"] = _count(mask)
    return facts


def _count(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats]:
    """How many cells are set along the last axis, and the first of them, from 1."""
    rows = np.where(mask, np.arange(1, mask.shape[-1] + 1), np.inf)
    return mask.sum(axis=-1), rows.min(axis=-1, initial=np.inf)


def _moments(values: Floats, label: Floats, counted: NDArray[np.bool_]) -> Facts:
    """Of values (columns, rows) and label (1, rows): means, and sums of products of deviations, over some cells."""
    rows = counted.sum(axis=1)
    means, deviations = [], []
    for cells in (values, label):
        some = cells if counted.all() else np.where(counted, cells, 0)
        means.append(some.sum(axis=1) / np.maximum(rows, 1))
        deviations.append(some - means[-1][:, None])
        deviations[-1] *= counted
    x, t = deviations
    moments = {"pairs": rows, "pair_mean": means[0], "label_mean": means[1]}
    for name, one, two in (("pair_square", x, x), ("label_square", t, t), ("pair_product", x, t)):
        moments[name] = np.einsum("ij,ij->i", one, two)
    return {name: np.broadcast_to(of, len(values)) for name, of in moments.items()}


def _digest(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A number for each row of words that depends on their order: equal for equal rows, and hardly for others."""
    keys = np.random.default_rng(0).integers(2**64, size=words.shape[1], dtype=np.uint64) | np.uint64(1)
    # The upper half folded into the lower: the last bits of a whole number are zeros, and so would be its product's.
    folded = words >> np.uint64(32)
    folded ^= words
    folded *= keys
    digest: NDArray[np.uint64] = folded.sum(axis=1, dtype=np.uint64)
    return digest


_MEANS = {"mean": "known", "pair_mean": "pairs", "label_mean": "pairs"}
_PRODUCTS = {
    "square": ("known", "mean", "mean"),
    "pair_square": ("pairs", "pair_mean", "pair_mean"),
    "label_square": ("pairs", "label_mean", "label_mean"),
    "pair_product": ("pairs", "pair_mean", "label_mean"),
}
_REDUCTIONS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    **dict.fromkeys(("rows", "known", "pairs", "missing", "infinite", "text", "too_large"), partial(np.sum, axis=0)),
    **dict.fromkeys(("minimum", "distinct"), partial(np.min, axis=0)),
    **dict.fromkeys(("maximum", "kind"), partial(np.max, axis=0)),
    "text_example": lambda parts: parts[(parts != None).argmax(axis=0), np.arange(parts.shape[1])],  # noqa: E711
    "first": lambda parts: parts[0],
    "last": lambda parts: parts[-1],
    "digest": lambda parts: _digest(parts.T),
}


def _merge_facts(parts: Sequence[Facts], same_file: bool) -> Facts:
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    merged = {name: _REDUCTIONS[name](of) for name, of in stacked.items() if name in _REDUCTIONS}
    start = np.cumsum(stacked["rows"], axis=0) - stacked["rows"]
    merged |= {name: (of + start).min(axis=0) for name, of in stacked.items() if name.endswith("_row")}
    first, last = stacked["first"][1:], stacked["last"][:-1]
    follows = (first == last + 1) | np.isin(first, () if same_file else (0, 1))
    merged["consecutive"] = stacked["consecutive"].all(axis=0) & follows.all(axis=0)
    distances = {}
    for name, weights in _MEANS.items():
        distances[name] = stacked[name] - stacked[name][0]
        shift = (stacked[weights] * distances[name]).sum(axis=0) / np.maximum(merged[weights], 1)
        distances[name] -= shift
        merged[name] = stacked[name][0] + shift
    for name, (weights, one, two) in _PRODUCTS.items():  # after Chan, Golub and LeVeque (1979)
        merged[name] = (stacked[name] + stacked[weights] * distances[one] * distances[two]).sum(axis=0)
    return merged


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
