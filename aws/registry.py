"""Model packages in SageMaker's Model Registry: the champion, and one package per training job, registered once.

SageMaker lists packages without their metadata but with their description, so that begins with the training job's name.
"""

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field

from aws.errors import AwsError, answer, translated
from aws.training.request import NAME_PREFIX, taggable
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import (
        CreateModelPackageGroupInputTypeDef,
        CreateModelPackageInputTypeDef,
        ListModelPackagesInputPaginateTypeDef,
        ModelPackageSummaryTypeDef,
    )

Status = Literal["Approved", "Rejected", "PendingManualApproval"]
PENDING: Status = "PendingManualApproval"
GROUP_DESCRIPTION = "Linear Learner models, one version per training job."
JOB_NAME = rf"{NAME_PREFIX}[0-9a-f]{{20}}(-\d+)?"
MAX_TEXT_LENGTH, MAX_METADATA_ENTRIES = 1024, 50
REQUEST_TYPES = ["text/csv", "application/json", "application/jsonlines", "application/x-recordio-protobuf"]
RESPONSE_TYPES = REQUEST_TYPES[1:]
"""Linear Learner does not answer in CSV."""
MetadataKey = Annotated[str, Field(pattern=r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]{1,128}$")]


class Package(BaseModel):
    """A version of a model in its group, as SageMaker describes it."""

    model_config = ConfigDict(frozen=True)

    arn: str
    group: str
    version: int
    status: Status
    model_uri: str
    """Its model.tar.gz; empty where somebody registered a package without one."""
    training_job: str | None
    """None for packages that this project did not register."""
    metadata: dict[str, str]
    created: datetime
    is_news: bool = False
    """Made, or decided about, by the very call that returned it."""


class Registration(BaseModel):
    """What a package is made of."""

    model_config = ConfigDict(frozen=True)

    group: str
    training_job: Annotated[str, Field(pattern=f"^{JOB_NAME}$")]
    training_job_arn: str | None = None
    image: str
    model_uri: str
    description: str
    """What the registry shows behind the training job's name; cut where it is too long."""
    metrics_uri: str
    """S3 URI of the JSON with the model's metrics."""
    metadata: Annotated[dict[MetadataKey, str], Field(max_length=MAX_METADATA_ENTRIES)]
    """Whatever characters of a value the registry does not take become spaces; empty values are left out."""
    status: Status
    approval_description: str
    """Why that status; shown beside it when it is not PendingManualApproval."""


def newest_approved(workspace: Workspace, group: str) -> Package | None:
    """The champion: the highest version that is Approved; None without one, or without the group."""
    newest = next(_summaries(workspace, group, "Approved"), None)
    return _described(workspace, newest["ModelPackageArn"]) if newest else None


def package_of(workspace: Workspace, group: str, training_job: str) -> Package | None:
    """The newest package of this training job's model, whatever its status; None without one, or without the group."""
    for summary in _summaries(workspace, group):
        if _training_job(summary.get("ModelPackageDescription", "")) == training_job:
            return _described(workspace, summary["ModelPackageArn"])
    return None


def register(workspace: Workspace, registration: Registration) -> Package:
    """Find the package of this training job's model, or create it, and its group where there is none; then settle it.

    The same model registered twice, by two processes at once or again after an answer got lost is one package: that of
    the first. A package that was decided about keeps its status, even if it is another than `registration.status`.
    """
    package = package_of(workspace, registration.group, registration.training_job)
    if package is None:
        _make_group(workspace, registration.group)
        package = _create(workspace, registration).model_copy(update={"is_news": True})
    return settle(workspace, package, registration.status, registration.approval_description)


def settle(workspace: Workspace, package: Package, status: Status, why: str) -> Package:
    """Approve or reject a package that is PendingManualApproval; any other is returned as it is.

    SageMaker has no conditional update: who decides within the same moment as somebody else may overrule them.
    """
    if status == PENDING or package.status != PENDING:
        return package
    now = _described(workspace, package.arn)  # somebody may have decided since
    if now.status != PENDING:
        return now
    _decide(workspace, package.arn, status, why)
    return now.model_copy(update={"status": status, "is_news": True})


def _decide(workspace: Workspace, arn: str, status: Status, why: str) -> None:
    with translated(f"setting {arn} to {status}"):
        workspace.client("sagemaker").update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus=status, ApprovalDescription=_text(why)
        )


