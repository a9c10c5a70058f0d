"""Model packages in the SageMaker Model Registry: find the champion, register one package per training job.

A package's description begins with its training job's name, because SageMaker lists packages without their metadata.
"""

import hashlib
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from aws.errors import AwsError, NotFound, translate_errors
from aws.training.request import NAME_PREFIX, to_tag_value
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import CreateModelPackageInputTypeDef, ModelPackageSummaryTypeDef, TagTypeDef

ApprovalStatus = Literal["Approved", "Rejected", "PendingManualApproval"]
PENDING: ApprovalStatus = "PendingManualApproval"
GROUP_DESCRIPTION = "Linear Learner models, one version per training job."
JOB_NAME = rf"{NAME_PREFIX}[0-9a-f]{{20}}(-\d+)?"
MODEL_SHA256_KEY, SCHEMA_SHA256_KEY, SCHEMA_KEY = "sha256:model", "sha256:schema", "schema"
"""Metadata keys: the checksums of model.tar.gz and of schema.json, and the URI of schema.json."""
MAX_TEXT_LENGTH, MAX_METADATA_ENTRIES = 1024, 50
REQUEST_TYPES = ["text/csv", "application/json", "application/jsonlines", "application/x-recordio-protobuf"]
RESPONSE_TYPES = REQUEST_TYPES[1:]
"""Linear Learner does not return CSV."""
MetadataKey = Annotated[str, Field(pattern=r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]{1,128}$")]


class Package(BaseModel, frozen=True):
    """A version of a model in its group, as SageMaker describes it."""

    arn: str
    group: str
    version: int
    status: ApprovalStatus
    model_uri: str
    """URI of its model.tar.gz; empty for a package that was registered without a model."""
    training_job: str | None
    """None for packages that this project did not register."""
    metadata: dict[str, str]
    is_new_decision: bool = False
    """Whether the call that returned this package created it, or approved or rejected it."""


class PackageVersion(NamedTuple):
    """A version of a group, as SageMaker lists it."""

    version: int
    status: ApprovalStatus
    arn: str
    created: datetime


class Registration(BaseModel, frozen=True):
    """The content of a package."""

    group: str
    training_job: Annotated[str, Field(pattern=f"^{JOB_NAME}$")]
    training_job_arn: str
    image: str
    model_uri: str
    description: str
    """Shown in the registry after the training job's name; truncated if it is too long."""
    metrics_uri: str
    """S3 URI of the JSON with the model's metrics."""
    metadata: Annotated[dict[MetadataKey, str], Field(max_length=MAX_METADATA_ENTRIES)]
    """Characters that the registry rejects become spaces in values; empty values are omitted."""
    status: ApprovalStatus
    approval_description: str
    """Reason for the status; the registry shows it unless the status is PendingManualApproval."""


def approval_command(group: str, version: int, workspace: str = "sandbox") -> str:
    """Return the command with which a person approves a version; "sandbox" is the command's default workspace."""
    words = ["python", "-m", "flows.models", "approve", group, str(version)]
    return shlex.join(words if workspace == "sandbox" else [*words, "--workspace", workspace])


def newest_approved(workspace: Workspace, group: str) -> Package | None:
    """Return the champion: the newest version that is Approved; None if there is none or no such group."""
    newest = next(_summaries(workspace, group, ModelApprovalStatus="Approved"), None)
    return describe_package(workspace, newest["ModelPackageArn"]) if newest else None


def list_versions(workspace: Workspace, group: str) -> list[PackageVersion]:
    """Return the packages of a group, newest first; raises NotFound when there is no such group."""
    return [
        PackageVersion(
            version=one["ModelPackageVersion"],
            status=one["ModelApprovalStatus"],
            arn=one["ModelPackageArn"],
            created=one["CreationTime"],
        )
        for one in _list_packages(workspace, group)
    ]


def list_groups(workspace: Workspace, *, only_own: bool = False) -> list[str]:
    """Return the names of all groups of the account in the workspace's region, or only of those of this project."""
    with translate_errors("listing the model package groups"):
        pages = workspace.client("sagemaker").get_paginator("list_model_package_groups")
        found = pages.paginate(PaginationConfig={"PageSize": 100})
        groups = [one for page in found for one in page["ModelPackageGroupSummaryList"]]
    return [
        one["ModelPackageGroupName"]
        for one in groups
        if not only_own or one.get("ModelPackageGroupDescription") == GROUP_DESCRIPTION
    ]


def find_package(workspace: Workspace, group: str, training_job: str) -> Package | None:
    """Return the newest package of this training job's model, in any status; None if it or the group does not exist."""
    for summary in _summaries(workspace, group):
        if _parse_training_job(summary.get("ModelPackageDescription", "")) == training_job:
            return describe_package(workspace, summary["ModelPackageArn"])
    return None


def register(workspace: Workspace, registration: Registration) -> Package:
    """Find or create the package of this training job's model, set its status and return it; create a missing group.

    Registering a model twice, by two processes at once or again after a lost response, creates one package, with the
    content of the first call. A package that is already approved or rejected keeps its status.
    """
    package = find_package(workspace, registration.group, registration.training_job)
    if package is None:
        _create_group(workspace, registration.group)
        package = _create(workspace, registration).model_copy(update={"is_new_decision": True})
    return decide_approval(workspace, package, registration.status, registration.approval_description)


def decide_approval(workspace: Workspace, package: Package, status: ApprovalStatus, reason: str) -> Package:
    """Approve or reject a package that is PendingManualApproval; return any other package unchanged.

    SageMaker has no conditional update: of two simultaneous decisions the later one takes effect.
    """
    if status == PENDING or package.status != PENDING:
        return package
    current = describe_package(workspace, package.arn)  # another process may have decided in the meantime
    if current.status != PENDING:
        return current
    return change_approval(workspace, current, status, reason)


def change_approval(workspace: Workspace, package: Package, status: ApprovalStatus, reason: str) -> Package:
    """Set the status of a package, whatever it is, and return the package; the registry shows `reason`."""
    _set_status(workspace, package.arn, status, reason)
    return package.model_copy(update={"status": status, "is_new_decision": True})


def _set_status(workspace: Workspace, arn: str, status: ApprovalStatus, reason: str) -> None:
    with translate_errors(f"setting {arn} to {status}"):
        workspace.client("sagemaker").update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus=status, ApprovalDescription=_to_description(reason)
        )


