"""The arguments of `python -m flows.train`. No slow imports, so that --help and errors appear at once."""

import sys
from collections.abc import Sequence
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

from tasks.parameters import Reuse, RunParameters


class CommandLine(BaseSettings):
    """The arguments of a command; environment variables, such as BUCKET or SPLIT, are ignored."""

    model_config = SettingsConfigDict(
        cli_avoid_json=True,
        cli_exit_on_error=False,
        cli_hide_none_type=True,
        use_attribute_docstrings=True,
        extra="forbid",
    )

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource]:
        return (sources["init_settings"],)

    @classmethod
    def given(cls, line: Sequence[str] | None) -> dict[str, Any]:
        """The arguments of `line` or this process by name, not validated; raises SettingsError for unknown ones."""
        found: dict[str, Any] = CliSettingsSource(cls, cli_parse_args=list(sys.argv[1:] if line is None else line))()
        return found


class Arguments(CommandLine, RunParameters):
    """Train Amazon SageMaker's Linear Learner on a CSV file, in the sandbox or on AWS."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m flows.train",
        cli_shortcuts={"dataset.target": "target", "dataset.source": "source", "from_run": "from-run"},
    )

    csv: Path | None = None
    """A local CSV file to train on; it is uploaded to the workspace's bucket first."""
    sample: Literal["employees", "diabetes", "breast_cancer", "digits"] | None = None
    """A sample table to train on; it sets the target and the predictor type."""
    from_run: str | None = None
    """The run.json of an earlier run, s3:// or a path: its parameters are the defaults of this run."""
    workspace: str = "sandbox"
    """Name of the saved Training Workspace block to train in; "sandbox" needs no AWS account."""
    model_dir: str = "models"
    """Folder for the downloaded model."""
    if_exists: Literal["adopt", "new", "fail"] = "adopt"
    """If a training job with the same input is running or completed: adopt it, pay for a new one, or fail."""
    reuse: Reuse = Reuse()


def parse_arguments(line: Sequence[str] | None) -> dict[str, Any]:
    """The given arguments by name, not validated; raises SettingsError for unknown or conflicting ones."""
    given = Arguments.given(line)
    sources: list[str] = [name for name in ("csv", "sample", "from_run") if name in given]
    # A recorded run's table may have moved: --from-run and --source go together.
    sources += ["source"] * ("source" in given.get("dataset", {}) and sources != ["from_run"])
    if len(sources) > 1:
        one, other = (name.replace("from_run", "from-run") for name in sources[:2])
        raise SettingsError(f"--{one} and --{other} cannot be combined; give one of them")
    return given


def is_uri(location: str) -> bool:
    """Whether a location is a URI or an ARN, of any kind, and not a path."""
    return "://" in location or location.startswith("arn:")


def error_message(error: Exception) -> str:
    """Return the message for users of an error, also of one that pydantic raises."""
    return validation_messages(error) if isinstance(error, ValidationError) else str(error)


def validation_messages(error: ValidationError) -> str:
    lines = []
    for one in error.errors():
        message = one["msg"].removeprefix("Value error, ")
        if one["type"] != "value_error":
            message = f"--{'.'.join(map(str, one['loc']))}: {message}; found {one['input']!r}"
        lines.append(message)
    return "\n".join(lines)
