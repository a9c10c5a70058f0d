"""The name of a flow run: the one that a person entered, or else what is trained and which parameters differ.

At the end of a training run the verdict follows. Prefect's lists and the head of a run's page show the name of a run,
but not the message of its state.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from prefect import get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.context import FlowRunContext
from prefect.runtime import deployment

from tasks.caching.explain_rerun import flatten, format_value
from tasks.data.numbers import format_count
from tasks.parameters import Dataset, RunParameters
from tasks.prefect_ui.display import warn_of_errors, without_retries

MAX_CHANGES = 3
"""Number of changed parameters that a name has."""
MAX_VALUE_LENGTH = 24
_GREEK = (
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|omicron|pi|rho|sigma|tau|upsilon|phi|chi"
    "|psi|omega"
)
_GENERATED = re.compile(rf"[a-z]+-[a-z]+|(?:{_GREEK})[0-9]*(?:-[a-z]+)+")
"""Names that Prefect's server generates, such as `curious-otter`, and its form, such as `sigma5-canis-majoris-m`."""
_BEFORE_VERDICT = " → "
_IN_NAME = {"dataset.source", "dataset.target"}


def entered_name() -> str | None:
    """Return the name of the current flow run, unless Prefect generated it.

    The form of Prefect fills in a generated name, which nothing but its words tells from an entered one.
    """
    context = FlowRunContext.get()
    name = (
        context and context.flow_run and context.flow_run.name.partition(_BEFORE_VERDICT)[0]
    )  # set by a first attempt
    return None if not name or _GENERATED.fullmatch(name) else name


def current_parameters() -> Mapping[str, Any]:
    """Return the parameters of the current flow run by name; empty outside of a run."""
    context = FlowRunContext.get()
    return (context and context.parameters) or {}


def training_run_name() -> str:
    """Return the name of a training run: `bonus from transformed_data.csv, l1 0.01, nightly`.

    It has the parameters that differ from those of the deployment, or from the defaults if there is no deployment.
    """
    if name := entered_name():
        return name
    parameters = current_parameters()
    dataset: Dataset = parameters.get("dataset", Dataset())
    subject = f"{dataset.target} from {PurePosixPath(dataset.source).name}"
    used = _read_deployment()
    changes = list(_list_changes(parameters, used.parameters if used else {}))
    more = [format_count("more change", len(changes) - MAX_CHANGES)] if len(changes) > MAX_CHANGES else []
    return ", ".join([subject, *changes[:MAX_CHANGES], *more, *([used.name] if used else [])])


def add_verdict(headline: str) -> None:
    """Add the verdict to the name of the current flow run: `bonus from table.csv → first model: RMSE 631`."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    name = f"{context.flow_run.name.partition(_BEFORE_VERDICT)[0]}{_BEFORE_VERDICT}{headline}"
    problem = "The name of this run does not have the verdict"
    with warn_of_errors(problem), without_retries(), get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, name=name)


def _read_deployment() -> DeploymentResponse | None:
    if not deployment.id:
        return None
    with get_client(sync_client=True) as client:
        return client.read_deployment(deployment.id)


def _list_changes(parameters: Mapping[str, Any], of_deployment: Mapping[str, Any]) -> Iterator[str]:
    expected = flatten(RunParameters().model_dump(mode="json")) | flatten(of_deployment)
    for name, value in flatten(parameters).items():
        if name in expected and name not in _IN_NAME and value != expected[name]:
            text = format_value(value, "none")
            shown = text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 1]}…"
            yield f"{name.rpartition('.')[2]} {shown}"
