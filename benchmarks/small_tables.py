"""Compare schedules for small tables: the test error of each against a closed-form fit on the same rows.

`python -m benchmarks.small_tables FOLDER` takes about ten minutes with the unpacked tables of the package pydataset. It
uses every CSV file with 60 to 1600 training rows, up to 120 encoded features, and a column that can be predicted: the
last one with more than twelve numbers, and the last two with two to eight classes. Each table is split four times,
70/20/10. A ratio compares means over the splits, RMSE or log loss; 1.05 is an error 5 % above the closed form's.
"""

import os

# One thread: products this small gain little from more threads, and lose much when the other core is busy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from benchmarks.batch_size import Table, class_count, encode, mean_error, split
from linear_learner.model import PredictorType
from linear_learner.schedule import choose_num_models
from linear_learner.training.engine import train
from tasks.evaluation.closed_form import fit_closed_form
from tasks.parameters import RequestedHyperparameters

SEEDS = range(4)
MIN_ROWS, MAX_ROWS, MAX_WIDTH = 60, 1600, 120
"""Training rows, and features after encoding."""
CONTAINER = {"epochs": 15, "early_stopping_patience": 3, "num_models": 32}
VARIANTS: dict[str, Callable[[PredictorType, int], dict[str, Any]]] = {
    "15 epochs, patience 3": lambda _kind, _rows: CONTAINER,
    "up to 60 epochs, patience up to 12": lambda _kind, _rows: {"num_models": 32},
    "the same, and 4 models": lambda _kind, _rows: {"num_models": 4},
    "chosen by the schedule": lambda kind, rows: {"num_models": choose_num_models(kind, rows)},
}


def tables(folder: Path) -> Iterator[Table]:
    """Yield the tables of all files, each once."""
    known = set()
    for path in sorted(folder.rglob("*.csv")):
        try:
            frame = pd.read_csv(path, quotechar='"')
        except (ValueError, UnicodeDecodeError):
            continue
        frame = frame.loc[:, ~frame.columns.str.startswith("Unnamed")]  # R's row names
        content = int(pd.util.hash_pandas_object(frame, index=False).sum())
        if content in known or not MIN_ROWS <= round(0.7 * len(frame)) < MAX_ROWS:
            continue
        known.add(content)
        for target in targets(frame):
            labelled = frame.dropna(subset=[target])
            if labelled.shape[1] > 1:
                yield encode(f"{path.stem} {target}", labelled.drop(columns=[target]), labelled[target])


def targets(frame: pd.DataFrame) -> list[str]:
    """Return the columns to predict."""
    numbers, classes = [], []
    for name in frame.columns[frame.notna().mean() > 0.9]:
        counts, is_number = frame[name].value_counts(), pd.api.types.is_numeric_dtype(frame[name])
        if is_number and len(counts) > 12:
            numbers.append(name)
        elif 2 <= len(counts) <= (2 if is_number else 8) and counts.min() >= 8:
            classes.append(name)
    return numbers[-1:] + classes[-2:]


def measure(table: Table) -> list[float]:
    """Return the ratio of each variant; none for a table whose labels follow from its features."""
    parts = [split(table, seed) for seed in SEEDS]
    classes, tests = class_count(table) if table.kind != "regressor" else 0, [part[2] for part in parts]
    fits = [fit_closed_form(table.kind, part[0], classes).predict(part[2].features) for part in parts]
    reference = mean_error(table.kind, fits, tests)
    if reference < (1e-3 * float(np.std(table.labels)) if table.kind == "regressor" else 0.05):
        return []
    ratios = []
    for variant in VARIANTS.values():
        rows = len(parts[0][0].labels)
        settings = RequestedHyperparameters(**variant(table.kind, rows)).resolve(table.kind, classes, rows)
        models = [train(settings, part[0], part[1]).model for part in parts]
        predictions = [model.predict(test.features) for model, test in zip(models, tests, strict=True)]
        ratios.append(mean_error(table.kind, predictions, tests) / reference)
    return ratios


def summarise(measured: list[tuple[PredictorType, int, list[float]]]) -> Iterator[str]:
    """Yield the counts and means of each predictor type and range of training rows."""
    for kind, (low, high) in product(get_args(PredictorType), pairwise((MIN_ROWS, 200, 400, 800, MAX_ROWS))):
        group = np.array([ratios for found, rows, ratios in measured if found == kind and low <= rows < high])
        yield f"\n{len(group)} of the type {kind} with {low} to {high} training rows"
        for name, column in zip(VARIANTS, group.T, strict=False):
            mean, tail, within = np.exp(np.log(column).mean()), np.quantile(column, 0.9), int((column <= 1.05).sum())
            yield f"  {name:<36} within 5 %: {within:>3}  mean {mean:.3f}  90 % below {tail:.3f}  {column.max():.2f}"


def main(folder: str) -> None:
    warnings.filterwarnings("ignore")  # of pandas and scikit-learn, about tables as they are published
    measured: list[tuple[PredictorType, int, list[float]]] = []
    for table in tables(Path(folder)):
        usable = 1 <= table.features.shape[1] <= MAX_WIDTH and np.isfinite(table.features).all()
        if usable and (ratios := measure(table)):
            rows = round(0.7 * len(table.labels))
            measured.append((table.kind, rows, ratios))
            print(f"{table.name:<40}{table.kind:<24}{rows:>6}", *(f"{ratio:8.3f}" for ratio in ratios), flush=True)
    print(*summarise(measured), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
