import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from linear_learner.errors import HyperparameterError
from linear_learner.hyperparameters import LOSSES, Hyperparameters

REGRESSOR = {"predictor_type": "regressor"}
BINARY = {"predictor_type": "binary_classifier"}
MULTICLASS = {"predictor_type": "multiclass_classifier", "num_classes": "3"}

NOT_A_NUMBER = ["", "many", "nan", "inf", "1e999", "0x10", "1_0", " 1", "None", "\u0661"]
WHOLE_FROM_1 = (["1", "7"], ["0", "-1", "1.5", "1e3", *NOT_A_NUMBER])
BOOL = (["true", "false", "True", "False"], ["yes", "1", "0", "", "TRUE", "none"])
POSITIVE = (["0.1", "1e-7", "5", ".5"], ["0", "-0.1", *NOT_A_NUMBER])
NOT_NEGATIVE = (["0", "0.5", "2"], ["-0.1", *NOT_A_NUMBER])
BELOW_1 = (["0", "0.999"], ["1", "1.0", "-0.1", *NOT_A_NUMBER])
OPEN_FRACTION = (["0.01", "0.99"], ["0", "1", "1.5", *NOT_A_NUMBER])
CLOSED_FRACTION = (["0", "0.9", "1"], ["1.01", "-0.1", *NOT_A_NUMBER])

NEVER_AUTO = {
    "mini_batch_size": WHOLE_FROM_1,
    "epochs": WHOLE_FROM_1,
    "use_bias": BOOL,
    "quantile": OPEN_FRACTION,
    "huber_delta": NOT_NEGATIVE,
    "loss_insensitivity": POSITIVE,
    "margin": NOT_NEGATIVE,
    "use_lr_scheduler": BOOL,
    "init_method": (["uniform", "normal"], ["zeros", "", "Uniform"]),
    "init_scale": POSITIVE,
    "init_sigma": POSITIVE,
    "init_bias": (["0", "-3.5", "1e3"], NOT_A_NUMBER),
    "num_point_for_scaler": WHOLE_FROM_1,
    "early_stopping_patience": WHOLE_FROM_1,
    "early_stopping_tolerance": POSITIVE,
    "binary_classifier_model_selection_criteria": (
        [
            "accuracy",
            "f_beta",
            "f1",
            "precision_at_target_recall",
            "recall_at_target_precision",
            "loss_function",
            "cross_entropy_loss",
        ],
        ["auc", ""],
    ),
    "target_recall": CLOSED_FRACTION,
    "target_precision": CLOSED_FRACTION,
    "f_beta": POSITIVE,
    "accuracy_top_k": WHOLE_FROM_1,
    "balance_multiclass_weights": BOOL,
    "num_classes": (["3", "1000000"], ["0", "1000001", "2.0", *NOT_A_NUMBER]),
    "predictor_type": (["regressor", "binary_classifier"], ["regression", "", "Regressor"]),
}
OR_AUTO = {
    "num_models": WHOLE_FROM_1,
    "feature_dim": WHOLE_FROM_1,
    "loss": (["squared_loss", "huber_loss"], ["mse", "", "logistic"]),
    "optimizer": (["adam", "sgd", "rmsprop"], ["adagrad", ""]),
    "learning_rate": POSITIVE,
    "beta_1": BELOW_1,
    "beta_2": BELOW_1,
    "momentum": BELOW_1,
    "wd": NOT_NEGATIVE,
    "l1": NOT_NEGATIVE,
    "bias_lr_mult": POSITIVE,
    "bias_wd_mult": NOT_NEGATIVE,
    "lr_scheduler_step": WHOLE_FROM_1,
    "lr_scheduler_factor": OPEN_FRACTION,
    "lr_scheduler_minimum_lr": POSITIVE,
    "normalize_data": BOOL,
    "normalize_label": BOOL,
    "unbias_data": BOOL,
    "unbias_label": BOOL,
    "num_calibration_samples": WHOLE_FROM_1,
    "positive_example_weight_mult": (["balanced", "0.5", "3"], ["0", "-1", "even", *NOT_A_NUMBER]),
}
ACCEPTED = [(name, value) for name, (good, _) in (NEVER_AUTO | OR_AUTO).items() for value in good]
ACCEPTED += [(name, "auto") for name in OR_AUTO]
REFUSED = [(name, value) for name, (_, bad) in (NEVER_AUTO | OR_AUTO).items() for value in bad]
REFUSED += [(name, "auto") for name in NEVER_AUTO]


