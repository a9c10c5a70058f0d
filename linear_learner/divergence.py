"""Tell from the epochs so far that a training job will not come to a model worth its price."""

from collections.abc import Sequence
from math import isfinite

from linear_learner.log_report import EpochReport, lower_is_better

EXPLOSION = 1000.0
"""Times the lowest loss so far: no learning rate schedule brings that back within the epochs that are left."""


def divergence(epochs: Sequence[EpochReport]) -> str | None:
    """What is wrong with the best model's loss, e.g. "its loss is inf in epoch 3"; None as long as nothing is.

    One of many models may diverge without harm; early stopping's criterion is the best model's. Scores are passed over.
    """
    watched = [(e.index, e.value) for e in epochs if e.value is not None and lower_is_better(e.criteria)]
    if not watched:
        return None
    index, value = watched[-1]
    if not isfinite(value):
        return f"its loss is {value} in epoch {index}"
    lowest = min(value for _, value in watched)
    if value > EXPLOSION * lowest > 0:
        return f"its loss is {value:.3g} in epoch {index} and was {lowest:.3g} before"
    return None
