"""The smallest format is chosen from the schema; the estimates are near the real sizes."""

import io

import numpy as np
import polars as pl
import pytest

from linear_learner.formats.recordio import write_columns
from linear_learner.formats.recordio_sparse import write_sparse
from linear_learner.schema import CategoryColumn, LabelSchema, NumberColumn, Schema
from tasks.data.format_size import channel_sizes, smallest_format

LABEL = LabelSchema(name="y")


def schema(numbers: int, categories: int, size: int) -> Schema:
    names = tuple(f"{index:02}" for index in range(size))
    columns = [CategoryColumn(name=f"c{index}", categories=names) for index in range(categories)]
    return Schema(label=LABEL, columns=(*(NumberColumn(name=f"n{index}") for index in range(numbers)), *columns))


@pytest.mark.parametrize(
    ("numbers", "categories", "size", "expected"),
    [(200, 0, 0, "recordio"), (2, 1, 2, "csv"), (5, 10, 50, "sparse recordio")],
)
def test_the_format_with_the_smallest_files_is_chosen(numbers: int, categories: int, size: int, expected: str) -> None:
    assert smallest_format(schema(numbers, categories, size), 1000) == expected


@pytest.mark.parametrize(("numbers", "categories", "size"), [(200, 0, 0), (2, 1, 2), (5, 10, 50), (3, 4, 60)])
def test_estimates_are_near_the_real_sizes(numbers: int, categories: int, size: int) -> None:
    one, rows, rng = schema(numbers, categories, size), 500, np.random.default_rng(0)
    label = rng.normal(size=rows).round(4)
    compact = [rng.normal(size=rows).round(4) for _ in range(numbers)]
    compact += [rng.integers(0, size, rows).astype(np.uint8) for _ in range(categories)]
    features, sparse, full = one.expand(compact), io.BytesIO(), io.BytesIO()
    write_sparse(sparse, label, *one.expand_sparse(compact), len(one.features))
    write_columns(full, label, features)
    text = pl.DataFrame([label, *features]).write_csv(include_header=False)
    real = {"csv": len(text), "recordio": len(full.getvalue()), "sparse recordio": len(sparse.getvalue())}
    estimates = channel_sizes(one, rows)
    assert {name: estimates[name] for name in real} == pytest.approx(real, rel=0.25)  # type: ignore[index]
