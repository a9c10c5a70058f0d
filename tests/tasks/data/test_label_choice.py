"""The predictor type and the classes follow from the labels, unless they are given."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from linear_learner.errors import DataError, HyperparameterError
from tasks.data.label_choice import LabelChoice, choose_labels, count_classes
from tasks.data.measurement import measure_chunks
from tasks.data.profile import Profile
from tasks.parameters import RequestedHyperparameters

ROWS = 120


def profile_of(*values: Any) -> Profile:
    """The profile of a target with these values, in turn, and a feature."""
    labels = [values[row % len(values)] for row in range(ROWS)]
    frame = pl.DataFrame({"y": pl.Series(labels), "x": [row * 0.5 for row in range(ROWS)]})
    return measure_chunks([frame], frame.columns, "y").profile()


def choose(*values: Any, positive: str | None = None, **hyperparameters: Any) -> LabelChoice:
    return choose_labels(profile_of(*values), RequestedHyperparameters(**hyperparameters), positive)


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (("no", "yes"), "binary_classifier", ("no", "yes")),
        ((">50K", "<=50K"), "binary_classifier", ("<=50K", ">50K")),
        ((True, False), "binary_classifier", ("false", "true")),
        ((1, 0), "binary_classifier", ("0", "1")),
        ((1, 2), "binary_classifier", ("1", "2")),
        ((1, -1), "binary_classifier", ("-1", "1")),
        ((2.5, 10.0), "binary_classifier", ("2.5", "10")),
        (("cat", "dog", "cow"), "multiclass_classifier", ("cat", "cow", "dog")),
        ((1, 2, 3), "regressor", ()),
        ((1.5, 2.5, 7.0), "regressor", ()),
        (("0,25", "1,25", "2,5"), "regressor", ()),  # refused later, as decimal commas
    ],
)
def test_the_values_of_the_target_decide(values: Sequence[Any], kind: str, classes: tuple[str, ...]) -> None:
    choice = choose(*values)
    assert (choice.predictor_type, choice.classes) == (kind, classes)
    assert "hyperparameters.predictor_type overrides this" in choice.reason


@pytest.mark.parametrize(
    ("hyperparameters", "kind", "classes"),
    [
        ({"predictor_type": "multiclass_classifier"}, "multiclass_classifier", ("1", "2", "10")),
        ({"num_classes": 3}, "multiclass_classifier", ("1", "2", "10")),
        ({"num_classes": 11}, "multiclass_classifier", tuple(map(str, range(11)))),
        ({"loss": "huber_loss"}, "regressor", ()),
        ({"predictor_type": "regressor"}, "regressor", ()),
    ],
)
def test_given_hyperparameters_decide(hyperparameters: dict[str, Any], kind: str, classes: tuple[str, ...]) -> None:
    choice = choose(10, 1, 2, **hyperparameters)
    assert (choice.predictor_type, choice.classes) == (kind, classes)


def test_the_positive_class_can_be_chosen() -> None:
    choice = choose("no", "yes", positive="no")
    assert choice.classes == ("yes", "no")
    assert "'no' is class 1, the positive class" in choice.reason
    assert choose(1, 2, positive="1.0").classes == ("2", "1")


def test_a_positive_class_that_does_not_occur_or_does_not_apply_is_refused() -> None:
    with pytest.raises(HyperparameterError, match=r"dataset\.positive is 'maybe'.*it has 'no' and 'yes'"):
        choose("no", "yes", positive="maybe")
    with pytest.raises(HyperparameterError, match="a regressor has no positive class"):
        choose(1, 2, 3, positive="1")


def test_a_number_of_classes_that_does_not_fit_is_refused() -> None:
    with pytest.raises(HyperparameterError, match="num_classes is 5, but the target has 3 classes"):
        choose("a", "b", "c", num_classes=5)


def test_classes_are_counted_and_two_are_too_few_for_a_multiclass_classifier() -> None:
    requested = RequestedHyperparameters(predictor_type="multiclass_classifier")
    three, two = profile_of("a", "b", "c"), profile_of("a", "b")
    assert count_classes(choose_labels(three, requested), requested, three) == 3
    with pytest.raises(DataError, match="has 2 classes, but a multiclass_classifier requires at least 3"):
        count_classes(choose_labels(two, requested), requested, two)
