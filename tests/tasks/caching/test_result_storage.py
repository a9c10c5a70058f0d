"""Results are kept in the workspace's bucket: any worker reuses them, and they can be told to be forgotten."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import State, flow, task
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect_aws import AwsCredentials
from pydantic import SecretStr, ValidationError

from aws.errors import AwsError
from aws.storage import StoredObject, read_object, stat_object, write_object
from aws.workspace import Workspace
from linear_learner.errors import DataError
from sandbox import client
from tasks.caching.policy import RETRIES, Result, cached
from tasks.caching.result_storage import bucket_results
from tasks.parameters import Dataset, Reuse

pytestmark = pytest.mark.usefixtures("machine", "_quick")

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PutObject = Callable[[str, bytes], str]
ran: list[str] = []


class Copied(Result):
    """What the tests' step returns: where its copy is, and which call made it."""

    uri: str
    call: int

    def missing(self, workspace: Workspace) -> list[str]:
        try:
            read_object(workspace, self.uri)
        except AwsError:
            return [self.uri]
        return []

    def __str__(self) -> str:
        return f"copy {self.uri}"


@task(**cached("copy", lambda inputs: {"original": inputs["original"].identity}), **RETRIES)
def copy(workspace: Workspace, original: StoredObject) -> Copied:
    ran.append(original.uri)
    write_object(workspace, workspace.uri("copy"), b"{}")
    return Copied(uri=workspace.uri("copy"), call=len(ran))


@task(**cached("refuse", lambda inputs: {"number": inputs["number"]}))
def refuse(number: int) -> int:
    raise DataError(f"{number} is too small")


def run(workspace: Workspace, uri: str, reuse: Reuse | None = None) -> State[Any]:
    """The state of the one step of a flow run."""
    states: list[State[Any]] = []

    @flow(name="copying", persist_result=True)
    def copying() -> int:
        original = stat_object(workspace, uri)
        with bucket_results(workspace, Dataset(), reuse or Reuse()):
            states.append(copy(workspace, original, return_state=True))
        return len(states)

    copying()
    return states[0]


def retained(workspace: Workspace, folder: str = "results") -> dict[str, str]:
    """What is in the workspace's bucket under a folder of its prefix, by key."""
    s3, bucket = workspace.client("s3"), workspace.bucket.bucket_name
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=workspace.key(folder))
    keys = [found["Key"] for found in listed.get("Contents", [])]
    # The facts of the last runs, which explain why a step runs, are beside the results.
    return {key: read_object(workspace, f"s3://{bucket}/{key}")[0].decode() for key in keys if "/latest/" not in key}


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@pytest.fixture
def _quick() -> Iterator[None]:
    """Spares each flow run the second it waits for its heartbeat to end."""
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@pytest.fixture
def uri(put_object: PutObject) -> str:
    """An object to copy."""
    return put_object("original", b"1")


def test_a_worker_with_an_empty_disk_reuses_what_another_one_made(
    workspace: Workspace, uri: str, machine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(workspace, uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / "another cache"))
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: machine / "another disk"}):
        second = run(workspace, uri)
    assert (first.name, second.name, len(ran)) == ("Completed", "Cached", 1)
    assert second.result() == first.result() == Copied(uri=workspace.uri("copy"), call=1)
    assert f"reused: copy {workspace.uri('copy')}" in caplog.messages


def test_the_flows_own_result_stays_on_the_machine_and_only_steps_are_in_the_bucket(
    workspace: Workspace, uri: str, machine: Path
) -> None:
    run(workspace, uri)
    assert len(list((machine / "results").iterdir())) == 1
    (key,) = retained(workspace)
    assert key.rpartition("/")[2].startswith("copy-")
    assert key.endswith(".json")


def test_what_is_retained_is_readable_json_and_nothing_in_the_bucket_has_the_secret(
    workspace: Workspace, uri: str
) -> None:
    credentials = workspace.bucket.credentials
    assert isinstance(credentials, AwsCredentials)
    own = credentials.model_copy(update={"aws_secret_access_key": SecretStr(SECRET)})
    workspace.bucket = workspace.bucket.model_copy(update={"credentials": own})
    run(workspace, uri)
    everything = retained(workspace, "")
    (record,) = [json.loads(content) for key, content in everything.items() if "/results/" in key]
    assert record["metadata"]["serializer"]["type"] == "json"
    assert json.loads(record["result"])["data"]["uri"] == workspace.uri("copy")
    assert not [key for key, content in everything.items() if SECRET in content]


def test_a_step_that_is_reused_costs_one_call_to_look_for_it_and_none_to_write(
    workspace: Workspace, uri: str, sandbox_url: str
) -> None:
    run(workspace, uri)
    before = Counter(client.call_counts(sandbox_url))
    run(workspace, uri)
    # One look is the flow's at the original; one GET reads the result, the other sees that the copy is there.
    assert Counter(client.call_counts(sandbox_url)) - before == {"s3:HeadObject": 1, "s3:GetObject": 2}


