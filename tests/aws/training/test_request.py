"""The request that creates a job, and the fingerprint and name that follow from what decides its outcome."""

import re
from typing import Any

import pytest
from botocore.validate import ParamValidator
from hypothesis import assume, given
from hypothesis import strategies as st

from aws.errors import InvalidRequest
from aws.training.compute import Compute
from aws.training.request import (
    FINGERPRINT_TAG,
    Channel,
    TrainingJobSpec,
    build_request,
    build_spec,
    image_uri,
    to_tag_value,
)
from aws.workspace import Workspace
from sandbox import client

TRAIN = Channel(name="train", uri="s3://data/train/", content_type="text/csv", rows=1, sha256="a" * 64)
VALIDATION = Channel(name="validation", uri="s3://data/validation/", content_type="text/csv", rows=1, sha256="b" * 64)
COMPUTE = Compute(instance_type="ml.c5.xlarge", instance_count=2, volume_size_gb=30, max_runtime_seconds=600)

words = st.text("abcdef0123456789_-/.", min_size=1, max_size=12)
channels = st.builds(Channel, name=words, uri=words, content_type=words, rows=st.just(1), sha256=words)
computes = st.builds(
    Compute,
    instance_type=st.sampled_from(["ml.m5.large", "ml.c5.9xlarge"]),
    instance_count=st.integers(1, 20),
    volume_size_gb=st.integers(1, 16_384),
    max_runtime_seconds=st.integers(60, 432_000),
    spot=st.booleans(),
    max_cost_usd=st.none() | st.floats(0.01, 1e6),
    max_queue_seconds=st.integers(0, 86_400),
    stop_when_diverging=st.booleans(),
)
specs = st.builds(
    TrainingJobSpec,
    image=words,
    hyperparameters=st.dictionaries(words, words, max_size=4),
    channels=st.lists(channels, min_size=1, max_size=3, unique_by=lambda channel: channel.name).map(tuple),
    compute=computes,
)


def built(workspace: Workspace, tags: dict[str, str] | None = None, compute: Compute = COMPUTE) -> dict[str, Any]:
    spec = build_spec(workspace, {"predictor_type": "regressor"}, (TRAIN, VALIDATION), compute)
    return {**build_request(workspace, spec, "a-name", tags or {})}


def test_the_request_says_what_to_run_on_what_and_where_to(workspace: Workspace) -> None:
    asked = built(workspace)
    assert asked["TrainingJobName"] == "a-name"
    assert asked["AlgorithmSpecification"] == {
        "TrainingImage": "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1",
        "TrainingInputMode": "File",
    }
    assert asked["RoleArn"] == "arn:aws:iam::123456789012:role/linear-learner-training"
    assert asked["HyperParameters"] == {"predictor_type": "regressor"}
    assert asked["OutputDataConfig"] == {"S3OutputPath": workspace.uri("models")}
    assert asked["ResourceConfig"] == {"InstanceType": "ml.c5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30}
    assert asked["StoppingCondition"] == {"MaxRuntimeInSeconds": 600}
    assert not {"VpcConfig", "EnableManagedSpotTraining", "CheckpointConfig"} & set(asked)


def test_a_spot_job_is_asked_for_with_its_wait_and_a_place_for_checkpoints(workspace: Workspace) -> None:
    spot = Compute(spot=True, max_runtime_seconds=600, max_wait_seconds=700)
    asked = built(workspace, compute=spot)
    assert asked["EnableManagedSpotTraining"] is True
    assert asked["StoppingCondition"] == {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 700}
    name = build_spec(workspace, {"predictor_type": "regressor"}, (TRAIN, VALIDATION), spot).name(1)
    assert asked["CheckpointConfig"] == {"S3Uri": workspace.uri("checkpoints", name)}
    without = built(workspace, compute=spot.model_copy(update={"checkpoints": False}))
    assert "CheckpointConfig" not in without
    assert without == {key: value for key, value in asked.items() if key != "CheckpointConfig"}


def test_every_attempt_of_an_input_finds_the_checkpoints_of_the_one_before(workspace: Workspace) -> None:
    spec = build_spec(workspace, {"predictor_type": "regressor"}, (TRAIN,), Compute(spot=True))
    places = [build_request(workspace, spec, spec.name(attempt), {})["CheckpointConfig"] for attempt in (1, 2)]
    assert places[0] == places[1]


@given(specs, st.dictionaries(words, words, max_size=3))
def test_every_request_is_one_that_the_services_model_allows(spec: TrainingJobSpec, tags: dict[str, str]) -> None:
    workspace = client.make_workspace("http://127.0.0.1:1")
    shape = workspace.client("sagemaker").meta.service_model.operation_model("CreateTrainingJob").input_shape
    assert shape
    report = ParamValidator().validate(build_request(workspace, spec, spec.name(1), tags), shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize(("instances", "train"), [(1, "FullyReplicated"), (3, "ShardedByS3Key")])
def test_each_channel_is_a_prefix_and_several_instances_share_what_trains(
    workspace: Workspace, instances: int, train: str
) -> None:
    assert built(workspace, compute=Compute(instance_count=instances))["InputDataConfig"] == [
        {
            "ChannelName": name,
            "ContentType": "text/csv",
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "S3Prefix",
                    "S3Uri": f"s3://data/{name}/",
                    "S3DataDistributionType": distribution,
                }
            },
        }
        for name, distribution in (("train", train), ("validation", "FullyReplicated"))
    ]


