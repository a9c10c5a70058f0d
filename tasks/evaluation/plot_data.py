"""What the plots of an evaluation show, reduced to as many points as a plot can show."""

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.metrics import Floats, Guess, Truth
from tasks.evaluation.results import (
    ClassCurves,
    ClassificationPicture,
    Confusion,
    Curve,
    Density,
    Histogram,
    RegressionPicture,
)

POINTS = 200
CELLS = 40
BINS = 41
TENTHS = 10
MAX_CURVES = 10
MAX_CONFUSION_CLASSES = 20
SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_FAR = (0.005, 0.995)
"""Shares of the rows between which edges are drawn."""


def regression_picture(truth: Truth, guess: Guess) -> RegressionPicture:
    """Actual against predicted, and residuals."""
    actual, said = truth.labels.astype(np.float64), guess.scores.astype(np.float64)
    residuals = actual - said
    edges = _edges(np.concatenate([actual, said]), CELLS)
    of_residuals = _edges(residuals, BINS)
    cells = _cells(actual, edges) * CELLS + _cells(said, edges)
    counts = np.bincount(cells, minlength=CELLS**2).reshape(CELLS, CELLS)
    clipped = _beyond(actual, edges) | _beyond(said, edges) | _beyond(residuals, of_residuals)
    return RegressionPicture(
        density=Density(edges=tuple(edges.tolist()), counts=tuple(map(tuple, counts.tolist()))),
        residuals=Histogram(
            edges=tuple(of_residuals.tolist()),
            counts=tuple(np.bincount(_cells(residuals, of_residuals), minlength=BINS).tolist()),
        ),
        residual_quantiles=dict(zip(SHARES, np.quantile(residuals, SHARES).tolist(), strict=True)),
        clipped_rows=int(np.count_nonzero(clipped)),
    )


def classification_picture(truth: Truth, guess: Guess) -> ClassificationPicture:
    """Curves of the classes that have rows of both kinds, calibration, and who is taken for whom."""
    labels, said = truth.labels.astype(np.intp), np.asarray(guess.labels)
    rows = np.bincount(labels, minlength=truth.classes)
    largest = sorted(truth.by_class, key=lambda label: -int(rows[label]))[:MAX_CURVES]
    confusion = None
    if truth.classes <= MAX_CONFUSION_CLASSES:
        counts = np.bincount(labels * truth.classes + said, minlength=truth.classes**2)
        by_actual = map(tuple, counts.reshape(truth.classes, -1).tolist())
        confusion = Confusion(labels=tuple(range(truth.classes)), counts=tuple(by_actual))
    return ClassificationPicture(
        curves=tuple(
            curves(labels == label, guess.of_class(label), label)
            for label in sorted(largest)
            if 0 < rows[label] < len(labels)
        ),
        calibration=_calibration(labels, said, guess) if guess.probabilities else None,
        confusion=confusion,
    )


def curves(positive: NDArray[np.bool_], scores: NDArray[np.floating], label: int) -> ClassCurves:
    """Both curves of one class, at the same thresholds; without any row, precision is 1, as scikit-learn has it."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
    chosen = _spread(false + true)
    false, true = false[chosen], true[chosen]
    hits, misses = true * positive.sum(), false * (~positive).sum()
    precision = np.divide(hits, hits + misses, out=np.ones_like(hits), where=hits + misses > 0)
    return ClassCurves(label=label, roc=_curve(false, true), precision_recall=_curve(true, precision))


def _spread(along: Floats) -> NDArray[np.intp]:
    """Of points at these increasing places of a line, at most POINTS spread evenly along it, both ends included."""
    if len(along) <= POINTS:
        return np.arange(len(along))
    found = np.searchsorted(along, np.linspace(along[0], along[-1], POINTS))
    found[[0, -1]] = 0, len(along) - 1
    return np.unique(found)


def _calibration(labels: NDArray[np.intp], said: NDArray[np.intp], guess: Guess) -> Curve:
    if guess.scores.ndim == 1:
        probability, so = guess.scores.astype(np.float64), labels == 1
    else:
        probability, so = guess.scores.max(axis=1).astype(np.float64), labels == said
    tenth = _cells(probability, np.quantile(probability, np.linspace(0, 1, TENTHS + 1)), "left")
    rows = np.bincount(tenth, minlength=TENTHS)
    filled = rows > 0
    mean, share = (np.bincount(tenth, of, TENTHS)[filled] / rows[filled] for of in (probability, so))
    return _curve(mean, share)


def _curve(x: Floats, y: Floats) -> Curve:
    """A millionth is finer than any plot shows, and keeps the JSON small."""
    return Curve(x=tuple(x.round(6).tolist()), y=tuple(y.round(6).tolist()))


def _edges(values: Floats, cells: int) -> Floats:
    """Of equally wide cells over all but the outermost values, around a constant if need be."""
    low, high = np.quantile(values, _FAR)
    room = 0.0 if high > low else max(abs(low) / 1000, 0.5)
    return np.linspace(low - room, high + room, cells + 1)


def _cells(values: Floats, edges: Floats, side: str = "right") -> NDArray[np.intp]:
    """The cell of each value, the outermost for those beyond the edges."""
    return np.searchsorted(edges[1:-1], values, "left" if side == "left" else "right")


def _beyond(values: Floats, edges: Floats) -> NDArray[np.bool_]:
    return np.asarray((values < edges[0]) | (values > edges[-1]))
