"""Compare mini-batch sizes: the test error against a closed-form fit, and the time that a real job would take.

`python -m benchmarks.batch_size [--results FILE] [FOLDER ...]` takes about half an hour. scikit-learn's tables and
generated ones are always used; the public tables of PUBLIC as far as they are found below the folders, for example in
the unpacked packages statsmodels and pydataset. `--results` adds each measurement to a file, and reads those that it
already has.

Every table is split 70/20/10 like the flow's default, small ones five times, and trained with all mini-batch sizes; a
binary classifier also with the criterion cross_entropy_loss. The closed-form fit uses the same training rows. A ratio
compares the means over the splits: RMSE for regressors, log loss for classifiers, where 1.05 is an error 5 % above the
closed form's.
"""

import os

# One thread: products this small gain little from more threads, and lose much when the other core is busy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import Examples, Predictions, PredictorType
from linear_learner.schedule import choose_batch_size
from linear_learner.training.engine import TrainingResult, train
from tasks.evaluation.closed_form import compare_with_closed_form, fit_closed_form

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 4000)
EPOCHS = 15
MAX_UPDATES = 20_000
"""Batches so small that a job would have more updates are not measured: it would take more than six minutes."""
TOLERANCE = 1.05
MAX_CATEGORIES = 50
CRITERIA = ("accuracy", "cross_entropy_loss")
FEW_ROWS = 8000
MAX_AREA_DIFFERENCE = 0.02

