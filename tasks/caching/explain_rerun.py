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
from tasks.parameters import Dataset

Fact = str | int | float | bool | None
Facts = Mapping[str, Fact]
DATA = ("table", "dataset", "split")
"""What the names of facts about the data begin with."""
NOT_KEPT = "nothing is left of what the last run made"
UNKNOWN = "what the last run was made of is not known"
_SPOKEN = {"hyperparameters": "hyperparameter "}
_RECORD: TypeAdapter[dict[str, dict[str, Fact]]] = TypeAdapter(dict[str, dict[str, Fact]])
_UPLOADED = re.compile(r"/sources/[0-9a-f]{20}/")


def flattened(parts: Mapping[str, Any], within: str = "") -> dict[str, Fact]:
    """Nested mappings and pydantic models as one level, `split.random_state`; an empty list counts as None."""
    facts: dict[str, Fact] = {}
    for name, part in parts.items():
        value = part.model_dump(mode="json") if isinstance(part, BaseModel) else part
        if isinstance(value, Mapping):
            facts |= flattened(value, f"{within}{name}.")
        elif isinstance(value, list | tuple):
            facts[f"{within}{name}"] = ", ".join(map(str, value)) or None
        else:
            facts[f"{within}{name}"] = value
    return facts


def differences(before: Facts, now: Facts) -> list[str]:
    """One phrase per fact that differs; what only one of the two knows is not compared."""
    changed = _changed(before, now)
    phrases = [_of_the_table(before, now)] if "table.identity" in changed else []
    return phrases + [_phrase(name, before[name], now[name]) for name in changed if not name.startswith("table.")]


def reason(before: Facts | None, now: Facts, what: str, otherwise: str = NOT_KEPT) -> str:
    """Why `what` is done: for the first time, for what changed, or, when nothing did, `otherwise`."""
    if before is None:
        return f"for the first time: {what}"
    phrases = differences(before, now)
    return f"again, because {', '.join(phrases)}{_identical(before, now)}" if phrases else f"again, because {otherwise}"


def _changed(before: Facts, now: Facts) -> list[str]:
    return [name for name, value in now.items() if name in before and before[name] != value]


def _identical(before: Facts, now: Facts) -> str:
    """What people would ask next: whether it is still the same data."""
    if not {"table.identity"} <= before.keys() & now.keys():
        return ""
    changed = {name.split(".")[0] for name in _changed(before, now)}
    if not changed & set(DATA):
        return "; data identical"
    return "" if "table" in changed else "; table identical"


def _of_the_table(before: Facts, now: Facts) -> str:
    old, new = _size(before.get("table.size")), _size(now.get("table.size"))
    return f"the table changed ({f'{old} → {new}' if old != new else f'still {new}'})"


def _size(size: Fact) -> str:
    if not isinstance(size, int):
        return "unknown size"
    scale = next((scale for scale in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= scale[0]), None)
    return f"{size / scale[0]:.1f} {scale[1]}" if scale else f"{size} bytes"


def _phrase(name: str, before: Fact, now: Fact) -> str:
    group, _, rest = name.partition(".")
    spoken = f"{_SPOKEN[group]}{rest}" if group in _SPOKEN else name
    empty = "auto" if group == "hyperparameters" else "nothing"
    old, new = _said(before, empty), _said(now, empty)
    return f"{spoken} changed {old} → {new}" if old != new else f"{spoken} changed {before!r} → {now!r}"


def _said(value: Fact, empty: str) -> str:
    if value is None:
        return empty
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


class InputHistory:
    """What each step was made of, the last time and this time."""

    def __init__(self, workspace: Workspace, dataset: Dataset, parameters: Mapping[str, BaseModel]) -> None:
        # What the command line uploads stands in a folder that is named by its content.
        source = _UPLOADED.sub("/sources/", dataset.source)
        name = sha256(json.dumps([source, dataset.target]).encode()).hexdigest()[:20]
        self._workspace, self._uri = workspace, workspace.uri("ledger", f"{name}.json")
        self._about: dict[str, Fact] = {"source": source, "target": dataset.target}
        rest = dataset.model_dump(mode="json", exclude={"source", "target"})
        self._facts = flattened({"dataset": rest, **parameters})
        self._before = self._read()
        self._now: dict[str, dict[str, Fact]] = {}

    def record_input(self, facts: Facts) -> None:
        """Add to what this run is made of."""
        self._facts |= facts

    def why(self, step: str, of: Sequence[str], what: str, otherwise: str) -> str:
        """The reason for `step`, which depends on the facts whose names are, or begin with, one of `of`."""
        roots = tuple(f"{root}." for root in of)
        self._now[step] = {n: value for n, value in self._facts.items() if n in of or n.startswith(roots)}
        if self._before is None:
            return f"{UNKNOWN}: {what}"
        return reason(self._before.get(step), self._now[step], what, otherwise)

    def close(self) -> None:
        """Write what this run was made of, if that is anything new."""
        steps = {**(self._before or {}), **self._now}
        if self._before is None or steps == self._before:
            return
        content = json.dumps({"about": self._about, **steps}, ensure_ascii=False, indent=1).encode()
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


_LEDGER: ContextVar[InputHistory | None] = ContextVar("ledger", default=None)


@contextmanager
def track_inputs(workspace: Workspace, dataset: Dataset, **parameters: BaseModel) -> Iterator[None]:
    """Let the steps in the block say why they run, and the next run of this table and target compare itself with it.

    `parameters` are what people chose, by the names they know: `split=split, hyperparameters=hyperparameters`.
    """
    history = InputHistory(workspace, dataset, parameters)
    token = _LEDGER.set(history)
    try:
        yield
    except Exception:  # not when interrupted: there is no time then
        history.close()
        raise
    else:
        history.close()
    finally:
        _LEDGER.reset(token)


def record_input(facts: Facts) -> None:
    """Add what this run found out, as `table.identity` and `table.size` in bytes, to what it is made of."""
    if history := _LEDGER.get():
        history.record_input(facts)


def why(step: str, of: Sequence[str], what: str, otherwise: str = NOT_KEPT) -> str:
    """The reason for `step`, which does `what` and depends on the facts whose names begin with one of `of`.

    It is noted for the next run.
    """
    history = _LEDGER.get()
    return history.why(step, of, what, otherwise) if history else f"{UNKNOWN}: {what}"
