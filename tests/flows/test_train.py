"""The flow in the sandbox: its model, reuse of earlier results, its form and its parameters."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from aws.errors import NotFound
from aws.storage import delete_objects
from aws.training.compute import Compute
from aws.workspace import Workspace
from flows.cli.arguments import Arguments
from flows.cli.input_table import COMMAND_ARGUMENTS
from flows.train import train_linear_learner
from linear_learner.errors import DataError
from linear_learner.formats.artifact import read_model
from tasks.parameters import (
    COMPUTE_FORM,
    DATASET_FORM,
    HYPERPARAMETERS_FORM,
    RARE_GROUP,
    Dataset,
    FormGroup,
    RequestedHyperparameters,
    Split,
)
from tasks.report import TrainingRun

PutObject = Callable[[str, bytes], str]
STEPS = ("load", "split", "encode", "format", "upload", "training job", "read log", "download", "evaluate", "record")


def run_name(flow_run_state: State[Any]) -> str:
    flow_run_id = flow_run_state.state_details.flow_run_id
    assert flow_run_id is not None
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run_id).name


def task_states(flow_run_state: State[Any]) -> dict[str, str]:
    """Return the state of each task run on Prefect's server by the first word of its name."""
    flow_run_id = flow_run_state.state_details.flow_run_id
    assert flow_run_id is not None
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
    return {run.name.split()[0]: run.state_name or "" for run in runs}


def test_a_run_trains_a_model_the_next_run_reuses_it_and_a_changed_hyperparameter_or_a_deleted_model_starts_one_job(
    parameters: dict[str, Any], jobs: Callable[[], list[str]], machine: Path, workspace: Workspace
) -> None:
    first = train_linear_learner(**parameters)
    assert isinstance(first, TrainingRun)
    assert first.reused == ()
    assert (first.table.rows, first.rows.train, first.submission.how) == (300, 210, "started")
    assert first.model.path == machine / "models" / first.job.name / "model.tar.gz"
    scores = read_model(first.model.path).predict([[20, 0.0], [50, 0.5]]).scores
    assert scores.tolist() == pytest.approx([60, 155], abs=5)
    assert first.job.metrics["validation:mse"] < 10
    assert jobs() == [first.job.name]

    again: State[Any] = train_linear_learner(**parameters, return_state=True)
    name = f"pay from {Path(parameters['dataset'].source).name}"
    name += ", epochs 20, mini_batch_size 10, num_models 16, 1 more change"
    assert run_name(again) == f"{name} → {again.message}"
    second = again.result()
    assert second.reused == STEPS
    assert second.submission.how == "reused"
    assert second.model_dump(exclude={"submission", "reused"}) == first.model_dump(exclude={"submission", "reused"})
    assert jobs() == [first.job.name]
    assert {name: state for name, state in task_states(again).items() if state != "Completed"} == dict.fromkeys(
        [step.split()[0] for step in STEPS if step != "training job"], "Cached"
    )

    changed = {**parameters, "hyperparameters": parameters["hyperparameters"].model_copy(update={"epochs": 3})}
    third = train_linear_learner(**changed)
    assert third.reused == ("load", "split", "encode", "format", "upload")
    assert third.submission.how == "started"
    assert third.uploaded == first.uploaded
    assert sorted(jobs()) == sorted({first.job.name, third.job.name})
    assert len(jobs()) == 2

    delete_objects(workspace, first.job.model.uri)
    repeated = train_linear_learner(**parameters)
    assert repeated.submission.how == "started"
    assert repeated.job.name == f"{first.job.name}-2"
    assert repeated.model.sha256 == first.model.sha256
    assert sorted(jobs()) == sorted({first.job.name, third.job.name, repeated.job.name})


