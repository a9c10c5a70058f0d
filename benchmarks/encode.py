"""Measure the encoding of a table in memory, side by side with scikit-learn's ColumnTransformer.

    python -m benchmarks.encode [rows [ours | scikit-learn]]

The table has four columns of text, three numbers with missing cells and three complete numbers. Ours fits a schema,
brings the rows into the compact form and expands them, chunk by chunk; the ColumnTransformer fits and transforms a
pandas frame. Each runs in a process of its own, and both must give the same features for the first rows. With the last
argument only one of them runs, for sizes at which the other does not fit into memory, and its result is printed as
JSON.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 100_000
SAMPLE_ROWS = 1000
CITIES, PLANS, STATES, FLAGS = 2000, 12, 60, 3
TEXTS = {"city": CITIES, "plan": PLANS, "state": STATES, "flag": FLAGS}
FILLED, COMPLETE = ("income", "age", "balance"), ("tenure", "score", "visits")


def make_columns(rows: int) -> Iterator[tuple[str, NDArray[np.generic], NDArray[np.bool_] | None]]:
    """Names, values and missing cells; texts as the indices of their categories."""
    rng = np.random.default_rng(0)
    values: NDArray[Any]
    for name, size in TEXTS.items():
        weights = 1 / np.arange(1, size + 1)
        values = rng.choice(size, rows, p=weights / weights.sum()).astype(np.int16)
        yield name, values, rng.random(rows) < 0.05 if name != "flag" else None
    for name in FILLED:
        values = rng.integers(18, 90, rows).astype(float) if name == "age" else rng.lognormal(8, 1, rows).round(2)
        yield name, values, rng.random(rows) < 0.1
    for name in COMPLETE:
        yield name, rng.normal(size=rows) if name == "score" else rng.integers(0, 1000, rows), None


def ours(rows: int) -> dict[str, object]:
    import polars as pl

    from linear_learner.schema import LabelSchema
    from tasks.data.column_plan import ColumnPlan
    from tasks.data.encoder import compact, expand, fit_frames, make_schema

    series = [pl.Series("y", np.zeros(rows, np.int8))]
    for name, values, missing in make_columns(rows):
        column = pl.Series(name, values)
        if name in TEXTS:
            names = pl.Series([f"{name} {index:04}" for index in range(TEXTS[name])])
            column = names.gather(column).alias(name)
        series.append(
            column if missing is None else column.zip_with(pl.Series(~missing), pl.Series([None], dtype=column.dtype))
        )
    table = pl.DataFrame(series)
    kinds = {"y": "target", **dict.fromkeys(TEXTS, "category"), **dict.fromkeys(FILLED, "fill")}
    plan = [
        ColumnPlan.model_validate({"name": name, "treatment": kinds.get(name, "number"), "reason": ""})
        for name in table.columns
    ]
    before, start = peak_bytes(), time.perf_counter()
    chunks = [table[at : at + CHUNK_ROWS] for at in range(0, rows, CHUNK_ROWS)]
    schema = make_schema(fit_frames(chunks, np.ones(rows, np.bool_), plan), plan, LabelSchema(name="y"))
    first, count = np.empty((0, 0)), 0
    for chunk in chunks:
        features = expand(compact(chunk, schema, {}), schema)
        count += len(features[0])
        first = first if first.size else np.column_stack([feature[:SAMPLE_ROWS] for feature in features])
    seconds = time.perf_counter() - start
    assert count == rows
    sums = {name: float(column.sum()) for name, column in zip(schema.features, first.T, strict=True)}
    return {"seconds": seconds, "bytes": peak_bytes() - before, "sums": sums}


def scikit_learn(rows: int) -> dict[str, object]:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder

    columns = {}
    for name, values, missing in make_columns(rows):
        if name in TEXTS:
            names = np.array([f"{name} {index:04}" for index in range(TEXTS[name])], object)
            values = names[values]  # noqa: PLW2901
        if missing is not None:
            values = values.copy()  # noqa: PLW2901
            values[missing] = np.nan
        columns[name] = values
    table = pd.DataFrame(columns)
    # 50 categories, one for the others and one for missing cells.
    encoder = OneHotEncoder(max_categories=52, handle_unknown="infrequent_if_exist", dtype=np.float32)
    imputer = SimpleImputer(strategy="median", add_indicator=True)
    steps = [
        ("category", encoder, list(TEXTS)),
        ("fill", imputer, list(FILLED)),
        ("number", "passthrough", list(COMPLETE)),
    ]
    before, start = peak_bytes(), time.perf_counter()
    transformer = ColumnTransformer(steps, verbose_feature_names_out=False)
    features = transformer.fit_transform(table)
    seconds = time.perf_counter() - start
    names = transformer.get_feature_names_out()
    first = features[:SAMPLE_ROWS]
    dense = first if isinstance(first, np.ndarray) else first.toarray()
    sums = {rename(name): float(column.sum()) for name, column in zip(names, dense.T, strict=True)}
    return {"seconds": seconds, "bytes": peak_bytes() - before, "sums": sums}


def rename(name: str) -> str:
    """The schema's name of a feature of scikit-learn."""
    if name.startswith("missingindicator_"):
        return f"{name.removeprefix('missingindicator_')}=(missing)"
    column, _, value = name.partition("_")
    names = {"nan": "(missing)", "infrequent_sklearn": "(other)"}
    return f"{column}={names.get(value, value)}" if value else name


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(variant: str, rows: int) -> dict[str, object]:
    command = [sys.executable, "-m", "benchmarks.encode", str(rows), variant]
    result: dict[str, object] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return result


def main(rows: int, variant: str = "") -> None:
    if variant:
        print(json.dumps({"ours": ours, "scikit-learn": scikit_learn}[variant](rows)))
        return
    found = {name: run(name, rows) for name in ("ours", "scikit-learn")}
    mine, theirs = (result["sums"] for result in found.values())
    assert isinstance(mine, dict)
    assert isinstance(theirs, dict)
    assert mine.keys() == theirs.keys(), mine.keys() ^ theirs.keys()
    np.testing.assert_allclose(list(mine.values()), [theirs[name] for name in mine], rtol=1e-5)
    print(f"{rows} rows, {len(TEXTS) + len(FILLED) + len(COMPLETE)} columns, {len(mine)} features")
    for name, result in found.items():
        print(f"{name:<14}{result['seconds']:8.2f} s, {int(str(result['bytes'])) / 2**20:8.0f} MiB above the table")
    print(f"ratio         {float(str(found['scikit-learn']['seconds'])) / float(str(found['ours']['seconds'])):8.1f} x")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000, *sys.argv[2:3])
