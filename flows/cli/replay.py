"""Repeat a recorded run: its parameters, on the table it had, and whether the same came of it."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from aws.storage import StoredObject, read_object
from aws.workspace import Workspace, load_workspace
from flows.cli.arguments import Arguments, validation_messages
from linear_learner.errors import DataError
from tasks.data.source import FILE_SCHEME, Source, find_table
from tasks.parameters import Dataset, RunParameters
from tasks.record import RunRecord

if TYPE_CHECKING:
    from tasks.report import TrainingRun

RECORDED = tuple(RunParameters.model_fields)


@dataclass(frozen=True)
class Replay:
    """The recorded run, and the arguments that repeat it."""

    record: RunRecord
    arguments: Arguments

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The run that `--from-run` names; what else was said takes the place of what was recorded.

        Raises ArtifactError for what is no record, NotFound or DataError when the table is not what it was.
        """
        workspace = load_workspace(given.get("workspace", "sandbox"))
        where = str(given["from_run"])
        content = read_object(workspace, where)[0] if where.startswith("s3://") else Path(where).read_bytes()
        record = RunRecord.parse(content, where)
        replay = cls(record, _merge_arguments(workspace, record, given))
        _check_table(workspace, record, replay.arguments.dataset, given.get("dataset", {}))
        return replay

    def outcome(self, run: "TrainingRun") -> str:
        """Whether `run` was made of the very same, else what of all that decides was other."""
        path = run.model.path.with_name(RunRecord.FILE_NAME)
        now = RunRecord.parse(path.read_bytes(), str(path))
        if now.fingerprint == self.record.fingerprint:
            return f"yes: the fingerprint is {now.fingerprint[:20]}, as recorded"
        return f"no: {' and '.join(list_differences(self.record.decisive, now.decisive))} not as recorded"


def _merge_arguments(workspace: Workspace, record: RunRecord, given: Mapping[str, Any]) -> Arguments:
    dataset = record.parameters.get("dataset", {})
    recorded = {**record.parameters, "dataset": {**dataset, **_recorded_tables(workspace, record)}}
    groups = {name: {**recorded.get(name, {}), **given.get(name, {})} for name in RECORDED}
    # That somebody wanted a model approved then does not mean that anybody wants it now.
    groups["registry"]["approve"] = given.get("registry", {}).get("approve", False)
    try:
        return Arguments(**{**given, **groups})
    except ValidationError as error:
        raise DataError(validation_messages(error)) from error


def _recorded_tables(workspace: Workspace, record: RunRecord) -> dict[str, str]:
    """Where the tables were, if that is not where their names lead in this workspace."""
    named = {"source": record.data.source, "holdout": record.data.holdout}
    chosen = record.parameters.get("dataset", {})
    return {
        name: table.uri
        for name, table in named.items()
        if table and not table.uri.startswith(FILE_SCHEME) and workspace.locate(str(chosen.get(name))) != table.uri
    }


def _check_table(workspace: Workspace, record: RunRecord, dataset: Dataset, given: Mapping[str, Any]) -> None:
    """Raise DataError when a table has changed; where the command line names another one, only say so."""
    argument = {"source": "--source", "holdout": "--dataset.holdout"}
    for name, table in (("source", record.data.source), ("holdout", record.data.holdout)):
        at = getattr(dataset, name)
        change = describe_table_change(table, find_table(workspace, at)) if table and at else None
        if change and name not in given:
            raise DataError(
                f"The table is not the one that was recorded: {change}. To train on it as it is now, name it with "
                f"{argument[name]} {at}; to repeat the run, put the recorded one back or say where it is."
            )
        if change:
            print(f"Perhaps this is not the recorded table: {change}.", file=sys.stderr)  # noqa: T201


def describe_table_change(recorded: Source, now: Source) -> str | None:
    """What tells two tables apart by their parts' sizes and ETags, wherever they lie; None when nothing does."""
    if len(now.parts) != len(recorded.parts):
        return f"{now.uri} has {_count_parts(now)}, recorded were {_count_parts(recorded)}"
    for before, part in zip(recorded.parts, now.parts, strict=True):
        if part.size != before.size:
            return f"{part.uri} has {part.size:,} bytes, recorded were {before.size:,}"
        if not _same_content(before, part):
            return f"{part.uri} has the ETag {part.etag}, recorded was {before.etag}"
    return None


def _same_content(before: StoredObject, part: StoredObject) -> bool:
    # An ETag depends on the parts an object was uploaded in, too; this project's own checksum does not.
    return part.etag == before.etag or (part.sha256 is not None and part.sha256 == before.sha256)


def _count_parts(table: Source) -> str:
    return f"{len(table.parts)} part{'s' if len(table.parts) != 1 else ''}"


def list_differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs of all that decides about a model; of hyperparameters and channels the names, too."""
    found = []
    for name, before in recorded.items():
        if now[name] == before:
            continue
        if isinstance(before, dict):
            changed_ones = sorted(one for one in {**before, **now[name]} if before.get(one) != now[name].get(one))
            found.append(f"{name} ({', '.join(changed_ones)})")
        else:
            found.append(f"{name} ({before} → {now[name]})")
    return found
