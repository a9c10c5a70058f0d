"""A step is reused for the same content while what it made exists, on any machine; only passing faults are retried."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import State, task
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.states import Failed
from prefect_aws import AwsCredentials
from pydantic import SecretStr

from aws.errors import AccessDenied, AwsError, InvalidRequest, NotFound, QuotaExceeded, TrainingFailed, Unavailable
from aws.storage import sha256_of, stat_object, upload_file
from aws.workspace import Workspace, split_uri
from linear_learner.errors import ArtifactError, DataError, HyperparameterError
from tasks.caching import work_folder
from tasks.caching.policy import ContentCachePolicy, fingerprint, is_retryable
from tasks.format import Formatted, format_channels
from tasks.load import Table, load
from tasks.parameters import Dataset, Split
from tasks.split import Rows, split_rows
from tasks.upload import Uploaded, upload

pytestmark = pytest.mark.usefixtures("machine")

MakeTable = Callable[..., Dataset]
STEPS = ("load", "split", "format", "upload")


def prepared(workspace: Workspace, dataset: Dataset, split: Split | None = None) -> tuple[dict[str, str], Uploaded]:
    """Each step's final state by name, and what the last one returned."""
    states: list[State[Any]] = [load(workspace, dataset, return_state=True)]
    table: Table = states[0].result()
    states.append(split_rows(workspace, table, split or Split(), return_state=True))
    rows: Rows = states[1].result()
    states.append(format_channels(workspace, table, rows, return_state=True))
    formatted: Formatted = states[2].result()
    states.append(upload(workspace, formatted, return_state=True))
    return dict(zip(STEPS, (state.name or "" for state in states), strict=True)), states[3].result()


def states(*ran: str) -> dict[str, str]:
    """These ran, the others were reused."""
    return {step: "Completed" if step in ran else "Cached" for step in STEPS}


def uris(uploaded: Uploaded) -> list[str]:
    return [file.uri for file in uploaded.files]


def test_the_second_time_nothing_runs_and_the_results_are_equal(workspace: Workspace, make_table: MakeTable) -> None:
    dataset = make_table()
    first = prepared(workspace, dataset)
    modified = [head(workspace, uri)["LastModified"] for uri in uris(first[1])]
    second = prepared(workspace, dataset)
    assert (first[0], second[0]) == (states(*STEPS), states())
    assert second[1] == first[1]
    assert [head(workspace, uri)["LastModified"] for uri in uris(first[1])] == modified


def head(workspace: Workspace, uri: str) -> Any:
    bucket, key = split_uri(uri)
    return workspace.client("s3").head_object(Bucket=bucket, Key=key)


def delete(workspace: Workspace, uri: str) -> None:
    bucket, key = split_uri(uri)
    workspace.client("s3").delete_object(Bucket=bucket, Key=key)


def test_a_deleted_channel_is_made_again_and_then_reused_again(workspace: Workspace, make_table: MakeTable) -> None:
    dataset = make_table()
    _, uploaded = prepared(workspace, dataset)
    delete(workspace, uploaded["validation"].files[0].uri)
    again, restored = prepared(workspace, dataset)
    assert again == states("format", "upload")
    assert restored == uploaded
    assert stat_object(workspace, uploaded["validation"].files[0].uri).sha256 == uploaded["validation"].sha256
    assert prepared(workspace, dataset)[0] == states()


def test_a_channel_that_somebody_replaced_is_made_again(
    workspace: Workspace, machine: Path, make_table: MakeTable
) -> None:
    dataset = make_table()
    _, uploaded = prepared(workspace, dataset)
    (machine / "other").write_bytes(b"1,2\n")
    upload_file(workspace, machine / "other", uploaded["train"].files[0].uri, sha256_of(machine / "other"))
    assert prepared(workspace, dataset)[0] == states("format", "upload")
    assert stat_object(workspace, uploaded["train"].files[0].uri).sha256 == uploaded["train"].sha256


def test_a_changed_source_is_prepared_anew_beside_the_old_one(workspace: Workspace, make_table: MakeTable) -> None:
    _, first = prepared(workspace, make_table(seed=1))
    again, second = prepared(workspace, make_table(seed=2))
    assert again == states(*STEPS)
    assert not set(uris(first)) & set(uris(second))
    assert prepared(workspace, make_table(seed=1)) == (states(), first)


