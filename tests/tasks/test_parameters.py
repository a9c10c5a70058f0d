"""Hyperparameters that are not given suit the rows and the labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from linear_learner.errors import HyperparameterError
from linear_learner.schedule import choose_batch_size, choose_epochs, choose_num_models, choose_patience
from tasks.parameters import RequestedHyperparameters


@given(st.integers(1, 10**6))
def test_batch_size_epochs_patience_and_models_suit_the_rows_unless_they_are_given(rows: int) -> None:
    chosen = RequestedHyperparameters(l1=0.5).resolve("regressor", 0, rows)
    assert chosen.mini_batch_size == choose_batch_size(rows)
    assert (chosen.epochs, chosen.early_stopping_patience) == (choose_epochs(rows), choose_patience(rows))
    assert chosen.num_models == choose_num_models("regressor", rows)
    given = RequestedHyperparameters(epochs=7, early_stopping_patience=2, num_models=3).resolve("regressor", 0, rows)
    assert (given.epochs, given.early_stopping_patience, given.num_models) == (7, 2, 3)


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_batch_size_within_the_rows_is_not_changed(batch: int, more: int) -> None:
    assert (
        RequestedHyperparameters(mini_batch_size=batch).resolve("regressor", 0, batch + more).mini_batch_size == batch
    )


@pytest.mark.parametrize(("batch", "rows"), [(11, 10), (999, 10), (5000, 4999), (1000, 999)])
def test_a_chosen_batch_size_above_the_rows_is_refused_with_both_numbers_and_the_limit(batch: int, rows: int) -> None:
    with pytest.raises(HyperparameterError, match=f"mini_batch_size is {batch}.*only {rows} .*at most {rows}"):
        RequestedHyperparameters(mini_batch_size=batch).resolve("regressor", 0, rows)


def test_resolved_hyperparameters_have_the_values_that_were_given() -> None:
    requested = RequestedHyperparameters(l1=0.5, epochs=3)
    wire = requested.resolve("binary_classifier", 2, 210).to_wire()
    assert wire["predictor_type"] == "binary_classifier"
    assert (wire["l1"], wire["epochs"], wire["mini_batch_size"]) == ("0.5", "3", "4")
    assert requested.resolve("multiclass_classifier", 7, 64).num_classes == 7


def test_defaults_of_the_container_are_not_sent_for_large_tables() -> None:
    wire = RequestedHyperparameters().resolve("regressor", 0, 200_000).to_wire()
    assert wire == {"predictor_type": "regressor"}


def test_binary_models_are_selected_by_log_loss_unless_another_criterion_is_given() -> None:
    criterion = "binary_classifier_model_selection_criteria"
    wire = RequestedHyperparameters().resolve("binary_classifier", 2, 64).to_wire()
    assert wire[criterion] == "cross_entropy_loss"
    for chosen in ("accuracy", "f1"):
        resolved = RequestedHyperparameters(**{criterion: chosen}).resolve("binary_classifier", 2, 64)
        assert getattr(resolved, criterion) == chosen
    every_field = RequestedHyperparameters.model_validate(RequestedHyperparameters().model_dump())  # as in run.json
    assert criterion not in every_field.resolve("regressor", 2, 64).to_wire()


@pytest.mark.parametrize(
    ("values", "implied"),
    [
        ({}, None),
        ({"loss": "quantile_loss"}, "regressor"),
        ({"loss": "hinge_loss"}, "binary_classifier"),
        ({"num_classes": 5}, "multiclass_classifier"),
        ({"predictor_type": "regressor", "num_classes": 5}, "regressor"),
    ],
)
def test_a_loss_or_a_number_of_classes_implies_the_predictor_type(values: dict[str, object], implied: object) -> None:
    assert RequestedHyperparameters(**values).implied_type == implied  # type: ignore[arg-type] # validated


@pytest.mark.parametrize(
    "values",
    [
        {"predictor_type": "regressor", "loss": "hinge_loss"},
        {"loss": "hinge_loss", "num_classes": 5},
        {"predictor_type": "multiclass_classifier", "num_classes": 2},
    ],
)
def test_combinations_that_no_predictor_type_has_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RequestedHyperparameters(**values)  # type: ignore[arg-type] # invalid on purpose
