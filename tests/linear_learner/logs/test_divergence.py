"""A job that will come to nothing shows by its losses; one that merely learns badly does not."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.logs.reader import DIVERGENCE_FACTOR, EpochReport, describe_divergence

LOSS, SCORE = "mse_objective", "sampled_accuracy"
losses = st.floats(1e-9, 1e9)


def epochs(*values: float | None, criteria: str = LOSS) -> list[EpochReport]:
    return [EpochReport(index=index, criteria=criteria, value=value) for index, value in enumerate(values)]


def test_nothing_is_wrong_before_the_first_epoch_nor_with_one_epoch_alone() -> None:
    assert describe_divergence([]) is None
    assert describe_divergence(epochs(1e300)) is None


@pytest.mark.parametrize(("value", "text"), [(inf, "inf"), (nan, "nan"), (-inf, "-inf")])
def test_a_loss_that_is_no_number_has_diverged(value: float, text: str) -> None:
    assert describe_divergence(epochs(value)) == f"its loss is {text} in epoch 0"
    assert describe_divergence(epochs(0.5, value)) == f"its loss is {text} in epoch 1"


def test_a_loss_that_grew_a_thousandfold_over_the_lowest_has_diverged() -> None:
    assert describe_divergence(epochs(8.0, 0.5, 500.0)) is None
    assert describe_divergence(epochs(8.0, 0.5, 501.0)) == "its loss is 501 in epoch 2 and was 0.5 before"
    assert describe_divergence(epochs(8.0, 0.5, 4_000.0, 3_999.5)) == "its loss is 4e+03 in epoch 3 and was 0.5 before"


@given(st.lists(losses, min_size=1, max_size=20))
def test_only_growth_beyond_all_bounds_counts(values: list[float]) -> None:
    assert (describe_divergence(epochs(*values)) is not None) == (values[-1] > DIVERGENCE_FACTOR * min(values))


@given(st.lists(losses, min_size=2, max_size=20))
def test_a_loss_that_falls_never_diverges(values: list[float]) -> None:
    assert describe_divergence(epochs(*sorted(values, reverse=True))) is None


@given(st.lists(st.floats(0, 1) | st.sampled_from([inf, nan]), max_size=10))
def test_what_early_stopping_watches_instead_of_a_loss_is_passed_over(values: list[float]) -> None:
    assert describe_divergence(epochs(*values, criteria=SCORE)) is None


def test_epochs_without_a_value_are_passed_over() -> None:
    assert describe_divergence(epochs(None)) is None
    assert describe_divergence(epochs(0.5, None, 501.0, None)) == "its loss is 501 in epoch 2 and was 0.5 before"


def test_a_loss_of_zero_says_nothing_about_what_follows() -> None:
    assert describe_divergence(epochs(0.0, 5.0)) is None


def test_one_of_many_models_may_diverge_as_long_as_the_best_does_not() -> None:
    one = EpochReport(index=0, criteria=LOSS, value=0.5, train={0: 0.5, 1: inf, 2: nan})
    assert describe_divergence([one]) is None
