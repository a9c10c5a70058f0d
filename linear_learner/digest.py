"""A number for each column that tells whether two columns hold the same values in the same rows."""

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_CHAIN = 0xD1342543DE82EF95


def row_keys(first: int, rows: int) -> Words:
    """An odd pseudo-random number for each row from `first` on: splitmix64 of the row's number."""
    words = np.arange(first, first + rows, dtype=np.uint64) * _GOLDEN
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return (words ^ (words >> np.uint64(31))) | np.uint64(1)


def block_digest(values: NDArray[np.float64], first: int) -> Words:
    """Of a block (columns, rows) whose rows are numbered from `first`: add those of a file's blocks, modulo 2^64.

    The sum of each value's bits times its row's key. In whole numbers, so that neither the order of adding nor the
    processor matters, as they would to a sum of floating-point products.
    """
    bits = (values + 0.0).view(np.uint64)  # 0 makes -0 a 0, which it equals
    # The upper half folded into the lower: a whole number's last bits are zeros, and so would be its product's.
    folded = np.right_shift(bits, np.uint64(32))
    folded ^= bits
    folded *= row_keys(first, values.shape[1])
    digest: Words = folded.sum(axis=1, dtype=np.uint64)
    return digest


def chained(first: Words, second: Words, files: int) -> Words:
    """Of the rows of two sets of files, the second of which are `files` in number."""
    return first * np.uint64(pow(_CHAIN, files, 2**64)) + second
