"""The effect of each column of the table on a model's prediction."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from linear_learner.model import LinearModel, Predictions, row_slices
from tasks.evaluation.results import ClosedFormComparison

MAX_EFFECTS = 20
"""The most columns that are listed; of more, those with the largest effects."""
MAX_WORST_ROWS = 20
MAX_PARTS = 3
"""The most features of a column with the largest, and with the smallest, coefficients that are listed."""


class Effect(BaseModel, frozen=True):
    """How much a column changes each output, and the coefficients for the output that it changes most."""

    column: str
    output: int
    """The output that the column changes most."""
    coefficients: dict[str, float]
    """Of the column's features, for that output, in units of the output per unit of the feature; of many, the largest
    and the smallest. An encoded feature has the name that it has in the model without that of the column."""
    sizes: list[float | None]
    """In units of the output. A column of numbers: the change per standard deviation of the column, None if that is
    unknown. An encoded column: the standard deviation, over the test rows, of what its features add to the output."""

    @property
    def size(self) -> float | None:
        """The change of the output that the column changes most."""
        return self.sizes[self.output]

    @property
    def is_encoded(self) -> bool:
        return [*self.coefficients] != [self.column]


class Effects(BaseModel, frozen=True):
    """The largest effects, the largest first, and the number of all columns."""

    listed: tuple[Effect, ...]
    columns: int


class Plot(BaseModel, frozen=True):
    """A plot as the data URL of a PNG, and what it shows, in one sentence."""

    url: str
    finding: str


class WorstRow(BaseModel, frozen=True):
    """A test row that the model predicts badly; `actual` and `predicted` of a classifier are classes."""

    row: str
    """Its number in the table, from 1; with the file's name if the table has several files."""
    actual: float
    predicted: float
    size: float
    """Actual - predicted of a regressor; the score of the predicted class of a classifier."""


class ReportFigures(BaseModel, frozen=True):
    """What the report shows besides the evaluation."""

    effects: Effects
    closed_form: ClosedFormComparison | None
    """The comparison with a fit of a sample of the training rows; None if there is none for the loss."""
    plots: dict[str, Plot]
    worst_rows: tuple[WorstRow, ...] = ()
    """The worst first."""


def find_worst_rows(
    labels: NDArray[np.floating], predictions: Predictions, name_row: Callable[[int], str]
) -> tuple[WorstRow, ...]:
    """The test rows with the largest errors, or the wrong predictions of a classifier with the highest scores.

    `labels` is (rows,); `name_row` names the test row at an index. The score is the probability of the predicted class;
    with hinge loss, the distance from the separating plane.
    """
    scores = predictions.scores.astype(np.float64)
    if predictions.labels is None:
        sizes, predicted = labels - scores, scores
        order = np.argsort(-np.abs(sizes), kind="stable")[:MAX_WORST_ROWS]
    else:
        predicted = predictions.labels.astype(np.float64)
        if scores.ndim == 2:
            sizes = scores.max(axis=1)
        elif scores.min() < 0 or scores.max() > 1:
            sizes = np.abs(scores)
        else:
            sizes = np.where(predicted == 1, scores, 1 - scores)
        wrong = np.flatnonzero(predicted != labels)
        order = wrong[np.argsort(-sizes[wrong], kind="stable")][:MAX_WORST_ROWS]
    return tuple(
        WorstRow(row=name_row(index), actual=labels[index], predicted=predicted[index], size=sizes[index])
        for index in order.tolist()
    )


def compute_effects(
    model: LinearModel,
    sources: Sequence[str],
    spreads: Mapping[str, float | None],
    features: NDArray[np.float32] | None = None,
) -> Effects:
    """The effects of all columns; those of unknown size are last.

    `sources` is the column of each feature of the model, `spreads` the standard deviation of each column of numbers,
    `features` the test rows (rows, features). Outputs are the prediction of a regressor, in the unit of the target; the
    log-odds of class 1 of a binary classifier (with hinge loss, the distance from the separating plane); the scores
    before softmax of a multiclass classifier.
    """
    names = model.feature_names or tuple(f"feature_{index}" for index in range(len(model.weights)))
    members: dict[str, list[int]] = {}
    for index, source in enumerate(sources):
        members.setdefault(source, []).append(index)
    effects = []
    for column, indices in members.items():
        weights = model.weights[indices].astype(np.float64)
        sizes = None
        if [names[index] for index in indices] != [column]:
            sizes = None if features is None else _spread_of_sums(features, weights, indices)
        elif (spread := spreads.get(column)) is not None:
            sizes = weights[0] * spread
        strongest = int(np.abs(weights if sizes is None or not sizes.any() else [sizes]).max(axis=0).argmax())
        coefficients = dict(zip((names[index] for index in indices), weights[:, strongest].tolist(), strict=True))
        effect = Effect(
            column=column,
            output=strongest,
            coefficients=_select_extremes(column, coefficients),
            sizes=[None] * weights.shape[1] if sizes is None else sizes.tolist(),
        )
        effects.append(effect)
    effects.sort(key=lambda effect: -1 if effect.size is None else abs(effect.size), reverse=True)
    return Effects(listed=tuple(effects[:MAX_EFFECTS]), columns=len(effects))


def _spread_of_sums(
    features: NDArray[np.float32], weights: NDArray[np.float64], indices: list[int]
) -> NDArray[np.float64]:
    """The standard deviation (outputs,) over the rows of what the features at `indices` add to each output."""
    sums = [features[rows][:, indices] @ weights for rows in row_slices(*features.shape)]
    return np.asarray(np.concatenate(sums).std(axis=0))


def _select_extremes(column: str, coefficients: Mapping[str, float]) -> dict[str, float]:
    if [*coefficients] == [column]:
        return dict(coefficients)
    ranked = sorted(coefficients.items(), key=lambda named: named[1], reverse=True)
    shown = ranked if len(ranked) <= 2 * MAX_PARTS else [*ranked[:MAX_PARTS], *ranked[-MAX_PARTS:]]
    return {name.removeprefix(column).lstrip("=."): coefficient for name, coefficient in shown}


def describe_output(model: LinearModel, target: str, positive: str) -> str:
    """The output that the effects change, in words; `positive` is class 1 of a binary classifier."""
    if model.predictor_type == "regressor":
        return f"the predicted {target}"
    if model.predictor_type == "multiclass_classifier":
        return "the class's score before softmax"
    return f"the log-odds of {positive}" if model.has_sigmoid else "the distance from the separating plane"