def test_several_instances_share_the_files_of_the_train_channel(
    parameters: dict[str, Any], put_object: PutObject, workspace: Workspace
) -> None:
    rows = [(age, number / 300) for number in range(300) for age in [20 + number * 7 % 40]]
    for number in range(3):
        lines = "".join(f"{age},{3 * age + 5},{score}\n" for age, score in rows[number * 100 : number * 100 + 100])
        uri = put_object(f"shared/{number}.csv", f"age,pay,score\n{lines}".encode())
    changes = {
        "dataset": Dataset(source=uri.removesuffix("2.csv"), target="pay", format="recordio"),
        "split": Split(method="time", column="score"),
        "compute": Compute(instance_count=2),
    }
    run = train_linear_learner(**parameters | changes)
    assert [len(run.uploaded.files_of(channel.name)) for channel in run.uploaded.channels] == [2, 1, 1]
    assert run.uploaded.features == ("age",)
    job = workspace.client("sagemaker").describe_training_job(TrainingJobName=run.job.name)
    channels = {one["ChannelName"]: one for one in job["InputDataConfig"]}
    assert {one["ContentType"] for one in channels.values()} == {"application/x-recordio-protobuf"}
    train, validation = (channels[name]["DataSource"]["S3DataSource"] for name in ("train", "validation"))
    assert train["S3DataDistributionType"] == "ShardedByS3Key"
    assert validation["S3DataDistributionType"] == "FullyReplicated"
    assert read_model(run.model.path).predict([[20], [50]]).scores.tolist() == pytest.approx([65, 155], abs=5)


def test_an_invalid_table_fails_before_a_job_is_started(
    parameters: dict[str, Any], jobs: Callable[[], list[str]], put_object: PutObject
) -> None:
    bad = Dataset(source=put_object("bad.csv", b"pay,age\n1,2\n3,x\n" + b"1,2\n" * 40), target="pay")
    with pytest.raises(DataError, match=r"column 'age', row 2: .*'x' in row 2"):
        train_linear_learner(**{**parameters, "dataset": bad})
    assert jobs() == []


@pytest.mark.usefixtures("prefect_server")
def test_an_unknown_workspace_raises_not_found() -> None:
    with pytest.raises(NotFound, match="unknown-workspace"):
        train_linear_learner(workspace="unknown-workspace")


def test_every_parameter_of_the_form_has_a_title_a_description_and_the_position_in_the_signature() -> None:
    schema = parameter_schema(train_linear_learner).model_dump()
    names = list(inspect.signature(train_linear_learner.fn).parameters)
    assert sorted(schema["properties"], key=lambda name: schema["properties"][name]["position"]) == names
    for name, field in schema["properties"].items():
        # Prefect omits a title or description that equals that of the parameter's model.
        model = schema["definitions"].get(field.get("$ref", "").rpartition("/")[2], {})
        assert field.get("title", model.get("title")) != name
        assert field.get("description", model.get("description")), name
    assert schema.get("required", []) == []


def form_fields(properties: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and schema of every field of a part of the form, including the fields of groups."""
    for name, field in properties.items():
        yield name, field
        yield from form_fields(field.get("properties", {}))


def test_every_field_of_the_form_has_a_title_a_description_and_one_type() -> None:
    schema = parameter_schema(train_linear_learner).model_dump()
    groups = {field.get("$ref", "").rpartition("/")[2] for field in schema["properties"].values()} - {""}
    assert groups == set(schema["definitions"])
    for group in groups:
        for name, field in form_fields(schema["definitions"][group]["properties"]):
            assert field["title"], name
            assert field["description"], name
            # Prefect shows raw JSON for a field with several types or none; an optional field is a type or null.
            kinds = [one for one in field.get("anyOf", [field]) if one.get("type") != "null"]
            (kind,) = kinds
            assert kind["type"] in {"string", "number", "integer", "boolean", "array", "object"}, name
            assert kind["type"] != "object" or kind["properties"], name
            assert kind["type"] != "array" or kind["items"]["type"] == "string", name
            if kind["type"] in {"number", "integer"} and name != "init_bias":
                assert {"minimum", "exclusiveMinimum"} & set(kind), name


@pytest.mark.parametrize("form", [DATASET_FORM, HYPERPARAMETERS_FORM, COMPUTE_FORM], ids=lambda form: form.title)
def test_the_form_shows_every_field_once_with_the_rare_ones_in_a_group_at_the_end(form: FormGroup) -> None:
    schema = parameter_schema(train_linear_learner).model_dump()
    properties = schema["definitions"][form.model.__name__]["properties"]
    *common, group = properties
    assert (tuple(common), group) == (form.common, RARE_GROUP)
    rare = properties[RARE_GROUP]["properties"]
    assert sorted([*common, *rare]) == sorted(form.model.model_fields)
    (name,) = (name for name, one in schema["properties"].items() if one.get("title") == form.title)
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
