"""A recorded run is repeated by its run.json alone, unless its table has changed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aws.errors import NotFound
from aws.storage import StoredObject, read_object, write_object
from aws.workspace import Workspace, load_workspace
from flows.cli.input_table import flow_parameters
from flows.cli.replay import Replay, is_same_table, list_differences
from flows.train import train_linear_learner
from linear_learner.errors import ArtifactError, DataError
from tasks.data.source import Source
from tasks.report import TrainingRun
from tests.flows.conftest import linear_table

pytestmark = pytest.mark.e2e

PutObject = Callable[[str, bytes], str]


@pytest.fixture
def run(parameters: dict[str, Any]) -> TrainingRun:
    """A run that was recorded."""
    done = train_linear_learner(**parameters)
    assert isinstance(done, TrainingRun)
    return done


@pytest.fixture
def said(run: TrainingRun, machine: Path) -> dict[str, Any]:
    """A command line that repeats it."""
    return {"from_run": run.recorded.uri, "workspace": "flows", "model_dir": str(machine / "again")}


def repeated(said: dict[str, Any]) -> tuple[str, TrainingRun]:
    """What the command line says of the reproduction, and the run."""
    replay = Replay.of(load_workspace("flows"), said)
    done = train_linear_learner(**flow_parameters(load_workspace("flows"), replay.arguments))
    return replay.outcome(done), done


def test_a_run_is_repeated_from_its_record_in_s3_and_reuses_the_job(
    jobs: Callable[[], list[str]], run: TrainingRun, said: dict[str, Any], parameters: dict[str, Any]
) -> None:
    outcome, again = repeated(said)
    assert re.fullmatch(r"yes: the fingerprint is [0-9a-f]{20}, as recorded", outcome)
    assert again.job.name == run.job.name == f"linear-learner-{outcome.split()[4].strip(',')}"
    assert jobs() == [run.job.name]
    assert again.rows.parameters == run.rows.parameters
    assert (again.recorded.uri, again.recorded.sha256) == (run.recorded.uri, run.recorded.sha256)
    assert Replay.of(load_workspace("flows"), said).arguments.hyperparameters == parameters["hyperparameters"]


def test_a_record_of_this_machine_will_do_and_what_is_said_beside_it_counts(
    jobs: Callable[[], list[str]], run: TrainingRun, said: dict[str, Any]
) -> None:
    own = {"from_run": str(run.model.path.with_name("run.json")), "hyperparameters": {"epochs": "3"}}
    outcome, again = repeated({**said, **own})
    assert outcome == "no: hyperparameters.epochs not as recorded"
    assert again.submission.how == "started"
    assert sorted(jobs()) == sorted([run.job.name, again.job.name])


def test_another_seed_gives_other_channels(said: dict[str, Any]) -> None:
    outcome, _ = repeated({**said, "split": {"random_state": "7"}})
    assert outcome == "no: channels.test, channels.train, channels.validation not as recorded"


def test_the_same_table_elsewhere_gives_the_same_job(
    run: TrainingRun, said: dict[str, Any], workspace: Workspace, put_object: PutObject
) -> None:
    content, _ = read_object(workspace, run.table.source.uri)
    moved = put_object("moved.csv", content)
    outcome, again = repeated({**said, "dataset": {"source": moved}})
    assert outcome.startswith("yes")
    assert again.job.name == run.job.name
    said_again = json.loads(again.model.path.with_name("run.json").read_bytes())
    assert said_again["parameters"]["dataset"]["source"] == moved


def test_a_table_that_has_changed_is_refused_before_anything_runs_and_taken_when_it_is_named(
    run: TrainingRun, said: dict[str, Any], put_object: PutObject
) -> None:
    uri = put_object(run.table.source.uri.rpartition("/")[2], linear_table("another"))
    with pytest.raises(DataError, match=rf"^{uri} is not the table .* To train on it as it is now, .*--source {uri}"):
        Replay.of(load_workspace("flows"), said)
    outcome, again = repeated({**said, "dataset": {"source": uri}})
    assert outcome == "no: channels.test, channels.train, channels.validation not as recorded"
    assert again.job.name != run.job.name


def test_a_table_that_is_missing_is_not_found(run: TrainingRun, said: dict[str, Any], workspace: Workspace) -> None:
    name = workspace.bucket.bucket_name
    workspace.client("s3").delete_object(Bucket=name, Key=run.table.source.uri.removeprefix(f"s3://{name}/"))
    with pytest.raises(NotFound, match=run.table.source.uri):
        Replay.of(load_workspace("flows"), said)


def test_a_table_named_by_its_key_is_found_where_it_was(
    run: TrainingRun, said: dict[str, Any], workspace: Workspace
) -> None:
    """As it is in another workspace, whose bucket is not the one that the key was meant for."""
    record = json.loads(read_object(workspace, run.recorded.uri)[0])
    record["parameters"]["dataset"]["source"] = "somewhere/else.csv"
    write_object(workspace, run.recorded.uri, json.dumps(record).encode())
    assert Replay.of(load_workspace("flows"), said).arguments.dataset.source == run.table.source.uri


def test_what_is_said_is_checked_together_with_what_was_recorded(said: dict[str, Any]) -> None:
    split = Replay.of(load_workspace("flows"), {**said, "split": {"method": "time", "column": "score"}}).arguments.split
    assert (split.method, split.column, split.holdout_size) == ("time", "score", 0.3)
    with pytest.raises(DataError, match=r"^loss logistic is not one of a regressor"):
        Replay.of(load_workspace("flows"), {**said, "hyperparameters": {"loss": "logistic"}})
    with pytest.raises(DataError, match=r"^--split\.test_size: Input should be less than 1; found '7'$"):
        Replay.of(load_workspace("flows"), {**said, "split": {"test_size": "7"}})


def test_what_is_no_record_is_refused(said: dict[str, Any], workspace: Workspace, put_object: PutObject) -> None:
    with pytest.raises(ArtifactError, match=r"model\.tar\.gz is no run\.json"):
        Replay.of(load_workspace("flows"), {**said, "from_run": said["from_run"].replace("run.json", "model.tar.gz")})
    with pytest.raises(ArtifactError, match="format: 99, this version reads 1 at most"):
        Replay.of(load_workspace("flows"), {**said, "from_run": put_object("newer.json", b'{"format": 99}')})
    with pytest.raises(NotFound, match=r"nowhere/run\.json"):
        Replay.of(load_workspace("flows"), {**said, "from_run": workspace.uri("nowhere", "run.json")})


def stored(uri: str = "s3://a/t.csv", size: int = 5, etag: str = "e", **more: Any) -> StoredObject:
    return StoredObject(uri=uri, size=size, etag=etag, **more)


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


def test_what_differs_is_named() -> None:
    recorded = {
        "image": "a:1",
        "hyperparameters": {"epochs": "2", "wd": "0"},
        "channels": {"train": "c"},
        "instances": 1,
    }
    assert list_differences(recorded, recorded) == []
    now = {"image": "a:2", "hyperparameters": {"epochs": "2", "l1": "1"}, "channels": {"train": "c"}, "instances": 2}
    assert list_differences(recorded, now) == ["hyperparameters.l1", "hyperparameters.wd", "image", "instances"]
