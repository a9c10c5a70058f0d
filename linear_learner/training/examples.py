"""Labelled rows, as the formats read them and training uses them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Examples:
    """`features` (rows, features) and `labels` (rows,), both float32; either may be a memory map of a file on disk."""

    features: NDArray[np.float32]
    labels: NDArray[np.float32]
