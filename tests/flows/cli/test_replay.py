"""A run is repeated from its run.json, unless its table has changed."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aws.errors import NotFound
from aws.storage import StoredObject, read_object, write_object
from aws.workspace import Workspace, load_workspace, split_uri
from flows.cli.input_table import flow_parameters
from flows.cli.replay import Replay, is_same_table, list_differences
from flows.train import train_linear_learner
from linear_learner.errors import ArtifactError, DataError
from tasks.data.source import Source, TablePart
from tasks.report import TrainingRun
from tests.flows.conftest import HYPERPARAMETERS, linear_table

pytestmark = pytest.mark.e2e

PutObject = Callable[[str, bytes], str]


@pytest.fixture
def changeable(run: TrainingRun, workspace: Workspace) -> Iterator[TrainingRun]:
    """The run; after the test, its table and its record are as before."""
    uris = run.table.source.uri, run.recorded.uri
    before = {uri: read_object(workspace, uri)[0] for uri in uris}
    yield run
    for uri, content in before.items():
        write_object(workspace, uri, content)


@pytest.fixture
def given(run: TrainingRun, machine: Path) -> dict[str, Any]:
    """Arguments that repeat the run."""
    return {"from_run": run.recorded.uri, "workspace": "flows", "model_dir": str(machine / "again")}


def repeat(given: dict[str, Any]) -> tuple[str, TrainingRun]:
    """Repeat the run; returns the line on its reproduction, and the new run."""
    replay = Replay.of(load_workspace("flows"), given)
    run = train_linear_learner(**flow_parameters(load_workspace("flows"), replay.arguments))
    return replay.outcome(run), run


def test_a_run_is_repeated_from_its_record_in_s3_and_reuses_the_job(
    run: TrainingRun, jobs: Callable[[], list[str]], given: dict[str, Any]
) -> None:
    outcome, repeated = repeat(given)
    assert re.fullmatch(r"yes: the fingerprint is [0-9a-f]{20}, as recorded", outcome)
    assert repeated.job.name == run.job.name == f"linear-learner-{outcome.split()[4].strip(',')}"
    assert repeated.submission.how == "reused"
    assert jobs() == []
    assert repeated.rows.parameters == run.rows.parameters
    assert (repeated.recorded.uri, repeated.recorded.sha256) == (run.recorded.uri, run.recorded.sha256)
    assert Replay.of(load_workspace("flows"), given).arguments.hyperparameters == HYPERPARAMETERS


def test_a_local_record_is_accepted_and_given_arguments_override_it(
    run: TrainingRun, jobs: Callable[[], list[str]], given: dict[str, Any]
) -> None:
    changes = {"from_run": str(run.model.path.with_name("run.json")), "hyperparameters": {"epochs": "3"}}
    outcome, repeated = repeat({**given, **changes})
    assert outcome == "no: hyperparameters.epochs not as recorded"
    assert repeated.submission.how == "started"
    assert jobs() == [repeated.job.name]


def test_another_seed_changes_the_channels(given: dict[str, Any]) -> None:
    outcome, _ = repeat({**given, "split": {"random_state": "7"}})
    assert outcome == "no: channels.test, channels.train, channels.validation not as recorded"


def test_the_same_table_at_another_location_gives_the_same_job(
    run: TrainingRun, given: dict[str, Any], workspace: Workspace, put_object: PutObject
) -> None:
    content, _ = read_object(workspace, run.table.source.uri)
    moved = put_object("moved.csv", content)
    outcome, repeated = repeat({**given, "dataset": {"source": moved}})
    assert outcome.startswith("yes")
    assert repeated.job.name == run.job.name
    record = json.loads(repeated.model.path.with_name("run.json").read_bytes())
    assert record["parameters"]["dataset"]["source"] == moved


def test_a_changed_table_is_rejected_unless_it_is_given(
    changeable: TrainingRun, given: dict[str, Any], workspace: Workspace
) -> None:
    uri = changeable.table.source.uri
    write_object(workspace, uri, linear_table("another"))
    with pytest.raises(DataError, match=rf"^{uri} is not the recorded table: .* give --source {uri};"):
        Replay.of(load_workspace("flows"), given)
    outcome, repeated = repeat({**given, "dataset": {"source": uri}})
    assert outcome == "no: channels.test, channels.train, channels.validation not as recorded"
    assert repeated.job.name != changeable.job.name


def test_a_missing_table_is_not_found(changeable: TrainingRun, given: dict[str, Any], workspace: Workspace) -> None:
    bucket, key = split_uri(changeable.table.source.uri)
    workspace.client("s3").delete_object(Bucket=bucket, Key=key)
    with pytest.raises(NotFound, match=changeable.table.source.uri):
        Replay.of(load_workspace("flows"), given)


def test_a_table_given_by_its_key_is_found_at_the_recorded_location(
    changeable: TrainingRun, given: dict[str, Any], workspace: Workspace
) -> None:
    """In another workspace the key would name an object of another bucket."""
    record = json.loads(read_object(workspace, changeable.recorded.uri)[0])
    record["parameters"]["dataset"]["source"] = "other/table.csv"
    write_object(workspace, changeable.recorded.uri, json.dumps(record).encode())
    assert Replay.of(load_workspace("flows"), given).arguments.dataset.source == changeable.table.source.uri


def test_given_and_recorded_arguments_are_validated_together(given: dict[str, Any]) -> None:
    changes = {"split": {"method": "time", "column": "score"}}
    split = Replay.of(load_workspace("flows"), {**given, **changes}).arguments.split
    assert (split.method, split.column, split.holdout_size) == ("time", "score", 0.3)
    with pytest.raises(DataError, match=r"^column is for the methods stratified, time and group"):
        Replay.of(load_workspace("flows"), {**given, "split": {"column": "score"}})
    with pytest.raises(DataError, match=r"^--split\.test_size: Input should be less than 1; found '7'$"):
        Replay.of(load_workspace("flows"), {**given, "split": {"test_size": "7"}})


def test_an_invalid_record_is_rejected(given: dict[str, Any], workspace: Workspace, put_object: PutObject) -> None:
    with pytest.raises(ArtifactError, match=r"model\.tar\.gz is not a valid run\.json"):
        Replay.of(load_workspace("flows"), {**given, "from_run": given["from_run"].replace("run.json", "model.tar.gz")})
    with pytest.raises(ArtifactError, match="format: 99, but this version reads only up to 1"):
        Replay.of(load_workspace("flows"), {**given, "from_run": put_object("newer.json", b'{"format": 99}')})
    with pytest.raises(NotFound, match=r"missing/run\.json"):
        Replay.of(load_workspace("flows"), {**given, "from_run": workspace.uri("missing", "run.json")})


def stored(uri: str = "s3://a/t.csv", size: int = 5, etag: str = "e", **more: Any) -> TablePart:
    return TablePart(uri=uri, size=size, etag=etag, **more)


@pytest.mark.parametrize(
    ("now", "same"),
    [
        ([stored()], True),
        ([stored("s3://b/moved.csv")], True),
        ([stored(version_id="2")], True),
        ([stored(etag="f", sha256="c")], True),
        ([stored(size=1234, sha256="c")], False),
        ([stored(etag="f")], False),
        ([stored(etag="f", sha256="d")], False),
        ([stored(), stored()], False),
    ],
)
def test_tables_are_compared_by_the_content_of_their_parts(now: list[StoredObject], *, same: bool) -> None:
    recorded = Source(uri="s3://a/", parts=(stored(sha256="c", version_id="1"),))
    assert is_same_table(recorded, Source(uri="s3://a/", parts=tuple(now))) == same


def test_differences_are_listed_by_name() -> None:
    recorded = {
        "image": "a:1",
        "hyperparameters": {"epochs": "2", "wd": "0"},
        "channels": {"train": "c"},
        "instances": 1,
    }
    assert list_differences(recorded, recorded) == []
    now = {"image": "a:2", "hyperparameters": {"epochs": "2", "l1": "1"}, "channels": {"train": "c"}, "instances": 2}
    assert list_differences(recorded, now) == ["hyperparameters.l1", "hyperparameters.wd", "image", "instances"]