def test_tags_are_the_workspaces_then_the_runs_then_the_fingerprint(workspace: Workspace) -> None:
    workspace.tags = {"cost": "7", "team": "blue", FINGERPRINT_TAG: "no chance"}
    asked = built(workspace, {"team": "red"})
    spec = build_spec(workspace, {"predictor_type": "regressor"}, (TRAIN, VALIDATION), COMPUTE)
    tags = {tag["Key"]: tag["Value"] for tag in asked["Tags"]}
    assert tags == {"cost": "7", "team": "red", FINGERPRINT_TAG: spec.fingerprint}
    assert len(asked["Tags"]) == len(tags)


def test_the_network_and_the_key_are_the_workspaces(workspace: Workspace) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/1234"
    secured = workspace.model_copy(
        update={"subnets": ["subnet-1", "subnet-2"], "security_group_ids": ["sg-1"], "kms_key_id": key}
    )
    asked = built(secured)
    assert asked["VpcConfig"] == {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert asked["OutputDataConfig"]["KmsKeyId"] == key
    assert asked["ResourceConfig"]["VolumeKmsKeyId"] == key


@pytest.mark.parametrize("spot", [False, True])
def test_the_service_accepts_the_request_and_echoes_it(workspace: Workspace, *, spot: bool) -> None:
    workspace.bucket.bucket_folder = "team"
    workspace.tags = {"cost": "7"}
    compute = COMPUTE.model_copy(update={"spot": spot})
    spec = build_spec(workspace, {"predictor_type": "regressor"}, (TRAIN,), compute)
    name = f"echo-{workspace.prefix[-32:]}"
    client = workspace.client("sagemaker")
    asked = build_request(workspace, spec, name, {"run": "1"})
    arn = client.create_training_job(**asked)["TrainingJobArn"]
    job = client.describe_training_job(TrainingJobName=name)
    assert job["OutputDataConfig"]["S3OutputPath"].startswith("s3://linear-learner-sandbox/team/tests/")
    assert job["EnableManagedSpotTraining"] is spot
    assert job["StoppingCondition"] == asked["StoppingCondition"]
    assert job.get("CheckpointConfig") == asked.get("CheckpointConfig")
    tags = {tag["Key"]: tag["Value"] for tag in client.list_tags(ResourceArn=arn)["Tags"]}
    assert tags == {"cost": "7", "run": "1", FINGERPRINT_TAG: spec.fingerprint}


def test_no_part_of_the_spec_is_left_out_of_the_properties_below() -> None:
    assert set(TrainingJobSpec.model_fields) == {"image", "hyperparameters", "channels", "compute"}
    assert set(Channel.model_fields) == {"name", "uri", "content_type", "rows", "sha256"}
    of_the_outcome = {"instance_count"}
    assert set(Compute.model_fields) - of_the_outcome == {
        *("instance_type", "fallback_instance_types", "volume_size_gb", "max_runtime_seconds", "max_cost_usd"),
        *("spot", "max_wait_seconds", "checkpoints", "max_queue_seconds", "stop_when_diverging"),
    }


@given(specs, st.data())
def test_the_fingerprint_changes_with_each_thing_that_decides_the_outcome(spec: TrainingJobSpec, data: Any) -> None:
    channel = spec.channels[0]
    for part in ("name", "content_type", "sha256"):
        other = channel.model_copy(
            update={part: data.draw(words.filter(lambda w: w not in {c.name for c in spec.channels}))}
        )
        assume(other != channel)
        changed = spec.model_copy(update={"channels": (other, *spec.channels[1:])})
        assert changed.fingerprint != spec.fingerprint
    changes = {
        "image": spec.image + "x",
        "hyperparameters": {**spec.hyperparameters, "new": "1"},
        "channels": (*spec.channels, TRAIN.model_copy(update={"name": "NEW"})),
        "compute": spec.compute.model_copy(update={"instance_count": spec.compute.instance_count % 20 + 1}),
    }
    for name, value in changes.items():
        assert spec.model_copy(update={name: value}).fingerprint != spec.fingerprint, name


@given(specs, computes, words)
def test_neither_time_nor_place_nor_order_changes_the_fingerprint(
    spec: TrainingJobSpec, compute: Compute, place: str
) -> None:
    same = TrainingJobSpec(
        image=spec.image,
        hyperparameters=dict(reversed(spec.hyperparameters.items())),
        channels=tuple(channel.model_copy(update={"uri": place}) for channel in reversed(spec.channels)),
        compute=compute.model_copy(update={"instance_count": spec.compute.instance_count}),
    )
    assert same.fingerprint == spec.fingerprint


@given(specs, st.integers(1, 100))
def test_every_name_is_one_the_service_accepts_and_no_other_attempts(spec: TrainingJobSpec, attempt: int) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", spec.name(attempt))
    assert spec.name(attempt) != spec.name(attempt + 1)
    assert spec.fingerprint.startswith(spec.name(1).removeprefix("linear-learner-"))


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("nightly", "nightly"),
        ("nightly (eu), 70 %", "nightly  eu   70"),
        ("größe_é/a:b=c+d-e@f.g", "größe_é/a:b=c+d-e@f.g"),
        ("x" * 300, "x" * 256),
    ],
)
def test_what_a_tag_may_not_hold_becomes_spaces(text: str, taken: str) -> None:
    assert to_tag_value(text) == taken


def test_every_region_of_the_sdks_table_has_the_image_the_sdk_names() -> None:
    from sagemaker.core import image_uris

    versions = image_uris.config_for_framework("linear-learner")["versions"]
    regions = {region for version in versions.values() for region in version["registries"]}
    assert len(regions) > 20
    assert {region: image_uri(region) for region in regions} == {
        region: image_uris.retrieve("linear-learner", region) for region in regions
    }


def test_a_region_without_the_algorithm_is_refused_and_those_with_it_are_named() -> None:
    with pytest.raises(InvalidRequest, match=r"'mars-north-1'.*eu-west-1.*us-east-1"):
        image_uri("mars-north-1")