def test_another_split_is_prepared_anew_from_the_same_table(workspace: Workspace, make_table: MakeTable) -> None:
    dataset = make_table()
    _, first = prepared(workspace, dataset)
    again, second = prepared(workspace, dataset, Split(random_state=43))
    assert again == states("split", "format", "upload")
    assert [file.sha256 for file in first.files] != [file.sha256 for file in second.files]


def test_an_unchanged_table_written_again_is_reused_and_nothing_else_in_the_bucket_is_touched(
    workspace: Workspace, make_table: MakeTable, put_object: Callable[[str, bytes], str]
) -> None:
    other = put_object("other", b"untouched")
    before = head(workspace, other)["LastModified"]
    prepared(workspace, make_table())
    assert prepared(workspace, make_table())[0] == states()
    assert head(workspace, other)["LastModified"] == before


def test_what_a_workspace_is_called_or_tagged_does_not_matter(workspace: Workspace, make_table: MakeTable) -> None:
    dataset = make_table()
    prepared(workspace, dataset)
    other = workspace.model_copy(update={"tags": {"cost": "7"}, "role_arn": "arn:aws:iam::123456789012:role/other"})
    assert prepared(other, dataset)[0] == states()


def test_another_prefix_gets_files_of_its_own(workspace: Workspace, make_table: MakeTable) -> None:
    dataset = make_table()
    _, first = prepared(workspace, dataset)
    other = workspace.model_copy(update={"prefix": f"{workspace.prefix}/other"})
    again, second = prepared(other, dataset)
    assert again == states("format", "upload")
    assert all("/other/data/" in uri for uri in uris(second))
    assert [file.sha256 for file in first.files] == [file.sha256 for file in second.files]


def test_another_machine_with_the_same_results_reuses_what_is_in_the_bucket(
    workspace: Workspace, machine: Path, make_table: MakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_table()
    _, uploaded = prepared(workspace, dataset)
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / "another machine"))
    assert prepared(workspace, dataset) == (states(), uploaded)
    assert not (machine / "another machine").exists()


def test_files_that_only_another_machine_has_are_made_again(
    workspace: Workspace, machine: Path, make_table: MakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_table()
    table = load(workspace, dataset)
    rows = split_rows(workspace, table, Split())
    first = format_channels(workspace, table, rows)
    (machine / "cache").rename(machine / "out of reach")
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / "another machine"))
    state = format_channels(workspace, table, rows, return_state=True)
    second = state.result()
    assert state.name == "Completed"
    assert all(file.path.exists() and file.path.is_relative_to(machine / "another machine") for file in second.files)
    assert [file.sha256 for file in second.files] == [file.sha256 for file in first.files]


def test_files_of_a_run_that_ended_before_the_upload_are_uploaded_by_the_next(
    workspace: Workspace, make_table: MakeTable
) -> None:
    dataset = make_table()
    table = load(workspace, dataset)
    format_channels(workspace, table, split_rows(workspace, table, Split()))
    again, uploaded = prepared(workspace, dataset)
    assert again == states("upload")
    assert all(stat_object(workspace, file.uri).sha256 == file.sha256 for file in uploaded.files)


def test_a_machine_without_the_results_finds_the_objects_and_sends_none_of_them_again(
    workspace: Workspace, machine: Path, make_table: MakeTable
) -> None:
    dataset = make_table()
    _, first = prepared(workspace, dataset)
    modified = [head(workspace, uri)["LastModified"] for uri in uris(first)]
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: machine / "no results"}):
        again, second = prepared(workspace, dataset)
    assert again == states(*STEPS)
    assert second == first
    assert [head(workspace, uri)["LastModified"] for uri in uris(first)] == modified


def test_nothing_is_left_on_the_machine_once_it_is_in_the_bucket(
    workspace: Workspace, machine: Path, make_table: MakeTable
) -> None:
    prepared(workspace, make_table())
    assert [path for path in (machine / "cache").rglob("*") if path.is_file()] == []


