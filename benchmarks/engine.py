"""Measure training speed, and compare it with the same number of scikit-learn fits: `python -m benchmarks.engine`.

The comparison takes the fastest of several repeats and requires that the engine's validation loss is not worse.
"""

import os

# One thread: products this small gain little from more threads, and lose much when the other core is busy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from joblib import Parallel, delayed  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.metrics import log_loss, mean_squared_error

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import Examples, PredictorType
from linear_learner.training.engine import train

KINDS: tuple[PredictorType, PredictorType] = ("regressor", "binary_classifier")
REPEATS = 3


def examples(rows: int, features: int, kind: PredictorType, seed: int = 0, folder: Path | None = None) -> Examples:
    """Return random rows of one fixed model with noise; as memory maps on disk if a folder is given."""
    weights = np.random.default_rng(1).standard_normal(features, dtype=np.float32) / np.float32(features**0.5)
    rng = np.random.default_rng(seed)
    made: list[NDArray[np.float32]] = [np.empty((rows, features), np.float32), np.empty(rows, np.float32)]
    if folder is not None:
        made = [np.lib.format.open_memmap(folder / f"{a.ndim}.npy", "w+", a.dtype, a.shape) for a in made]
    matrix, labels = made
    for start in range(0, rows, 100_000):
        part = slice(start, start + 100_000)
        matrix[part] = 3 * rng.standard_normal(matrix[part].shape, dtype=np.float32) + 10
        line = (matrix[part] - 10) @ weights + rng.standard_normal(len(labels[part]), dtype=np.float32)
        labels[part] = line if kind == "regressor" else line > 0
    return Examples(matrix, labels)


def records_per_second(data: Examples, kind: PredictorType, mini_batch: int, epochs: int = 4) -> float:
    """Return the records per second of the fastest epoch with 32 models; checks that the best model fits the data."""
    settings = Hyperparameters(
        predictor_type=kind, mini_batch_size=mini_batch, epochs=epochs, early_stopping_patience=epochs
    )
    training = train(settings, data)
    scores = {score.name: score.value for score in training.scores["train"]}
    assert scores.get("r2", 1.0) > 0.5
    assert scores.get("roc_auc_score", 1.0) > 0.8
    return max(len(data.labels) / epoch.seconds for epoch in training.epochs)


def throughput() -> Iterator[str]:
    yield "32 models, records/s of the fastest epoch"
    yield f"{'features':>9} {'mini-batch':>11}" + "".join(f"{kind:>20}" for kind in KINDS)
    for features, mini_batch in product((16, 100, 1000), (32, 1000)):
        rows = {16: 200_000, 100: 100_000, 1000: 15_000}[features]
        speeds = [records_per_second(examples(rows, features, kind), kind, mini_batch) for kind in KINDS]
        yield f"{features:>9} {mini_batch:>11}" + "".join(f"{speed:>20,.0f}" for speed in speeds)


def growth() -> Iterator[str]:
    yield "from 10 thousand to 10 million rows of 16 features on disk, mini-batch 32, binary_classifier"
    for rows in (10_000, 100_000, 1_000_000, 10_000_000):
        with TemporaryDirectory() as folder:
            data = examples(rows, 16, "binary_classifier", folder=Path(folder))
            speed = records_per_second(data, "binary_classifier", 32, epochs=5 if rows < 10_000_000 else 2)
        yield f"{rows:>12,} rows {speed:>12,.0f} records/s {1e9 / speed:>8.0f} ns per record"


def scikit_learn_models(kind: PredictorType, epochs: int | None) -> list[Any]:
    """Return 32 models with stochastic gradient descent, over the penalties and learning rates of the engine's grid."""
    stop: dict[str, Any] = {"tol": None, "max_iter": epochs} if epochs else {}
    made = []
    for alpha, rate, power, average in product((1e-4, 1e-2, 1, 100), (0.005, 0.1), (0.25, 0.5), (False, True)):
        options = {"alpha": alpha, "eta0": rate, "power_t": power, "average": average, **stop}
        if kind == "regressor":
            made.append(SGDRegressor(**options))
        else:
            made.append(SGDClassifier(loss="log_loss", learning_rate="invscaling", **options))
    return made


def fastest(run: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds of the fastest repeat and its validation loss."""
    timings = []
    for _ in range(REPEATS):
        started = perf_counter()
        loss = run()
        timings.append((perf_counter() - started, loss))
    return min(timings)


def against_scikit_learn(kind: PredictorType, epochs: int | None) -> str:
    """Train 32 models with both and select the best on validation rows; without `epochs` each stops early."""
    data, held_out = examples(100_000, 16, kind), examples(20_000, 16, kind, seed=2)
    settings = Hyperparameters(
        predictor_type=kind,
        mini_batch_size=32,
        binary_classifier_model_selection_criteria="loss_function",
        **({"epochs": epochs, "early_stopping_patience": epochs} if epochs else {}),
    )

    def train_engine() -> float:
        scores = train(settings, data, held_out).scores["validation"]
        return scores[0].value

    def train_scikit_learn() -> float:
        scaled, unseen = ((part.features.astype(np.float64) - 10) / 3 for part in (data, held_out))
        models = scikit_learn_models(kind, epochs)
        fits = Parallel(n_jobs=2)(delayed(model.fit)(scaled, data.labels) for model in models)
        if kind == "regressor":
            return float(min(mean_squared_error(held_out.labels, fit.predict(unseen)) for fit in fits))
        return float(min(log_loss(held_out.labels, fit.predict_proba(unseen)) for fit in fits))

    (engine_seconds, engine_loss), (seconds, loss) = fastest(train_engine), fastest(train_scikit_learn)
    assert engine_loss < loss * 1.01, f"the engine's validation loss is worse: {engine_loss}, scikit-learn's is {loss}"
    stop = f"{epochs} epochs" if epochs else "early stopping"
    return (
        f"{kind:>18}, {stop:<15} engine {engine_seconds:6.2f} s, loss {engine_loss:.4f};"
        f" 32 fits on two cores {seconds:6.2f} s, loss {loss:.4f}: {seconds / engine_seconds:5.1f} times as fast"
    )


if __name__ == "__main__":
    for line in throughput():
        print(line, flush=True)
    for kind_, epochs_ in product(KINDS, (None, 5)):
        print(against_scikit_learn(kind_, epochs_), flush=True)
    for line in growth():
        print(line, flush=True)
