"""The versions of a model package group: what the registry knows of them, and what changed from one to the next."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from aws.errors import AwsError
from aws.registry import Package, PackageVersion, describe_package
from aws.training.request import to_tag_value
from aws.workspace import Workspace
from linear_learner.errors import ArtifactError
from tasks.caching.explain_rerun import flatten
from tasks.data.numbers import NO_VALUE
from tasks.evaluation.results import METRICS
from tasks.model_source import find_record, find_versions
from tasks.record import RunRecord
from tasks.register import DECIDES_KEY, FIGURE_PREFIX, VERDICT_KEY

MAX_VERSIONS = 20
_PARTS = ("dataset", "split", "hyperparameters")
"""The parameters that determine a model; the table's name is compared by its content."""


class ModelVersion(NamedTuple):
    """A registered model and the time of its registration."""

    package: Package
    created: datetime

    @property
    def verdict(self) -> str:
        """The outcome of the gate; empty for a package of another source."""
        return self.package.metadata.get(VERDICT_KEY, "")

    @property
    def gate_metric(self) -> tuple[str, str]:
        """The title of the gate metric and its value on the test set; empty where they are not registered."""
        title = self.package.metadata.get(DECIDES_KEY, "")
        name = next((one for one, info in METRICS.items() if to_tag_value(info.title) == title), "")
        return title, self.package.metadata.get(f"{FIGURE_PREFIX}{name}", "")

    def to_row(self) -> dict[str, str | int]:
        """The version as a row of a table."""
        title, value = self.gate_metric
        return {
            "version": self.package.version,
            "registered": f"{self.created:%Y-%m-%d %H:%M} UTC",
            "status": self.package.status,
            "verdict": self.verdict or NO_VALUE,
            "gate metric": f"{title} {value}".strip() or NO_VALUE,
            "training job": self.package.training_job or NO_VALUE,
        }


def read_history(workspace: Workspace, group: str) -> list[ModelVersion]:
    """Return the newest versions of a group, newest first; raises NotFound when there is no such group."""
    return [_describe(workspace, one) for one in islice(find_versions(workspace, group), MAX_VERSIONS)]


def _describe(workspace: Workspace, listed: PackageVersion) -> ModelVersion:
    return ModelVersion(describe_package(workspace, listed.arn), listed.created)


def read_records(workspace: Workspace, packages: Sequence[Package]) -> list[RunRecord | None]:
    """Return the `run.json` of each package; None where it is missing, cannot be read or is of another format."""
    return [_read_record(workspace, package) for package in packages]


def _read_record(workspace: Workspace, package: Package) -> RunRecord | None:
    try:
        return find_record(workspace, package)
    except (ArtifactError, AwsError):
        return None


def describe_changes(before: RunRecord | None, now: RunRecord | None) -> list[str]:
    """Return what differs between the parameters and data of two runs, such as `l1: auto → 0.01`."""
    if before is None or now is None:
        return ["not known: a run.json is missing"]
    old, new = flatten(_determining(before)), flatten(_determining(now))
    changes = [
        f"{name.removeprefix('hyperparameters.')}: {_show(old.get(name))} → {_show(new.get(name))}"
        for name in sorted({**old, **new})
        if old.get(name) != new.get(name)
    ]
    if _content(before) != _content(now):
        rows = f"{before.data.rows:,}" + (f" → {now.data.rows:,}" if now.data.rows != before.data.rows else "")
        changes.insert(0, f"the table's content, {rows} rows")
    return changes


def _determining(record: RunRecord) -> Mapping[str, Any]:
    chosen = {part: dict(record.parameters.get(part, {})) for part in _PARTS}
    chosen["dataset"].pop("source", None)
    return chosen


def _content(record: RunRecord) -> list[tuple[int, str]]:
    """The size and checksum of each part of the table; its place does not matter."""
    return [(part.size, part.sha256 or part.etag) for part in record.data.source.parts]


def _show(value: object) -> str:
    return "default" if value is None else str(value)
