"""What each feature does to a model's prediction."""

from dataclasses import dataclass
from math import isnan, nan

import numpy as np

from linear_learner.model import LinearModel
from tasks.data.profile import Profile


@dataclass(frozen=True)
class Effect:
    """A feature's coefficients, one per output, and what one standard deviation of it adds to each output."""

    feature: str
    coefficients: list[float]
    """In the units of the data: output per unit of the feature."""
    sizes: list[float]
    """In units of the output; NaN where the feature's standard deviation is not known."""
    output: int
    """The output that the feature changes most."""

    @property
    def size(self) -> float:
        """What one standard deviation adds to the output that the feature changes most."""
        return self.sizes[self.output]


def compute_effects(model: LinearModel, profile: Profile) -> list[Effect]:
    """The effects of all features, the largest first, those of unknown size last.

    An output is the prediction itself, in the target's unit, for a regressor; the log-odds of label 1 for a binary
    classifier (the distance from the plane with hinge loss); the score of one class, before softmax, for a multiclass.
    """
    names = model.feature_names or tuple(f"feature_{index}" for index in range(len(model.weights)))
    spreads = {column.name: column.std for column in profile.columns}
    effects = []
    for name, weights in zip(names, model.weights.astype(np.float64), strict=True):
        spread = spreads.get(name)
        sizes = weights * (nan if spread is None else spread)
        strongest = int(np.abs(weights).argmax())  # the sizes differ by one factor only
        effects.append(Effect(name, weights.tolist(), sizes.tolist(), strongest))
    return sorted(effects, key=lambda effect: -1 if isnan(effect.size) else abs(effect.size), reverse=True)


def describe_output(model: LinearModel, target: str) -> str:
    """What the effects are effects on."""
    if model.predictor_type == "regressor":
        return f"the predicted {target}"
    if model.predictor_type == "multiclass_classifier":
        return "the class's score before softmax"
    return "the log-odds of label 1" if model.has_sigmoid else "the distance from the plane between the labels"
