"""Specification of a training job: its input, its name with a fingerprint of the input, and its API request."""

import hashlib
import json
import re
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from botocore.loaders import create_loader
from botocore.regions import EndpointResolver
from pydantic import BaseModel

from aws.errors import InvalidRequest
from aws.training.compute import Compute
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import ChannelTypeDef, CreateTrainingJobRequestTypeDef


@cache
def image_uri(region: str) -> str:
    """Return the URI of the `linear-learner` image in `region`; reads the SDK's table, as importing the SDK takes 2 s.

    Raises InvalidRequest for a region without the algorithm.
    """
    table = distribution("sagemaker-core").locate_file("sagemaker/core/image_uri_config/linear-learner.json")
    versions: dict[str, Any] = json.loads(Path(str(table)).read_text())["versions"]
    version, image = max(versions.items())
    registry = image["registries"].get(region)
    if registry is None:
        regions = ", ".join(sorted(image["registries"]))
        raise InvalidRequest(f"Linear Learner has no image in region {region!r}. Choose one of: {regions}.")
    resolver = EndpointResolver(create_loader().load_data("endpoints"))
    suffix = resolver.get_partition_dns_suffix(resolver.get_partition_for_region(region))
    return f"{registry}.dkr.ecr.{region}.{suffix}/{image['repository']}:{version}"


@cache
def _families_with_local_storage() -> frozenset[str]:
    table: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("instance_storage.yaml").read_text())
    return frozenset(table["families"])


def has_local_storage(instance_type: str) -> bool:
    """Whether instances of this type have local disks, which the hardware encrypts: SageMaker accepts no key for them.

    EC2 marks most such families with a `d` after the generation number; instance_storage.yaml lists the others.
    """
    family = instance_type.split(".")[1]
    return family in _families_with_local_storage() or bool(re.match(r"[a-z]+\d+[a-z]*d", family))


FINGERPRINT_TAG = "linear-learner:fingerprint"
NAME_PREFIX = "linear-learner-"


class Channel(BaseModel, frozen=True):
    """A channel: the prefix of its files, their content type and number of rows, and a checksum of their content."""

    name: str
    uri: str
    content_type: str = "text/csv"  # missing from run.json of the first releases
    rows: int
    sha256: str


class TrainingJobSpec(BaseModel, frozen=True):
    """The input of one training job."""

    image: str
    hyperparameters: dict[str, str]
    channels: tuple[Channel, ...]
    compute: Compute
    schema_sha256: str | None = None
    """Checksum of the description of the columns from which the channels were made; tables with the same numbers and
    other columns or classes are different inputs. None for channels from another source."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what determines the model: image, hyperparameters, channels, their columns, number of instances.

        Instance type, disk, limits and spot are excluded: they change duration and cost, not the model.
        """
        content = {
            "image": self.image,
            "hyperparameters": self.hyperparameters,
            "channels": {channel.name: [channel.content_type, channel.sha256] for channel in self.channels},
            "instances": self.compute.instance_count,
        }
        if self.schema_sha256:
            content["schema"] = self.schema_sha256
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def name(self, attempt: int) -> str:
        """Return the job's name: a part of the fingerprint and, from the second attempt on, `attempt`."""
        return f"{NAME_PREFIX}{self.fingerprint[:20]}" + (f"-{attempt}" if attempt > 1 else "")


def build_spec(
    workspace: Workspace,
    hyperparameters: dict[str, str],
    channels: tuple[Channel, ...],
    compute: Compute,
    schema_sha256: str | None = None,
) -> TrainingJobSpec:
    """Return the job's specification, with the algorithm's image in the workspace's region."""
    return TrainingJobSpec(
        image=image_uri(workspace.region),
        hyperparameters=hyperparameters,
        channels=channels,
        compute=compute,
        schema_sha256=schema_sha256,
    )


def build_request(
    workspace: Workspace, spec: TrainingJobSpec, name: str, tags: dict[str, str]
) -> "CreateTrainingJobRequestTypeDef":
    """Return the CreateTrainingJob request: File mode, `train` split between the instances, output under the prefix."""
    compute = spec.compute
    every_tag = {**workspace.tags, **tags, FINGERPRINT_TAG: spec.fingerprint}
    built: CreateTrainingJobRequestTypeDef = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": spec.image, "TrainingInputMode": "File"},
        "RoleArn": workspace.role_arn,
        "HyperParameters": spec.hyperparameters,
        "InputDataConfig": [_channel(channel, compute.instance_count) for channel in spec.channels],
        "OutputDataConfig": {"S3OutputPath": workspace.uri("models")},
        "ResourceConfig": {
            "InstanceType": cast("Any", compute.instance_type),
            "InstanceCount": compute.instance_count,
            "VolumeSizeInGB": compute.volume_size_gb,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": compute.max_runtime_seconds},
        "Tags": [{"Key": key, "Value": value} for key, value in every_tag.items()],
    }
    if compute.spot:
        built["EnableManagedSpotTraining"] = True
        built["StoppingCondition"]["MaxWaitTimeInSeconds"] = compute.wait_limit
    if compute.spot and compute.checkpoints:
        # All attempts of a fingerprint use one folder, so that each continues from the previous one's checkpoints.
        built["CheckpointConfig"] = {"S3Uri": workspace.uri("checkpoints", spec.name(1))}
    _secure(built, workspace)
    return built


def _secure(built: "CreateTrainingJobRequestTypeDef", workspace: Workspace) -> None:
    """Add the workspace's keys and network to a request."""
    if workspace.kms_key_id:
        built["OutputDataConfig"]["KmsKeyId"] = workspace.kms_key_id
    volume_key = workspace.volume_kms_key_id or workspace.kms_key_id
    if volume_key and not has_local_storage(built["ResourceConfig"]["InstanceType"]):
        built["ResourceConfig"]["VolumeKmsKeyId"] = volume_key
    if workspace.subnets:
        built["VpcConfig"] = {"Subnets": workspace.subnets, "SecurityGroupIds": workspace.security_group_ids}
    # Set only if true, so that the request of other workspaces does not change.
    if workspace.network_isolation:
        built["EnableNetworkIsolation"] = True
    if workspace.encrypt_inter_container_traffic:
        built["EnableInterContainerTrafficEncryption"] = True


def _channel(channel: Channel, instances: int) -> "ChannelTypeDef":
    # Training rows are split between the instances; each instance evaluates the model on all validation rows.
    split = instances > 1 and channel.name == "train"
    return {
        "ChannelName": channel.name,
        "ContentType": channel.content_type,
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": channel.uri,
                "S3DataDistributionType": "ShardedByS3Key" if split else "FullyReplicated",
            }
        },
    }


def to_tag_value(text: str) -> str:
    """Return `text` as the value of a tag or of package metadata: characters that SageMaker rejects become spaces."""
    return re.sub(r"[^\w .:/=+\-@]", " ", text)[:256].strip()
