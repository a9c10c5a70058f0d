"""Compare batch predictions with a chunk loop of pandas and scikit-learn, from a CSV file to a CSV file.

    python -m benchmarks.predict [ROWS [LARGE_ROWS]]

One table has 16 numbers, the other 4 columns of text besides. The loop reads a chunk with pandas, predicts with the
same model as a scikit-learn estimator, behind a ColumnTransformer for the texts, and appends to the output. Each runs
in a separate process; imports are not timed, and peak memory is that of the process. The variants alternate, and
their predictions must be equal. The results are medians of five rounds; speed in rows is that of the fastest round, as
other processes on the machine slow all of them down. A table of LARGE_ROWS shows that memory is bounded.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, run
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from benchmarks.prepare import medians, meets
from benchmarks.prepare_variants import peak_mebibytes
from linear_learner.model import LinearModel
from linear_learner.schema import CategoryColumn, LabelSchema, NumberColumn, Schema

ROWS, LARGE_ROWS = 2_000_000, 20_000_000
ROUNDS = 5
WRITTEN_ROWS, CHUNK_ROWS = 500_000, 100_000
NUMBERS = 16
TEXTS = {"city": 2000, "plan": 12, "state": 60, "flag": 3}
MAX_CATEGORIES = 50


def write_table(path: Path, rows: int, *, texts: bool) -> None:
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, rows, WRITTEN_ROWS):
            count = min(WRITTEN_ROWS, rows - start)
            columns: dict[str, Any] = {"id": np.arange(start, start + count)}
            for index in range(NUMBERS):
                whole = index % 4 == 0
                columns[f"x{index}"] = (
                    rng.integers(1, 1000, count) if whole else rng.gamma(9, 30, count).round(2 + index % 3)
                )
            for name, size in TEXTS.items() if texts else ():
                shares = 1 / np.arange(1, size + 1)
                codes = rng.choice(size, count, p=shares / shares.sum())
                columns[name] = pl.Series([f"{name} {code:04}" for code in range(size)]).gather(codes)
            pl.DataFrame(columns).write_csv(file, include_header=not start)


def make_model(*, texts: bool) -> tuple[LinearModel, Schema]:
    categories = {
        name: [f"{name} {code:04}" for code in range(min(size, MAX_CATEGORIES))] for name, size in TEXTS.items()
    }
    columns: list[NumberColumn | CategoryColumn] = [NumberColumn(name=f"x{index}") for index in range(NUMBERS)]
    if texts:
        columns += [CategoryColumn(name=name, categories=tuple(found)) for name, found in categories.items()]
    schema = Schema(label=LabelSchema(name="y"), columns=tuple(columns))
    weights = np.random.default_rng(1).uniform(0.1, 1, (len(schema.features), 1))  # positive: no digits cancel out
    names = schema.features
    return LinearModel("regressor", "squared_loss", weights.astype("f4"), np.ones(1, "f4"), feature_names=names), schema


def prepare_ours(*, texts: bool) -> Callable[[Path, Path], None]:
    from tasks.data.reader import TableFile
    from tasks.data.scoring import Scorer, score_file

    scorer = Scorer(*make_model(texts=texts), keep=("id",))

    def predict(source: Path, output: Path) -> None:
        score_file(TableFile(source, source.name), scorer, output)

    return predict


def prepare_loop(*, texts: bool) -> Callable[[Path, Path], None]:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder

    from linear_learner.estimator import to_estimator

    model, schema = make_model(texts=texts)
    estimator = to_estimator(model)
    numbers = [column.name for column in schema.columns if isinstance(column, NumberColumn)]
    categories = {column.name: column.categories for column in schema.columns if isinstance(column, CategoryColumn)}
    encoder = OneHotEncoder(categories=[list(found) for found in categories.values()], handle_unknown="ignore")
    steps = [("numbers", "passthrough", numbers), ("categories", encoder, list(categories))]
    transformer = ColumnTransformer(steps if texts else steps[:1], verbose_feature_names_out=False)
    del estimator.feature_names_in_  # the encoder gives other names to the same features

    def predict(source: Path, output: Path) -> None:
        with output.open("w") as file:
            for number, chunk in enumerate(pd.read_csv(source, chunksize=CHUNK_ROWS)):
                if texts and not number:
                    transformer.fit(chunk)  # the categories are given
                features = transformer.transform(chunk) if texts else chunk[numbers].to_numpy()
                found = pd.DataFrame({"id": chunk["id"], "prediction": estimator.predict(features)})
                found.to_csv(file, header=not number, index=False)

    return predict


VARIANTS = {"ours": prepare_ours, "loop": prepare_loop}


def measure(variant: str, source: Path, output: Path, *, texts: bool) -> dict[str, float]:
    """Run a variant in a new process; `all` and `cpu` are seconds, `peak` is in MiB."""
    command = [sys.executable, "-m", "benchmarks.predict", variant, str(source), str(output), str(int(texts))]
    environment = {**os.environ, "XDG_CACHE_HOME": str(output.parent)}
    figures: dict[str, float] = json.loads(run(command, check=True, stdout=PIPE, env=environment).stdout)
    print(f"  {variant:<6}{figures['all']:8.2f} s{figures['cpu']:8.2f} CPU s{figures['peak']:8.0f} MiB", flush=True)
    return figures


def run_variant(variant: str, source: str, output: str, texts: str) -> None:
    predict = VARIANTS[variant](texts=texts == "1")
    start, processor = time.perf_counter(), time.process_time()
    predict(Path(source), Path(output))
    figures = {"all": time.perf_counter() - start, "cpu": time.process_time() - processor}
    figures["peak"] = peak_mebibytes()
    print(json.dumps(figures))


def compare(folder: Path, rows: int, *, texts: bool) -> list[bool]:
    source = folder / "table.csv"
    write_table(source, rows, texts=texts)
    print(f"{rows:,} rows, {NUMBERS} numbers{' and 4 texts' * texts}, {source.stat().st_size / 1e6:.0f} MB")
    rounds = [
        {variant: measure(variant, source, folder / f"{variant}.csv", texts=texts) for variant in VARIANTS}
        for _ in range(ROUNDS)
    ]
    ours, loop = (pl.read_csv(folder / f"{variant}.csv") for variant in VARIANTS)
    assert ours["id"].equals(loop["id"])
    np.testing.assert_allclose(ours["prediction"], loop["prediction"], rtol=1e-6)
    mine, theirs = (medians([figures[variant] for figures in rounds]) for variant in VARIANTS)
    speed = rows / min(figures["ours"]["all"] for figures in rounds)
    print(f"processor time relative to the loop: {theirs['cpu'] / mine['cpu']:.1f} x less")
    results = [meets("speed relative to the loop", theirs["all"] / mine["all"], 3, least=True)]
    return [*results, *([] if texts else [meets("million rows per second", speed / 1e6, 1, least=True)])]


def main(rows: int = ROWS, large_rows: int = LARGE_ROWS) -> int:
    # In memory if possible; otherwise the speed and cache of the disk would affect the results.
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:  # noqa: S108
        folder = Path(name)
        results = [*compare(folder, rows, texts=False), *compare(folder, rows // 2, texts=True)]
        if large_rows:
            source = folder / "table.csv"
            write_table(source, large_rows, texts=False)
            print(f"{large_rows:,} rows, {source.stat().st_size / 1e6:.0f} MB")
            for output in ("large.csv", "large.parquet"):
                large = measure("ours", source, folder / output, texts=False)
                results.append(meets(f"peak memory in GiB, {output}", large["peak"] / 1024, 1))
    return 0 if all(results) else 1


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in VARIANTS:
        run_variant(*sys.argv[1:])
    else:
        raise SystemExit(main(*map(int, sys.argv[1:])))
