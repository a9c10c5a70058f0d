"""The parameters of the flows: Prefect's form, the signatures, and the command line."""

import inspect
import re
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from flows.cli.arguments import Arguments
from flows.cli.input_table import COMMAND_ARGUMENTS
from flows.deploy import deploy_model, undeploy_model
from flows.form import COMPUTE_FORM, DATASET_FORM, HYPERPARAMETERS_FORM, RARE_GROUP, FormGroup
from flows.predict import predict_batch
from flows.train import train_linear_learner
from tasks.parameters import Dataset, RequestedHyperparameters

every_flow = pytest.mark.parametrize(
    "flow", [train_linear_learner, predict_batch, deploy_model, undeploy_model], ids=lambda flow: flow.name
)


@every_flow
def test_the_signature_is_readable(flow: Flow[..., Any]) -> None:
    for parameter in inspect.signature(flow).parameters.values():
        assert len(str(parameter)) <= 300
        assert "FormSchema('" in str(parameter)
    assert repr(Dataset(target="pay", ignore=("id",))) == "Dataset(target='pay', ignore=('id',))"
    assert repr(RequestedHyperparameters(epochs=3)) == "RequestedHyperparameters(epochs=3)"


@every_flow
def test_every_parameter_of_the_form_has_a_title_a_description_and_the_position_in_the_signature(
    flow: Flow[..., Any],
) -> None:
    schema = parameter_schema(flow).model_dump()
    names = list(inspect.signature(flow.fn).parameters)
    assert sorted(schema["properties"], key=lambda name: schema["properties"][name]["position"]) == names
    for name, field in schema["properties"].items():
        # Prefect omits a title or description that equals that of the parameter's model.
        model = schema["definitions"].get(field.get("$ref", "").rpartition("/")[2], {})
        assert field.get("title", model.get("title")) != name
        assert field.get("description", model.get("description")), name
    assert schema.get("required", []) == (["endpoint"] if flow is undeploy_model else [])


