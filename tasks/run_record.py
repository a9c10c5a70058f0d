"""The record of a run, `run.json`: what is in it, and how one is read that may be anybody's."""

import json
from typing import Any, Self

from pydantic import ValidationError, model_validator

from linear_learner.errors import ArtifactError
from tasks.reuse import Result
from tasks.table.source import Source

FILE = "run.json"
"""Its name, in the folder of `model.tar.gz`, in S3 and on the machine that ran the flow."""
FORMAT = 1
"""Of the record; a higher one may say what this version cannot read."""


class Data(Result):
    """The tables as they were: the objects they consist of, with their ETags and versions, and what is in them."""

    source: Source
    holdout: Source | None
    rows: int
    columns: tuple[str, ...]
    target: str


class RecordedChannel(Result):
    """A channel: its prefix in S3, its rows, and the checksum that stands for its files."""

    name: str
    uri: str
    rows: int
    sha256: str


class RecordedModel(Result):
    """The model in S3; size in bytes."""

    uri: str
    sha256: str
    size: int


class Figure(Result):
    """A metric of the test set, its interval, and what the best constant prediction comes to."""

    value: float | None
    low: float | None
    high: float | None
    baseline: float | None


class Metrics(Result):
    """The job's own final metrics, and those of the test set."""

    job: dict[str, float | None]
    test: dict[str, Figure]


class RunRecord(Result):
    """The whole of `run.json`."""

    format: int
    parameters: dict[str, dict[str, Any]]
    data: Data
    features: tuple[str, ...]
    channels: tuple[RecordedChannel, ...]
    fingerprint: str
    training_job: str
    request: dict[str, Any]
    """What CreateTrainingJob was given, save its tags; with another name it can be sent again."""
    model: RecordedModel
    versions: dict[str, str]
    metrics: Metrics

    @classmethod
    def parse(cls, content: bytes, where: str) -> Self:
        """The record in `content`; raises ArtifactError when that is none, or one of a later version's."""
        found = _object(content)
        written = found.get("format")
        if isinstance(written, int) and written > FORMAT:
            raise ArtifactError(
                f"{where} has format {written}, and this version reads {FORMAT} at most: update train-linear-learner"
            )
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            fault = error.errors()[0]
            what = ": ".join([".".join(map(str, fault["loc"])), fault["msg"]]).removeprefix(": ")
        raise ArtifactError(f"{where} is not a {FILE} of this project ({what}); give the one beside a model.tar.gz")

    @property
    def decisive(self) -> dict[str, Any]:
        """What the fingerprint is made of: image, hyperparameters, checksum of each channel, number of instances."""
        return {
            "image": self.request["AlgorithmSpecification"]["TrainingImage"],
            "hyperparameters": dict(self.request["HyperParameters"]),
            "channels": {channel.name: channel.sha256 for channel in self.channels},
            "instances": self.request["ResourceConfig"]["InstanceCount"],
        }

    @model_validator(mode="after")
    def _can_be_compared(self) -> Self:
        try:
            self.decisive  # noqa: B018 - looks whether all of it is there
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"its request lacks {error}") from error
        return self


def _object(content: bytes) -> dict[str, Any]:
    """The JSON object in `content`; an empty one, which lacks everything, where there is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