def test_a_result_whose_object_is_missing_is_made_again_and_then_reused_again(
    workspace: Workspace, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(workspace, uri)
    workspace.client("s3").delete_object(Bucket=workspace.bucket.bucket_name, Key=workspace.key("copy"))
    assert [run(workspace, uri).name for _ in range(2)] == ["Completed", "Cached"]
    assert f"again, because {workspace.uri('copy')} is gone or changed in the bucket" in caplog.messages
    assert len(retained(workspace)) == 1


def test_a_changed_input_is_a_new_result_beside_the_old_one(
    workspace: Workspace, uri: str, put_object: PutObject
) -> None:
    run(workspace, uri)
    put_object("original", b"2")
    assert run(workspace, uri).name == "Completed"
    put_object("original", b"1")
    assert run(workspace, uri).name == "Cached"
    assert len(retained(workspace)) == 2


def test_refresh_does_a_step_again_and_later_runs_reuse_what_that_made(
    workspace: Workspace, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(workspace, uri)
    fresh = run(workspace, uri, Reuse(refresh=True))
    assert (fresh.name, fresh.result().call) == ("Completed", 2)
    assert "again, because refresh was asked for" in caplog.messages
    later = run(workspace, uri)
    assert (later.name, later.result().call, len(retained(workspace))) == ("Cached", 2, 1)


def test_a_result_older_than_the_limit_is_made_again_and_a_younger_one_reused(
    workspace: Workspace, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(workspace, uri)
    assert run(workspace, uri, Reuse(max_age_days=1)).name == "Cached"
    assert run(workspace, uri, Reuse(max_age_days=1e-9)).name == "Completed"
    assert "again, because the result is older than 1e-09 days" in caplog.messages
    later = run(workspace, uri)
    assert (later.name, later.result().call) == ("Cached", 2)


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf"), 1e9])
def test_an_age_that_means_nothing_is_refused(days: float) -> None:
    with pytest.raises(ValidationError, match="max_age_days"):
        Reuse(max_age_days=days)


@pytest.mark.parametrize("change", ["prefix", "folder"])
def test_workspaces_that_write_elsewhere_share_nothing(workspace: Workspace, uri: str, change: str) -> None:
    run(workspace, uri)
    other = workspace.model_copy(update={"prefix": f"{workspace.prefix}/other"})
    if change == "folder":
        other = workspace.model_copy(update={"bucket": workspace.bucket.model_copy(update={"bucket_folder": "team"})})
    assert run(other, uri).name == "Completed"
    assert run(other, uri).name == "Cached"
    assert len(retained(other)) == 1


def test_a_record_that_does_not_open_is_replaced(workspace: Workspace, uri: str) -> None:
    run(workspace, uri)
    (key,) = retained(workspace)
    write_object(workspace, f"s3://{workspace.bucket.bucket_name}/{key}", b"what some older release wrote")
    assert [run(workspace, uri).name for _ in range(2)] == ["Completed", "Cached"]


def test_a_step_that_fails_leaves_nothing_in_the_bucket(workspace: Workspace) -> None:
    @flow(persist_result=True)
    def refusing() -> None:
        with bucket_results(workspace, Dataset()):
            refuse(1)

    with pytest.raises(DataError, match="1 is too small"):
        refusing()
    assert retained(workspace) == {}


def test_a_bucket_that_takes_no_result_costs_the_run_nothing_but_the_reuse(
    hasty: Workspace, inject: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    @task(**cached("count", lambda _: {"one": 1}))
    def count() -> int:
        ran.append("count")
        return len(ran)

    @flow
    def counting() -> tuple[int, str | None]:
        with bucket_results(hasty, Dataset()):
            state = count(return_state=True)
        return state.result(), state.name

    inject(kind="service-error", action="PutObject", times=2)  # of the facts and of the result
    assert counting() == (1, "Completed")
    assert any("The next run has to do this step again. AWS failed while writing" in said for said in caplog.messages)
    assert (counting(), counting()) == ((2, "Completed"), (2, "Cached"))


def test_when_the_bucket_cannot_be_read_the_step_is_done_and_the_log_says_why(
    hasty: Workspace, uri: str, inject: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    run(hasty, uri)
    inject(kind="throttling", action="GetObject", times=2)
    assert (run(hasty, uri).name, len(ran)) == ("Completed", 2)
    assert any("not known whether this step may be reused" in said for said in caplog.messages)
    assert run(hasty, uri).name == "Cached"


def test_who_may_not_read_results_is_informed_and_still_keeps_them_for_others(
    hasty: Workspace, uri: str, inject: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    inject(kind="access-denied", action="GetObject", times=1)
    assert run(hasty, uri).name == "Completed"
    assert any("What may not be read cannot be reused." in said for said in caplog.messages)
    assert run(hasty, uri).name == "Cached"


def test_after_the_block_the_flow_is_as_it_was(workspace: Workspace) -> None:
    @flow
    def flowing() -> bool:
        before = FlowRunContext.get()
        with bucket_results(workspace, Dataset()):
            within = FlowRunContext.get()
        after = FlowRunContext.get()
        assert before is not None
        assert within is not None
        return after is before and within.result_store is not before.result_store

    assert flowing()


def test_outside_of_a_flow_results_cannot_be_retained_in_a_workspace(workspace: Workspace) -> None:
    with pytest.raises(RuntimeError, match="body of a flow"), bucket_results(workspace, Dataset()):
        pass
