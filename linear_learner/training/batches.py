"""Training data in file order, standardised, in full mini-batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import CHUNK_SIZE, Examples
from linear_learner.training.losses import Loss
from linear_learner.training.scaling import Scaling

MAX_RESIDENT_SIZE = 2**24
"""Maximum count of standardised numbers that stay in memory between epochs."""


@dataclass(frozen=True)
class Block:
    """Consecutive mini-batches.

    `features` (batches, rows, features + 1), the last column for the bias; `targets` (batches, rows, 1, 1) as returned
    by the loss; `weights` of the same shape, or None if all are 1.
    """

    features: NDArray[np.float32]
    targets: NDArray[Any]
    weights: NDArray[np.float32] | None

    def select(self, first: int, last: int) -> Self:
        weights = None if self.weights is None else self.weights[first:last]
        return type(self)(self.features[first:last], self.targets[first:last], weights)


class Batches:
    """The full mini-batches of a channel; the rows after the last one are not used for training.

    Small channels are standardised once; larger ones, which may be memory maps, in blocks in every epoch.
    """

    def __init__(self, examples: Examples, settings: Hyperparameters, scaling: Scaling, loss: Loss) -> None:
        self._examples, self._size, self._bias = examples, settings.mini_batch_size, settings.use_bias
        self._scaling, self._loss = scaling, loss
        self.count = len(examples.labels) // self._size
        numbers = self._size * (examples.features.shape[1] + 1)
        resident = self.count * numbers <= MAX_RESIDENT_SIZE
        self._step = self.count if resident else max(1, CHUNK_SIZE // numbers)
        self._resident_block: Block | None = None
        self._buffer = np.empty((self._step * self._size, examples.features.shape[1] + 1), dtype=np.float32)

    def blocks(self) -> Iterator[Block]:
        """All mini-batches, in order; a block's arrays are valid only until the next block is requested."""
        if self._resident_block is not None:
            yield self._resident_block
            return
        for first in range(0, self.count, self._step):
            block = self._block(first, min(first + self._step, self.count))
            if self._step == self.count:
                self._resident_block = block
            yield block

    def _block(self, first: int, last: int) -> Block:
        rows = slice(first * self._size, last * self._size)
        raw, labels = self._examples.features[rows], np.asarray(self._examples.labels[rows])
        features = self._scaling.scale_features(raw, bias=self._bias, out=self._buffer[: len(raw)])
        targets, weights = self._loss.targets(self._scaling.scale_labels(labels)), self._loss.weights(labels)
        shape = (last - first, self._size, 1, 1)
        return Block(
            features.reshape(*shape[:2], -1),
            targets.reshape(shape),
            weights if weights is None else weights.reshape(shape),
        )
