"""A default mini_batch_size is reduced to the number of rows; another value that is too large is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.errors import HyperparameterError
from linear_learner.hyperparameters import Hyperparameters
from tasks.parameters import MIN_BATCHES_PER_EPOCH, fit_batch_size


@given(st.integers(1, 999))
def test_a_default_batch_size_is_reduced_to_the_largest_power_of_two_with_enough_batches(rows: int) -> None:
    chosen = Hyperparameters(epochs=7)
    batch = fit_batch_size(chosen, rows).mini_batch_size
    assert batch.bit_count() == 1
    assert batch <= rows
    if rows >= MIN_BATCHES_PER_EPOCH:
        assert rows // batch >= MIN_BATCHES_PER_EPOCH > rows // (2 * batch)
    assert fit_batch_size(chosen, rows) == chosen.model_copy(update={"mini_batch_size": batch})


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_batch_size_within_the_rows_is_not_changed(batch: int, more: int) -> None:
    chosen = Hyperparameters(mini_batch_size=batch)
    assert fit_batch_size(chosen, batch + more) is chosen


@pytest.mark.parametrize(("batch", "rows"), [(11, 10), (999, 10), (5000, 4999)])
def test_a_chosen_batch_size_above_the_rows_is_refused_with_both_numbers_and_the_limit(batch: int, rows: int) -> None:
    with pytest.raises(HyperparameterError, match=f"mini_batch_size is {batch}.*only {rows} .*at most {rows}"):
        fit_batch_size(Hyperparameters(mini_batch_size=batch), rows)
