"""The variants of `benchmarks.prepare`: arguments `VARIANT CSV FOLDER` run one of them and print its times as JSON."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

OUTPUTS = ("train.csv", "validation.csv", "test.csv")
TIMES: dict[str, float] = {}


@contextmanager
def timed(step: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    TIMES[step] = TIMES.get(step, 0) + time.perf_counter() - start


def recipe(source: Path, folder: Path) -> None:
    import pandas as pd
    from sklearn.model_selection import train_test_split

    with timed("all"):
        with timed("read"):
            frame = pd.read_csv(source)
        with timed("split"):
            train, holdout = train_test_split(frame, test_size=0.3, random_state=42)
            validation, test = train_test_split(holdout, test_size=0.33, random_state=42)
        with timed("write"):
            for name, rows in zip(OUTPUTS, (train, validation, test), strict=True):
                ordered = pd.concat([rows["bonus"], rows.drop(columns="bonus")], axis=1)
                ordered.to_csv(folder / name, header=False, index=False)


def project(source: Path, folder: Path, form: Literal["csv", "recordio"]) -> None:
    import sklearn.model_selection  # noqa: F401 - imported before the timing, as in the recipe

    from sandbox.client import make_workspace
    from tasks.check import find_treatments
    from tasks.data.row_assignment import count_rows
    from tasks.encode import Encoding, fit_schema
    from tasks.format import format_channels
    from tasks.load import find, load
    from tasks.parameters import Dataset, RunParameters, Split
    from tasks.split import Rows

    workspace = make_workspace("http://127.0.0.1:9")  # not called, as all files are local
    with timed("all"):
        with timed("load"):
            dataset = Dataset(source=f"file://{source}", target="bonus")
            table = load.fn(workspace, find.fn(workspace, dataset), dataset)
        with timed("split and write"):
            rows = Rows(parameters=Split(), **count_rows(table.rows, Split()))
            schema = fit_schema(
                workspace, table, rows, find_treatments(table, rows, RunParameters(dataset=dataset)), dataset
            )
            formatted = format_channels.fn(workspace, table, rows, Encoding(table_schema=schema, made_of={}), form, 1)
    for file in formatted.files:
        path = formatted.path(file)
        path.rename(folder / path.name)


def formats(source: Path, folder: Path) -> None:
    """Write the table and a table of real numbers of the same size, both in memory, once in each format."""
    import numpy as np
    import polars as pl

    from linear_learner.schema import LabelSchema, NumberColumn, Schema
    from tasks.data.writer import write_rows

    table = pl.read_csv(source)
    table = pl.DataFrame([s.shrink_dtype() if s.dtype.is_integer() else s for s in table]).rechunk()
    real = pl.DataFrame(np.random.default_rng(0).normal(size=table.shape), table.columns).rechunk()
    columns = tuple(NumberColumn(name=name) for name in table.columns if name != "bonus")
    schema = Schema(label=LabelSchema(name="bonus"), columns=columns)
    for name, unordered in (("table", table), ("real", real)):
        frame = unordered.select("bonus", pl.exclude("bonus"))
        for form in ("csv", "recordio"):
            with timed(f"{name} {form}"):
                write_rows([frame], schema, folder / "formats", form)


def peak_mebibytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    variant, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if variant == "recipe":
        recipe(source, folder)
    elif variant == "formats":
        formats(source, folder)
    else:
        project(source, folder, "csv" if variant == "csv" else "recordio")
    print(json.dumps({**TIMES, "peak": peak_mebibytes()}))
