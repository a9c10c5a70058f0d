"""Specification of an endpoint: model, hosting, names with a fingerprint of the content, and combinations to refuse."""

import hashlib
import json
import math
import re
from typing import Any

from pydantic import BaseModel

from aws.endpoints.settings import Hosting, Traffic
from aws.training.request import has_local_storage
from aws.workspace import Workspace

VARIANT = "main"
"""The name of an endpoint's only variant; SageMaker requires that an update does not change it."""
ENDPOINT_TAG = "linear-learner:endpoint"
"""Tag of models, endpoint configurations and endpoints; its value is the name of the endpoint."""
SHA256_TAG, PACKAGE_TAG, JOB_TAG = "linear-learner:sha256", "linear-learner:package", "linear-learner:training-job"
"""Tags of models: the checksum of the archive, the ARN of the model package and the name of the training job."""
MAX_NAME_PART = 46
"""Characters of the endpoint's name in the names of its models and configurations, which may have 63."""
MAX_UPDATE_SECONDS = 28_800
"""SageMaker's limit for the time of an update."""
MIN_ROOM_SECONDS, ROOM_SECONDS = 1800, 3600
"""Time for the start of new instances in the time limit of an update, at least and usually."""
CAPTURED_CSV, CAPTURED_JSON = ["text/csv"], ["application/json", "application/jsonlines"]
"""Content types that are captured as text; others are captured in Base64."""


class ServedModel(BaseModel, frozen=True):
    """A model archive and the image that answers with it."""

    image: str
    """URI of the image."""
    model_uri: str
    """`s3://` URI of the model.tar.gz."""
    sha256: str
    """Checksum of the model.tar.gz."""
    package_arn: str | None = None
    """ARN of the model package that the model is from."""
    training_job: str | None = None
    """Name of the training job that made the model."""


class EndpointSpec(BaseModel, frozen=True):
    """The content of an endpoint: what it serves, on what, with which role, network and keys."""

    endpoint: str
    model: ServedModel
    hosting: Hosting
    role_arn: str
    subnets: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    network_isolation: bool = False
    volume_kms_key_id: str | None = None
    """Key of the disks of instances without local disks."""
    capture_kms_key_id: str | None = None
    capture_uri: str
    """`s3://` folder of captured requests."""

    @property
    def model_fingerprint(self) -> str:
        """SHA-256 of what SageMaker's model consists of; its package and training job are only tags."""
        return _hash(
            self.endpoint,
            self.model.image,
            self.model.model_uri,
            self.model.sha256,
            self.role_arn,
            self.subnets,
            self.security_group_ids,
            self.network_isolation,
        )

    @property
    def model_name(self) -> str:
        """Name of the SageMaker model."""
        return _name(self.endpoint, self.model_fingerprint)

    @property
    def config_fingerprint(self) -> str:
        """SHA-256 of the endpoint configuration: variants, captures and keys."""
        return _hash(self.config_content)

    @property
    def config_name(self) -> str:
        """Name of the endpoint configuration."""
        return _name(self.endpoint, self.config_fingerprint)

    @property
    def config_content(self) -> dict[str, Any]:
        """The members of CreateEndpointConfig except for name and tags."""
        hosting = self.hosting
        variant: dict[str, Any] = {"VariantName": VARIANT, "ModelName": self.model_name}
        if hosting.kind == "serverless":
            variant["ServerlessConfig"] = {
                "MemorySizeInMB": hosting.memory_mb,
                "MaxConcurrency": hosting.max_concurrency,
            }
            return {"ProductionVariants": [variant]}
        variant |= {
            "InstanceType": hosting.instance_type,
            "InitialInstanceCount": hosting.min_instances,
            "InitialVariantWeight": 1.0,
        }
        content: dict[str, Any] = {"ProductionVariants": [variant]}
        if hosting.capture_percent:
            content["DataCaptureConfig"] = self._capture_content()
        if self.volume_kms_key_id and not has_local_storage(hosting.instance_type):
            content["KmsKeyId"] = self.volume_kms_key_id
        return content

    def _capture_content(self) -> dict[str, Any]:
        key = {"KmsKeyId": self.capture_kms_key_id} if self.capture_kms_key_id else {}
        return {
            "EnableCapture": True,
            "InitialSamplingPercentage": self.hosting.capture_percent,
            "DestinationS3Uri": self.capture_uri,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": CAPTURED_CSV, "JsonContentTypes": CAPTURED_JSON},
            **key,
        }


