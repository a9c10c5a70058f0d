"""From the command line's arguments to the flow's parameters: a local or sample table is uploaded to S3 first."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aws.errors import NotFound
from aws.storage import sha256_of, stat_object, upload_file
from aws.workspace import Workspace, load_workspace
from flows.cli.arguments import Arguments
from sandbox.samples import EMPLOYEES_KEY, SAMPLES

SOURCE_ARGUMENTS = {"csv", "sample", "from_run"}
"""Arguments that are no parameters of the flow: they say where some of those come from."""


def flow_parameters(chosen: Arguments) -> dict[str, Any]:
    """The flow's parameters, with `--csv` or `--sample` uploaded and named as the dataset's source."""
    parameters = {name: getattr(chosen, name) for name in type(chosen).model_fields if name not in SOURCE_ARGUMENTS}
    if chosen.csv:
        source = _upload(load_workspace(chosen.workspace), chosen.csv)
        parameters["dataset"] = chosen.dataset.model_copy(update={"source": source})
    elif chosen.sample:
        parameters |= _sample(load_workspace(chosen.workspace), chosen)
    return parameters


def _upload(workspace: Workspace, csv: Path) -> str:
    """The file's URI, under its own name in a folder named by its content."""
    sha256 = sha256_of(csv)
    return upload_file(workspace, csv, workspace.uri("sources", sha256[:20], csv.name), sha256).uri


def _sample(workspace: Workspace, chosen: Arguments) -> dict[str, Any]:
    sample = SAMPLES[chosen.sample or "employees"]
    uri = workspace.uri("samples", f"{chosen.sample}.csv")
    if chosen.sample == "employees":
        uri = workspace.locate(EMPLOYEES_KEY)
    try:
        stat_object(workspace, uri)
    except NotFound:
        _put_bytes(workspace, sample.csv(), uri)
    own = {"predictor_type": sample.predictor_type, "num_classes": sample.num_classes}
    given = chosen.hyperparameters.model_dump(exclude_unset=True)
    target = chosen.dataset.target if "target" in chosen.dataset.model_fields_set else sample.target
    return {
        "dataset": chosen.dataset.model_copy(update={"source": uri, "target": target}),
        "hyperparameters": type(chosen.hyperparameters)(**{**own, **given}),
    }


def _put_bytes(workspace: Workspace, content: bytes, uri: str) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "sample.csv")
        file.write_bytes(content)
        upload_file(workspace, file, uri, sha256_of(file))
