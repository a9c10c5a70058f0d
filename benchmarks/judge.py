"""Measure the speed of scoring and evaluation, and how often noise is rejected: `python -m benchmarks.judge`.

Each time is the fastest of three, in one process, after scikit-learn was imported. A regressor, a binary classifier and
a multiclass classifier of ten classes are evaluated on 100,000 rows with a champion and 1,000 bootstrap rounds.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import perf_counter
from typing import get_args

import numpy as np
import sklearn.metrics  # noqa: F401 - imported before the clock starts

from linear_learner.hyperparameters import LOSSES, Hyperparameters
from linear_learner.model import Examples, LinearModel, PredictorType
from linear_learner.training.engine import train
from tasks.evaluation.assessment import assess
from tasks.evaluation.gate import make_verdict
from tasks.parameters import Gate

ROWS, SCORED_ROWS, FEATURES = 100_000, 2_000_000, 16
OUTPUTS: dict[PredictorType, int] = {"regressor": 1, "binary_classifier": 1, "multiclass_classifier": 10}
NOISE_CLASSES: dict[PredictorType, int] = {"binary_classifier": 2, "multiclass_classifier": 3}
SEEDS = 100
GATE = Gate()


def fastest(run: Callable[[], object]) -> float:
    """Return the seconds of the fastest of three runs."""
    seconds = []
    for _ in range(3):
        started = perf_counter()
        run()
        seconds.append(perf_counter() - started)
    return min(seconds)


def problem(kind: PredictorType, rows: int) -> tuple[LinearModel, Examples]:
    """Return a random linear model, and rows of it with noise."""
    rng = np.random.default_rng(0)
    outputs = OUTPUTS[kind]
    weights = rng.standard_normal((FEATURES, outputs), np.float32)
    features = rng.standard_normal((rows, FEATURES), np.float32)
    line = features @ weights + 3 * rng.standard_normal((rows, outputs), np.float32)
    labels = line[:, 0] if kind == "regressor" else line.argmax(axis=1) if outputs > 1 else line[:, 0] > 0
    model = LinearModel(kind, LOSSES[kind][0], weights, np.zeros(outputs, np.float32))
    return model, Examples(features, labels.astype(np.float32))


def scoring() -> Iterator[bool]:
    for kind in get_args(PredictorType):
        model, data = problem(kind, SCORED_ROWS)
        speed = SCORED_ROWS / fastest(lambda m=model, d=data: m.predict(d.features)) / 1e6  # type: ignore[misc]
        yield meets(f"million rows scored per second, {kind}", speed, 3, least=True)


def evaluation_speed() -> Iterator[bool]:
    for kind in get_args(PredictorType):
        model, data = problem(kind, ROWS)
        weights = model.weights * np.float32(1.1)
        weights[0] += 0.3
        models = (model, replace(model, weights=weights))
        predictions, champion = (candidate.predict(data.features) for candidate in models)
        evaluation = assess(model, data.labels, predictions, GATE, champion=champion)
        assert evaluation.rounds == 1000
        assert make_verdict(evaluation, GATE, champion=1).passed
        seconds = fastest(lambda m=model, d=data, p=predictions, r=champion: assess(m, d.labels, p, GATE, champion=r))  # type: ignore[misc]
        yield meets(f"seconds to evaluate {ROWS:,} rows with a champion, {kind}", seconds, 3)


def rejected(kind: PredictorType, seed: int) -> bool:
    """Whether a model is rejected that was trained on labels independent of the features."""
    rng = np.random.default_rng(seed)
    classes = NOISE_CLASSES.get(kind, 0)
    features = rng.standard_normal((900, 5), np.float32)
    labels = (rng.integers(0, classes, 900) if classes else rng.standard_normal(900)).astype(np.float32)
    settings = Hyperparameters(predictor_type=kind, num_classes=classes if classes > 2 else None, mini_batch_size=50)
    model = train(settings, Examples(features[:600], labels[:600])).model
    evaluation = assess(model, labels[600:], model.predict(features[600:]), GATE)
    return make_verdict(evaluation, GATE, champion=None).outcome == "no better than the baseline"


def noise(seeds: int) -> Iterator[bool]:
    for kind in get_args(PredictorType):
        share = 100 * sum(rejected(kind, seed) for seed in range(seeds)) / seeds
        yield meets(f"percent of {seeds} models of noise that are rejected, {kind}", share, 95, least=True)


def meets(name: str, value: float, limit: float, *, least: bool = False) -> bool:
    """Print a measured value with its limit; return whether the value is within the limit."""
    passed = value >= limit if least else value <= limit
    bound = f"{'at least' if least else 'at most'} {limit:g}"
    print(f"{'ok' if passed else 'FAILED'}: {name}: {value:.2f} ({bound})", flush=True)
    return passed


def main(seeds: int = SEEDS) -> int:
    return 0 if all([*scoring(), *evaluation_speed(), *noise(seeds)]) else 1


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
