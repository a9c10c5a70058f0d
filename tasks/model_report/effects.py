"""The effect of each feature on a model's prediction."""

from dataclasses import dataclass
from math import isnan, nan

import numpy as np

from linear_learner.model import LinearModel
from tasks.data.profile import Profile


@dataclass(frozen=True)
class Effect:
    """A feature's coefficients, one per output, and the change of each output per standard deviation of the feature."""

    feature: str
    coefficients: list[float]
    """In units of the output per unit of the feature."""
    sizes: list[float]
    """In units of the output; NaN if the standard deviation of the feature is unknown."""
    output: int
    """The output that the feature changes most."""

    @property
    def size(self) -> float:
        """The change of the output that the feature changes most."""
        return self.sizes[self.output]


def compute_effects(model: LinearModel, profile: Profile) -> list[Effect]:
    """The effects of all features, the largest first, those of unknown size last.

    Outputs are the prediction of a regressor, in the unit of the target; the log-odds of label 1 of a binary classifier
    (with hinge loss, the distance from the separating plane); the scores before softmax of a multiclass classifier.
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
    """The output that the effects change, in words."""
    if model.predictor_type == "regressor":
        return f"the predicted {target}"
    if model.predictor_type == "multiclass_classifier":
        return "the class's score before softmax"
    return "the log-odds of label 1" if model.has_sigmoid else "the distance from the separating plane"
