"""Standardise features and, for regression, the label; convert trained weights to the units of the data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import Examples, row_slices


@dataclass(frozen=True)
class Scaling:
    """Standardisation: subtract `mean`, divide by `deviation`, both (features,); likewise for the label."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    label_mean: float
    label_deviation: float

    def scale_features(
        self, raw: NDArray[np.float32], *, bias: bool = True, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """The standardised features (rows, features + 1); the last column is 1, or 0 without a bias."""
        rows = np.empty((len(raw), raw.shape[1] + 1), np.float32) if out is None else out
        np.subtract(raw, self.mean, out=rows[:, :-1])
        rows[:, :-1] /= self.deviation
        rows[:, -1] = bias
        return rows

    def scale_labels(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """The standardised labels (rows,)."""
        return (raw - np.float32(self.label_mean)) / np.float32(self.label_deviation)

    def unscale_scores(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores in the label's units."""
        return scores * np.float32(self.label_deviation) + np.float32(self.label_mean)

    def unscale_parameters(self, parameters: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights (features, outputs) and bias (outputs,) for raw data, from parameters (features + 1, outputs)."""
        weights = parameters[:-1] * (self.label_deviation / self.deviation.astype(np.float64))[:, None]
        bias = parameters[-1] * self.label_deviation + self.label_mean - self.mean.astype(np.float64) @ weights
        return weights.astype(np.float32), bias.astype(np.float32)


def fit_scaling(hyperparameters: Hyperparameters, train: Examples) -> Scaling:
    """The scaling of the first full mini-batches, until they exceed `num_point_for_scaler` rows.

    Population mean and standard deviation; a constant column is divided by 1. Without a bias, features are not centred
    and are divided by their root mean square (observed in a log). `auto` is true, for the label in regression only, as
    in every log that shows it.
    """
    batch = hyperparameters.mini_batch_size
    rows = min(hyperparameters.num_point_for_scaler // batch + 1, len(train.labels) // batch) * batch
    mean, deviation = _moments(train.features[:rows], centred=hyperparameters.use_bias)
    if hyperparameters.unbias_data is False:
        mean = np.zeros_like(mean)
    if hyperparameters.normalize_data is False:
        deviation = np.ones_like(deviation)
    label_mean, label_deviation = 0.0, 1.0
    if hyperparameters.predictor_type == "regressor":
        means, deviations = _moments(train.labels[:rows, None])
        label_mean = 0.0 if hyperparameters.unbias_label is False else float(means[0])
        label_deviation = 1.0 if hyperparameters.normalize_label is False else float(deviations[0])
    return Scaling(mean, deviation, label_mean, label_deviation)


def _moments(matrix: NDArray[np.float32], *, centred: bool = True) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Column means and population deviations, or zeros and root mean squares if not `centred`."""
    # In float64 and relative to the first row, so that the deviation of a constant column is exactly 0.
    origin = matrix[0].astype(np.float64) if centred else np.zeros(matrix.shape[1])
    total, squares = np.zeros_like(origin), np.zeros_like(origin)
    for rows in row_slices(*matrix.shape):
        shifted = matrix[rows] - origin
        total += shifted.sum(axis=0)
        squares += np.square(shifted, out=shifted).sum(axis=0)
    mean = total / len(matrix) if centred else origin
    deviation = np.sqrt(np.maximum(squares / len(matrix) - mean**2, 0)).astype(np.float32)
    return (origin + mean).astype(np.float32), np.where(deviation == 0, np.float32(1), deviation)