def test_every_hyperparameter_has_valid_and_invalid_test_values():
    assert set(NEVER_AUTO | OR_AUTO) == set(Hyperparameters.model_fields)


@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_a_valid_value_survives_a_round_trip_over_the_wire(name, value):
    read = Hyperparameters.from_wire(REGRESSOR | {name: value})
    assert Hyperparameters.from_wire(read.to_wire()) == read


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_an_invalid_value_is_refused_with_name_and_value(name, value):
    with pytest.raises(HyperparameterError) as error:
        Hyperparameters.from_wire(REGRESSOR | {name: value})
    assert name in str(error.value)
    assert value in str(error.value)


def test_all_invalid_values_are_reported_at_once():
    with pytest.raises(HyperparameterError, match=r"epochs is '0'.*; wd is '-1'"):
        Hyperparameters.from_wire(REGRESSOR | {"epochs": "0", "wd": "-1"})


def test_an_unknown_name_is_refused_with_a_similar_one():
    with pytest.raises(HyperparameterError, match="did you mean learning_rate"):
        Hyperparameters.from_wire(REGRESSOR | {"learning_rat": "0.1"})
    with pytest.raises(HyperparameterError, match="xyzzy is not a hyperparameter"):
        Hyperparameters.from_wire(REGRESSOR | {"xyzzy": "0.1"})


def test_predictor_type_is_required_and_always_sent():
    with pytest.raises(HyperparameterError, match="predictor_type is missing"):
        Hyperparameters.from_wire({"epochs": "3"})
    assert Hyperparameters().to_wire() == REGRESSOR


def test_only_values_other_than_the_containers_defaults_are_sent_as_text():
    chosen = Hyperparameters(
        predictor_type="binary_classifier", epochs=15, mini_batch_size=32, use_bias=False, wd=0.1, normalize_data=None
    )
    assert chosen.to_wire() == BINARY | {
        "mini_batch_size": "32",
        "use_bias": "false",
        "wd": "0.1",
        "normalize_data": "auto",
    }


def test_small_numbers_are_sent_without_an_exponent():
    assert Hyperparameters(l1=1e-7).to_wire()["l1"] == "0.0000001"


def test_the_containers_internal_settings_are_ignored():
    tuned = REGRESSOR | {"_tuning_objective_metric": "validation:mse"}
    assert Hyperparameters.from_wire(tuned) == Hyperparameters()


def test_auto_is_accepted_in_python():
    assert Hyperparameters.model_validate({"learning_rate": "auto"}).learning_rate is None


def test_hyperparameters_are_immutable():
    with pytest.raises(ValidationError, match="frozen"):
        Hyperparameters().epochs = 3


@pytest.mark.parametrize("predictor_type", LOSSES)
def test_a_loss_of_another_predictor_type_is_refused(predictor_type):
    classes = {"num_classes": "3"}
    for owner, losses in LOSSES.items():
        for loss in losses:
            wire = classes | {"predictor_type": predictor_type, "loss": loss}
            if owner == predictor_type:
                assert Hyperparameters.from_wire(wire).loss == loss
            else:
                with pytest.raises(HyperparameterError, match=f"loss {loss} is invalid for {predictor_type}"):
                    Hyperparameters.from_wire(wire)


@pytest.mark.parametrize("classes", [{}, {"num_classes": "2"}])
def test_multiclass_needs_at_least_three_classes(classes):
    with pytest.raises(HyperparameterError, match="num_classes must be given, and at least 3"):
        Hyperparameters.from_wire({"predictor_type": "multiclass_classifier"} | classes)


