"""Labelled examples, the linear model, and its predictions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linear_learner.errors import DataError

PredictorType = Literal["regressor", "binary_classifier", "multiclass_classifier"]

CHUNK_SIZE = 2**20
"""Numbers processed at a time where the data may be larger than memory."""


@dataclass(frozen=True)
class Examples:
    """`features` (rows, features) and `labels` (rows,), both float32; either may be a memory map of a file on disk."""

    features: NDArray[np.float32]
    labels: NDArray[np.float32]


@dataclass(frozen=True)
class Predictions:
    """`scores` (rows,), for multiclass (rows, classes), and `labels` (rows,), None for a regressor; both float32."""

    scores: NDArray[np.float32]
    labels: NDArray[np.float32] | None


@dataclass(frozen=True)
class LinearModel:
    """`weights` (features, outputs), `bias` (outputs,), float32, in the data's units; one output unless multiclass."""

    predictor_type: PredictorType
    loss: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    threshold: float = 0.5
    metrics_params: Mapping[str, Any] = field(default_factory=dict)
    feature_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or self.bias.shape != self.weights.shape[1:]:
            raise ValueError(f"weights of shape {self.weights.shape} do not match bias of shape {self.bias.shape}")
        if (self.weights.shape[1] > 1) != (self.predictor_type == "multiclass_classifier"):
            raise ValueError(f"a {self.predictor_type} cannot have {self.weights.shape[1]} outputs")
        if self.feature_names is not None and len(self.feature_names) != len(self.weights):
            raise ValueError(f"{len(self.feature_names)} feature names for {len(self.weights)} weights")

    @property
    def has_sigmoid(self) -> bool:
        """Whether a score is a probability; with hinge loss it is w·x + b (inferred)."""
        return self.predictor_type == "binary_classifier" and self.loss != "hinge_loss"

    def predict(self, features: ArrayLike) -> Predictions:
        """Score each row of `features` (rows, features), as the endpoint does, in float32.

        A regressor's score is the predicted value. A binary classifier's is a probability (w·x + b with hinge loss),
        and its label 1 if the score is at least `threshold`, compared in float32. A multiclass classifier's scores are
        probabilities that sum to 1, and its label the first class with the highest. A memory map is read in slices.
        Raises DataError if the number of features is not the model's.
        """
        rows = np.asanyarray(features)
        if rows.ndim != 2 or rows.shape[1] != len(self.weights):
            raise DataError(_wrong_shape(rows.shape, len(self.weights)))
        return self.to_predictions(self.raw_scores(rows))

    def to_predictions(self, raw: NDArray[np.float32]) -> Predictions:
        """The predictions of rows with the raw scores (rows, outputs)."""
        scores = self.activate(raw)
        if self.predictor_type == "multiclass_classifier":
            return Predictions(scores, scores.argmax(axis=1).astype(np.float32))
        column = scores[:, 0]
        if self.predictor_type == "regressor":
            return Predictions(column, None)
        return Predictions(column, (column >= np.float32(self.threshold)).astype(np.float32))

    def raw_scores(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """w·x + b of every row of `features` (rows, features): (rows, outputs)."""
        scores = np.empty((len(features), len(self.bias)), np.float32)
        for rows in row_slices(*features.shape):
            scores[rows] = np.asarray(features[rows], np.float32) @ self.weights + self.bias
        return scores

    def activate(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """The endpoint's scores for raw scores (rows, outputs): the same values, or probabilities."""
        if self.predictor_type == "multiclass_classifier":
            exponentials = np.exp(raw - raw.max(axis=1, keepdims=True))
            return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)
        return sigmoid(raw) if self.has_sigmoid else raw

    def coefficients(self) -> dict[str, float]:
        """Weight by feature name, `feature_0`, … without names; multiclass keys include the class: `age[2]`."""
        names = self.feature_names or tuple(f"feature_{index}" for index in range(len(self.weights)))
        if self.weights.shape[1] == 1:
            return dict(zip(names, self.weights[:, 0].tolist(), strict=True))
        return {
            f"{name}[{label}]": weight
            for name, row in zip(names, self.weights.tolist(), strict=True)
            for label, weight in enumerate(row)
        }


def sigmoid(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-raw)) in float32, as MXNet's LogisticRegressionOutput computes it."""
    with np.errstate(over="ignore"):  # exp overflows to infinity, and 1 / infinity is 0
        return np.asarray(1 / (1 + np.exp(-raw)), np.float32)


def row_slices(rows: int, width: int) -> Iterator[slice]:
    """Slices of about CHUNK_SIZE numbers that cover `rows` rows of `width` numbers."""
    step = max(1, CHUNK_SIZE // max(1, width))
    return (slice(start, start + step) for start in range(0, rows, step))


def _wrong_shape(shape: tuple[int, ...], features: int) -> str:
    if len(shape) != 2:
        return f"features must have 2 dimensions (rows, columns), but have {len(shape)}"
    label = ": leave the label out" if shape[1] == features + 1 else ""
    return f"the rows have {shape[1]} features, but the model was trained on {features}{label}"
