"""The command line's arguments, and the flow's parameters that they become."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from aws.errors import NotFound
from aws.storage import look, put, sha256_of
from aws.training.compute import Compute
from aws.workspace import Workspace, load_workspace
from linear_learner.hyperparameters import Hyperparameters
from sandbox.samples import EMPLOYEES_KEY, SAMPLES
from tasks.parameters import Dataset, Gate, Registry, Reuse, Split


class Arguments(BaseSettings):
    """Train Amazon SageMaker's Linear Learner on a CSV file, in the sandbox or on AWS."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m flows.train",
        cli_shortcuts={"dataset.target": "target", "dataset.source": "source", "from_run": "from-run"},
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
        use_attribute_docstrings=True,
        extra="forbid",
    )

    csv: Path | None = None
    """A CSV file of this machine to train on; it is put into the workspace's bucket first."""
    sample: Literal["employees", "diabetes", "breast_cancer", "digits"] | None = None
    """A table to try things with; it brings its own target and predictor type."""
    from_run: str | None = None
    """The run.json of an earlier run, s3:// or a path: its parameters are used where no others are given here."""
    workspace: str = "sandbox"
    """Name of the saved Training Workspace block that says where training runs; "sandbox" needs no AWS account."""
    model_dir: str = "models"
    """Folder for the downloaded model."""
    if_exists: Literal["adopt", "new", "fail"] = "adopt"
    """When a training job of this very input runs or is done: adopt it, pay for a new one, or fail."""
    dataset: Dataset = Dataset()
    split: Split = Split()
    hyperparameters: Hyperparameters = Hyperparameters()
    compute: Compute = Compute()
    gate: Gate = Gate()
    registry: Registry = Registry()
    reuse: Reuse = Reuse()

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource]:
        """What was said alone: a variable named SPLIT in somebody's environment must change nothing."""
        return (sources["init_settings"],)


def said_on(line: Sequence[str]) -> dict[str, Any]:
    """What a command line says, by argument and not checked yet; raises SettingsError when it makes no sense."""
    said: dict[str, Any] = CliSettingsSource(Arguments, cli_parse_args=list(line))()
    given: list[str] = [name for name in ("csv", "sample", "from_run") if name in said]
    # Where the table of an earlier run lies by now may be said beside it.
    given += ["source"] * ("source" in said.get("dataset", {}) and given != ["from_run"])
    if len(given) > 1:
        one, other = (name.replace("from_run", "from-run") for name in given[:2])
        raise SettingsError(f"--{one} and --{other} exclude each other; give one of them")
    return said


def complaints(error: ValidationError) -> str:
    """What is wrong with the arguments, a line each."""
    return "\n".join(_complaint(dict(one)) for one in error.errors())


def _complaint(error: Mapping[str, Any]) -> str:
    where = ".".join(map(str, error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    return f"--{where}: {message}; found {error['input']!r}" if error["type"] != "value_error" else message


BROUGHT_ALONG = {"csv", "sample", "from_run"}
"""Arguments that are no parameters of the flow: they say where some of those come from."""


def flow_parameters(chosen: Arguments) -> dict[str, Any]:
    """The flow's parameters, with `--csv` or `--sample` uploaded and named as the dataset's source."""
    parameters = {name: getattr(chosen, name) for name in type(chosen).model_fields if name not in BROUGHT_ALONG}
    hyperparameters = chosen.hyperparameters
    if chosen.csv:
        source = _upload(load_workspace(chosen.workspace), chosen.csv)
        parameters["dataset"] = chosen.dataset.model_copy(update={"source": source})
    elif chosen.sample:
        parameters |= _sample(load_workspace(chosen.workspace), chosen)
        hyperparameters = parameters["hyperparameters"]
    # A command line has one list of them where a form has two groups.
    parameters["hyperparameters"], parameters["more_hyperparameters"] = hyperparameters.groups
    return parameters


def _upload(workspace: Workspace, csv: Path) -> str:
    """The file's URI, under its own name in a folder named by its content."""
    sha256 = sha256_of(csv)
    return put(workspace, csv, workspace.uri("sources", sha256[:20], csv.name), sha256).uri


def _sample(workspace: Workspace, chosen: Arguments) -> dict[str, Any]:
    sample = SAMPLES[chosen.sample or "employees"]
    uri = workspace.uri("samples", f"{chosen.sample}.csv")
    if chosen.sample == "employees":
        uri = workspace.locate(EMPLOYEES_KEY)
    try:
        look(workspace, uri)
    except NotFound:
        _put_bytes(workspace, sample.csv(), uri)
    own = {"predictor_type": sample.predictor_type, "num_classes": sample.num_classes}
    said = chosen.hyperparameters.model_dump(exclude_unset=True)
    target = chosen.dataset.target if "target" in chosen.dataset.model_fields_set else sample.target
    return {
        "dataset": chosen.dataset.model_copy(update={"source": uri, "target": target}),
        "hyperparameters": type(chosen.hyperparameters)(**{**own, **said}),
    }


def _put_bytes(workspace: Workspace, content: bytes, uri: str) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "sample.csv")
        file.write_bytes(content)
        put(workspace, file, uri, sha256_of(file))
