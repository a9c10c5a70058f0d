"""One group of the model registry: the versions of a model and the group's tags, in one file, always on disk."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from sandbox.account import ACCOUNT, REGION
from sandbox.durable import replace_json
from sandbox.listing import Document
from sandbox.service_model import ServiceError

PREFIX = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package"
MOST_METADATA = 50
REPLACED = (
    "ModelApprovalStatus",
    "ApprovalDescription",
    "ModelPackageRegistrationType",
    "InferenceSpecification",
    "SourceUri",
    "ModelCard",
    "ModelLifeCycle",
)
"""What UpdateModelPackage replaces where it is given."""


@dataclass
class ModelPackageGroup:
    """A group with its packages; their documents are replaced, never changed, as answers may still hold them."""

    document: Document
    tags: dict[str, str]
    packages: list[Document] = field(default_factory=list)
    latest: int = 0
    """The highest version there ever was: none is used twice."""
    tokens: dict[str, Document] = field(default_factory=dict)
    """By ClientToken: the `version` it made and the `request` it came with."""

    @classmethod
    def create(cls, request: Mapping[str, Any]) -> Self:
        """A new group, without packages."""
        document = {name: value for name, value in request.items() if name != "Tags"}
        document |= {"ModelPackageGroupArn": group_arn(request["ModelPackageGroupName"]), "CreationTime": _now()}
        document |= {"CreatedBy": {}, "ModelPackageGroupStatus": "Completed"}
        return cls(document, {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])})

    @classmethod
    def load(cls, record: Path) -> Self:
        """The group as it was last written."""
        return cls(**json.loads(record.read_text()))

    def save(self, record: Path) -> None:
        """Write the group."""
        replace_json(record, asdict(self))

    @property
    def name(self) -> str:
        """The name, unique within the sandbox."""
        return str(self.document["ModelPackageGroupName"])

    @property
    def arn(self) -> str:
        """The ARN, which tags go by."""
        return group_arn(self.name)

    def find(self, version: int) -> Document | None:
        """What DescribeModelPackage answers of this version."""
        return next((package for package in self.packages if package["ModelPackageVersion"] == version), None)

    def add(self, request: Document, token: str | None) -> str:
        """The ARN of the next version."""
        self.latest += 1
        package = _package(request, self.name, self.latest)
        self.packages.append(package)
        if token:
            self.tokens[token] = {"version": self.latest, "request": request}
        return str(package["ModelPackageArn"])

    def update(self, version: int, request: Mapping[str, Any]) -> None:
        """Replace in this version what is given."""
        self.packages = [
            _updated(package, request) if package["ModelPackageVersion"] == version else package
            for package in self.packages
        ]

    def remove(self, version: int) -> None:
        """Forget this version and the token that made it."""
        self.packages = [package for package in self.packages if package["ModelPackageVersion"] != version]
        self.tokens = {token: made for token, made in self.tokens.items() if made["version"] != version}


def group_arn(name: str) -> str:
    """The ARN of a group."""
    return f"{PREFIX}-group/{name}"


def package_arn(group: str, version: int) -> str:
    """The ARN of a version; without its version where that is 0."""
    return f"{PREFIX}/{group}/{version}" if version else f"{PREFIX}/{group}"


def _package(request: Document, group: str, version: int) -> Document:
    now = _now()
    return {
        "ModelApprovalStatus": "PendingManualApproval",
        "CertifyForMarketplace": False,
        **request,
        "ModelPackageGroupName": group,
        "ModelPackageVersion": version,
        "ModelPackageArn": package_arn(group, version),
        "CreationTime": now,
        "LastModifiedTime": now,
        "CreatedBy": {},
        "LastModifiedBy": {},
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
    }


def _updated(package: Document, request: Mapping[str, Any]) -> Document:
    """The document with what is given replaced, its metadata added to and taken from."""
    changes = {name: value for name, value in request.items() if name in REPLACED}
    removed = request.get("CustomerMetadataPropertiesToRemove", [])
    kept = {key: value for key, value in package.get("CustomerMetadataProperties", {}).items() if key not in removed}
    metadata = kept | request.get("CustomerMetadataProperties", {})
    if len(metadata) > MOST_METADATA:
        raise ServiceError("ValidationException", f"A model package has at most {MOST_METADATA} metadata properties.")
    if more := request.get("AdditionalInferenceSpecificationsToAdd"):
        changes["AdditionalInferenceSpecifications"] = package.get("AdditionalInferenceSpecifications", []) + more
    return package | changes | {"CustomerMetadataProperties": metadata, "LastModifiedTime": _now()}


def _now() -> float:
    return round(time.time(), 3)
