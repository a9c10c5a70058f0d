"""The mini-batch size that suits a number of training rows."""

from typing import Final

BATCHES_PER_EPOCH: Final = 100
"""Minimum number of batches per epoch, as long as neither limit of the batch size applies."""
MIN_BATCH_SIZE: Final = 4
"""The smallest batch size in a known log of a real job."""
MAX_BATCH_SIZE: Final = 1000
"""The container's default."""


def choose_batch_size(rows: int) -> int:
    """The largest power of two that gives at least 100 batches per epoch; at least 4, and 1000 from 100 000 rows on.

    It does not decrease as `rows` grows, and never exceeds `rows`. Raises ValueError if `rows` is below 1.

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
