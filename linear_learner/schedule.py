"""The mini-batch size, the number of epochs, the patience and the number of models that suit the training rows."""

from typing import Final

from linear_learner.model import PredictorType

BATCHES_PER_EPOCH: Final = 100
"""Minimum number of batches per epoch, as long as neither limit of the batch size applies."""
MIN_BATCH_SIZE: Final = 4
"""The smallest batch size in a known log of a real job."""
MAX_BATCH_SIZE: Final = 1000
"""The container's default."""
MIN_EPOCHS: Final = 15
"""The container's default."""
MAX_EPOCHS: Final = 60
ROWS_OF_ALL_EPOCHS: Final = 24_000
"""Rows that a model has seen after the last epoch, as long as neither limit of the number of epochs applies."""
EPOCHS_PER_PATIENCE: Final = 5
"""The container's defaults are 15 epochs and a patience of 3."""
FEW_ROWS: Final = 400
"""Below it, the validation rows are too few to select among many models."""
FEW_MODELS: Final = 4
"""The first four models of the search differ in the decay of the learning rate only."""


def choose_batch_size(rows: int) -> int:
    """Return the largest power of two that gives at least 100 batches per epoch; at least 4, and at most 1000.

    It is 1000 from 100 000 rows on, does not decrease as `rows` grows, and never exceeds `rows`. Raises ValueError if
    `rows` is below 1.

    Regressors in `benchmarks/batch_size.py` are within 5 % of a closed-form fit from about 60 updates on, classifiers
    improve up to about 2000. The rule gives 100 to 200 updates per epoch, 1500 to 3000 in 15 epochs: about half a
    minute of a real job, which takes two and a half minutes to start. `docs/decisions/0011-mini-batch-size.md` has the
    measurements.
    """
    if rows < 1:
        raise ValueError(f"rows is {rows}, but must be at least 1")
    limit = rows // BATCHES_PER_EPOCH
    if limit >= MAX_BATCH_SIZE:
        return MAX_BATCH_SIZE
    power_of_two = 1 << limit.bit_length() - 1 if limit else 1
    return min(rows, max(MIN_BATCH_SIZE, power_of_two))


def choose_epochs(rows: int) -> int:
    """Return the maximum number of epochs: 60 up to 400 training rows, fewer for more, and 15 from 1600 rows on.

    An epoch of a small table has few updates; with 15 epochs training ends before many of these tables' models are as
    good as a closed-form fit. `docs/decisions/0013-small-tables.md` has the measurements.
    """
    return min(MAX_EPOCHS, max(MIN_EPOCHS, ROWS_OF_ALL_EPOCHS // rows))


def choose_patience(rows: int) -> int:
    """Return the number of epochs without improvement after which training stops: 12 to 3, a fifth of all epochs."""
    return choose_epochs(rows) // EPOCHS_PER_PATIENCE


def choose_num_models(predictor_type: PredictorType, rows: int) -> int | None:
    """Return the number of models trained in parallel: 4 for a regressor with less than 400 training rows, else None.

    None is the container's own number, 32 for a regressor. The model with the lowest error on the validation rows is
    saved, and of few rows the lowest of many errors is often a chance result.
    """
    return FEW_MODELS if predictor_type == "regressor" and rows < FEW_ROWS else None
