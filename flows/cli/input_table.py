"""Converts command-line arguments to flow parameters and uploads a local or sample table to S3."""

from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from aws.errors import NotFound
from aws.storage import sha256_of, stat_object, upload_file
from aws.workspace import Workspace
from flows.cli.arguments import Arguments
from sandbox.samples import EMPLOYEES_KEY, SAMPLES

COMMAND_ARGUMENTS = {"csv", "sample", "from_run", "fail_if_rejected", "verbose"}
"""Arguments that are not flow parameters."""


def flow_parameters(workspace: Workspace, chosen: Arguments) -> dict[str, Any]:
    """The flow's parameters, with `--csv` or `--sample` uploaded and named as the dataset's source."""
    parameters = {name: getattr(chosen, name) for name in type(chosen).model_fields if name not in COMMAND_ARGUMENTS}
    if chosen.csv:
        sha256 = sha256_of(chosen.csv)
        uri = workspace.uri("sources", sha256[:20], chosen.csv.name)  # in a folder named by its content
        upload_file(workspace, chosen.csv, uri, sha256)
        parameters["dataset"] = chosen.dataset.model_copy(update={"source": uri})
    elif chosen.sample:
        parameters |= _sample(workspace, chosen, chosen.sample)
    return parameters


def _sample(workspace: Workspace, chosen: Arguments, name: str) -> dict[str, Any]:
    """Dataset and hyperparameters for a sample; values given on the command line take precedence."""
    sample = SAMPLES[name]
    uri = workspace.locate(EMPLOYEES_KEY) if name == "employees" else workspace.uri("samples", f"{name}.csv")
    try:
        stat_object(workspace, uri)
    except NotFound:
        with NamedTemporaryFile(suffix=".csv") as file:
            path = Path(file.name)
            path.write_bytes(sample.csv())
            upload_file(workspace, path, uri, sha256_of(path))
    hyperparameters = {"predictor_type": sample.predictor_type, "num_classes": sample.num_classes}
    hyperparameters |= chosen.hyperparameters.model_dump(exclude_unset=True)
    dataset = {"target": sample.target, **chosen.dataset.model_dump(exclude_unset=True), "source": uri}
    return {
        "dataset": type(chosen.dataset)(**dataset),
        "hyperparameters": type(chosen.hyperparameters)(**hyperparameters),
    }