RULES: dict[str, Callable[[int], int]] = {
    "1000, the container's default": lambda rows: min(1000, rows),
    "32": lambda rows: min(32, rows),
    **{
        f"rows / {parts}, at most 1000": lambda rows, parts=parts: power_of_two(rows // parts)  # type: ignore[misc]
        for parts in (25, 50, 100, 200, 400)
    },
    "choose_batch_size": choose_batch_size,
}


def power_of_two(limit: int) -> int:
    """Return the largest power of two up to `limit`, at least 1; 1000 from there on."""
    return 1000 if limit >= 1000 else 1 << max(0, limit.bit_length() - 1)


class Table(NamedTuple):
    name: str
    kind: PredictorType
    features: NDArray[np.float32]
    labels: NDArray[np.float32]


@dataclass(frozen=True)
class Measurement:
    """One table and mini-batch size, on the mean of the splits."""

    table: str
    kind: str
    criterion: str
    rows: int
    """Training rows."""
    width: int
    batch: int
    updates: int
    """Until early stopping or the last epoch."""
    ratio: float
    auc_difference: float
    engine_seconds: float

    @property
    def group(self) -> str:
        return f"{self.kind} {self.criterion}".strip()

    @property
    def job_seconds(self) -> float:
        """Estimated time of training in a real job, without its start-up."""
        return self.updates * seconds_per_update(self.batch)


def seconds_per_update(batch: int) -> float:
    """Seconds per update of 32 models on ml.m5.large, as in public logs: 17 to 18 ms for 4 and 32 rows, about 36 ms
    for 1000."""
    return 0.018 + 0.018 * batch / 1000


# Generated tables


def generated() -> Iterator[Table]:
    rng = np.random.default_rng(0)
    for rows in (200, 500, 1000, 2000, 5000, 20_000, 100_000):
        for kind in ("regressor", "binary_classifier"):
            yield linear(f"normal {rows}", rng, rng.standard_normal((rows, 10)), kind)
    yield linear("normal 300000", rng, rng.standard_normal((300_000, 10)), "regressor")
    for rows, width in ((1000, 2), (5000, 2), (1000, 100), (5000, 200), (40_000, 200)):
        yield linear(f"wide {rows}x{width}", rng, rng.standard_normal((rows, width)), "regressor")
    for rows in (1000, 5000, 40_000):
        yield linear(f"one-hot {rows}", rng, one_hot(rng, rows), "regressor")
        yield linear(f"one-hot {rows}", rng, one_hot(rng, rows), "binary_classifier")
        yield linear(
            f"heavy tails {rows}", rng, rng.standard_t(3, (rows, 10)), "regressor", noise=rng.standard_t(3, rows)
        )
        yield linear(f"collinear {rows}", rng, collinear(rng, rows), "regressor")
        yield linear(f"collinear {rows}", rng, collinear(rng, rows), "binary_classifier")
        yield linear(f"large means {rows}", rng, 1e4 + rng.standard_normal((rows, 10)), "regressor")
        yield linear(f"5 % positive {rows}", rng, rng.standard_normal((rows, 10)), "binary_classifier", positive=0.05)
        yield linear(f"little noise {rows}", rng, rng.standard_normal((rows, 10)), "regressor", signal=10)
        yield linear(f"four classes {rows}", rng, rng.standard_normal((rows, 10)), "multiclass_classifier")


def linear(  # noqa: PLR0913 - the ways in which tables differ
    name: str,
    rng: np.random.Generator,
    features: NDArray[np.float64],
    kind: PredictorType,
    *,
    signal: float = 1.5,
    positive: float = 0.5,
    noise: NDArray[np.float64] | None = None,
) -> Table:
    """Return a table whose label depends linearly on the standardised features; `signal` is the deviation to noise."""
    scaled = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    outputs = 4 if kind == "multiclass_classifier" else 1
    score = scaled @ rng.standard_normal((scaled.shape[1], outputs))
    score *= signal / score.std(axis=0)
    score[:, 0] += rng.logistic(size=len(score)) * 0.55 if noise is None else noise
    labels = score[:, 0]
    if kind == "binary_classifier":
        labels = labels > np.quantile(labels, 1 - positive)
    elif outputs > 1:
        labels = (score + rng.gumbel(size=score.shape)).argmax(axis=1)
    return Table(name, kind, features.astype(np.float32), labels.astype(np.float32))


def one_hot(rng: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """Two text columns with 50 and 20 categories, most of them rare, and two numbers."""
    columns = [np.eye(count)[np.minimum(rng.zipf(1.6, rows) - 1, count - 1)] for count in (50, 20)]
    return np.hstack([*columns, rng.standard_normal((rows, 2))])


def collinear(rng: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """Twelve columns that are sums of three, up to a few percent."""
    factors = rng.standard_normal((rows, 3))
    return factors @ rng.standard_normal((3, 12)) + 0.05 * rng.standard_normal((rows, 12))


# Shipped and public tables

PUBLIC = """
batch_cliff/rows1428.csv y
batch_cliff/rows1429.csv y
fair/fair.csv rate_marriage
fair/fair.csv affairs
randhie/randhie.csv mdvis
star98/star98.csv MATHTOT PR50M
grunfeld/grunfeld.csv invest
engel/engel.csv foodexp
cancer/cancer.csv cancer
Ecdat/Computers.csv price
Ecdat/Wages1.csv wage
Ecdat/Bwages.csv wage
Ecdat/CPSch3.csv ahe
Ecdat/MedExp.csv med
Ecdat/Hdma.csv deny
Ecdat/Mroz.csv work hoursw hearnw wagew
Ecdat/Star.csv tmathssk
Ecdat/RetSchool.csv wage76
Ecdat/BudgetFood.csv wfood
Ecdat/Cigar.csv sales state
Ecdat/Car.csv choice
Ecdat/HI.csv whi hhi2
Ecdat/Benefits.csv ui
Ecdat/Catsup.csv choice id
Ecdat/Fishing.csv mode
Ecdat/Earnings.csv y
ggplot2/diamonds.csv price
ggplot2/diamonds.csv cut
COUNT/titanic.csv survived
COUNT/medpar.csv los provnum
COUNT/rwm5yr.csv outwork id
car/Chile.csv vote
car/SLID.csv wages
car/Vocab.csv vocabulary
HSAUR/Forbes2000.csv sales name
MASS/biopsy.csv class ID
MASS/nlschools.csv lang class
psych/bfi.csv gender
lme4/VerbAgg.csv r2 id resp
lme4/InstEval.csv y s d
survival/nwtco.csv rel seqno edrel
survival/flchain.csv death futime chapter
survival/colon.csv status id time
Zelig/turnout.csv vote
Zelig/voteincome.csv vote
robustbase/NOxEmissions.csv LNOx
"""
"""File, target, and columns that are ids or follow from the target."""


def shipped() -> Iterator[Table]:
    """scikit-learn's tables."""
    for load in (datasets.load_diabetes, datasets.load_breast_cancer, datasets.load_wine, datasets.load_iris):
        yield encode(load.__name__.removeprefix("load_"), *load(return_X_y=True, as_frame=True))
    yield encode("digits", *datasets.load_digits(return_X_y=True, as_frame=True))


def public(folders: Sequence[str]) -> Iterator[Table]:
    for line in PUBLIC.split("\n")[1:-1]:
        path, target, *ignored = line.split()
        found = next((file for folder in folders for file in sorted(Path(folder).rglob(path))), None)
        if found is None:
            print(f"{path} is not below the folders", file=sys.stderr)
            continue
        frame = pd.read_csv(found, quotechar='"').dropna(subset=[target])
        # R's row names.
        unnamed = [column for column in frame.columns if column.startswith("Unnamed")]
        name = f"{Path(path).stem} {target}"
        yield encode(name, frame.drop(columns=[target, *ignored, *unnamed]), frame[target])


def encode(name: str, frame: pd.DataFrame, target: "pd.Series[float]") -> Table:
    """Encode with one-hot columns and medians; whole-number targets of at most 10 values are classes."""
    text = frame.select_dtypes(exclude="number").columns
    frame = frame.copy()
    for column in text:
        common = frame[column].value_counts().index[:MAX_CATEGORIES]
        frame[column] = frame[column].where(frame[column].isin(common), "(other)").astype(str)
    encoded = pd.get_dummies(frame, columns=list(text))
    encoded = encoded.dropna(axis=1, how="all").fillna(encoded.median())
    classes = target.nunique()
    is_number = pd.api.types.is_numeric_dtype(target) and not pd.api.types.is_bool_dtype(target)
    if is_number and classes > 2 and name not in {"digits", "wine", "iris"}:
        kind: PredictorType = "regressor"
        labels = target.to_numpy(np.float32)
    else:
        kind = "binary_classifier" if classes == 2 else "multiclass_classifier"
        labels = pd.factorize(target, sort=True)[0].astype(np.float32)
    return Table(name, kind, encoded.to_numpy(np.float32), labels)


# Measurement


def split(table: Table, seed: int) -> list[Examples]:
    """Return training, validation and test rows, with the flow's default shares."""
    train_rows, held_out = train_test_split(np.arange(len(table.labels)), test_size=0.3, random_state=seed)
    validation, test = train_test_split(held_out, test_size=0.33, random_state=seed)
    return [Examples(table.features[part], table.labels[part]) for part in (train_rows, validation, test)]


def train_with(table: Table, batch: int, criterion: str, parts: Sequence[Examples]) -> TrainingResult:
    settings: dict[str, Any] = {"predictor_type": table.kind, "mini_batch_size": batch, "epochs": EPOCHS}
    if table.kind == "multiclass_classifier":
        settings["num_classes"] = class_count(table)
    if criterion:
        settings["binary_classifier_model_selection_criteria"] = criterion
    return train(Hyperparameters(**settings), parts[0], parts[1])


def class_count(table: Table) -> int:
    return int(table.labels.max()) + 1


def measure(table: Table) -> Iterator[Measurement]:
    """Train with every mini-batch size on the same splits."""
    splits = [split(table, seed) for seed in range(5 if len(table.labels) < FEW_ROWS else 1)]
    fits = [fit_closed_form(table.kind, parts[0], class_count(table)).predict(parts[2].features) for parts in splits]
    rows, width = splits[0][0].features.shape
    for criterion, batch in product(CRITERIA if table.kind == "binary_classifier" else ("",), BATCH_SIZES):
        if 0 < EPOCHS * (rows // batch) <= MAX_UPDATES * min(1, 60 / width):
            results = [train_with(table, batch, criterion, parts) for parts in splits]
            yield summarise(table, batch, criterion, results, fits, [parts[2] for parts in splits])


def summarise(  # noqa: PLR0913, PLR0917 - everything that was measured
    table: Table,
    batch: int,
    criterion: str,
    results: Sequence[TrainingResult],
    fits: Sequence[Predictions],
    tests: Sequence[Examples],
) -> Measurement:
    predictions = [result.model.predict(test.features) for result, test in zip(results, tests, strict=True)]
    epochs = float(np.mean([len(result.epochs) for result in results]))
    rows = round(len(table.labels) * 0.7)
    return Measurement(
        table=table.name,
        kind=table.kind,
        criterion=criterion,
        rows=rows,
        width=table.features.shape[1],
        batch=batch,
        updates=round(epochs * (rows // batch)),
        ratio=mean_error(table.kind, predictions, tests) / mean_error(table.kind, fits, tests),
        auc_difference=mean_area(fits, tests) - mean_area(predictions, tests),
        engine_seconds=float(np.mean([sum(epoch.seconds for epoch in result.epochs) for result in results])),
    )


def mean_error(kind: PredictorType, predictions: Sequence[Predictions], tests: Sequence[Examples]) -> float:
    """Return the mean of the RMSEs or log losses."""
    return float(np.mean([error(kind, each, test.labels) for each, test in zip(predictions, tests, strict=True)]))


def error(kind: PredictorType, predictions: Predictions, labels: NDArray[np.float32]) -> float:
    scores = predictions.scores.astype(np.float64)
    if kind == "regressor":
        return float(np.sqrt(np.square(labels - scores).mean()))
    by_class = np.column_stack([1 - scores, scores]) if scores.ndim == 1 else scores
    given = by_class[np.arange(len(labels)), labels.astype(np.intp)]
    return float(-np.log(np.clip(given, 1e-7, 1)).mean())


def mean_area(predictions: Sequence[Predictions], tests: Sequence[Examples]) -> float:
    """Return the mean ROC-AUC; 0 unless the classifier is binary."""
    pairs = zip(predictions, tests, strict=True)
    areas = [
        roc_auc_score(test.labels, each.scores)
        for each, test in pairs
        if each.labels is not None and each.scores.ndim == 1 and 0 < test.labels.mean() < 1
    ]
    return float(np.mean(areas)) if areas else 0.0


def count_alarms(tables: Iterable[Table]) -> Iterator[str]:
    """Compare the models of the rule and of the container's default with closed-form fits, as the report does."""
    for table in tables:
        parts = split(table, 0)
        rows = len(parts[0].labels)
        for criterion in CRITERIA if table.kind == "binary_classifier" else ("",):
            for batch in (choose_batch_size(rows), min(1000, rows)):
                model = train_with(table, batch, criterion, parts).model
                found = compare_with_closed_form(model, parts[0], parts[2])
                if found is not None and found.is_clearly_worse:
                    values = f"{found.metric} {found.model:.4g}, closed form {found.closed_form:.4g}"
                    yield f"{table.name} {table.kind} {criterion}: {rows} rows, mini-batch {batch}: {values}"


# Results


def by_updates(measurements: Iterable[Measurement]) -> Iterator[str]:
    """Count the measurements within the tolerance, by the number of updates."""
    edges = (0, 30, 60, 120, 250, 500, 1000, 2000, 4000, 1_000_000)
    groups = defaultdict(list)
    for one in measurements:
        low = max(edge for edge in edges if edge <= one.updates)
        groups[one.group, low].append(one)
    for (group, low), members in sorted(groups.items()):
        ratios = np.array([one.ratio for one in members])
        areas = sum(one.auc_difference <= MAX_AREA_DIFFERENCE for one in members)
        yield (
            f"{group:<36} from {low:>5} updates: {sum(ratios <= TOLERANCE):>3} of {len(members):>3} within 5 %,"
            f" 95 % up to {np.quantile(ratios, 0.95):5.2f}; ROC-AUC within 0.02 in {areas:>3}"
        )


def by_rule(measurements: Iterable[Measurement]) -> Iterator[str]:
    """Evaluate each rule with the measured batch size that is the nearest below what it chooses."""
    tables: dict[tuple[str, str], dict[int, Measurement]] = defaultdict(dict)
    for one in measurements:
        tables[one.group, one.table][one.batch] = one
    for group in sorted({group for group, _ in tables}):
        measured = [sizes for (of, _), sizes in tables.items() if of == group]
        for name, rule in RULES.items():
            chosen = [choose_measured(sizes, rule) for sizes in measured]
            ratios = [one.ratio for one in chosen]
            seconds = [one.job_seconds for one in chosen]
            areas = sum(one.auc_difference <= MAX_AREA_DIFFERENCE for one in chosen)
            within = sum(ratio <= TOLERANCE for ratio in ratios)
            yield (
                f"{group:<36} {name:<28} {within:>3} of {len(ratios):>3} within 5 %,"
                f" largest {max(ratios):5.2f}; ROC-AUC within 0.02 in {areas:>3};"
                f" {np.median(seconds):4.0f} s, at most {max(seconds):4.0f} s"
            )


def choose_measured(sizes: dict[int, Measurement], rule: Callable[[int], int]) -> Measurement:
    wanted = rule(next(iter(sizes.values())).rows)
    return sizes[max((size for size in sizes if size <= wanted), default=min(sizes))]


def load_results(file: Path | None) -> list[Measurement]:
    lines = file.read_text().splitlines() if file and file.exists() else []
    return [Measurement(**json.loads(line)) for line in lines]


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path)
    parser.add_argument("folders", nargs="*")
    arguments = parser.parse_args()
    measurements = load_results(arguments.results)
    done = {(one.table, one.kind) for one in measurements}
    for table in chain(shipped(), public(arguments.folders), generated()):
        if (table.name, table.kind) not in done:
            for one in measure(table):
                measurements.append(one)
                print(one, flush=True)
                if arguments.results:
                    with arguments.results.open("a") as file:
                        print(json.dumps(asdict(one)), file=file)
    for line in chain(by_updates(measurements), by_rule(measurements)):
        print(line)
    print("clearly worse than a closed-form fit:")
    for line in count_alarms(chain(shipped(), public(arguments.folders), generated())):
        print(line, flush=True)


if __name__ == "__main__":
    main()
