"""Every run says why a step ran: what changed since the last run of the same table and target in this workspace."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect_aws import AwsCredentials

from aws.storage import read_object, write_object
from aws.training.compute import Compute
from aws.workspace import Workspace
from linear_learner.hyperparameters import Hyperparameters
from tasks.caching.explain_rerun import (
    DATA_FACTS,
    describe_changes,
    describe_rerun,
    explain_rerun,
    flatten,
    record_input,
    track_inputs,
)
from tasks.parameters import Dataset, RunParameters, Split

FIT = (*DATA_FACTS, "hyperparameters", "compute.instance_count")
DATASET = Dataset(source="bonus.csv", target="bonus")
Inject = Callable[..., None]
NAMES = st.text("abcxyz_", min_size=1)
FACTS = st.dictionaries(NAMES, st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text())


def facts(identity: str = "e1", size: int = 3_100_000, **parts: Any) -> dict[str, Any]:
    """Of a run on a table of that content."""
    chosen = {"split": Split(), "hyperparameters": Hyperparameters(), **parts}
    return {"table.identity": identity, "table.size": size, **flatten(chosen)}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (facts(hyperparameters=Hyperparameters(l1=0.01)), "hyperparameter l1 changed auto → 0.01; data identical"),
        (
            facts(hyperparameters=Hyperparameters(epochs=1_000_000)),
            "hyperparameter epochs changed 15 → 1000000; data i…",
        ),
        (
            facts(hyperparameters=Hyperparameters(use_bias=False)),
            "hyperparameter use_bias changed true → false; data i…",
        ),
        (facts(split=Split(random_state=7)), "split.random_state changed 42 → 7; table identical"),
        (facts("e2", 3_200_000), "the table changed (3.1 MB → 3.2 MB)"),
        (facts("e2"), "the table changed (still 3.1 MB)"),
        (facts("e2", 812), "the table changed (3.1 MB → 812 bytes)"),
        (facts("e2", 7_000_000_000), "the table changed (3.1 MB → 7.0 GB)"),
        (
            facts("e2", 4096, split=Split(random_state=7), hyperparameters=Hyperparameters(wd=1e-5)),
            (
                "the table changed (3.1 MB → 4.1 kB), split.random_state changed 42 → 7, "
                "hyperparameter wd changed auto → 1e-05"
            ),
        ),
        (
            facts(split=Split(holdout_size=0.25), hyperparameters=Hyperparameters(loss="huber_loss")),
            "split.holdout_size changed 0.3 → 0.25, hyperparameter loss changed auto → huber_loss; table identical",
        ),
        (facts(), "nothing is left of what the last run made"),
    ],
)
def test_a_reason_says_what_changed_and_whether_the_data_did(now: dict[str, Any], said: str) -> None:
    messages = describe_rerun(facts(), now, "fit")
    assert messages.startswith(f"again, because {said.removesuffix('…')}")
    assert said.endswith("…") or messages == f"again, because {said}"


def test_what_was_never_done_is_done_for_the_first_time() -> None:
    assert describe_rerun(None, facts(), "load bonus.csv") == "for the first time: load bonus.csv"


def test_when_nothing_changed_the_caller_knows_why() -> None:
    assert describe_rerun({}, {}, "fit", "the model is gone") == "again, because the model is gone"


def test_without_the_table_nothing_is_said_about_the_data() -> None:
    assert describe_rerun({"job": "a"}, {"job": "b"}, "download") == "again, because job changed a → b"


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (0, 0.01, "x changed 0 → 0.01"),
        (None, "b", "x changed nothing → b"),
        ("a", None, "x changed a → nothing"),
        (0.1234567, 0.1234568, "x changed 0.1234567 → 0.1234568"),
        ("1", 1, "x changed '1' → 1"),
        (10**12, 10**12 + 1, "x changed 1000000000000 → 1000000000001"),
    ],
)
def test_a_difference_names_the_value_before_and_after(before: Any, now: Any, said: str) -> None:
    assert describe_changes({"x": before, "same": 1}, {"x": now, "same": 1}) == [said]


@pytest.mark.parametrize(("before", "now"), [(1, 1.0), (None, None), ("a", "a")])
def test_equal_values_do_not_differ(before: Any, now: Any) -> None:
    assert describe_changes({"x": before}, {"x": now}) == []


@given(FACTS, FACTS)
def test_only_what_both_know_and_differs_is_named(before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [name for name in now if name in before and now[name] != before[name]]
    assert [one.split(" changed ")[0] for one in describe_changes(before, now)] == changed
    assert describe_changes(now, now) == []
    assert describe_changes(before, json.loads(json.dumps(before))) == []


def test_parameters_are_flattened_under_the_names_people_know() -> None:
    compute = Compute(fallback_instance_types=("ml.m5.xlarge", "ml.c5.xlarge"))
    flat = flatten({"split": Split(), "compute": compute, "nested": {"a": {"b": ()}}})
    assert flat["split.random_state"] == 42
    assert flat["compute.fallback_instance_types"] == "ml.m5.xlarge, ml.c5.xlarge"
    assert flat["nested.a.b"] is None
    assert all(value is None or isinstance(value, str | int | float) for value in flat.values())


def messages(
    workspace: Workspace, *, size: int = 3_100_000, dataset: Dataset = DATASET, fail: bool = False, **changes: Any
) -> list[str]:
    """What the steps of one run are told."""
    with track_inputs(workspace, RunParameters(dataset=dataset, **changes)):
        record_input({"table.identity": f"e{size}", "table.size": size})
        if fail:
            raise ValueError(explain_rerun("load", ("table",), f"of size {size}"))
        return [
            explain_rerun("load", ("table",), "load it"),
            explain_rerun("fit", FIT, "training job a", "its model is gone"),
        ]


def ledgers(workspace: Workspace) -> list[str]:
    listed = workspace.client("s3").list_objects_v2(Bucket=workspace.bucket.bucket_name, Prefix=workspace.key("ledger"))
    return [f"s3://{workspace.bucket.bucket_name}/{found['Key']}" for found in listed.get("Contents", [])]


def test_runs_of_one_table_compare_themselves_each_with_the_last(workspace: Workspace) -> None:
    regularised = Hyperparameters(l1=0.01)
    assert messages(workspace) == ["for the first time: load it", "for the first time: training job a"]
    assert messages(workspace, hyperparameters=regularised) == [
        "again, because nothing is left of what the last run made",
        "again, because hyperparameter l1 changed auto → 0.01; data identical",
    ]
    assert messages(workspace, hyperparameters=regularised)[1] == "again, because its model is gone"
    assert (
        messages(workspace, hyperparameters=regularised, size=3_200_000)
        == ["again, because the table changed (3.1 MB → 3.2 MB)"] * 2
    )
    assert messages(workspace, size=3_200_000)[1] == (
        "again, because hyperparameter l1 changed 0.01 → auto; data identical"
    )
    assert len(ledgers(workspace)) == 1


def test_what_does_not_decide_a_steps_outcome_is_no_reason_for_it(workspace: Workspace) -> None:
    messages(workspace)
    larger = messages(workspace, compute=Compute(instance_type="ml.m5.4xlarge"))
    assert larger[1] == "again, because its model is gone"
    more = messages(workspace, compute=Compute(instance_count=2))
    assert more[1] == "again, because compute.instance_count changed 1 → 2; data identical"


def test_another_table_target_or_workspace_has_a_ledger_of_its_own(workspace: Workspace) -> None:
    messages(workspace)
    others = [DATASET.model_copy(update=change) for change in ({"source": "other.csv"}, {"target": "age"})]
    elsewhere = workspace.model_copy(update={"prefix": f"{workspace.prefix}/other"})
    said = [messages(workspace, dataset=other) for other in others] + [messages(elsewhere)]
    assert {one[0] for one in said} == {"for the first time: load it"}


def test_a_file_that_is_uploaded_under_its_content_is_the_same_table_when_it_changes(workspace: Workspace) -> None:
    versions = [Dataset(source=f"s3://bucket/sources/{digit * 20}/pay.csv") for digit in "ab"]
    messages(workspace, dataset=versions[0])
    assert messages(workspace, dataset=versions[1], size=1)[0] == "again, because the table changed (3.1 MB → 1 bytes)"


def test_a_run_that_fails_is_remembered_for_what_it_tried(workspace: Workspace) -> None:
    messages(workspace)
    with pytest.raises(ValueError, match="the table changed"):
        messages(workspace, size=10, fail=True)
    assert messages(workspace)[0] == "again, because the table changed (10 bytes → 3.1 MB)"


def test_an_unchanged_run_reads_the_ledger_once_and_writes_nothing(
    workspace: Workspace, calls: Callable[[], dict[str, int]]
) -> None:
    messages(workspace)
    before = calls()
    messages(workspace)
    made = {action: count - before.get(action, 0) for action, count in calls().items()}
    assert {action: count for action, count in made.items() if count} == {"s3:GetObject": 1}


def test_the_ledger_is_readable_and_holds_what_people_chose_and_no_secret(workspace: Workspace) -> None:
    messages(workspace)
    (uri,) = ledgers(workspace)
    content = read_object(workspace, uri)[0].decode()
    document = json.loads(content)
    assert document["about"] == {"source": "bonus.csv", "target": "bonus"}
    assert document["load"] == {"table.identity": "e3100000", "table.size": 3_100_000}
    assert document["fit"]["hyperparameters.epochs"] == 15
    credentials = workspace.bucket.credentials
    assert isinstance(credentials, AwsCredentials)
    assert credentials.aws_secret_access_key is not None
    assert credentials.aws_secret_access_key.get_secret_value() not in content


@pytest.mark.parametrize("damage", [b"not JSON", b"[]", b'{"load": {"table.size": []}}', b'{"load": 1}', b""])
def test_a_ledger_that_does_not_open_counts_as_none(workspace: Workspace, damage: bytes) -> None:
    messages(workspace)
    (uri,) = ledgers(workspace)
    write_object(workspace, uri, damage)
    assert messages(workspace)[0] == "for the first time: load it"


def test_where_nothing_is_remembered_no_reason_is_made_up() -> None:
    assert explain_rerun("load", DATA_FACTS, "load it") == "what the last run was made of is not known: load it"


@pytest.fixture
def calls(sandbox_url: str) -> Callable[[], dict[str, int]]:
    """Tells how often each API call has been made so far."""
    from sandbox import client

    return partial(client.call_counts, sandbox_url)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("action", "kind", "said", "next_said"),
    [
        (
            "GetObject",
            "service-error",
            "what the last run was made of is not known: load it",
            "again, because nothing is left of what the last run made",
        ),
        (
            "GetObject",
            "access-denied",
            "for the first time: load it",
            "again, because the table changed (1 bytes → 3.1 MB)",
        ),
        (
            "PutObject",
            "throttling",
            "again, because the table changed (3.1 MB → 1 bytes)",
            "again, because nothing is left of what the last run made",
        ),
    ],
)
def test_a_ledger_out_of_reach_stops_no_run(  # the next run compares itself with what was written last
    hasty: Workspace, inject: Inject, action: str, kind: str, said: str, next_said: str
) -> None:
    messages(hasty)

    @flow
    def telling() -> list[str]:
        inject(kind=kind, action=action)
        return messages(hasty, size=1)

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        assert telling()[0] == said
    assert messages(hasty)[0] == next_said
