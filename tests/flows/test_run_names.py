"""The names of training runs, as the lists of Prefect's UI show them."""

from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow

from aws.training.compute import Compute
from tasks.parameters import Dataset, RequestedHyperparameters, Split
from tasks.prefect_ui.run_name import training_run_name

pytestmark = pytest.mark.usefixtures("prefect_server")


@flow(name="named", flow_run_name=training_run_name)
def named(
    dataset: Dataset = Dataset(),  # noqa: B008 - frozen, as in the training flow
    split: Split = Split(),  # noqa: B008
    hyperparameters: RequestedHyperparameters = RequestedHyperparameters(),  # noqa: B008
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """A flow with parameters and the name of the training flow."""
    del dataset, split, hyperparameters, compute


def name_of_run(entered: str | None = None, of_deployment: dict[str, Any] | None = None, **parameters: Any) -> str:
    """Run the flow, from a deployment if `of_deployment` has its parameters, and return the name of the run."""
    with get_client(sync_client=True) as client:
        if of_deployment is None:
            run = client.create_flow_run(named, parameters=parameters, name=entered)
        else:
            flow_id = client.create_flow(named)
            deployment = client.create_deployment(flow_id, "nightly", parameters=of_deployment)
            run = client.create_flow_run_from_deployment(deployment, parameters=parameters, name=entered)
        run_flow(named, flow_run=run, parameters=named.validate_parameters(run.parameters))
        return client.read_flow_run(run.id).name


BONUS = "bonus from transformed_data.csv"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, BONUS),
        ({"dataset": {"source": "s3://bucket/houses.parquet", "target": "price"}}, "price from houses.parquet"),
        ({"hyperparameters": {"l1": 0.01}}, f"{BONUS}, l1 0.01"),
        ({"dataset": {"ignore": ["id", "name"]}, "compute": {"spot": True}}, f"{BONUS}, ignore id, name, spot true"),
        (
            {
                "split": {"random_state": 7},
                "hyperparameters": {"epochs": 3, "l1": 0.1, "wd": 0.2, "loss": "huber_loss"},
            },
            f"{BONUS}, random_state 7, loss huber_loss, epochs 3, 2 more changes",
        ),
    ],
    ids=["defaults", "table", "hyperparameter", "list", "many"],
)
def test_the_name_has_target_table_and_changed_parameters(parameters: dict[str, Any], expected: str) -> None:
    assert name_of_run(**parameters) == expected


def test_the_name_of_a_deployed_run_has_what_differs_from_the_deployment() -> None:
    deployed = {"compute": {"max_runtime_seconds": 600}, "hyperparameters": {"l1": 0.5}}
    assert name_of_run(of_deployment=deployed) == f"{BONUS}, nightly"
    assert name_of_run(of_deployment=deployed, hyperparameters={"l1": 0.0}) == f"{BONUS}, l1 0, nightly"


@pytest.mark.parametrize("entered", ["Friday's table, without bonuses", "baseline", "two-words 2"])
def test_an_entered_name_is_the_name_of_the_run(entered: str) -> None:
    assert name_of_run(entered, hyperparameters={"l1": 0.01}) == entered


@pytest.mark.parametrize("generated", ["curious-otter", "lambda6-dessica", "omicron524-lupi", "mu-canis-majoris-m"])
def test_a_name_that_prefect_generates_is_replaced(generated: str) -> None:
    assert name_of_run(generated) == BONUS
