"""Everything that one report is about, and which of its features decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from linear_learner.logs.training_summary import TrainingSummary
from linear_learner.model import LinearModel
from tasks.data.profile import Profile
from tasks.evaluation.results import Evaluation, Verdict
from tasks.parameters import Split


@dataclass(frozen=True)
class ReportContext:
    """One model: where it comes from, what it can do, and what became of it."""

    target: str
    source: str
    verdict: Verdict
    registered: str | None
    """One line on the registry, such as "version 3 of group linear-learner-bonus, waits for approval"."""
    profile: Profile
    rows: Mapping[str, int]
    """By channel."""
    split: Split
    summary: TrainingSummary | None
    summary_error: str | None
    """Why there is no log to tell it."""
    evaluation: Evaluation
    model: LinearModel
    """With the names of its features."""
    job: str
    submission: Literal["started", "followed", "reused"]
    cost: str
    warnings: Sequence[str]
    """Of the data's check."""
    reproduce: str
    """A command line."""
    champion: str | None
    """One line, such as "version 2, training job …"."""
    slice_by: str | None = None
    """The column whose values the slices are."""
    same_test_rows: bool = False
    """Whether the champion was judged on these test rows, so that it cannot have been trained on them."""


@dataclass(frozen=True)
class Effect:
    """A feature's coefficients, one per output, and what one standard deviation of it adds to each output."""

    feature: str
    coefficients: tuple[float, ...]
    """In the units of the data: output per unit of the feature."""
    sizes: tuple[float, ...] | None
    """In units of the output; None where the feature's standard deviation is not known."""

    @property
    def strongest(self) -> int:
        """The output that the feature changes most."""
        sizes = [_magnitude(size) for size in self.sizes or self.coefficients]
        return sizes.index(max(sizes))

    @property
    def largest(self) -> float:
        """How much it changes that output, either way; below 0 where that is not known."""
        return _magnitude(self.sizes[self.strongest]) if self.sizes else -1.0


def compute_effects(context: ReportContext) -> list[Effect]:
    """What each feature does to the prediction, the largest effect first.

    An output is the prediction itself, in the target's unit, for a regressor; the log-odds of label 1 for a binary
    classifier (the distance from the plane with hinge loss); the score of one class, before softmax, for a multiclass.
    """
    names = context.model.feature_names or tuple(f"feature_{index}" for index in range(len(context.model.weights)))
    spreads = {column.name: column.std for column in context.profile.columns}
    rows = zip(names, context.model.weights.tolist(), strict=True)
    found = [_effect(name, weights, spreads.get(name)) for name, weights in rows]
    return sorted(found, key=lambda effect: effect.largest, reverse=True)


def _effect(name: str, weights: Sequence[float], spread: float | None) -> Effect:
    sizes = None if spread is None else tuple(weight * spread for weight in weights)
    return Effect(name, tuple(weights), sizes)


def _magnitude(size: float) -> float:
    return abs(size) if isfinite(size) else -1.0