def build_spec(workspace: Workspace, endpoint: str, model: ServedModel, hosting: Hosting) -> EndpointSpec:
    """Return the endpoint's specification, with the role, network and keys of the workspace."""
    return EndpointSpec(
        endpoint=endpoint,
        model=model,
        hosting=hosting,
        role_arn=workspace.role_arn,
        subnets=tuple(workspace.subnets),
        security_group_ids=tuple(workspace.security_group_ids),
        network_isolation=workspace.network_isolation,
        volume_kms_key_id=workspace.volume_kms_key_id or workspace.kms_key_id,
        capture_kms_key_id=workspace.kms_key_id,
        capture_uri=workspace.uri("captures"),
    )


def is_name_of(endpoint: str, name: str) -> bool:
    """Whether `name` has the form of a name of this endpoint's models and configurations.

    Names of two endpoints of which one begins with the other, such as a and a-b, differ in this form, except for
    those whose first `MAX_NAME_PART` characters are equal: the tag tells these apart.
    """
    return bool(re.fullmatch(rf"{re.escape(endpoint[:MAX_NAME_PART])}-[0-9a-f]{{16}}", name))


def _name(endpoint: str, fingerprint: str) -> str:
    return f"{endpoint[:MAX_NAME_PART]}-{fingerprint[:16]}"


def _hash(*content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def count_steps(traffic: Traffic) -> int:
    """Return the number of periods in which alarms are watched during an update."""
    if traffic.shift == "linear":
        return math.ceil(100 / traffic.percent)
    return 2 if traffic.shift == "canary" else 1


def find_conflicts(hosting: Hosting, traffic: Traffic, workspace: Workspace, served_instances: int | None) -> list[str]:
    """Return the combinations that SageMaker does not accept, each with its remedy; empty if there are none.

    `served_instances` is the number of instances of the endpoint at present; None if there is no endpoint or it is
    serverless. Only a scaled endpoint keeps this number in an update.

    A share of few instances, such as 10 % of 2, is rounded up to one instance (inferred), and is no conflict.
    """
    if hosting.kind == "serverless":
        return _find_serverless_conflicts(hosting, traffic, workspace)
    problems = []
    instances = max(hosting.min_instances, (served_instances or 0) if hosting.is_scaled else 0)
    if traffic.shift != "all-at-once" and instances < 2:
        problems.append(
            f"{traffic.shift} traffic needs at least 2 instances, and the endpoint has {instances}: raise "
            "min_instances to 2, or move the traffic all-at-once"
        )
    steps = count_steps(traffic)
    longest = (MAX_UPDATE_SECONDS - MIN_ROOM_SECONDS) // steps // 60
    if traffic.minutes > longest:
        problems.append(
            f"{steps} steps of {traffic.minutes} minutes are too long for an update, which SageMaker limits to "
            f"{MAX_UPDATE_SECONDS // 3600} hours: lower minutes to at most {longest}, or raise percent"
        )
    return problems


def _find_serverless_conflicts(hosting: Hosting, traffic: Traffic, workspace: Workspace) -> list[str]:
    # AWS's user guide: captures, VPC, network isolation and deployment guardrails are not for serverless endpoints.
    # That network isolation is refused, and not ignored, is inferred.
    problems = []
    if hosting.capture_percent:
        problems.append(
            "SageMaker records no requests of serverless endpoints: set capture_percent to 0, or choose instances"
        )
    if workspace.subnets:
        problems.append(
            "serverless endpoints cannot run in a VPC, and the workspace has subnets: choose instances, or a workspace "
            "without subnets"
        )
    if workspace.network_isolation:
        problems.append(
            "serverless endpoints have no network isolation, and the workspace demands it: choose instances, or a "
            "workspace without network isolation"
        )
    if hosting.max_instances is not None:
        problems.append(
            "serverless endpoints have no instances to scale: leave max_instances empty, and set max_concurrency"
        )
    if traffic.shift != "all-at-once":
        problems.append(
            f"SageMaker moves the traffic of serverless endpoints only all-at-once, not {traffic.shift}: choose "
            "all-at-once, or instances"
        )
    return problems
