"""Why a step runs: what this run is made of, beside what the last run of the same table and target was made of.

What that was stands in one small JSON object per table and target, in the workspace's bucket under `ledger/`. A run
reads it once and writes it once at most; when it cannot, it says so and goes on.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from typing import Any

from prefect.logging import get_run_logger
from pydantic import BaseModel, TypeAdapter, ValidationError

from aws.errors import AccessDenied, AwsError, NotFound
from aws.storage import read_object, write_object
from aws.workspace import Workspace
from tasks.parameters import RunParameters

Fact = str | int | float | bool | None
Facts = Mapping[str, Fact]
DATA_FACTS = ("table", "dataset", "split")
"""What the names of facts about the data begin with."""
CHANNEL_FACTS = (*DATA_FACTS, "compute.instance_count")
"""The same for the files of the channels."""
RESULT_MISSING = "nothing is left of what the last run made"
HISTORY_UNKNOWN = "what the last run was made of is not known"
_NAME_PREFIXES = {"hyperparameters": "hyperparameter "}
_RECORD: TypeAdapter[dict[str, dict[str, Fact]]] = TypeAdapter(dict[str, dict[str, Fact]])
_UPLOAD_FOLDER = re.compile(r"/sources/[0-9a-f]{20}/")


def flatten(parts: Mapping[str, Any], within: str = "") -> dict[str, Fact]:
    """Nested mappings and pydantic models as one level, `split.random_state`; an empty list counts as None."""
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


def describe_changes(previous: Facts, now: Facts) -> list[str]:
    """One phrase per fact that differs; what only one of the two knows is not compared."""
    changed = _changed_names(previous, now)
    phrases = [_describe_table_change(previous, now)] if "table.identity" in changed else []
    return phrases + [
        _describe_change(name, previous[name], now[name]) for name in changed if not name.startswith("table.")
    ]


def describe_rerun(previous: Facts | None, now: Facts, what: str, default_reason: str = RESULT_MISSING) -> str:
    """Why `what` is done: for the first time, for what changed, or, when nothing did, `otherwise`."""
    if previous is None:
        return f"for the first time: {what}"
    phrases = describe_changes(previous, now)
    return (
        f"again, because {', '.join(phrases)}{_describe_unchanged_data(previous, now)}"
        if phrases
        else f"again, because {default_reason}"
    )


def _changed_names(previous: Facts, now: Facts) -> list[str]:
    return [name for name, value in now.items() if name in previous and previous[name] != value]


def _describe_unchanged_data(previous: Facts, now: Facts) -> str:
    """What people would ask next: whether it is still the same data."""
    if not {"table.identity"} <= previous.keys() & now.keys():
        return ""
    changed = {name.split(".")[0] for name in _changed_names(previous, now)}
    if not changed & set(DATA_FACTS):
        return "; data identical"
    return "" if "table" in changed else "; table identical"


def _describe_table_change(previous: Facts, now: Facts) -> str:
    old, new = _format_size(previous.get("table.size")), _format_size(now.get("table.size"))
    return f"the table changed ({f'{old} → {new}' if old != new else f'still {new}'})"


def _format_size(size: Fact) -> str:
    if not isinstance(size, int):
        return "unknown size"
    scale = next((scale for scale in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= scale[0]), None)
    return f"{size / scale[0]:.1f} {scale[1]}" if scale else f"{size} bytes"


def _describe_change(name: str, previous: Fact, now: Fact) -> str:
    group, _, rest = name.partition(".")
    shown_name = f"{_NAME_PREFIXES[group]}{rest}" if group in _NAME_PREFIXES else name
    empty = "auto" if group == "hyperparameters" else "nothing"
    old, new = _format_value(previous, empty), _format_value(now, empty)
    return f"{shown_name} changed {old} → {new}" if old != new else f"{shown_name} changed {previous!r} → {now!r}"


def _format_value(value: Fact, empty: str) -> str:
    if value is None:
        return empty
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


class InputHistory:
    """What each step was made of, the last time and this time."""

    def __init__(self, workspace: Workspace, parameters: RunParameters) -> None:
        dataset = parameters.dataset
        # What the command line uploads stands in a folder that is named by its content.
        source = _UPLOAD_FOLDER.sub("/sources/", dataset.source)
        name = sha256(json.dumps([source, dataset.target]).encode()).hexdigest()[:20]
        self._workspace, self._uri = workspace, workspace.uri("ledger", f"{name}.json")
        self._subject: dict[str, Fact] = {"source": source, "target": dataset.target}
        # The registry decides about no step that is reused.
        chosen = parameters.model_dump(mode="json", exclude={"dataset": {"source", "target"}, "registry": True})
        self._facts = flatten(chosen)
        self._previous = self._read()
        self._current: dict[str, dict[str, Fact]] = {}

    def record_input(self, facts: Facts) -> None:
        """Add to what this run is made of."""
        self._facts |= facts

    def explain_rerun(self, step: str, depends_on: Sequence[str], what: str, default_reason: str) -> str:
        """The reason for `step`, which depends on the facts whose names are, or begin with, one of `of`."""
        roots = tuple(f"{root}." for root in depends_on)
        self._current[step] = {n: value for n, value in self._facts.items() if n in depends_on or n.startswith(roots)}
        if self._previous is None:
            return f"{HISTORY_UNKNOWN}: {what}"
        return describe_rerun(self._previous.get(step), self._current[step], what, default_reason)

    def close(self) -> None:
        """Write what this run was made of, if that is anything new."""
        steps = {**(self._previous or {}), **self._current}
        if self._previous is None or steps == self._previous:
            return
        content = json.dumps({"about": self._subject, **steps}, ensure_ascii=False, indent=1).encode()
        try:
            write_object(self._workspace, self._uri, content)
        except AwsError as error:
            get_run_logger().warning("The next run will not know what this one was made of. %s", error)

    def _read(self) -> dict[str, dict[str, Fact]] | None:
        """By step; nothing when there was no run yet, None when it cannot be told."""
        try:
            found = _RECORD.validate_json(read_object(self._workspace, self._uri)[0])
        except (NotFound, ValidationError):
            return {}
        except AwsError as error:
            get_run_logger().warning("%s", error)
            # S3's answer, too, to those who may not list the bucket when there is no such object.
            return {} if isinstance(error, AccessDenied) else None
        return {step: facts for step, facts in found.items() if step != "about"}


_HISTORY: ContextVar[InputHistory | None] = ContextVar("input_history", default=None)


@contextmanager
def track_inputs(workspace: Workspace, parameters: RunParameters) -> Iterator[None]:
    """Let the steps in the block say why they run, and the next run of this table and target compare itself with it."""
    history = InputHistory(workspace, parameters)
    token = _HISTORY.set(history)
    try:
        yield
    except Exception:  # not when interrupted: there is no time then
        history.close()
        raise
    else:
        history.close()
    finally:
        _HISTORY.reset(token)


def record_input(facts: Facts) -> None:
    """Add what this run found out, as `table.identity` and `table.size` in bytes, to what it is made of."""
    if history := _HISTORY.get():
        history.record_input(facts)


def explain_rerun(step: str, depends_on: Sequence[str], what: str, default_reason: str = RESULT_MISSING) -> str:
    """The reason for `step`, which does `what` and depends on the facts whose names begin with one of `of`.

    It is noted for the next run.
    """
    history = _HISTORY.get()
    return history.explain_rerun(step, depends_on, what, default_reason) if history else f"{HISTORY_UNKNOWN}: {what}"
