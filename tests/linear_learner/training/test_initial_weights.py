import numpy as np
import pytest

from linear_learner.training.initial_weights import draw_normal_weights, draw_uniform_weights


def test_weights_are_drawn_from_a_mersenne_twister_in_the_order_of_the_models_names():
    weights = draw_uniform_weights(models=12, features=3, outputs=1, scale=0.07)
    twister = np.random.MT19937()
    twister._legacy_seeding(0)
    for model in (0, 10, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9):
        expected = 2 * 0.07 * (twister.random_raw(3) / 2**32) - 0.07
        np.testing.assert_allclose(weights[:, 0, model], expected, atol=1e-8)


def test_a_model_with_many_weights_draws_from_several_streams():
    weights = draw_uniform_weights(models=2, features=50, outputs=3, scale=1.0).reshape(150, 2)
    for stream in range(3):
        twister = np.random.MT19937()
        twister._legacy_seeding(stream)
        expected = 2 * twister.random_raw(100) / 2**32 - 1
        found = np.concatenate([weights[50 * stream : 50 * (stream + 1), model] for model in range(2)])
        np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("features", [1, 64, 65, 70_000])
def test_uniform_weights_are_between_minus_scale_and_scale(features):
    weights = draw_uniform_weights(models=3, features=features, outputs=1, scale=0.5)
    assert weights.shape == (features, 1, 3)
    assert weights.dtype == np.float32
    assert np.abs(weights).max() <= 0.5
    assert len(np.unique(weights)) > 0.99 * weights.size


def test_normal_weights_have_the_given_standard_deviation():
    weights = draw_normal_weights(models=4, features=5000, outputs=1, sigma=0.01)
    assert weights.std() == pytest.approx(0.01, rel=0.02)