def _summaries(workspace: Workspace, group: str, **filters: Any) -> Iterator["ModelPackageSummaryTypeDef"]:
    """Yield the packages of a group that are Completed, newest first; none if there is no such group."""
    with suppress(NotFound):
        yield from _list_packages(workspace, group, **filters)


def _list_packages(workspace: Workspace, group: str, **filters: Any) -> Iterator["ModelPackageSummaryTypeDef"]:
    with translate_errors(f"listing the model packages of {group}"):
        pages = workspace.client("sagemaker").get_paginator("list_model_packages")
        query = {"ModelPackageGroupName": group, "SortBy": "CreationTime", "SortOrder": "Descending", **filters}
        for page in pages.paginate(**query, PaginationConfig={"PageSize": 100}):
            yield from (new for new in page["ModelPackageSummaryList"] if new["ModelPackageStatus"] == "Completed")


def describe_package(workspace: Workspace, arn: str) -> Package:
    """Return the package with this ARN; raises NotFound when it does not exist."""
    with translate_errors(f"reading model package {arn}"):
        found = workspace.client("sagemaker").describe_model_package(ModelPackageName=arn)
    containers = found["InferenceSpecification"]["Containers"] if "InferenceSpecification" in found else []
    return Package(
        arn=arn,
        group=found["ModelPackageGroupName"],
        version=found["ModelPackageVersion"],
        status=found.get("ModelApprovalStatus", PENDING),
        model_uri=next((container["ModelDataUrl"] for container in containers if "ModelDataUrl" in container), ""),
        training_job=_parse_training_job(found.get("ModelPackageDescription", "")),
        metadata=found.get("CustomerMetadataProperties", {}),
    )


def _parse_training_job(description: str) -> str | None:
    match = re.match(rf"({JOB_NAME}):", description)
    return match[1] if match else None


def _create_group(workspace: Workspace, group: str) -> None:
    tags: list[TagTypeDef] = [{"Key": key, "Value": value} for key, value in workspace.tags.items()]
    try:
        with translate_errors(f"creating model package group {group}"):
            workspace.client("sagemaker").create_model_package_group(
                ModelPackageGroupName=group, ModelPackageGroupDescription=GROUP_DESCRIPTION, Tags=tags
            )
    except AwsError as error:
        if "already exists" not in str(error):
            raise


def _create(workspace: Workspace, registration: Registration) -> Package:
    group, job = registration.group, registration.training_job
    try:
        with translate_errors(f"registering the model of {job} in {group}"):
            created = workspace.client("sagemaker").create_model_package(**_build_request(registration))
    except AwsError:
        # The response was lost, or another process has registered the model with another description.
        if found := find_package(workspace, group, job):
            return found
        raise
    if registration.status == "Rejected":  # CreateModelPackage accepts the status but no reason for it
        _set_status(workspace, created["ModelPackageArn"], "Rejected", registration.approval_description)
    return describe_package(workspace, created["ModelPackageArn"])


def _build_request(registration: Registration) -> "CreateModelPackageInputTypeDef":
    """Return the CreateModelPackage request, which never approves: the process may be killed right after it."""
    group, job = registration.group, registration.training_job
    metadata = {key: to_tag_value(value) for key, value in registration.metadata.items()}
    return {
        "ModelPackageGroupName": group,
        "ModelPackageDescription": _to_description(f"{job}: {registration.description}"),
        "InferenceSpecification": {
            "Containers": [{"Image": registration.image, "ModelDataUrl": registration.model_uri}],
            "SupportedContentTypes": REQUEST_TYPES,
            "SupportedResponseMIMETypes": RESPONSE_TYPES,
        },
        "ModelMetrics": {
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": registration.metrics_uri}}
        },
        "ModelApprovalStatus": "Rejected" if registration.status == "Rejected" else PENDING,
        "CustomerMetadataProperties": {key: text for key, text in metadata.items() if text},
        "MetadataProperties": {"GeneratedBy": registration.training_job_arn},
        "ClientToken": hashlib.sha256(f"{group}/{job}".encode()).hexdigest()[:36],
    }


def _to_description(text: str) -> str:
    """Return `text` as a description that the registry accepts: printable and not too long."""
    return "".join(char if char.isprintable() else " " for char in text)[:MAX_TEXT_LENGTH]
