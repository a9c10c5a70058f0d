"""The mini-batch size grows with the rows, in small steps, and never exceeds them; small tables get more epochs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.schedule import choose_batch_size, choose_epochs, choose_num_models, choose_patience

rows = st.integers(1, 10**9) | st.integers(1, 200_000)


@pytest.mark.parametrize(
    ("rows", "batch"),
    [
        *[(1, 1), (3, 3), (4, 4), (799, 4), (800, 8), (1428, 8), (1429, 8), (1600, 16), (3200, 32), (10_000, 64)],
        *[(12_800, 128), (25_600, 256), (51_200, 512), (99_999, 512), (100_000, 1000), (20_000_000, 1000)],
    ],
)
def test_the_batch_size_is_that_of_the_documented_table(rows: int, batch: int) -> None:
    assert choose_batch_size(rows) == batch


@given(rows)
def test_it_is_at_most_the_rows_and_the_default_of_the_container(rows: int) -> None:
    assert 1 <= choose_batch_size(rows) <= min(rows, 1000)


@given(rows)
def test_one_more_row_never_lowers_it_and_at_most_doubles_it(rows: int) -> None:
    batch = choose_batch_size(rows)
    assert batch <= choose_batch_size(rows + 1) <= 2 * batch


@given(st.integers(400, 10**9))
def test_an_epoch_has_at_least_100_batches_and_leaves_out_less_than_a_hundredth_of_the_rows(rows: int) -> None:
    batch = choose_batch_size(rows)
    assert rows // batch >= 100
    assert rows % batch < rows / 100


@pytest.mark.parametrize("rows", [0, -5])
def test_no_rows_are_an_error(rows: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        choose_batch_size(rows)


@pytest.mark.parametrize(
    ("rows", "epochs", "patience"),
    [(1, 60, 12), (400, 60, 12), (600, 40, 8), (800, 30, 6), (1200, 20, 4), (1600, 15, 3), (10**9, 15, 3)],
)
def test_epochs_and_patience_are_those_of_the_documented_table(rows: int, epochs: int, patience: int) -> None:
    assert (choose_epochs(rows), choose_patience(rows)) == (epochs, patience)


@given(rows)
def test_one_more_row_lowers_epochs_and_patience_by_one_at_most(rows: int) -> None:
    for choose in (choose_epochs, choose_patience):
        assert choose(rows) - 1 <= choose(rows + 1) <= choose(rows)


@given(rows)
def test_training_has_at_most_6000_updates_up_to_100_000_rows(rows: int) -> None:
    if rows < 100_000:
        assert choose_epochs(rows) * (rows // choose_batch_size(rows)) <= 6000


def test_few_models_are_trained_for_regressors_with_few_rows() -> None:
    assert [choose_num_models("regressor", rows) for rows in (1, 399, 400)] == [4, 4, None]
    assert choose_num_models("binary_classifier", 10) is choose_num_models("multiclass_classifier", 10) is None
