"""Results are reused on any machine while they exist and inputs are equal; only temporary faults are retried."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from tests.tasks.encodings import encoding_of

pytestmark = pytest.mark.usefixtures("machine")

MakeTable = Callable[..., Dataset]
STEPS = ("load", "split", "format", "upload")


def prepare(workspace: Workspace, dataset: Dataset, split: Split | None = None) -> tuple[dict[str, str], Uploaded]:
    """Run the steps up to the upload; return the state of each step by name, and the result of the upload."""

    def steps() -> tuple[dict[str, str], Uploaded]:
        states: list[State[Any]] = [load(workspace, find(workspace, dataset), dataset, return_state=True)]
        table: Table = states[0].result()
        states.append(split_rows(workspace, table, split or Split(), return_state=True))
        rows: Rows = states[1].result()
        encoding = encoding_of(workspace, table, rows)
        states.append(format_channels(workspace, table, rows, encoding, return_state=True))
        formatted: Formatted = states[2].result()
        states.append(upload(workspace, formatted, return_state=True))
        return dict(zip(STEPS, (state.name or "" for state in states), strict=True)), states[3].result()

    return in_flow(workspace, steps)


def states(*ran: str) -> dict[str, str]:
    """Return the states of all steps when these ran and the others were reused."""
    return {step: "Completed" if step in ran else "Cached" for step in STEPS}


def uris(uploaded: Uploaded) -> list[str]:
    return [file.uri for file in uploaded.files]


def test_an_unchanged_run_reuses_all_steps_with_equal_results(workspace: Workspace, make_table: MakeTable) -> None:
    dataset = make_table()
    first = prepare(workspace, dataset)
    modified = [head(workspace, uri)["LastModified"] for uri in uris(first[1])]
    second = prepare(workspace, dataset)
    assert (first[0], second[0]) == (states(*STEPS), states())
    assert second[1] == first[1]
    assert [head(workspace, uri)["LastModified"] for uri in uris(first[1])] == modified


def head(workspace: Workspace, uri: str) -> Any:
    bucket, key = split_uri(uri)
    return workspace.client("s3").head_object(Bucket=bucket, Key=key)


def delete(workspace: Workspace, uri: str) -> None:
    bucket, key = split_uri(uri)
    workspace.client("s3").delete_object(Bucket=bucket, Key=key)


def test_a_deleted_channel_is_written_again_and_then_reused(workspace: Workspace, make_table: MakeTable) -> None:
    dataset = make_table()
    _, uploaded = prepare(workspace, dataset)
    delete(workspace, uploaded.files_of("validation")[0].uri)
    again, restored = prepare(workspace, dataset)
    assert again == states("format", "upload")
    assert restored == uploaded
    assert stat_object(workspace, uploaded.files_of("validation")[0].uri).sha256 == uploaded["validation"].sha256
    assert prepare(workspace, dataset)[0] == states()


def test_a_replaced_channel_is_written_again(workspace: Workspace, machine: Path, make_table: MakeTable) -> None:
    dataset = make_table()
    _, uploaded = prepare(workspace, dataset)
    (machine / "other").write_bytes(b"1,2\n")
    upload_file(workspace, machine / "other", uploaded.files_of("train")[0].uri, sha256_of(machine / "other"))
    assert prepare(workspace, dataset)[0] == states("format", "upload")
    assert stat_object(workspace, uploaded.files_of("train")[0].uri).sha256 == uploaded["train"].sha256


def test_a_changed_source_is_prepared_without_replacing_the_old_channels(
    workspace: Workspace, make_table: MakeTable
) -> None:
    _, first = prepare(workspace, make_table(seed=1))
    again, second = prepare(workspace, make_table(seed=2))
    assert again == states(*STEPS)
    assert not set(uris(first)) & set(uris(second))
    assert prepare(workspace, make_table(seed=1)) == (states(), first)


def test_another_split_reuses_the_loaded_table(workspace: Workspace, make_table: MakeTable) -> None:
    dataset = make_table()
    _, first = prepare(workspace, dataset)
    again, second = prepare(workspace, dataset, Split(random_state=43))
    assert again == states("split", "format", "upload")
    assert [file.sha256 for file in first.files] != [file.sha256 for file in second.files]


def test_a_rewritten_table_with_equal_content_is_reused_and_other_objects_are_not_changed(
    workspace: Workspace, make_table: MakeTable, put_object: Callable[[str, bytes], str]
) -> None:
    other = put_object("other", b"untouched")
    before = head(workspace, other)["LastModified"]
    prepare(workspace, make_table())
    assert prepare(workspace, make_table())[0] == states()
    assert head(workspace, other)["LastModified"] == before


def test_tags_and_role_of_the_workspace_do_not_affect_reuse(workspace: Workspace, make_table: MakeTable) -> None:
    dataset = make_table()
    prepare(workspace, dataset)
    other = workspace.model_copy(update={"tags": {"cost": "7"}, "role_arn": "arn:aws:iam::123456789012:role/other"})
    assert prepare(other, dataset)[0] == states()


def test_another_prefix_gets_its_own_files(workspace: Workspace, make_table: MakeTable) -> None:
    dataset = make_table()
    _, first = prepare(workspace, dataset)
    other = workspace.model_copy(update={"prefix": f"{workspace.prefix}/other"})
    again, second = prepare(other, dataset)
    assert again == states(*STEPS)
    assert all("/other/data/" in uri for uri in uris(second))
    assert [file.sha256 for file in first.files] == [file.sha256 for file in second.files]


def test_another_machine_reuses_the_results_in_the_bucket(
    workspace: Workspace, machine: Path, make_table: MakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_table()
    _, uploaded = prepare(workspace, dataset)
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / "another machine"))
    assert prepare(workspace, dataset) == (states(), uploaded)
    assert not (machine / "another machine").exists()


def test_files_that_are_only_on_another_machine_are_written_again(
    workspace: Workspace,
    machine: Path,
    make_table: MakeTable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = make_table()

    def formatted() -> State[Any]:
        table = load(workspace, find(workspace, dataset), dataset)
        rows = split_rows(workspace, table, Split())
        return format_channels(workspace, table, rows, encoding_of(workspace, table, rows), return_state=True)

    first = in_flow(workspace, formatted).result()
    (machine / "cache").rename(machine / "other cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / "another machine"))
    state = in_flow(workspace, formatted)
    assert state.name == "Completed"
    assert state.result() == first
    assert all(first.path(file).exists() for file in first.files)


def test_files_of_a_run_that_ended_before_the_upload_are_uploaded_by_the_next_run(
    workspace: Workspace, make_table: MakeTable
) -> None:
    dataset = make_table()

    def formatted() -> None:
        table = load(workspace, find(workspace, dataset), dataset)
        rows = split_rows(workspace, table, Split())
        format_channels(workspace, table, rows, encoding_of(workspace, table, rows))

    in_flow(workspace, formatted)
    again, uploaded = prepare(workspace, dataset)
    assert again == states("upload")
    assert all(stat_object(workspace, file.uri).sha256 == file.sha256 for file in uploaded.files)


def test_without_stored_results_existing_channels_are_not_sent_again(
    workspace: Workspace, make_table: MakeTable
) -> None:
    dataset = make_table()
    _, first = prepare(workspace, dataset)
    modified = [head(workspace, uri)["LastModified"] for uri in uris(first)]
    delete_objects(workspace, workspace.uri("results"))
    again, second = prepare(workspace, dataset)
    assert again == states(*STEPS)
    assert second == first
    assert [head(workspace, uri)["LastModified"] for uri in uris(first)] == modified


def test_local_files_are_removed_after_the_upload(workspace: Workspace, machine: Path, make_table: MakeTable) -> None:
    prepare(workspace, make_table())
    assert [path for path in (machine / "cache").rglob("*") if path.is_file()] == []


def test_files_that_a_simultaneous_run_has_uploaded_and_removed_are_no_error(
    workspace: Workspace, make_table: MakeTable, inject: Callable[..., None]
) -> None:
    dataset = make_table()

    def steps() -> Uploaded:
        table = load(workspace, find(workspace, dataset), dataset)
        rows = split_rows(workspace, table, Split())
        formatted = format_channels(workspace, table, rows, encoding_of(workspace, table, rows))

        def upload_and_remove() -> None:
            time.sleep(1)
            for file in formatted.files:
                upload_file(workspace, formatted.path(file), file.uri, file.sha256)
                formatted.path(file).unlink(missing_ok=True)

        inject(kind="slow-answer", action="HeadObject", seconds=3)  # to the question whether the first file is there
        with ThreadPoolExecutor(1) as other_run:
            other_run.submit(upload_and_remove)
            return upload(workspace, formatted)

    uploaded = in_flow(workspace, steps)
    assert uploaded.missing(workspace) == []


def test_a_missing_source_raises_not_found_with_its_uri(workspace: Workspace) -> None:
    state = find(workspace, Dataset(source="nothing/here.csv"), return_state=True)
    error = state.result(raise_on_failure=False)
    assert isinstance(error, NotFound)
    assert "s3://linear-learner-sandbox/nothing/here.csv" in str(error)


def test_a_failed_step_stores_no_result_and_runs_again(workspace: Workspace) -> None:
    calls = []

    @task(**cached("unstable", lambda inputs: {"number": inputs["number"]}))
    def unstable(number: int) -> int:
        calls.append(number)
        if len(calls) == 1:
            raise DataError("first call")
        return number

    def state_names(number: int) -> list[str | None]:
        return in_flow(workspace, lambda: [unstable(number, return_state=True).name for _ in range(3)])

    assert state_names(1) == ["Failed", "Completed", "Cached"]
    assert (state_names(2), len(calls)) == (["Completed", "Cached", "Cached"], 3)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (Unavailable("busy"), True),
        (ConnectionResetError("reset"), True),
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
def test_only_temporary_faults_are_retryable(error: Exception, retryable: bool) -> None:
    unused: Any = None
    assert is_retryable(unused, unused, Failed(data=error)) is retryable


@pytest.mark.parametrize(("error", "calls"), [(Unavailable, 3), (AccessDenied, 1), (DataError, 1), (TimeoutError, 3)])
def test_prefect_retries_a_step_only_after_a_temporary_fault(error: type[Exception], calls: int) -> None:
    attempts = []

    @task(retries=2, retry_delay_seconds=0, retry_condition_fn=is_retryable)
    def step() -> None:
        attempts.append(1)
        raise error("again")

    with pytest.raises(error):
        step()
    assert len(attempts) == calls


def test_steps_that_call_aws_have_retries() -> None:
    steps = (find, load, split_rows, format_channels, upload)
    assert all(step.retries == 4 and step.retry_condition_fn is is_retryable for step in steps)


def test_a_fingerprint_depends_on_content_but_not_on_the_order_of_keys() -> None:
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
