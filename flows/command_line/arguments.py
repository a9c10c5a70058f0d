"""The command line's arguments: the flow's own parameter types, and two ways to bring a table along."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from aws.compute import Compute
from linear_learner.hyperparameters import Hyperparameters
from tasks.parameters import Dataset, Reuse, Split


class Arguments(BaseSettings):
    """Train Amazon SageMaker's Linear Learner on a CSV file, in the sandbox or on AWS."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m flows.train",
        cli_shortcuts={"dataset.target": "target", "dataset.source": "source"},
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
    reuse: Reuse = Reuse()

    @classmethod
    def settings_customise_sources(cls, *_: Any, **__: Any) -> tuple[()]:
        """The command line alone: a variable named SPLIT in somebody's environment must change nothing."""
        return ()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("csv", "sample") if getattr(self, name) is not None]
        given += ["source"] * ("source" in self.dataset.model_fields_set)
        if len(given) > 1:
            raise ValueError(f"--{given[0]} and --{given[1]} exclude each other; give one of them")
        return self
