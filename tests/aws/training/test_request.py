"""The CreateTrainingJob request, and the fingerprint and name that are derived from the input."""

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


def test_the_request_has_algorithm_resources_and_output(workspace: Workspace) -> None:
    request = built(workspace)
    assert request["TrainingJobName"] == "a-name"
    assert request["AlgorithmSpecification"] == {
        "TrainingImage": "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1",
        "TrainingInputMode": "File",
    }
    assert request["RoleArn"] == "arn:aws:iam::123456789012:role/linear-learner-training"
    assert request["HyperParameters"] == {"predictor_type": "regressor"}
    assert request["OutputDataConfig"] == {"S3OutputPath": workspace.uri("models")}
    assert request["ResourceConfig"] == {"InstanceType": "ml.c5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30}
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 600}
    assert not {"VpcConfig", "EnableManagedSpotTraining", "CheckpointConfig"} & set(request)


def test_a_spot_request_has_a_wait_limit_and_a_checkpoint_location(workspace: Workspace) -> None:
    spot = Compute(spot=True, max_runtime_seconds=600, max_wait_seconds=700)
    request = built(workspace, compute=spot)
    assert request["EnableManagedSpotTraining"] is True
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 700}
    name = build_spec(workspace, {"predictor_type": "regressor"}, (TRAIN, VALIDATION), spot).name(1)
    assert request["CheckpointConfig"] == {"S3Uri": workspace.uri("checkpoints", name)}
    without = built(workspace, compute=spot.model_copy(update={"checkpoints": False}))
    assert "CheckpointConfig" not in without
    assert without == {key: value for key, value in request.items() if key != "CheckpointConfig"}


def test_all_attempts_of_an_input_share_the_checkpoint_location(workspace: Workspace) -> None:
    spec = build_spec(workspace, {"predictor_type": "regressor"}, (TRAIN,), Compute(spot=True))
    locations = [build_request(workspace, spec, spec.name(attempt), {})["CheckpointConfig"] for attempt in (1, 2)]
    assert locations[0] == locations[1]


