"""Checks of the channels before training; errors name channel, row and column, counted from 1."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import DataError, HyperparameterError
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import Examples, row_slices


def check_channels(hyperparameters: Hyperparameters, channels: Mapping[str, Examples]) -> None:
    """Raise DataError or HyperparameterError if these channels (`train` is required) cannot be trained on or scored."""
    train = channels["train"]
    rows, width = train.features.shape
    if hyperparameters.feature_dim not in (None, width):
        raise HyperparameterError(
            f"feature_dim is {hyperparameters.feature_dim}, but the train channel has {width} feature columns;"
            f" set it to {width} or auto."
        )
    for name, examples in channels.items():
        if examples.features.shape[1] != width:
            raise DataError(
                f"{name} channel: {examples.features.shape[1]} feature columns, but the train channel has {width};"
                " give both the same columns."
            )
        if not len(examples.labels):
            raise DataError(f"{name} channel: no rows; omit the channel or add data.")
        _check_finite(name, examples)
        _check_labels(name, examples.labels, hyperparameters)
    if hyperparameters.mini_batch_size > rows:
        raise HyperparameterError(
            f"mini_batch_size is {hyperparameters.mini_batch_size}, but the train channel has {rows} rows;"
            f" set it to {rows} or less."
        )
    if hyperparameters.predictor_type == "binary_classifier" and (train.labels == train.labels[0]).all():
        raise DataError(
            f"train channel: every label is {train.labels[0]:g}; a binary classifier needs examples of both 0 and 1."
        )


def _check_finite(name: str, examples: Examples) -> None:
    for rows in row_slices(*examples.features.shape):
        for what, values in (("label", examples.labels[rows, None]), ("feature column {}", examples.features[rows])):
            if (found := np.argwhere(~np.isfinite(values))).size:
                row, column = found[0]
                raise DataError(
                    f"{name} channel, row {rows.start + row + 1}, {what.format(column + 1)}: {values[row, column]};"
                    " fill in or drop missing and infinite values."
                )


def _check_labels(name: str, labels: NDArray[np.float32], hyperparameters: Hyperparameters) -> None:
    if hyperparameters.predictor_type == "regressor":
        return
    classes = class_count(hyperparameters)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes) | (labels != np.floor(labels)))
    if wrong.size:
        expected = "0 or 1" if classes == 2 else f"a whole number from 0 to {classes - 1} (num_classes - 1)"
        raise DataError(
            f"{name} channel, row {wrong[0] + 1}: label {labels[wrong[0]]:g}; a {hyperparameters.predictor_type} needs"
            f" {expected}. Check that the label is the first column."
        )


def class_count(hyperparameters: Hyperparameters) -> int:
    """Number of classes: 2 for a binary classifier."""
    return 2 if hyperparameters.predictor_type == "binary_classifier" else hyperparameters.num_classes or 0