@pytest.mark.parametrize(
    ("wire", "unused"),
    [
        (BINARY | {"num_classes": "2"}, "num_classes"),
        (BINARY | {"target_recall": "0.9"}, "target_recall"),
        (
            BINARY
            | {
                "binary_classifier_model_selection_criteria": "precision_at_target_recall",
                "target_precision": "0.9",
            },
            "target_precision",
        ),
        (REGRESSOR | {"positive_example_weight_mult": "balanced"}, "positive_example_weight_mult"),
        (REGRESSOR | {"momentum": "0.9"}, "momentum"),
        (REGRESSOR | {"optimizer": "sgd", "beta_1": "0.8"}, "beta_1"),
        (REGRESSOR | {"huber_delta": "2"}, "huber_delta"),
        (REGRESSOR | {"quantile": "0.9"}, "quantile"),
        (MULTICLASS | {"margin": "2"}, "margin"),
        (BINARY | {"normalize_label": "true"}, "normalize_label"),
        (REGRESSOR | {"use_lr_scheduler": "false", "lr_scheduler_step": "10"}, "lr_scheduler_step"),
        (REGRESSOR | {"use_bias": "false", "bias_lr_mult": "1"}, "bias_lr_mult"),
        (REGRESSOR | {"init_sigma": "1"}, "init_sigma"),
        (BINARY | {"balance_multiclass_weights": "true"}, "balance_multiclass_weights"),
    ],
)
def test_a_value_without_effect_gives_a_warning(wire, unused):
    (warning,) = Hyperparameters.from_wire(wire).warnings()
    assert warning.startswith(f"{unused} has no effect")


@pytest.mark.parametrize(
    "wire",
    [
        REGRESSOR,
        BINARY,
        MULTICLASS,
        REGRESSOR | {"loss": "quantile_loss", "quantile": "0.9"},
        REGRESSOR | {"optimizer": "sgd", "momentum": "0.9"},
        BINARY | {"binary_classifier_model_selection_criteria": "precision_at_target_recall", "target_recall": "0.9"},
    ],
)
def test_values_with_effect_give_no_warning(wire):
    assert Hyperparameters.from_wire(wire).warnings() == []


@pytest.mark.parametrize(("number", "spelling"), [("balanced", "balanced"), (2, "2"), (1e-5, "0.00001")])
def test_the_positive_weight_may_be_given_as_a_number(number, spelling):
    assert Hyperparameters(positive_example_weight_mult=number).positive_example_weight_mult == spelling


@pytest.mark.parametrize(("spelling", "weight"), [("balanced", None), ("auto", None), ("2", 2.0)])
def test_the_positive_weight_is_a_number_or_derived_from_the_labels(spelling, weight):
    assert Hyperparameters(positive_example_weight_mult=spelling).positive_weight == weight


def test_all_hyperparameters_are_fields_of_one_flat_model():
    assert Hyperparameters.model_validate({"normalize_data": False}).normalize_data is False
    both = Hyperparameters.model_validate({"l1": 1, "beta_1": 0.5})
    assert (both.l1, both.beta_1) == (1, 0.5)
    assert both.to_wire() == REGRESSOR | {"l1": "1.0", "beta_1": "0.5"}
    assert set(Hyperparameters.model_json_schema()["properties"]) == set(Hyperparameters.model_fields)


def test_the_json_schema_is_sufficient_for_a_form():
    properties = Hyperparameters.model_json_schema()["properties"]
    for name, schema in properties.items():
        assert schema["title"], name
        assert schema["description"], name
        kinds = [option.get("type") for option in schema.get("anyOf", [schema])]
        assert len([kind for kind in kinds if kind != "null"]) == 1, name
    assert "required" not in Hyperparameters.model_json_schema()
    json.dumps(properties)


numbers = st.floats(1e-12, 1e12)
fields = {
    "epochs": st.integers(1, 10**9),
    "num_models": st.none() | st.integers(1, 10**6),
    "use_bias": st.booleans(),
    "learning_rate": st.none() | numbers,
    "wd": st.none() | numbers,
    "beta_2": st.none() | st.floats(0, 1, exclude_max=True),
    "lr_scheduler_factor": st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True),
    "normalize_data": st.sampled_from([None, True, False]),
    "unbias_label": st.sampled_from([None, True, False]),
    "init_bias": st.floats(allow_nan=False, allow_infinity=False),
    "target_recall": st.floats(0, 1),
    "positive_example_weight_mult": st.sampled_from(["balanced", "auto"]) | numbers,
}


@given(st.fixed_dictionaries({}, optional=fields))
def test_sent_values_are_read_back_unchanged(chosen):
    hyperparameters = Hyperparameters(predictor_type="binary_classifier", **chosen)
    wire = hyperparameters.to_wire()
    assert all(isinstance(value, str) for value in wire.values())
    assert Hyperparameters.from_wire(wire) == hyperparameters


@given(st.dictionaries(st.sampled_from(sorted(Hyperparameters.model_fields)) | st.text(), st.text()))
def test_arbitrary_text_is_read_or_refused(wire):
    with suppress(HyperparameterError):
        assert isinstance(Hyperparameters.from_wire(wire), Hyperparameters)