def _summaries(
    workspace: Workspace, group: str, status: Status | None = None
) -> Iterator["ModelPackageSummaryTypeDef"]:
    """The packages of a group that are complete, newest first; none where there is no such group."""
    chosen: ListModelPackagesInputPaginateTypeDef = {
        "ModelPackageGroupName": group,
        "SortBy": "CreationTime",
        "SortOrder": "Descending",
        "PaginationConfig": {"PageSize": 100},
    }
    if status:
        chosen["ModelApprovalStatus"] = status
    with translated(f"listing the model packages of {group}"):
        pages = workspace.client("sagemaker").get_paginator("list_model_packages").paginate(**chosen)
        try:
            for page in pages:
                yield from (s for s in page["ModelPackageSummaryList"] if s["ModelPackageStatus"] == "Completed")
        except ClientError as error:
            # SageMaker has no code of its own for this.
            if not re.search("does not exist|not found", answer(error)[1]):
                raise


def _described(workspace: Workspace, arn: str) -> Package:
    with translated(f"reading model package {arn}"):
        found = workspace.client("sagemaker").describe_model_package(ModelPackageName=arn)
    containers = found["InferenceSpecification"]["Containers"] if "InferenceSpecification" in found else []
    return Package(
        arn=arn,
        group=found["ModelPackageGroupName"],
        version=found["ModelPackageVersion"],
        status=found.get("ModelApprovalStatus", PENDING),
        model_uri=next((one["ModelDataUrl"] for one in containers if "ModelDataUrl" in one), ""),
        training_job=_training_job(found.get("ModelPackageDescription", "")),
        metadata=found.get("CustomerMetadataProperties", {}),
        created=found["CreationTime"],
    )


def _training_job(description: str) -> str | None:
    match = re.match(rf"({JOB_NAME}):", description)
    return match[1] if match else None


def _make_group(workspace: Workspace, group: str) -> None:
    made: CreateModelPackageGroupInputTypeDef = {
        "ModelPackageGroupName": group,
        "ModelPackageGroupDescription": GROUP_DESCRIPTION,
    }
    if workspace.tags:
        made["Tags"] = [{"Key": key, "Value": value} for key, value in workspace.tags.items()]
    with translated(f"creating model package group {group}"):
        try:
            workspace.client("sagemaker").create_model_package_group(**made)
        except ClientError as error:
            if "already exists" not in answer(error)[1]:
                raise


def _create(workspace: Workspace, registration: Registration) -> Package:
    group, job = registration.group, registration.training_job
    try:
        with translated(f"registering the model of {job} in {group}"):
            created = workspace.client("sagemaker").create_model_package(**_request(registration))
    except AwsError:
        # The answer may have got lost, or a process that describes the model otherwise was first.
        found = package_of(workspace, group, job)
        if found is None:
            raise
        return found
    if registration.status == "Rejected":  # as it is from its creation on; only now can it say why
        _decide(workspace, created["ModelPackageArn"], "Rejected", registration.approval_description)
    return _described(workspace, created["ModelPackageArn"])


def _request(registration: Registration) -> "CreateModelPackageInputTypeDef":
    """The CreateModelPackage request. Whoever is killed after it leaves nothing that a rejected model could gain by."""
    group, job = registration.group, registration.training_job
    built: CreateModelPackageInputTypeDef = {
        "ModelPackageGroupName": group,
        "ModelPackageDescription": _text(f"{job}: {registration.description}"),
        "InferenceSpecification": {
            "Containers": [{"Image": registration.image, "ModelDataUrl": registration.model_uri}],
            "SupportedContentTypes": REQUEST_TYPES,
            "SupportedResponseMIMETypes": RESPONSE_TYPES,
        },
        "ModelMetrics": {
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": registration.metrics_uri}}
        },
        "ModelApprovalStatus": "Rejected" if registration.status == "Rejected" else PENDING,
        "ClientToken": hashlib.sha256(f"{group}/{job}".encode()).hexdigest()[:36],
    }
    if metadata := _metadata(registration.metadata):
        built["CustomerMetadataProperties"] = metadata
    if registration.training_job_arn:
        built["MetadataProperties"] = {"GeneratedBy": registration.training_job_arn}
    return built


def _metadata(metadata: dict[str, str]) -> dict[str, str]:
    taken = {key: taggable(value) for key, value in metadata.items()}
    return {key: value for key, value in taken.items() if value}


def _text(text: str) -> str:
    """A description as the registry takes it: in one line, and not too long."""
    return "".join(char if char.isprintable() else " " for char in text)[:MAX_TEXT_LENGTH]
