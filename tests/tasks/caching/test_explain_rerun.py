"""Every run says why a step ran: what changed since the last run of the same table and target in this workspace."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import flow
from prefect_aws import AwsCredentials

from aws.storage import read_object, write_object
from aws.training.compute import Compute
from aws.workspace import Workspace
from linear_learner.hyperparameters import Hyperparameters
from tasks.caching.explain_rerun import StepHistory, describe_rerun, flatten
from tasks.caching.result_storage import explain_rerun
from tasks.parameters import Split

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
        (facts("e2", 3_200_000), "the table changed, table.size changed 3100000 → 3200000"),
        (facts("e2"), "the table changed"),
        (
            facts("e2", 4096, split=Split(random_state=7), hyperparameters=Hyperparameters(wd=1e-5)),
            (
                "the table changed, table.size changed 3100000 → 4096, split.random_state changed 42 → 7, "
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
    again = describe_rerun({"x": before, "same": 1}, {"x": now, "same": 1}, "it")
    assert again == f"again, because {said}"


@pytest.mark.parametrize(("before", "now"), [(1, 1.0), (None, None), ("a", "a")])
def test_equal_values_do_not_differ(before: Any, now: Any) -> None:
    assert describe_rerun({"x": before}, {"x": now}, "it", "it is gone") == "again, because it is gone"


@given(FACTS, FACTS)
def test_only_what_both_know_and_differs_is_named(before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [name for name in now if name in before and now[name] != before[name]]
    reason = describe_rerun(before, now, "it", "it is gone")
    assert (reason == "again, because it is gone") == (not changed)
    assert describe_rerun(before, json.loads(json.dumps(before)), "it", "it is gone") == "again, because it is gone"


def test_parameters_are_flattened_under_the_names_people_know() -> None:
    compute = Compute(fallback_instance_types=("ml.m5.xlarge", "ml.c5.xlarge"))
    flat = flatten({"split": Split(), "compute": compute, "nested": {"a": {"b": ()}}})
    assert flat["split.random_state"] == 42
    assert flat["compute.fallback_instance_types"] == "ml.m5.xlarge, ml.c5.xlarge"
    assert flat["nested.a.b"] is None
    assert all(value is None or isinstance(value, str | int | float) for value in flat.values())


def test_a_checksum_is_named_only_when_nothing_else_explains_the_run() -> None:
    before = {"training job": "a", "model.sha256": "1"}
    assert (
        describe_rerun(before, {"training job": "a", "model.sha256": "2"}, "it") == "again, because the model changed"
    )
    both = describe_rerun(before, {"training job": "b", "model.sha256": "2"}, "it")
    assert both == "again, because training job changed a → b"


def test_runs_of_one_table_compare_themselves_each_with_the_last(workspace: Workspace) -> None:
    history = StepHistory(workspace, "bonus.csv", "bonus")
    regularised = facts(hyperparameters=Hyperparameters(l1=0.01))
    assert history.explain("fit", facts(), "training job a") == "for the first time: training job a"
    assert history.explain("load", facts(), "load it") == "for the first time: load it"
    assert history.explain("fit", regularised, "it") == (
        "again, because hyperparameter l1 changed auto → 0.01; data identical"
    )
    assert history.explain("fit", regularised, "it", "its model is gone") == "again, because its model is gone"
    later = StepHistory(workspace, "bonus.csv", "bonus")
    assert later.explain("fit", facts("e2", 3_200_000), "it") == (
        "again, because the table changed, table.size changed 3100000 → 3200000, hyperparameter l1 changed 0.01 → auto"
    )


def test_another_table_target_or_workspace_has_a_history_of_its_own(workspace: Workspace) -> None:
    StepHistory(workspace, "bonus.csv", "bonus").explain("load", facts(), "load it")
    elsewhere = workspace.model_copy(update={"prefix": f"{workspace.prefix}/other"})
    others = [
        StepHistory(workspace, "other.csv", "bonus"),
        StepHistory(workspace, "bonus.csv", "age"),
        StepHistory(elsewhere, "bonus.csv", "bonus"),
    ]
    assert {other.explain("load", facts(), "load it") for other in others} == {"for the first time: load it"}


def test_a_file_that_is_uploaded_under_its_content_is_the_same_table_when_it_changes(workspace: Workspace) -> None:
    first, second = (StepHistory(workspace, f"s3://bucket/sources/{digit * 20}/pay.csv", "pay") for digit in "ab")
    first.explain("load", facts(), "load it")
    assert (
        second.explain("load", facts("e2", 1), "load it")
        == "again, because the table changed, table.size changed 3100000 → 1"
    )


def stored(workspace: Workspace) -> str:
    """URI of the one object with facts."""
    listed = workspace.client("s3").list_objects_v2(
        Bucket=workspace.bucket.bucket_name, Prefix=workspace.key("results")
    )
    (found,) = listed["Contents"]
    return f"s3://{workspace.bucket.bucket_name}/{found['Key']}"


def test_the_facts_are_readable_json_and_hold_no_secret(workspace: Workspace) -> None:
    StepHistory(workspace, "bonus.csv", "bonus").explain("fit", facts(), "it")
    content = read_object(workspace, stored(workspace))[0].decode()
    assert json.loads(content) == facts()
    credentials = workspace.bucket.credentials
    assert isinstance(credentials, AwsCredentials)
    assert credentials.aws_secret_access_key is not None
    assert credentials.aws_secret_access_key.get_secret_value() not in content


@pytest.mark.parametrize("damage", [b"not JSON", b"[]", b'{"table.size": []}', b""])
def test_facts_that_cannot_be_read_count_as_none(workspace: Workspace, damage: bytes) -> None:
    history = StepHistory(workspace, "bonus.csv", "bonus")
    history.explain("load", facts(), "load it")
    write_object(workspace, stored(workspace), damage)
    assert history.explain("load", facts(), "load it") == "for the first time: load it"


def test_outside_of_a_flow_no_reason_is_made_up() -> None:
    assert explain_rerun("load", facts(), "load it") == "what the last run was made of is not known: load it"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("action", "kind", "said"),
    [
        ("GetObject", "service-error", "what the last run was made of is not known: load it"),
        ("GetObject", "access-denied", "for the first time: load it"),
        ("PutObject", "throttling", "what the last run was made of is not known: load it"),
    ],
)
def test_facts_out_of_reach_stop_no_run(hasty: Workspace, inject: Inject, action: str, kind: str, said: str) -> None:
    StepHistory(hasty, "bonus.csv", "bonus").explain("load", facts(), "load it")

    @flow
    def explaining() -> str:
        inject(kind=kind, action=action)
        return StepHistory(hasty, "bonus.csv", "bonus").explain("load", facts("e2", 1), "load it")

    assert explaining() == said
