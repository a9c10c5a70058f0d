"""The command line's arguments; imports nothing heavy, so that --help and mistakes are answered at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from aws.training.compute import Compute
from linear_learner.hyperparameters import Hyperparameters
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
        """The command line alone: a variable named SPLIT in somebody's environment must change nothing."""
        return (sources["init_settings"],)


def parse_arguments(line: Sequence[str]) -> dict[str, Any]:
    """The arguments that a command line gives, by name and not validated yet; raises SettingsError for nonsense."""
    given: dict[str, Any] = CliSettingsSource(Arguments, cli_parse_args=list(line))()
    sources: list[str] = [name for name in ("csv", "sample", "from_run") if name in given]
    # A recorded run's table may have moved: --from-run and --source go together.
    sources += ["source"] * ("source" in given.get("dataset", {}) and sources != ["from_run"])
    if len(sources) > 1:
        one, other = (name.replace("from_run", "from-run") for name in sources[:2])
        raise SettingsError(f"--{one} and --{other} exclude each other; give one of them")
    return given


def validation_messages(error: ValidationError) -> str:
    """What is wrong with the arguments, a line each."""
    return "\n".join(_message(dict(one)) for one in error.errors())


def _message(error: Mapping[str, Any]) -> str:
    where = ".".join(map(str, error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    return f"--{where}: {message}; found {error['input']!r}" if error["type"] != "value_error" else message
