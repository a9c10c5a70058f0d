"""Results are stored in the workspace's bucket, where all workers reuse them, unless refresh or an age limit is set."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import State, flow, task
from prefect.context import FlowRunContext
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_TASKS_DISABLE_CACHING,
    PREFECT_TASKS_REFRESH_CACHE,
    temporary_settings,
)
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

pytestmark = pytest.mark.usefixtures("machine", "_no_heartbeats")

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PutObject = Callable[[str, bytes], str]
calls: list[str] = []


class Copied(Result):
    """The result of the step `copy`: the URI of the copy, and the number of the call that made it."""

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
    calls.append(original.uri)
    write_object(workspace, workspace.uri("copy"), b"{}")
    return Copied(uri=workspace.uri("copy"), call=len(calls))


@task(**cached("refuse", lambda inputs: {"number": inputs["number"]}))
def refuse(number: int) -> int:
    raise DataError(f"{number} is too small")


def run(workspace: Workspace, uri: str, reuse: Reuse | None = None) -> State[Any]:
    """Run the step `copy` in a flow run, and return its state."""
    states: list[State[Any]] = []

    @flow(name="copying", persist_result=True)
    def copying() -> int:
        original = stat_object(workspace, uri)
        with bucket_results(workspace, Dataset(), reuse or Reuse()):
            states.append(copy(workspace, original, return_state=True))
        return len(states)

    copying()
    return states[0]


def stored_results(workspace: Workspace, folder: str = "results") -> dict[str, str]:
    """Return the content of the objects under a folder of the workspace's prefix, by key."""
    s3, bucket = workspace.client("s3"), workspace.bucket.bucket_name
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=workspace.key(folder))
    keys = [entry["Key"] for entry in listed.get("Contents", [])]
    # The folder "latest" has the facts of the last run.
    return {key: read_object(workspace, f"s3://{bucket}/{key}")[0].decode() for key in keys if "/latest/" not in key}


@pytest.fixture(autouse=True)
def _reset_calls() -> None:
    calls.clear()


@pytest.fixture
def _no_heartbeats() -> Iterator[None]:
    """Disable heartbeats, as each flow run waits a second for the end of the last one."""
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@pytest.fixture
def uri(put_object: PutObject) -> str:
    """An object to copy."""
    return put_object("original", b"1")


def test_a_worker_with_an_empty_disk_reuses_the_results_of_another_worker(
    workspace: Workspace, uri: str, machine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(workspace, uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / "another cache"))
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: machine / "another disk"}):
        second = run(workspace, uri)
    assert (first.name, second.name, len(calls)) == ("Completed", "Cached", 1)
    assert second.result() == first.result() == Copied(uri=workspace.uri("copy"), call=1)
    assert f"reused: copy {workspace.uri('copy')}" in caplog.messages


def test_only_results_of_steps_are_in_the_bucket_not_the_result_of_the_flow(
    workspace: Workspace, uri: str, machine: Path
) -> None:
    run(workspace, uri)
    assert len(list((machine / "results").iterdir())) == 1
    (key,) = stored_results(workspace)
    assert key.rpartition("/")[2].startswith("copy-")
    assert key.endswith(".json")


def test_results_are_json_and_no_object_in_the_bucket_contains_the_secret(workspace: Workspace, uri: str) -> None:
    credentials = workspace.bucket.credentials
    assert isinstance(credentials, AwsCredentials)
    changed = credentials.model_copy(update={"aws_secret_access_key": SecretStr(SECRET)})
    workspace.bucket = workspace.bucket.model_copy(update={"credentials": changed})
    run(workspace, uri)
    everything = stored_results(workspace, "")
    (record,) = [json.loads(content) for key, content in everything.items() if "/results/" in key]
    assert record["metadata"]["serializer"]["type"] == "json"
    assert json.loads(record["result"])["data"]["uri"] == workspace.uri("copy")
    assert not [key for key, content in everything.items() if SECRET in content]