@given(specs, st.dictionaries(words, words, max_size=3))
def test_every_request_is_valid_by_the_service_model(spec: TrainingJobSpec, tags: dict[str, str]) -> None:
    workspace = client.make_workspace("http://127.0.0.1:1")
    shape = workspace.client("sagemaker").meta.service_model.operation_model("CreateTrainingJob").input_shape
    assert shape
    report = ParamValidator().validate(build_request(workspace, spec, spec.name(1), tags), shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize(("instances", "train"), [(1, "FullyReplicated"), (3, "ShardedByS3Key")])
def test_only_the_train_channel_is_split_between_instances(workspace: Workspace, instances: int, train: str) -> None:
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


def test_tags_are_those_of_the_workspace_the_run_and_the_fingerprint(workspace: Workspace) -> None:
    workspace.tags = {"cost": "7", "team": "blue", FINGERPRINT_TAG: "overwritten"}
    request = built(workspace, {"team": "red"})
    spec = build_spec(workspace, {"predictor_type": "regressor"}, (TRAIN, VALIDATION), COMPUTE)
    tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    assert tags == {"cost": "7", "team": "red", FINGERPRINT_TAG: spec.fingerprint}
    assert len(request["Tags"]) == len(tags)


def test_the_request_has_the_network_and_key_of_the_workspace(workspace: Workspace) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/1234"
    secured = workspace.model_copy(
        update={"subnets": ["subnet-1", "subnet-2"], "security_group_ids": ["sg-1"], "kms_key_id": key}
    )
    request = built(secured)
    assert request["VpcConfig"] == {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert request["OutputDataConfig"]["KmsKeyId"] == key
    assert request["ResourceConfig"]["VolumeKmsKeyId"] == key


NVME = (
    *("ml.g4dn.xlarge", "ml.g5.2xlarge", "ml.g6.xlarge", "ml.g6e.xlarge", "ml.gr6.4xlarge", "ml.p3dn.24xlarge"),
    *("ml.p4d.24xlarge", "ml.p4de.24xlarge", "ml.p5.48xlarge", "ml.p5e.48xlarge", "ml.p5en.48xlarge"),
    *("ml.p6-b200.48xlarge", "ml.p6e-gb200.36xlarge", "ml.trn1.2xlarge", "ml.trn1n.32xlarge", "ml.trn2.48xlarge"),
    *("ml.m5d.large", "ml.m5dn.large", "ml.c5d.large", "ml.c6id.large", "ml.m6id.large", "ml.r5d.large"),
    *("ml.r5dn.large", "ml.r6id.large", "ml.c6gd.large", "ml.i3.large", "ml.i3en.large", "ml.i4i.large"),
    *("ml.x2idn.16xlarge", "ml.x2iedn.xlarge", "ml.z1d.large", "ml.m8id.large"),
)
EBS = (
    "ml.m5.large",
    "ml.m5n.large",
    "ml.c5n.xlarge",
    "ml.p3.2xlarge",
    "ml.m7i-flex.large",
    "ml.t3.medium",
    "ml.g5g.xlarge",
)


def test_no_volume_key_is_requested_for_instance_types_with_local_disks(workspace: Workspace) -> None:
    workspace.kms_key_id = workspace.volume_kms_key_id = "1234"
    requests = {name: built(workspace, compute=Compute(instance_type=name)) for name in (*NVME, *EBS)}
    assert [name for name in requests if "VolumeKmsKeyId" in requests[name]["ResourceConfig"]] == list(EBS)
    assert all(request["OutputDataConfig"]["KmsKeyId"] == "1234" for request in requests.values())


def test_the_service_accepts_the_keys_for_every_instance_type_it_trains_on(workspace: Workspace) -> None:
    workspace.kms_key_id = "1234"
    sagemaker = workspace.client("sagemaker")
    spec = build_spec(workspace, {"predictor_type": "regressor"}, (TRAIN,), COMPUTE)
    request = build_request(workspace, spec, f"types-{workspace.prefix[-32:]}", {})
    sagemaker.create_training_job(**request)
    for name in sagemaker.meta.service_model.shape_for("TrainingInstanceType").enum:
        resources = built(workspace, compute=Compute(instance_type=name))["ResourceConfig"]
        with pytest.raises(sagemaker.exceptions.ResourceInUse):  # the last check: nothing else was refused
            sagemaker.create_training_job(**request | {"ResourceConfig": resources})


@pytest.mark.parametrize(
    ("keys", "output", "volume"),
    [
        ({}, None, None),
        ({"kms_key_id": "1"}, "1", "1"),
        ({"volume_kms_key_id": "2"}, None, "2"),
        ({"kms_key_id": "1", "volume_kms_key_id": "2"}, "1", "2"),
    ],
)
def test_the_volume_has_its_own_key_or_that_of_the_outputs(
    workspace: Workspace, keys: dict[str, str], output: str | None, volume: str | None
) -> None:
    request = built(workspace.model_copy(update=keys))
    found = request["OutputDataConfig"].get("KmsKeyId"), request["ResourceConfig"].get("VolumeKmsKeyId")
    assert found == (output, volume)


def test_the_service_describes_the_isolation_and_encryption_that_the_workspace_demands(workspace: Workspace) -> None:
    client, names = workspace.client("sagemaker"), ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption")
    for demanded in (True, False):
        workspace.network_isolation = workspace.encrypt_inter_container_traffic = demanded
        spec = build_spec(workspace, {"predictor_type": "regressor"}, (TRAIN,), COMPUTE)
        name = f"secure-{demanded}-{workspace.prefix[-32:]}"
        request = build_request(workspace, spec, name, {})
        assert bool(set(names) & set(request)) is demanded
        client.create_training_job(**request)
        described: Any = client.describe_training_job(TrainingJobName=name)
        assert [described[flag] for flag in names] == [demanded, demanded]


@pytest.mark.parametrize("spot", [False, True])
def test_the_service_accepts_and_describes_the_request(workspace: Workspace, *, spot: bool) -> None:
    workspace.bucket.bucket_folder = "team"
    workspace.tags = {"cost": "7"}
    compute = COMPUTE.model_copy(update={"spot": spot})
    spec = build_spec(workspace, {"predictor_type": "regressor"}, (TRAIN,), compute)
    name = f"echo-{workspace.prefix[-32:]}"
    client = workspace.client("sagemaker")
    request = build_request(workspace, spec, name, {"run": "1"})
    arn = client.create_training_job(**request)["TrainingJobArn"]
    job = client.describe_training_job(TrainingJobName=name)
    assert job["OutputDataConfig"]["S3OutputPath"].startswith("s3://linear-learner-sandbox/team/tests/")
    assert job["EnableManagedSpotTraining"] is spot
    assert job["StoppingCondition"] == request["StoppingCondition"]
    assert job.get("CheckpointConfig") == request.get("CheckpointConfig")
    tags = {tag["Key"]: tag["Value"] for tag in client.list_tags(ResourceArn=arn)["Tags"]}
    assert tags == {"cost": "7", "run": "1", FINGERPRINT_TAG: spec.fingerprint}


def test_the_fingerprint_tests_cover_every_field() -> None:
    assert set(TrainingJobSpec.model_fields) == {"image", "hyperparameters", "channels", "compute", "schema_sha256"}
    assert set(Channel.model_fields) == {"name", "uri", "content_type", "rows", "sha256"}
    fingerprinted = {"instance_count"}
    assert set(Compute.model_fields) - fingerprinted == {
        *("instance_type", "fallback_instance_types", "volume_size_gb", "max_runtime_seconds", "max_cost_usd"),
        *("spot", "max_wait_seconds", "checkpoints", "max_queue_seconds", "stop_when_diverging"),
    }


@given(specs, st.data())
def test_the_fingerprint_changes_with_everything_that_determines_the_model(spec: TrainingJobSpec, data: Any) -> None:
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
        "schema_sha256": "changed",
    }
    for name, value in changes.items():
        assert spec.model_copy(update={name: value}).fingerprint != spec.fingerprint, name


@given(specs, computes, words)
def test_location_order_and_resources_do_not_change_the_fingerprint(
    spec: TrainingJobSpec, compute: Compute, location: str
) -> None:
    same = TrainingJobSpec(
        image=spec.image,
        hyperparameters=dict(reversed(spec.hyperparameters.items())),
        channels=tuple(channel.model_copy(update={"uri": location}) for channel in reversed(spec.channels)),
        compute=compute.model_copy(update={"instance_count": spec.compute.instance_count}),
    )
    assert same.fingerprint == spec.fingerprint


@given(specs, st.integers(1, 100))
def test_every_name_is_valid_and_unique_per_attempt(spec: TrainingJobSpec, attempt: int) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", spec.name(attempt))
    assert spec.name(attempt) != spec.name(attempt + 1)
    assert spec.fingerprint.startswith(spec.name(1).removeprefix("linear-learner-"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nightly", "nightly"),
        ("nightly (eu), 70 %", "nightly  eu   70"),
        ("größe_é/a:b=c+d-e@f.g", "größe_é/a:b=c+d-e@f.g"),
        ("x" * 300, "x" * 256),
    ],
)
def test_invalid_characters_of_a_tag_become_spaces(text: str, expected: str) -> None:
    assert to_tag_value(text) == expected


def test_the_image_equals_that_of_the_sdk_in_every_region() -> None:
    from sagemaker.core import image_uris

    versions = image_uris.config_for_framework("linear-learner")["versions"]
    regions = {region for version in versions.values() for region in version["registries"]}
    assert len(regions) > 20
    assert {region: image_uri(region) for region in regions} == {
        region: image_uris.retrieve("linear-learner", region) for region in regions
    }


def test_a_region_without_the_algorithm_is_rejected_with_a_list_of_regions() -> None:
    with pytest.raises(InvalidRequest, match=r"'mars-north-1'.*eu-west-1.*us-east-1"):
        image_uri("mars-north-1")
