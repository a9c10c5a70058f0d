"""Every run logs why a step runs: what changed since the last run of the same table and target in the workspace."""

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
    """Return the facts of a run on a table with this identity."""
    chosen = {"split": Split(), "hyperparameters": Hyperparameters(), **parts}
    return {"table.identity": identity, "table.size": size, **flatten(chosen)}


@pytest.mark.parametrize(
    ("now", "reason"),
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
        (facts(), "the result of the last run is missing"),
    ],
)
def test_the_reason_has_all_changes_and_whether_the_data_is_identical(now: dict[str, Any], reason: str) -> None:
    message = describe_rerun(facts(), now, "fit")
    assert message.startswith(f"again, because {reason.removesuffix('…')}")
    assert reason.endswith("…") or message == f"again, because {reason}"


def test_a_step_without_earlier_facts_runs_for_the_first_time() -> None:
    assert describe_rerun(None, facts(), "load bonus.csv") == "for the first time: load bonus.csv"


def test_without_changes_the_reason_is_the_default() -> None:
    assert describe_rerun({}, {}, "fit", "the model is missing") == "again, because the model is missing"


def test_without_the_table_the_reason_does_not_mention_the_data() -> None:
    assert describe_rerun({"job": "a"}, {"job": "b"}, "download") == "again, because job changed a → b"


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        (0, 0.01, "x changed 0 → 0.01"),
        (None, "b", "x changed nothing → b"),
        ("a", None, "x changed a → nothing"),
        (0.1234567, 0.1234568, "x changed 0.1234567 → 0.1234568"),
        ("1", 1, "x changed '1' → 1"),
        (10**12, 10**12 + 1, "x changed 1000000000000 → 1000000000001"),
    ],
)
def test_a_change_has_the_previous_and_the_new_value(before: Any, now: Any, reason: str) -> None:
    message = describe_rerun({"x": before, "same": 1}, {"x": now, "same": 1}, "it")
    assert message == f"again, because {reason}"


@pytest.mark.parametrize(("before", "now"), [(1, 1.0), (None, None), ("a", "a")])
def test_equal_values_are_not_a_change(before: Any, now: Any) -> None:
    assert describe_rerun({"x": before}, {"x": now}, "it", "no result") == "again, because no result"


@given(FACTS, FACTS)
def test_only_changed_facts_of_both_runs_are_named(before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [name for name in now if name in before and now[name] != before[name]]
    reason = describe_rerun(before, now, "it", "no result")
    assert (reason == "again, because no result") == (not changed)
    assert describe_rerun(before, json.loads(json.dumps(before)), "it", "no result") == "again, because no result"


def test_parameters_are_flattened_to_the_names_of_the_command_line() -> None:
    compute = Compute(fallback_instance_types=("ml.m5.xlarge", "ml.c5.xlarge"))
    flat = flatten({"split": Split(), "compute": compute, "nested": {"a": {"b": ()}}})
    assert flat["split.random_state"] == 42
    assert flat["compute.fallback_instance_types"] == "ml.m5.xlarge, ml.c5.xlarge"
    assert flat["nested.a.b"] is None
    assert all(value is None or isinstance(value, str | int | float) for value in flat.values())


def test_a_checksum_is_named_only_when_nothing_else_changed() -> None:
    before = {"training job": "a", "model.sha256": "1"}
    assert (
        describe_rerun(before, {"training job": "a", "model.sha256": "2"}, "it") == "again, because the model changed"
    )
    both = describe_rerun(before, {"training job": "b", "model.sha256": "2"}, "it")
    assert both == "again, because training job changed a → b"


def test_a_run_is_compared_with_the_last_run_of_the_same_table(workspace: Workspace) -> None:
    history = StepHistory(workspace, "bonus.csv", "bonus")
    regularised = facts(hyperparameters=Hyperparameters(l1=0.01))
    assert history.explain("fit", facts(), "training job a") == "for the first time: training job a"
    assert history.explain("load", facts(), "load it") == "for the first time: load it"
    assert history.explain("fit", regularised, "it") == (
        "again, because hyperparameter l1 changed auto → 0.01; data identical"
    )
    assert history.explain("fit", regularised, "it", "its model is missing") == "again, because its model is missing"
    later = StepHistory(workspace, "bonus.csv", "bonus")
    assert later.explain("fit", facts("e2", 3_200_000), "it") == (
        "again, because the table changed, table.size changed 3100000 → 3200000, hyperparameter l1 changed 0.01 → auto"
    )


def test_another_table_target_or_workspace_has_its_own_history(workspace: Workspace) -> None:
    StepHistory(workspace, "bonus.csv", "bonus").explain("load", facts(), "load it")
    elsewhere = workspace.model_copy(update={"prefix": f"{workspace.prefix}/other"})
    others = [
        StepHistory(workspace, "other.csv", "bonus"),
        StepHistory(workspace, "bonus.csv", "age"),
        StepHistory(elsewhere, "bonus.csv", "bonus"),
    ]
    assert {other.explain("load", facts(), "load it") for other in others} == {"for the first time: load it"}


def test_a_changed_upload_of_the_same_file_is_compared_with_the_last_one(workspace: Workspace) -> None:
    first, second = (StepHistory(workspace, f"s3://bucket/sources/{digit * 20}/pay.csv", "pay") for digit in "ab")
    first.explain("load", facts(), "load it")
    assert (
        second.explain("load", facts("e2", 1), "load it")
        == "again, because the table changed, table.size changed 3100000 → 1"
    )


def facts_uri(workspace: Workspace) -> str:
    """Return the URI of the only object with facts."""
    listed = workspace.client("s3").list_objects_v2(
        Bucket=workspace.bucket.bucket_name, Prefix=workspace.key("results")
    )
    (found,) = listed["Contents"]
    return f"s3://{workspace.bucket.bucket_name}/{found['Key']}"


def test_stored_facts_are_json_without_secrets(workspace: Workspace) -> None:
    StepHistory(workspace, "bonus.csv", "bonus").explain("fit", facts(), "it")
    content = read_object(workspace, facts_uri(workspace))[0].decode()
    assert json.loads(content) == facts()
    credentials = workspace.bucket.credentials
    assert isinstance(credentials, AwsCredentials)
    assert credentials.aws_secret_access_key is not None
    assert credentials.aws_secret_access_key.get_secret_value() not in content


@pytest.mark.parametrize("damage", [b"not JSON", b"[]", b'{"table.size": []}', b""])
def test_unreadable_facts_count_as_missing(workspace: Workspace, damage: bytes) -> None:
    history = StepHistory(workspace, "bonus.csv", "bonus")
    history.explain("load", facts(), "load it")
    write_object(workspace, facts_uri(workspace), damage)
    assert history.explain("load", facts(), "load it") == "for the first time: load it"


def test_outside_of_a_flow_the_reason_is_unknown() -> None:
    assert explain_rerun("load", facts(), "load it") == "reason unknown: load it"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("action", "kind", "reason"),
    [
        ("GetObject", "service-error", "reason unknown: load it"),
        ("GetObject", "access-denied", "for the first time: load it"),
        ("PutObject", "throttling", "reason unknown: load it"),
    ],
)
def test_a_step_runs_when_facts_cannot_be_read_or_written(
    hasty: Workspace, inject: Inject, action: str, kind: str, reason: str
) -> None:
    StepHistory(hasty, "bonus.csv", "bonus").explain("load", facts(), "load it")

    @flow
    def explaining() -> str:
        inject(kind=kind, action=action)
        return StepHistory(hasty, "bonus.csv", "bonus").explain("load", facts("e2", 1), "load it")

    assert explaining() == reason
