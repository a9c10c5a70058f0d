"""A model's evaluation: its figures beside the best constant's and the champion's, how sure they are, and pictures."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from linear_learner.model import LinearModel, Predictions
from tasks.evaluation.gate import gate_metric
from tasks.evaluation.intervals import Contender, Rounds, draws, interval, resampled, rounds_for
from tasks.evaluation.metrics import (
    Figures,
    Floats,
    Guess,
    Truth,
    by_guess,
    constants,
    described,
    figures,
    of_constants,
)
from tasks.evaluation.plot_data import classification_picture, regression_picture
from tasks.evaluation.results import METRICS, ClassFigures, Evaluation, Improvement, Metric, MetricName, Slice
from tasks.parameters import Gate

HOPELESS = -1e9
"""The improvement over no error at all, of which no share can be told; JSON has no infinity."""


@dataclass(frozen=True)
class _Judged:
    """A model, the constant and the champion on the same rows: their figures and their rounds."""

    figures: Figures
    baseline: Figures
    champion: Figures
    rounds: Rounds
    baseline_rounds: Rounds
    champion_rounds: Rounds
    confidence: float

    def metric(self, name: MetricName) -> Metric:
        value = self.figures[name]
        low, high = interval(self.rounds[name], self.confidence) if value is not None else (None, None)
        return Metric(
            name=name,
            value=value,
            low=low,
            high=high,
            baseline=self.baseline[name] if value is not None else None,
            champion=self.champion.get(name),
        )

    def over_baseline(self, name: MetricName) -> Improvement | None:
        return self._over(name, self.baseline, self.baseline_rounds)

    def over_champion(self, name: MetricName) -> Improvement | None:
        return self._over(name, self.champion, self.champion_rounds)

    def _over(self, name: MetricName, other: Figures, other_rounds: Rounds) -> Improvement | None:
        value, of_other = self.figures[name], other.get(name)
        if value is None or of_other is None:
            return None
        low, high = interval(error_reduction(name, self.rounds[name], other_rounds[name]), self.confidence)
        if low is None or high is None:
            return None
        return Improvement(
            value=float(error_reduction(name, np.array([value]), np.array([of_other]))[0]), low=low, high=high
        )


def assess(  # noqa: PLR0913 - the model, the champion, the rows, and how to judge
    model: LinearModel,
    labels: NDArray[np.floating],
    predictions: Predictions,
    gate: Gate,
    *,
    champion: Predictions | None = None,
    weighted_classes: bool = False,
    slices: Sequence[tuple[str, NDArray[np.intp]]] = (),
    champion_objection: str | None = None,
) -> Evaluation:
    """What `predictions` of `model` for rows with these `labels` (rows,) come to; the same input gives the same.

    `champion` are the champion's predictions for the same rows, `slices` names and row indices. Raises DataError, with
    the row, for labels and scores that cannot be compared, HyperparameterError for a metric the model does not have.
    """
    decisive = gate_metric(model.predictor_type, model.loss, gate, weighted_classes)
    truth = Truth.of(model, labels)
    guess = Guess.of(predictions, truth, probabilities=_is_probability(model, predictions))
    other = None if champion is None else Guess.of(champion, truth, probabilities=_is_probability(model, champion))
    judged, classes = _judged(truth, guess, other, gate.confidence)
    if champion is not None and judged.figures[decisive] is not None and judged.champion[decisive] is None:
        champion_objection = f"its scores are no probabilities, so it has no {METRICS[decisive].title}."
    return Evaluation(
        predictor_type=model.predictor_type,
        rows=len(labels),
        metrics=tuple(judged.metric(name) for name in truth.names),
        gate_metric=decisive,
        over_baseline=judged.over_baseline(decisive),
        over_champion=judged.over_champion(decisive),
        champion_objection=champion_objection,
        confidence=gate.confidence,
        rounds=len(judged.rounds[truth.names[0]]),
        classes=classes,
        slices=_slices(truth, guess, slices),
        regression=None if truth.classes else regression_picture(truth, guess),
        classification=classification_picture(truth, guess) if truth.classes else None,
    )


def error_reduction(name: MetricName, values: Floats, others: Floats) -> Floats:
    """The share of the others' error that is gone: 1 - error / other error, elementwise.

    The error is the metric, or what is missing from 1 where more of it is better. Beside no error at all it is 0 for
    none and HOPELESS for any.
    """
    error, other = (1 - of if METRICS[name].higher_is_better else of for of in (values, others))
    share = np.divide(error, other, out=np.where(error > 0, np.inf, 1.0), where=other > 0)
    share[np.isnan(error) | np.isnan(other)] = np.nan
    return np.asarray(np.maximum(1 - share, HOPELESS))


def _judged(
    truth: Truth, guess: Guess, other: Guess | None, confidence: float
) -> tuple[_Judged, tuple[ClassFigures, ...]]:
    chosen, guesses = constants(truth), [guess, other] if other else [guess]
    with ThreadPoolExecutor(len(guesses)) as pool:
        (own, classes), *others = pool.map(partial(described, truth), guesses)
    contenders = [Contender(one, truth.names) for one in guesses]
    contenders += [Contender(one, names) for one, names in by_guess(chosen)]
    rounds = resampled(truth, contenders, draws(len(truth.labels), rounds_for(len(truth.labels))))
    judged = _Judged(
        figures=own,
        baseline=of_constants(truth, chosen),
        champion=others[0][0] if others else {},
        rounds=rounds[0],
        baseline_rounds={name: values for some in rounds[len(guesses) :] for name, values in some.items()},
        champion_rounds=rounds[1] if others else {},
        confidence=confidence,
    )
    return judged, classes


def _is_probability(model: LinearModel, predictions: Predictions) -> bool:
    """Whether scores are probabilities; the champion of a logistic model may be one with hinge loss."""
    if model.predictor_type != "binary_classifier":
        return model.predictor_type == "multiclass_classifier"
    return model.has_sigmoid and bool(((predictions.scores >= 0) & (predictions.scores <= 1)).all())


def _slices(truth: Truth, guess: Guess, slices: Sequence[tuple[str, NDArray[np.intp]]]) -> tuple[Slice, ...]:
    chosen = constants(truth) if slices else {}
    found = []
    for value, rows in slices:
        part = truth.at(rows)
        baseline = of_constants(part, _at(chosen, rows))
        found.append(Slice(value=value, rows=len(rows), metrics=figures(part, guess.at(rows)), baseline=baseline))
    return tuple(found)


def _at(chosen: dict[MetricName, Guess], rows: NDArray[np.intp]) -> dict[MetricName, Guess]:
    """Constants on some rows; those that were one stay one."""
    return {name: part for guess, names in by_guess(chosen) for part in [guess.at(rows)] for name in names}