def test_what_is_retained_is_readable_json_without_secrets(
    workspace: Workspace, machine: Path, make_table: MakeTable
) -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    credentials = workspace.bucket.credentials
    assert isinstance(credentials, AwsCredentials)
    workspace.bucket.credentials = credentials.model_copy(update={"aws_secret_access_key": SecretStr(secret)})
    prepared(workspace, make_table())
    retained = [path for path in (machine / "results").rglob("*") if path.is_file()]
    assert len(retained) == len(STEPS)
    for path in retained:
        text = path.read_text()
        assert json.loads(text)["metadata"]["serializer"]["type"] == "json"
        assert secret not in text
        assert path.name.split("-")[0] in STEPS


def test_a_result_that_no_longer_loads_is_passed_over(
    workspace: Workspace, machine: Path, make_table: MakeTable
) -> None:
    dataset = make_table()
    prepared(workspace, dataset)
    for path in (machine / "results").rglob("load-*"):
        path.write_text("what some older release wrote")
    assert prepared(workspace, dataset)[0] == states("load")
    assert prepared(workspace, dataset)[0] == states()


def test_a_missing_source_fails_as_not_found_by_name_without_retries(workspace: Workspace) -> None:
    state = load(workspace, Dataset(source="nothing/here.csv"), return_state=True)
    error = state.result(raise_on_failure=False)
    assert isinstance(error, NotFound)
    assert "s3://linear-learner-sandbox/nothing/here.csv" in str(error)


def test_a_step_that_raises_keeps_nothing_and_runs_again(machine: Path) -> None:
    calls = []
    policy = ContentCachePolicy(step="moody", identity=lambda inputs: (inputs["number"],))

    @task(cache_policy=policy, persist_result=True, result_serializer="json")
    def moody(number: int) -> int:
        calls.append(number)
        if len(calls) == 1:
            raise DataError("not today")
        return number

    assert [moody(1, return_state=True).name for _ in range(3)] == ["Failed", "Completed", "Cached"]
    assert [moody(2, return_state=True).name, len(calls)] == ["Completed", 3]
    assert len(list((machine / "results").glob("moody-*"))) == 2


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        (Unavailable("busy"), True),
        (ConnectionResetError("gone"), True),
        (OSError("disk"), True),
        (AccessDenied("no"), False),
        (NotFound("no"), False),
        (InvalidRequest("no"), False),
        (QuotaExceeded("no"), False),
        (TrainingFailed("no"), False),
        (AwsError("no"), False),
        (DataError("no"), False),
        (HyperparameterError("no"), False),
        (ArtifactError("no"), False),
        (ZeroDivisionError("no"), False),
    ],
    ids=lambda case: type(case).__name__,
)
def test_only_a_passing_fault_is_worth_another_try(error: Exception, worth: bool) -> None:
    unused: Any = None
    assert is_retryable(unused, unused, Failed(data=error)) is worth


@pytest.mark.parametrize(("error", "calls"), [(Unavailable, 3), (AccessDenied, 1), (DataError, 1), (TimeoutError, 3)])
def test_prefect_retries_a_step_only_after_a_passing_fault(error: type[Exception], calls: int) -> None:
    tried = []

    @task(retries=2, retry_delay_seconds=0, retry_condition_fn=is_retryable)
    def step() -> None:
        tried.append(1)
        raise error("again")

    with pytest.raises(error):
        step()
    assert len(tried) == calls


def test_the_steps_that_talk_to_aws_are_tried_again() -> None:
    steps = (load, split_rows, format_channels, upload)
    assert all(step.retries == 4 and step.retry_condition_fn is is_retryable for step in steps)


def test_a_fingerprint_stands_for_content_and_not_for_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(Split()) == fingerprint(Split(random_state=42))
    different = [(1, 2), (2, 1), (12,), ("1", 2), (Split(random_state=1),), (Split(),), ()]
    assert len({fingerprint(*parts) for parts in different}) == len(different)
    assert all(len(fingerprint(*parts)) == 20 for parts in different)


def test_the_work_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert work_folder("x") == Path("/caches/train-linear-learner/work/x")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert work_folder("x") == Path("/home/me/.cache/train-linear-learner/work/x")
