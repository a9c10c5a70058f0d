"""Repeat a recorded run with its parameters and its table, and compare the fingerprints."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from aws.storage import read_object
from aws.workspace import Workspace
from flows.cli.arguments import Arguments, is_uri, validation_messages
from linear_learner.errors import DataError
from tasks.caching.explain_rerun import flatten
from tasks.data.source import FILE_SCHEME, Source, find_table
from tasks.parameters import RunParameters
from tasks.record import RunRecord

if TYPE_CHECKING:
    from tasks.report import TrainingRun


@dataclass(frozen=True)
class Replay:
    record: RunRecord
    arguments: Arguments

    @classmethod
    def of(cls, workspace: Workspace, given: Mapping[str, Any]) -> Self:
        """The run that `--from-run` names; other given arguments override the recorded ones.

        Raises ArtifactError if the file is not a record, NotFound or DataError if the table is missing or has changed.
        """
        where = str(given["from_run"])
        content = read_object(workspace, workspace.locate(where))[0] if is_uri(where) else Path(where).read_bytes()
        record = RunRecord.parse(content, where)
        arguments = _merge_arguments(workspace, record, given)
        for name, recorded in _recorded_tables(record).items():
            uri = getattr(arguments.dataset, name)
            if uri and name not in given.get("dataset", {}) and not is_same_table(recorded, find_table(workspace, uri)):
                flag = {"source": "--source", "holdout": "--dataset.holdout"}[name]
                raise DataError(
                    f"{uri} is not the recorded table: its parts, sizes or checksums differ. To train on its current "
                    f"content, give {flag} {uri}; to repeat the run, restore the recorded table or give its location."
                )
        return cls(record, arguments)

    def outcome(self, run: "TrainingRun") -> str:
        """Compare the fingerprints of `run` and the record; returns the result, with the inputs that differ."""
        path = run.recorded.path
        if not path.is_file():
            return f"not compared: {path} could not be written; compare {run.recorded.uri} with the record"
        now = RunRecord.parse(path.read_bytes(), str(path))
        if now.fingerprint == self.record.fingerprint:
            return f"yes: the fingerprint is {now.fingerprint[:20]}, as recorded"
        return f"no: {', '.join(list_differences(self.record.decisive, now.decisive))} not as recorded"


def _recorded_tables(record: RunRecord) -> dict[str, Source]:
    """The table and the fixed test set, if any, by their field names in `Dataset`."""
    tables = {"source": record.data.source, "holdout": record.data.holdout}
    return {name: table for name, table in tables.items() if table}


def _merge_arguments(workspace: Workspace, record: RunRecord, given: Mapping[str, Any]) -> Arguments:
    groups = {name: {**record.parameters.get(name, {})} for name in RunParameters.model_fields}
    for name, table in _recorded_tables(record).items():
        # Use the recorded URI if the recorded name means another URI in this workspace.
        moved = workspace.locate(str(groups["dataset"].get(name))) != table.uri
        if moved and not table.uri.startswith(FILE_SCHEME):
            groups["dataset"][name] = table.uri
    # Approval is never repeated: it has to be requested again.
    groups["registry"]["approve"] = False
    merged = {name: {**recorded, **given.get(name, {})} for name, recorded in groups.items()}
    try:
        return Arguments(**{**given, **merged})
    except ValidationError as error:
        raise DataError(validation_messages(error)) from error


def is_same_table(recorded: Source, now: Source) -> bool:
    """Whether two tables have parts of the same size and content, at any location.

    An ETag also depends on the parts in which an object was uploaded; this project's own checksum does not.
    """
    return len(now.parts) == len(recorded.parts) and all(
        part.size == before.size
        and (part.etag == before.etag or (part.sha256 is not None and part.sha256 == before.sha256))
        for before, part in zip(recorded.parts, now.parts, strict=True)
    )


def list_differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of all values that differ, such as `hyperparameters.l1`."""
    before, after = flatten(recorded), flatten(now)
    return sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
