"""Model packages in SageMaker's Model Registry: the champion, and one package per training job.

The description of a package begins with its training job's name, as SageMaker lists packages without their metadata.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
MAX_TEXT_LENGTH, MAX_METADATA_ENTRIES = 1024, 50
REQUEST_TYPES = ["text/csv", "application/json", "application/jsonlines", "application/x-recordio-protobuf"]
RESPONSE_TYPES = REQUEST_TYPES[1:]
"""Linear Learner does not answer in CSV."""
MetadataKey = Annotated[str, Field(pattern=r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]{1,128}$")]


class Package(BaseModel, frozen=True):
    """A version of a model in its group, as SageMaker describes it."""

    arn: str
    group: str
    version: int
    status: ApprovalStatus
    model_uri: str
    """Its model.tar.gz; empty where somebody registered a package without one."""
    training_job: str | None
    """None for packages that this project did not register."""
    metadata: dict[str, str]
    is_new_decision: bool = False
    """Whether the call that returned this package created it, or approved or rejected it."""


class Registration(BaseModel, frozen=True):
    """What a package is made of."""

    group: str
    training_job: Annotated[str, Field(pattern=f"^{JOB_NAME}$")]
    training_job_arn: str
    image: str
    model_uri: str
    description: str
    """What the registry shows after the training job's name; cut where it is too long."""
    metrics_uri: str
    """S3 URI of the JSON with the model's metrics."""
    metadata: Annotated[dict[MetadataKey, str], Field(max_length=MAX_METADATA_ENTRIES)]
    """Characters of a value that the registry rejects become spaces; empty values are left out."""
    status: ApprovalStatus
    approval_description: str
    """Why that status; shown beside it when it is not PendingManualApproval."""


def newest_approved(workspace: Workspace, group: str) -> Package | None:
    """The champion: the highest version that is Approved; None without one, or without the group."""
    newest = next(_summaries(workspace, group, ModelApprovalStatus="Approved"), None)
    return _describe(workspace, newest["ModelPackageArn"]) if newest else None


def find_package(workspace: Workspace, group: str, training_job: str) -> Package | None:
    """The newest package of this training job's model, whatever its status; None without one, or without the group."""
    for summary in _summaries(workspace, group):
        if _parse_training_job(summary.get("ModelPackageDescription", "")) == training_job:
            return _describe(workspace, summary["ModelPackageArn"])
    return None


def register(workspace: Workspace, registration: Registration) -> Package:
    """Find the package of this training job's model, or create it, and its group if there is none; then set its status.

    The same model registered twice, by two processes at once or again after a lost response, gives one package: that
    of the first call. A package that is approved or rejected already keeps its status, whatever `registration.status`.
    """
    package = find_package(workspace, registration.group, registration.training_job)
    if package is None:
        _create_group(workspace, registration.group)
        package = _create(workspace, registration).model_copy(update={"is_new_decision": True})
    return decide_approval(workspace, package, registration.status, registration.approval_description)


def decide_approval(workspace: Workspace, package: Package, status: ApprovalStatus, why: str) -> Package:
    """Approve or reject a package that is PendingManualApproval; any other is returned as it is.

    SageMaker has no conditional update: of two decisions at the same moment the later one wins.
    """
    if status == PENDING or package.status != PENDING:
        return package
    current = _describe(workspace, package.arn)  # somebody may have decided in the meantime
    if current.status != PENDING:
        return current
    _set_status(workspace, package.arn, status, why)
    return current.model_copy(update={"status": status, "is_new_decision": True})


def _set_status(workspace: Workspace, arn: str, status: ApprovalStatus, why: str) -> None:
    with translate_errors(f"setting {arn} to {status}"):
        workspace.client("sagemaker").update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus=status, ApprovalDescription=_to_description(why)
        )


def _summaries(workspace: Workspace, group: str, **filters: Any) -> Iterator["ModelPackageSummaryTypeDef"]:
    """The packages of a group that are complete, newest first; none where there is no such group."""
    with suppress(NotFound), translate_errors(f"listing the model packages of {group}"):
        pages = workspace.client("sagemaker").get_paginator("list_model_packages")
        chosen = {"ModelPackageGroupName": group, "SortBy": "CreationTime", "SortOrder": "Descending", **filters}
        for page in pages.paginate(**chosen, PaginationConfig={"PageSize": 100}):
            yield from (one for one in page["ModelPackageSummaryList"] if one["ModelPackageStatus"] == "Completed")


def _describe(workspace: Workspace, arn: str) -> Package:
    with translate_errors(f"reading model package {arn}"):
        found = workspace.client("sagemaker").describe_model_package(ModelPackageName=arn)
    containers = found["InferenceSpecification"]["Containers"] if "InferenceSpecification" in found else []
    return Package(
        arn=arn,
        group=found["ModelPackageGroupName"],
        version=found["ModelPackageVersion"],
        status=found.get("ModelApprovalStatus", PENDING),
        model_uri=next((one["ModelDataUrl"] for one in containers if "ModelDataUrl" in one), ""),
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
    if registration.status == "Rejected":  # CreateModelPackage takes the status, but no reason for it
        _set_status(workspace, created["ModelPackageArn"], "Rejected", registration.approval_description)
    return _describe(workspace, created["ModelPackageArn"])


def _build_request(registration: Registration) -> "CreateModelPackageInputTypeDef":
    """The CreateModelPackage request. It approves nothing, in case the process is killed right after it."""
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
    """A description that the registry accepts: in one line, and not too long."""
    return "".join(char if char.isprintable() else " " for char in text)[:MAX_TEXT_LENGTH]
