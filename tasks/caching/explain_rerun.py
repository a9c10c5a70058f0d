"""Explain why a step runs: compare its facts with those of the last time it ran.

The last facts of each step are stored as a JSON object per table and target in the workspace's bucket.
"""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from prefect.logging import get_run_logger
from pydantic import BaseModel, TypeAdapter, ValidationError

from aws.errors import AccessDenied, AwsError, NotFound
from aws.storage import read_object, write_object
from aws.workspace import Workspace

Fact = str | int | float | bool | None
Facts = Mapping[str, Fact]
RESULT_MISSING = "the result of the last run is missing"
ROUTINE = "routine"
"""An extra of log records: the command line shows a record with a true value only with --verbose."""
_FIRST_TIME = "for the first time"
_NEW_JOB = "again, because training job changed"
_DATA = {"table", "dataset", "split"}
"""First parts of the names of facts about the data."""
_CHECKSUM = re.compile(r"(.+)\.(sha256|identity)")
_FACTS: TypeAdapter[dict[str, Fact]] = TypeAdapter(dict[str, Fact])
_UPLOAD_FOLDER = re.compile(r"/sources/[0-9a-f]{20}/")


def flatten(parts: Mapping[str, Any], within: str = "") -> dict[str, Fact]:
    """Flatten nested mappings and models to names such as `split.random_state`; an empty list becomes None."""
    facts: dict[str, Fact] = {}
    for name, part in parts.items():
        value = part.model_dump(mode="json") if isinstance(part, BaseModel) else part
        if isinstance(value, Mapping):
            facts |= flatten(value, f"{within}{name}.")
        elif isinstance(value, list | tuple):
            facts[f"{within}{name}"] = ", ".join(map(str, value)) or None
        else:
            facts[f"{within}{name}"] = value
    return facts


def describe_rerun(previous: Facts | None, now: Facts, what: str, default_reason: str = RESULT_MISSING) -> str:
    """Return why `what` runs: for the first time, because facts changed, or else because of `default_reason`.

    Only facts that both runs have are compared. Checksums are named only when nothing else changed.
    """
    if previous is None:
        return f"{_FIRST_TIME}: {what}"
    changed = [name for name, value in now.items() if name in previous and previous[name] != value]
    phrases = [_describe_change(name, previous[name], now[name]) for name in changed if not _CHECKSUM.fullmatch(name)]
    if "table.identity" in changed:
        phrases.insert(0, "the table changed")
    elif not phrases:
        phrases = [f"the {found[1]} changed" for name in changed if (found := _CHECKSUM.fullmatch(name))]
    if not phrases:
        return f"again, because {default_reason}"
    unchanged = ""
    if "table.identity" in previous.keys() & now.keys():
        groups = {name.split(".")[0] for name in changed}
        unchanged = "" if "table" in groups else "; table identical" if groups & _DATA else "; data identical"
    return f"again, because {', '.join(phrases)}{unchanged}"


def is_routine(explanation: str) -> bool:
    """Return whether a step runs for a reason that needs no line: it is the first time, or follows from a new job."""
    return explanation.startswith((_FIRST_TIME, _NEW_JOB))


def _describe_change(name: str, previous: Fact, now: Fact) -> str:
    is_hyperparameter = name.startswith("hyperparameters.")
    shown_name = name.replace("hyperparameters.", "hyperparameter ", 1)
    empty = "auto" if is_hyperparameter else "nothing"
    old, new = format_value(previous, empty), format_value(now, empty)
    return f"{shown_name} changed {old} → {new}" if old != new else f"{shown_name} changed {previous!r} → {now!r}"


def format_value(value: Fact, empty: str) -> str:
    """Return a fact as text; `empty` stands for None."""
    if value is None:
        return empty
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


class StepHistory:
    """The facts of each step of the last run on a table and target."""

    def __init__(self, workspace: Workspace, source: str, target: str) -> None:
        # The command line uploads tables to folders named after their content, which is not part of the table's name.
        subject = json.dumps([_UPLOAD_FOLDER.sub("/sources/", source), target])
        self._workspace, self._folder = workspace, sha256(subject.encode()).hexdigest()[:20]

    def explain(self, step: str, facts: Facts, what: str, default_reason: str = RESULT_MISSING) -> str:
        """Return why `step`, whose task run is named `what`, runs with `facts`, and store `facts` for the next run.

        When AWS fails, log a warning and return that the reason is unknown.
        """
        uri = self._workspace.uri("results", "latest", self._folder, f"{step}.json")
        try:
            previous = self._read(uri)
            if previous != facts:
                write_object(self._workspace, uri, json.dumps(facts, ensure_ascii=False, indent=1).encode())
        except AwsError as error:
            get_run_logger().warning("This run could not be compared with the last one. %s", error)
            return f"reason unknown: {what}"
        return describe_rerun(previous, facts, what, default_reason)

    def _read(self, uri: str) -> Facts | None:
        try:
            return _FACTS.validate_json(read_object(self._workspace, uri)[0])
        except (NotFound, AccessDenied, ValidationError):
            # Without permission to list the bucket, S3 denies access to objects that do not exist.
            return None