def form_fields(properties: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and schema of every field of a part of the form, including the fields of groups."""
    for name, field in properties.items():
        yield name, field
        yield from form_fields(field.get("properties", {}))


@every_flow
def test_every_field_of_the_form_has_a_title_a_description_and_one_type(flow: Flow[..., Any]) -> None:
    schema = parameter_schema(flow).model_dump()
    groups = {field.get("$ref", "").rpartition("/")[2] for field in schema["properties"].values()} - {""}
    assert groups == set(schema["definitions"])
    for group in groups:
        for name, field in form_fields(schema["definitions"][group]["properties"]):
            assert not re.search(r"\b(Mb|Gb|Ms|Usd)\b", field["title"]), name
            assert field["description"], name
            # Prefect shows raw JSON for a field with several types or none; an optional field is a type or null.
            kinds = [one for one in field.get("anyOf", [field]) if one.get("type") != "null"]
            (kind,) = kinds
            assert kind["type"] in {"string", "number", "integer", "boolean", "array", "object"}, name
            assert kind["type"] != "object" or kind["properties"], name
            assert kind["type"] != "array" or kind["items"]["type"] == "string", name
            if kind["type"] in {"number", "integer"} and name != "init_bias":
                assert {"minimum", "exclusiveMinimum", "enum"} & set(kind), name


@pytest.mark.parametrize(
    ("name", "form"),
    [("dataset", DATASET_FORM), ("hyperparameters", HYPERPARAMETERS_FORM), ("compute", COMPUTE_FORM)],
)
def test_the_form_shows_every_field_once_with_the_rare_ones_in_a_group_at_the_end(name: str, form: FormGroup) -> None:
    schema = parameter_schema(train_linear_learner).model_dump()
    properties = schema["definitions"][form.model.__name__]["properties"]
    *common, group = properties
    assert (tuple(common), group) == (form.common, RARE_GROUP)
    rare = properties[RARE_GROUP]["properties"]
    assert sorted([*common, *rare]) == sorted(form.model.model_fields)
    # The values that the form submits without edits.
    default = schema["properties"][name]["default"]
    assert train_linear_learner.validate_parameters({name: default})[name] == form.model()
    assert set(default) == set(properties)
    assert not validate({name: default}, schema)


def test_the_form_shows_less_than_40_fields_outside_the_groups_of_rarely_changed_ones() -> None:
    schema = parameter_schema(train_linear_learner).model_dump()
    models = [
        schema["definitions"].get(one.get("$ref", "").rpartition("/")[2], {}) for one in schema["properties"].values()
    ]
    shown = [len(set(model.get("properties", [""])) - {RARE_GROUP}) for model in models]
    assert sum(shown) < 40


def hyperparameters_of(value: object) -> RequestedHyperparameters:
    """Return the hyperparameters of a flow run with this value of the parameter."""
    hyperparameters = train_linear_learner.validate_parameters({"hyperparameters": value})["hyperparameters"]
    assert isinstance(hyperparameters, RequestedHyperparameters)
    return hyperparameters


@pytest.mark.parametrize(
    "value",
    [
        RequestedHyperparameters(l1=0.5, normalize_data=False),
        {"l1": 0.5, "normalize_data": False},
        {"l1": 0.5, RARE_GROUP: {"normalize_data": False}},
        # A value that a deployment sets by name, with the group that the form submits without edits.
        {"l1": 0.5, "normalize_data": False, RARE_GROUP: {"normalize_data": True, "use_bias": True}},
    ],
    ids=["model", "names", "group", "both"],
)
def test_hyperparameters_are_accepted_as_a_model_by_name_and_in_the_group(value: object) -> None:
    hyperparameters = hyperparameters_of(value)
    assert hyperparameters == RequestedHyperparameters(l1=0.5, normalize_data=False)
    assert set(hyperparameters.model_dump()) == set(RequestedHyperparameters.model_fields)
    if isinstance(value, dict):
        assert not validate({"hyperparameters": value}, parameter_schema(train_linear_learner).model_dump())


def test_a_value_changed_in_the_form_overrides_the_value_of_the_deployment() -> None:
    assert hyperparameters_of({"beta_1": 0.8, RARE_GROUP: {"beta_1": 0.5}}) == RequestedHyperparameters(beta_1=0.5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({RARE_GROUP: {"l2": 1}}, "l2"),
        ({RARE_GROUP: 3}, RARE_GROUP),
    ],
    ids=str,
)
def test_unknown_hyperparameters_are_refused(value: object, message: str) -> None:
    with pytest.raises(ParameterTypeError, match=message):
        hyperparameters_of(value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dataset": {"sauce": "x.csv"}},
        {"split": {"holdout_size": 1.5}},
        {"hyperparameters": {"epoch": 3}},
        {"hyperparameters": {"epochs": 0}},
        {"hyperparameters": {"loss": "squared"}},
        {"hyperparameters": {"init_sigma": 0}},
        {"hyperparameters": {"init_sigma_": 1}},
        {"hyperparameters": {"rarely_changed": {"init_sigma": 0}}},
        {"hyperparameters": {"rarely_changed": {"epochs": 3}}},
        {"compute": {"instance_type": "large"}},
        {"gate": {"margin": 1.5}},
        {"registry": {"group": "no_underscores"}},
        {"model_dir": 3},
    ],
    ids=str,
)
def test_the_form_refuses_unknown_keys_and_values_out_of_bounds(wrong: dict[str, Any]) -> None:
    schema = parameter_schema(train_linear_learner).model_dump()
    assert validate(wrong, schema)
    right = {"dataset": {"source": "x.csv"}, "split": {"holdout_size": 0.5}, "hyperparameters": {"epochs": 3}}
    assert not validate(right, schema)


def test_the_command_line_has_the_parameters_of_the_flow() -> None:
    flow = {
        name: (get_type_hints(train_linear_learner.fn)[name], parameter.default)
        for name, parameter in inspect.signature(train_linear_learner.fn).parameters.items()
    }
    line = {name: (field.annotation, field.default) for name, field in Arguments.model_fields.items()}
    assert {name: line[name] for name in line if name not in COMMAND_ARGUMENTS} == flow
