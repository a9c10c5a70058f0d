"""Names and fingerprints of an endpoint's parts, their owner, and combinations that SageMaker does not accept."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.endpoints.settings import EndpointName, Hosting, Traffic
from aws.endpoints.specification import (
    EndpointSpec,
    ServedModel,
    build_spec,
    find_conflicts,
    is_name_of,
)
from aws.workspace import Workspace
from sandbox import client

pytestmark = pytest.mark.unit

MODEL = ServedModel(image="image:1", model_uri="s3://data/model.tar.gz", sha256="a" * 64)
INSTANCE = Hosting()
NETWORK = {"subnets": ["subnet-1"], "security_group_ids": ["sg-1"]}
MODEL_NAME = re.compile(r"[a-zA-Z0-9]([\-a-zA-Z0-9]*[a-zA-Z0-9])?")
CONFIG_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
names = st.from_regex(EndpointName.__metadata__[0].metadata[0].pattern, fullmatch=True)


def offline(**changes: Any) -> Workspace:
    return client.make_workspace("http://127.0.0.1:1").model_copy(update=changes)


def make(
    endpoint: str = "churn", model: ServedModel = MODEL, hosting: Hosting = INSTANCE, **changes: Any
) -> EndpointSpec:
    return build_spec(offline(**changes), endpoint, model, hosting)


@given(names)
def test_names_are_valid_and_belong_to_the_endpoint(endpoint: str) -> None:
    spec = make(endpoint)
    for name, pattern in ((spec.model_name, MODEL_NAME), (spec.config_name, CONFIG_NAME)):
        assert len(name) <= 63
        assert pattern.fullmatch(name)
        assert is_name_of(endpoint, name)


@given(names, st.sampled_from(["b", "-b", "-0123456789abcdef", "0"]))
def test_names_of_an_endpoint_do_not_belong_to_one_whose_name_is_longer(endpoint: str, more: str) -> None:
    longer = f"{endpoint}{more}"[:46]
    if longer == endpoint[:46]:
        return
    for one, other in ((endpoint, longer), (longer, endpoint)):
        assert not is_name_of(one, make(other).model_name)
        assert not is_name_of(one, make(other).config_name)


@pytest.mark.parametrize("name", ["churn", "churn-", "churn-0123", "churn-0123456789ABCDEF", "churn.0123456789abcdef"])
def test_other_names_belong_to_no_endpoint(name: str) -> None:
    assert not is_name_of("churn", name)


@pytest.mark.parametrize(
    "changed",
    [
        make(model=MODEL.model_copy(update={"image": "image:2"})),
        make(model=MODEL.model_copy(update={"model_uri": "s3://data/other/model.tar.gz"})),
        make(model=MODEL.model_copy(update={"sha256": "b" * 64})),
        make(role_arn="arn:aws:iam::123456789012:role/other"),
        make(**NETWORK),
        make(network_isolation=True),
        make(endpoint="fraud"),
    ],
    ids=["image", "uri", "content", "role", "network", "isolation", "endpoint"],
)
def test_what_the_model_consists_of_changes_both_names(changed: EndpointSpec) -> None:
    assert changed.model_name != make().model_name
    assert changed.config_name != make().config_name


@pytest.mark.parametrize(
    "changes",
    [
        {"instance_type": "ml.m5.xlarge"},
        {"min_instances": 2},
        {"capture_percent": 10},
        {"kind": "serverless"},
    ],
    ids=str,
)
def test_what_is_in_the_configuration_changes_its_name_only(changes: dict[str, Any]) -> None:
    changed = make(hosting=Hosting(**changes))
    assert changed.model_name == make().model_name
    assert changed.config_name != make().config_name


@pytest.mark.parametrize(
    "changes",
    [
        {"max_instances": 5},
        {"requests_per_instance": 7},
        {"memory_mb": 4096},
        {"max_concurrency": 3},
        {"expires_after": "3d"},
        {"max_usd_per_month": 100},
    ],
    ids=str,
)
def test_what_is_not_in_the_configuration_changes_no_name(changes: dict[str, Any]) -> None:
    assert make(hosting=Hosting(**changes)).config_name == make().config_name


def test_serverless_capacity_is_in_the_configuration_and_instances_are_not() -> None:
    small = make(hosting=Hosting(kind="serverless"))
    assert make(hosting=Hosting(kind="serverless", memory_mb=4096)).config_name != small.config_name
    assert make(hosting=Hosting(kind="serverless", max_concurrency=3)).config_name != small.config_name
    assert make(hosting=Hosting(kind="serverless", instance_type="ml.m5.xlarge")).config_name == small.config_name


def test_keys_and_the_folder_of_captures_change_the_configuration() -> None:
    captured = Hosting(capture_percent=10)
    keys = {"kms_key_id": "alias/key"}
    assert make(**keys).config_name != make().config_name
    assert make(volume_kms_key_id="alias/disk").config_name != make().config_name
    assert make(hosting=captured, **keys).config_name != make(hosting=captured).config_name
    assert make(hosting=captured, prefix="other").config_name != make(hosting=captured).config_name
    assert make(prefix="other").config_name == make().config_name


def test_the_package_and_the_job_are_no_content() -> None:
    registered = MODEL.model_copy(update={"package_arn": "arn:package", "training_job": "job"})
    assert make(model=registered).model_name == make().model_name


SERVERLESS = Hosting(kind="serverless")
TWO = Hosting(min_instances=2)
CANARY, LINEAR = Traffic(shift="canary"), Traffic(shift="linear", percent=10)
CONFLICTS: list[tuple[Hosting, Traffic, dict[str, Any], int | None, list[str]]] = [
    (Hosting(), Traffic(), {}, None, []),
    (Hosting(), Traffic(), NETWORK | {"network_isolation": True}, None, []),
    (SERVERLESS, Traffic(), {}, None, []),
    (Hosting(kind="serverless", capture_percent=1), Traffic(), {}, None, ["set capture_percent to 0"]),
    (SERVERLESS, Traffic(), NETWORK, None, ["workspace without subnets"]),
    (SERVERLESS, Traffic(), {"network_isolation": True}, None, ["without network isolation"]),
    (Hosting(kind="serverless", max_instances=3), Traffic(), {}, None, ["leave max_instances empty"]),
    (SERVERLESS, CANARY, {}, None, ["choose all-at-once"]),
    (SERVERLESS, LINEAR, NETWORK, None, ["without subnets", "choose all-at-once"]),
    (Hosting(), CANARY, {}, 1, ["raise min_instances to 2"]),
    (Hosting(), LINEAR, {}, None, ["raise min_instances to 2"]),
    (TWO, CANARY, {}, 1, []),
    (TWO, LINEAR, {}, 2, []),
    (Hosting(), CANARY, {}, 3, ["raise min_instances to 2"]),
    (Hosting(max_instances=4), CANARY, {}, 3, []),
    (Hosting(max_instances=4), CANARY, {}, 1, ["raise min_instances to 2"]),
    (TWO, Traffic(shift="linear", percent=10, minutes=60), {}, 2, ["lower minutes to at most 45"]),
    (TWO, Traffic(shift="linear", percent=10, minutes=45), {}, 2, []),
    (TWO, Traffic(shift="canary", percent=50, minutes=60), {}, 2, []),
]  # fmt: skip


@pytest.mark.parametrize(("hosting", "traffic", "workspace", "served", "remedies"), CONFLICTS)
def test_combinations_that_sagemaker_does_not_accept_are_named_with_their_remedy(
    hosting: Hosting, traffic: Traffic, workspace: dict[str, Any], served: int | None, remedies: list[str]
) -> None:
    found = find_conflicts(hosting, traffic, offline(**workspace), served)
    assert len(found) == len(remedies)
    for problem, remedy in zip(found, remedies, strict=True):
        assert remedy in problem
