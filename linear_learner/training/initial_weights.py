"""Initial weights, equal to those of MXNet's random number generator for CPUs.

Derived from real jobs: their losses in the first epoch determine the generator, its seed and the order of the models.
"""

import numpy as np
from numpy.typing import NDArray

WEIGHTS_PER_STREAM = 64
MAX_STREAMS = 1024


def draw_uniform_weights(models: int, features: int, outputs: int, scale: float) -> NDArray[np.float32]:
    """Weights (features, outputs, models), float32, between -scale and scale.

    The generator has up to 1024 streams, one per 64 weights of a model; stream i is a Mersenne Twister with seed i.
    Each stream fills a slice of a model's weights and continues where the previous model left it. Models draw in the
    order of their names: fc0_weight, fc10_weight, …, fc19_weight, fc1_weight, fc20_weight, …. Verified for one stream
    with twelve jobs, and for two with one job.
    """
    size = features * outputs
    streams = min(-(-size // WEIGHTS_PER_STREAM), MAX_STREAMS)
    step = -(-size // streams)
    words = np.empty((models, size), np.uint32)
    for stream, start in enumerate(range(0, size, step)):
        count = min(step, size - start)
        # For all 32 bits, randint returns the generator's words unchanged.
        drawn = np.random.RandomState(stream).randint(0, 2**32, (models, count), np.uint32)
        words[:, start : start + count] = drawn
    weights = np.empty((models, features, outputs), np.float32)
    draws = words.astype(np.float32) / np.float32(2**32)
    weights[sorted(range(models), key="fc{}_weight".format)] = (
        draws * np.float32(2 * scale) - np.float32(scale)
    ).reshape(models, features, outputs)
    return np.ascontiguousarray(weights.transpose(1, 2, 0))


def draw_normal_weights(models: int, features: int, outputs: int, sigma: float) -> NDArray[np.float32]:
    """Normal weights (features, outputs, models), float32; not the container's, as no such job is known."""
    drawn = np.random.default_rng(0).normal(0, sigma, (features, outputs, models))
    return drawn.astype(np.float32)