def test_reusing_a_step_takes_one_call_to_read_its_result(workspace: Workspace, uri: str, sandbox_url: str) -> None:
    run(workspace, uri)
    before = Counter(client.call_counts(sandbox_url))
    run(workspace, uri)
    # The flow looks up the original; one GetObject reads the result, the other checks that the copy exists.
    assert Counter(client.call_counts(sandbox_url)) - before == {"s3:HeadObject": 1, "s3:GetObject": 2}


def test_a_step_whose_object_is_missing_runs_again_and_is_then_reused(
    workspace: Workspace, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(workspace, uri)
    workspace.client("s3").delete_object(Bucket=workspace.bucket.bucket_name, Key=workspace.key("copy"))
    assert [run(workspace, uri).name for _ in range(2)] == ["Completed", "Cached"]
    assert f"again, because {workspace.uri('copy')} is missing or changed in the bucket" in caplog.messages
    assert len(stored_results(workspace)) == 1


def test_a_changed_input_has_a_new_result_and_the_old_one_remains(
    workspace: Workspace, uri: str, put_object: PutObject
) -> None:
    run(workspace, uri)
    put_object("original", b"2")
    assert run(workspace, uri).name == "Completed"
    put_object("original", b"1")
    assert run(workspace, uri).name == "Cached"
    assert len(stored_results(workspace)) == 2


def test_refresh_runs_a_step_again_and_later_runs_reuse_the_new_result(
    workspace: Workspace, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(workspace, uri)
    fresh = run(workspace, uri, Reuse(refresh=True))
    assert (fresh.name, fresh.result().call) == ("Completed", 2)
    assert "again, because reuse.refresh is true" in caplog.messages
    later = run(workspace, uri)
    assert (later.name, later.result().call, len(stored_results(workspace))) == ("Cached", 2, 1)


def test_the_setting_refresh_cache_runs_a_step_again_and_says_so(
    workspace: Workspace, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    with temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}):
        assert [run(workspace, uri).name for _ in range(2)] == ["Completed", "Completed"]
    first, second = (one for one in caplog.messages if one.startswith(("for the first", "again", "reused")))
    assert first.startswith("for the first time: copy")
    assert second == "again, because PREFECT_TASKS_REFRESH_CACHE is set"
    assert run(workspace, uri).name == "Cached"


def test_a_step_with_refresh_cache_runs_again_and_says_so(
    workspace: Workspace, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(workspace, uri)
    caplog.clear()

    @flow
    def refreshing() -> tuple[str, ...]:
        with bucket_results(workspace, Dataset()) as results:
            copy.with_options(refresh_cache=True)(workspace, stat_object(workspace, uri))
        return results.reused()

    assert (refreshing(), len(calls)) == ((), 2)
    assert "again, because refresh_cache is set on this step" in caplog.messages
    assert not any(message.startswith("reused") for message in caplog.messages)


def test_a_step_that_ran_in_this_flow_run_is_not_counted_as_reused(workspace: Workspace, uri: str) -> None:
    @flow
    def copying() -> list[tuple[str, ...]]:
        with bucket_results(workspace, Dataset()) as results:
            return [results.reused() for _ in range(2) if copy(workspace, stat_object(workspace, uri))]

    assert copying() == [(), ()]
    assert copying() == [("copy",), ("copy",)]


def test_a_disabled_cache_is_reported_and_nothing_is_stored(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    with temporary_settings({PREFECT_TASKS_DISABLE_CACHING: True}):

        @task(**cached("count", lambda _: {"one": 1}))  # Prefect applies the setting when a task is defined
        def count() -> int:
            calls.append("count")
            return len(calls)

        @flow
        def counting() -> tuple[str, ...]:
            with bucket_results(workspace, Dataset()) as results:
                count()
            return results.reused()

        assert (counting(), counting(), len(calls)) == ((), (), 2)
    assert "All steps run and no result is stored, as PREFECT_TASKS_DISABLE_CACHING is set." in caplog.messages
    assert stored_results(workspace) == {}


def test_a_further_attempt_is_not_explained_by_a_missing_result(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    @task(**cached("stumble", lambda _: {"one": 1}), retries=1)
    def stumble() -> int:
        calls.append("stumble")
        if len(calls) == 1:
            raise OSError("once")
        return len(calls)

    @flow
    def stumbling() -> int:
        with bucket_results(workspace, Dataset()):
            return stumble()

    assert stumbling() == 2
    reasons = [message for message in caplog.messages if message.startswith(("for the first", "again"))]
    assert len(reasons) == 1
    assert reasons[0].startswith("for the first time: stumble")


def test_a_result_older_than_the_limit_is_not_reused(
    workspace: Workspace, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(workspace, uri)
    assert run(workspace, uri, Reuse(max_age_days=1)).name == "Cached"
    assert run(workspace, uri, Reuse(max_age_days=1e-9)).name == "Completed"
    assert "again, because the result is older than 1e-09 days" in caplog.messages
    later = run(workspace, uri)
    assert (later.name, later.result().call) == ("Cached", 2)


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf"), 1e9])
def test_an_invalid_age_limit_is_refused(days: float) -> None:
    with pytest.raises(ValidationError, match="max_age_days"):
        Reuse(max_age_days=days)


@pytest.mark.parametrize("change", ["prefix", "folder"])
def test_workspaces_with_another_prefix_or_folder_share_no_results(workspace: Workspace, uri: str, change: str) -> None:
    run(workspace, uri)
    other = workspace.model_copy(update={"prefix": f"{workspace.prefix}/other"})
    if change == "folder":
        other = workspace.model_copy(update={"bucket": workspace.bucket.model_copy(update={"bucket_folder": "team"})})
    assert run(other, uri).name == "Completed"
    assert run(other, uri).name == "Cached"
    assert len(stored_results(other)) == 1


def test_an_unreadable_result_is_replaced(workspace: Workspace, uri: str) -> None:
    run(workspace, uri)
    (key,) = stored_results(workspace)
    write_object(workspace, f"s3://{workspace.bucket.bucket_name}/{key}", b"the format of an older release")
    assert [run(workspace, uri).name for _ in range(2)] == ["Completed", "Cached"]


def test_a_failed_step_stores_nothing_in_the_bucket(workspace: Workspace) -> None:
    @flow(persist_result=True)
    def refusing() -> None:
        with bucket_results(workspace, Dataset()):
            refuse(1)

    with pytest.raises(DataError, match="1 is too small"):
        refusing()
    assert stored_results(workspace) == {}


def test_a_run_continues_when_its_result_cannot_be_written(
    hasty: Workspace, inject: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    @task(**cached("count", lambda _: {"one": 1}))
    def count() -> int:
        calls.append("count")
        return len(calls)

    @flow
    def counting() -> tuple[int, str | None]:
        with bucket_results(hasty, Dataset()):
            state = count(return_state=True)
        return state.result(), state.name

    inject(kind="service-error", action="PutObject", times=2)  # writing the facts and the result
    assert counting() == (1, "Completed")
    expected = "The result was not stored, so the next run repeats this step. AWS failed while writing"
    assert any(expected in message for message in caplog.messages)
    assert (counting(), counting()) == ((2, "Completed"), (2, "Cached"))


def test_a_step_runs_and_logs_a_warning_when_its_result_cannot_be_read(
    hasty: Workspace, uri: str, inject: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    run(hasty, uri)
    inject(kind="throttling", action="GetObject", times=2)
    assert (run(hasty, uri).name, len(calls)) == ("Completed", 2)
    assert any("Cannot read the stored result" in message for message in caplog.messages)
    assert run(hasty, uri).name == "Cached"


def test_without_permission_to_read_results_a_run_still_stores_them(
    hasty: Workspace, uri: str, inject: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    inject(kind="access-denied", action="GetObject", times=1)
    assert run(hasty, uri).name == "Completed"
    assert any("Access to the stored result was denied" in message for message in caplog.messages)
    assert run(hasty, uri).name == "Cached"


def test_after_the_block_the_flow_has_its_own_result_store_again(workspace: Workspace) -> None:
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


def test_bucket_results_raises_outside_of_a_flow(workspace: Workspace) -> None:
    with pytest.raises(RuntimeError, match="body of a flow"), bucket_results(workspace, Dataset()):
        pass
