"""Divergence is reported for losses that are not finite or grow a thousandfold, and otherwise not."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.logs.reader import DIVERGENCE_FACTOR, EpochReport, describe_divergence

LOSS, SCORE = "mse_objective", "sampled_accuracy"
losses = st.floats(1e-9, 1e9)


def epochs(*values: float | None, criteria: str = LOSS) -> list[EpochReport]:
    return [EpochReport(index=index, criteria=criteria, value=value) for index, value in enumerate(values)]


def test_no_epoch_or_one_finite_epoch_is_no_divergence() -> None:
    assert describe_divergence([]) is None
    assert describe_divergence(epochs(1e300)) is None


@pytest.mark.parametrize(("value", "text"), [(inf, "inf"), (nan, "nan"), (-inf, "-inf")])
def test_a_loss_that_is_not_finite_has_diverged(value: float, text: str) -> None:
    assert describe_divergence(epochs(value)) == f"its loss is {text} in epoch 1"
    assert describe_divergence(epochs(0.5, value)) == f"its loss is {text} in epoch 2"


def test_a_loss_of_more_than_a_thousand_times_the_lowest_has_diverged() -> None:
    assert describe_divergence(epochs(8.0, 0.5, 500.0)) is None
    assert describe_divergence(epochs(8.0, 0.5, 501.0)) == "its loss is 501 in epoch 3 and was 0.5 before"
    assert describe_divergence(epochs(8.0, 0.5, 4_000.0, 3_999.5)) == "its loss is 4e+03 in epoch 4 and was 0.5 before"


@given(st.lists(losses, min_size=1, max_size=20))
def test_divergence_is_a_last_loss_above_the_factor_times_the_lowest(values: list[float]) -> None:
    assert (describe_divergence(epochs(*values)) is not None) == (values[-1] > DIVERGENCE_FACTOR * min(values))


@given(st.lists(losses, min_size=2, max_size=20))
def test_a_decreasing_loss_has_not_diverged(values: list[float]) -> None:
    assert describe_divergence(epochs(*sorted(values, reverse=True))) is None


@given(st.lists(st.floats(0, 1) | st.sampled_from([inf, nan]), max_size=10))
def test_criteria_that_are_scores_are_ignored(values: list[float]) -> None:
    assert describe_divergence(epochs(*values, criteria=SCORE)) is None


def test_epochs_without_a_value_are_ignored() -> None:
    assert describe_divergence(epochs(None)) is None
    assert describe_divergence(epochs(0.5, None, 501.0, None)) == "its loss is 501 in epoch 3 and was 0.5 before"


def test_growth_from_a_loss_of_zero_is_not_divergence() -> None:
    assert describe_divergence(epochs(0.0, 5.0)) is None


def test_divergence_of_models_other_than_the_best_is_ignored() -> None:
    one = EpochReport(index=0, criteria=LOSS, value=0.5, train={0: 0.5, 1: inf, 2: nan})
    assert describe_divergence([one]) is None
