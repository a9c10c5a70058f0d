"""A step is reused for the same content while what it made exists, on any machine; only passing faults are retried."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import State, task
from prefect.states import Failed

from aws.errors import AccessDenied, AwsError, InvalidRequest, NotFound, QuotaExceeded, TrainingFailed, Unavailable
from aws.storage import delete_objects, sha256_of, stat_object, upload_file
from aws.workspace import Workspace, split_uri
from linear_learner.errors import ArtifactError, DataError, HyperparameterError
from tasks.caching import work_folder
from tasks.caching.policy import cached, fingerprint, is_retryable
from tasks.format import Formatted, format_channels
from tasks.load import Table, find, load
from tasks.parameters import Dataset, Split
from tasks.split import Rows, split_rows
from tasks.upload import Uploaded, upload
from tests.tasks.conftest import in_flow

pytestmark = pytest.mark.usefixtures("machine")

MakeTable = Callable[..., Dataset]
STEPS = ("load", "split", "format", "upload")


def prepared(workspace: Workspace, dataset: Dataset, split: Split | None = None) -> tuple[dict[str, str], Uploaded]:
    """Each step's final state by name up to the upload, and what that returned."""

    def prepare() -> tuple[dict[str, str], Uploaded]:
        states: list[State[Any]] = [load(workspace, find(workspace, dataset), dataset, return_state=True)]
        table: Table = states[0].result()
        states.append(split_rows(workspace, table, split or Split(), return_state=True))
        rows: Rows = states[1].result()
        states.append(format_channels(workspace, table, rows, return_state=True))
        formatted: Formatted = states[2].result()
        states.append(upload(workspace, formatted, return_state=True))
        return dict(zip(STEPS, (state.name or "" for state in states), strict=True)), states[3].result()

    return in_flow(workspace, prepare)


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
    delete(workspace, uploaded.files_of("validation")[0].uri)
    again, restored = prepared(workspace, dataset)
    assert again == states("format", "upload")
    assert restored == uploaded
    assert stat_object(workspace, uploaded.files_of("validation")[0].uri).sha256 == uploaded["validation"].sha256
    assert prepared(workspace, dataset)[0] == states()


def test_a_channel_that_somebody_replaced_is_made_again(
    workspace: Workspace, machine: Path, make_table: MakeTable
) -> None:
    dataset = make_table()
    _, uploaded = prepared(workspace, dataset)
    (machine / "other").write_bytes(b"1,2\n")
    upload_file(workspace, machine / "other", uploaded.files_of("train")[0].uri, sha256_of(machine / "other"))
    assert prepared(workspace, dataset)[0] == states("format", "upload")
    assert stat_object(workspace, uploaded.files_of("train")[0].uri).sha256 == uploaded["train"].sha256


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
    assert again == states(*STEPS)
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
    workspace: Workspace,
    machine: Path,
    make_table: MakeTable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = make_table()

    def formatted() -> State[Any]:
        table = load(workspace, find(workspace, dataset), dataset)
        return format_channels(workspace, table, split_rows(workspace, table, Split()), return_state=True)

    first = in_flow(workspace, formatted).result()
    (machine / "cache").rename(machine / "out of reach")
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / "another machine"))
    state = in_flow(workspace, formatted)
    assert state.name == "Completed"
    assert state.result() == first
    assert all(first.path(file).exists() for file in first.files)


def test_files_of_a_run_that_ended_before_the_upload_are_uploaded_by_the_next(
    workspace: Workspace, make_table: MakeTable
) -> None:
    dataset = make_table()

    def formatted() -> None:
        table = load(workspace, find(workspace, dataset), dataset)
        format_channels(workspace, table, split_rows(workspace, table, Split()))

    in_flow(workspace, formatted)
    again, uploaded = prepared(workspace, dataset)
    assert again == states("upload")
    assert all(stat_object(workspace, file.uri).sha256 == file.sha256 for file in uploaded.files)


def test_without_the_results_the_objects_are_found_and_none_of_them_is_sent_again(
    workspace: Workspace, make_table: MakeTable
) -> None:
    dataset = make_table()
    _, first = prepared(workspace, dataset)
    modified = [head(workspace, uri)["LastModified"] for uri in uris(first)]
    delete_objects(workspace, workspace.uri("results"))
    again, second = prepared(workspace, dataset)
    assert again == states(*STEPS)
    assert second == first
    assert [head(workspace, uri)["LastModified"] for uri in uris(first)] == modified


def test_nothing_is_left_on_the_machine_once_it_is_in_the_bucket(
    workspace: Workspace, machine: Path, make_table: MakeTable
) -> None:
    prepared(workspace, make_table())
    assert [path for path in (machine / "cache").rglob("*") if path.is_file()] == []


def test_a_missing_source_fails_as_not_found_by_name_without_retries(workspace: Workspace) -> None:
    state = find(workspace, Dataset(source="nothing/here.csv"), return_state=True)
    error = state.result(raise_on_failure=False)
    assert isinstance(error, NotFound)
    assert "s3://linear-learner-sandbox/nothing/here.csv" in str(error)


def test_a_step_that_raises_keeps_nothing_and_runs_again(workspace: Workspace) -> None:
    calls = []

    @task(**cached("moody", lambda inputs: {"number": inputs["number"]}))
    def moody(number: int) -> int:
        calls.append(number)
        if len(calls) == 1:
            raise DataError("not today")
        return number

    def names(number: int) -> list[str | None]:
        return in_flow(workspace, lambda: [moody(number, return_state=True).name for _ in range(3)])

    assert names(1) == ["Failed", "Completed", "Cached"]
    assert (names(2), len(calls)) == (["Completed", "Cached", "Cached"], 3)


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
    steps = (find, load, split_rows, format_channels, upload)
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
