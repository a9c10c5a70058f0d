"""The arguments of `python -m flows.train`. No slow imports, so that --help and errors appear at once."""

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    CliToggleFlag,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from flows.cli.option_parser import OptionParser, Sections, add_option
from tasks.parameters import Reuse, RunParameters

LISTS = "Lists are written a,b or a b. Options are understood with - and with _."
COMMON: Sections = {
    "table": ("csv", "sample", "dataset.source", "dataset.target", "dataset.ignore", "dataset.categorical"),
    "place": ("workspace", "model_dir"),
    "split": ("split.method", "split.column", "split.holdout_size"),
    "hyperparameters": tuple(
        f"hyperparameters.{name}"
        for name in ("predictor_type", "loss", "epochs", "mini_batch_size", "learning_rate", "l1", "wd")
    ),
    "instances, time and money": tuple(
        f"compute.{name}" for name in ("instance_type", "instance_count", "max_runtime_seconds", "max_cost_usd", "spot")
    ),
    "verdict and registration": ("gate.metric", "registry.group", "registry.approve", "fail_if_rejected"),
    "repetition": ("from_run", "if_exists", "reuse.refresh"),
}
"""The options that --help shows, in the order of the form."""
EXAMPLES = """\
examples:
  python -m flows.train --csv houses.csv --target price --dataset.ignore id,street
  python -m flows.train --sample diabetes --hyperparameters.epochs 30 --hyperparameters.l1 0.01
  python -m flows.train --workspace production --source s3://my-bucket/table.csv --target bonus --compute.max_cost_usd 2
"""


class CommandLine(BaseSettings):
    """The arguments of a command; environment variables, such as BUCKET or SPLIT, are ignored."""

    model_config = SettingsConfigDict(
        cli_avoid_json=True,
        cli_exit_on_error=False,
        cli_hide_none_type=True,
        use_attribute_docstrings=True,
        extra="forbid",
    )

    common: ClassVar[Sections] = {}
    """The options that --help shows; all if it is empty."""
    examples: ClassVar[str] = ""

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource]:
        return (sources["init_settings"],)

    @classmethod
    def given(cls, line: Sequence[str] | None) -> dict[str, Any]:
        """The arguments of `line` or this process by name, not validated; raises SettingsError for unknown ones."""
        parser = OptionParser(cls.model_config.get("cli_prog_name") or "", f"{cls.__doc__}", cls.common, cls.examples)
        words = list(sys.argv[1:] if line is None else line)
        source: CliSettingsSource[Any] = CliSettingsSource(
            cls, cli_parse_args=words, root_parser=parser, add_argument_method=add_option
        )
        found: dict[str, Any] = source()
        return found


class Arguments(CommandLine, RunParameters):
    __doc__ = f"Train Amazon SageMaker's Linear Learner on a table, in the sandbox or on AWS. {LISTS}"

    model_config = SettingsConfigDict(
        cli_prog_name="python -m flows.train",
        cli_shortcuts={"dataset.target": "target", "dataset.source": "source"}
        | {name: name.replace("_", "-") for name in ("from_run", "model_dir", "if_exists", "fail_if_rejected")},
    )

    common: ClassVar[Sections] = COMMON
    examples: ClassVar[str] = EXAMPLES

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
    fail_if_rejected: CliToggleFlag[bool] = False
    """Exit with code 3 if the model is rejected, for scripts."""
    verbose: CliToggleFlag[bool] = False
    """Log every step and its state."""


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
            option = ".".join(part for part in one["loc"] if isinstance(part, str))
            message = f"--{option}: {message}; found {one['input']!r}"
        if one["type"] == "literal_error":
            values = re.findall("'(.*?)'", one["ctx"]["expected"])
            message += "".join(
                f". Did you mean {value}?" for value in get_close_matches(str(one["input"]), values, n=1)
            )
        lines.append(message)
    return "\n".join(lines)
