"""SageMaker's Model Registry: package groups and packages, stored on disk."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sandbox.account import ACCOUNT, REGION
from sandbox.sagemaker.api_model import Document, ServiceError, list_page, now, read_tags
from sandbox.storage import replace_json, skip_if_damaged

PREFIX = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package"
MAX_METADATA_ENTRIES = 50
NO_PACKAGE_TAGS = "A versioned model package cannot have tags; tag its model package group."  # AWS's message differs
GROUP_NAME, VERSION, METADATA = "ModelPackageGroupName", "ModelPackageVersion", "CustomerMetadataProperties"
GROUP_SORT_FIELDS = {"Name": (GROUP_NAME,), "CreationTime": ("CreationTime", GROUP_NAME)}
PACKAGE_SORT_FIELDS = {"Name": (GROUP_NAME, VERSION), "CreationTime": ("CreationTime", GROUP_NAME, VERSION)}


@dataclass
class ModelPackageGroup:
    """A group with its packages; documents are replaced, not modified, because responses may refer to them."""

    record: Path
    document: Document
    tags: dict[str, str]
    packages: list[Document] = field(default_factory=list)
    latest: int = 0
    """The highest version so far; version numbers are not reused."""
    tokens: dict[str, Document] = field(default_factory=dict)
    """By ClientToken: the `version` that was created and the `request` that created it."""

    @property
    def name(self) -> str:
        return str(self.document[GROUP_NAME])

    def save(self) -> None:
        replace_json(self.record, {name: value for name, value in asdict(self).items() if name != "record"})

    def replace(self, version: int, *packages: Document) -> None:
        """Replace the package of this version; without packages, delete it."""
        others = [package for package in self.packages if package[VERSION] != version]
        self.packages = [*others, *packages]
        self.save()


def group_arn(name: str) -> str:
    return f"{PREFIX}-group/{name}"


def package_arn(group: str, version: int) -> str:
    """The ARN of a package, without the version if that is 0."""
    return f"{PREFIX}/{group}/{version}" if version else f"{PREFIX}/{group}"


class ModelRegistry:
    arn_pattern = re.compile(rf"{PREFIX}(?:-group)?/.+")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._groups: dict[str, ModelPackageGroup] = {}
        self.actions: Mapping[str, Callable[[dict[str, Any]], Document]] = {
            "CreateModelPackageGroup": self._create_group,
            "DescribeModelPackageGroup": lambda request: self._group(request[GROUP_NAME]).document,
            "ListModelPackageGroups": self._list_groups,
            "DeleteModelPackageGroup": self._delete_group,
            "CreateModelPackage": self._create_package,
            "DescribeModelPackage": lambda request: self._package(request["ModelPackageName"])[1],
            "ListModelPackages": self._list_packages,
            "UpdateModelPackage": self._update_package,
            "DeleteModelPackage": self._delete_package,
        }
        for record in folder.glob("*.json"):
            with skip_if_damaged(record):
                self._groups[record.stem] = ModelPackageGroup(record, **json.loads(record.read_text()))

    def tagged_resource(self, arn: str) -> ModelPackageGroup:
        if arn.startswith(f"{PREFIX}/"):
            raise ServiceError("ValidationException", NO_PACKAGE_TAGS)
        return self._group(arn)

    def _create_group(self, request: dict[str, Any]) -> Document:
        name = request[GROUP_NAME]
        arn = group_arn(name)
        if name in self._groups:
            raise ServiceError("ValidationException", f"Model Package Group already exists: {arn}")
        document = {member: value for member, value in request.items() if member != "Tags"}
        document |= {"ModelPackageGroupArn": arn, "CreationTime": now(), "CreatedBy": {}}
        document |= {"ModelPackageGroupStatus": "Completed"}
        group = self._groups[name] = ModelPackageGroup(self._folder / f"{name}.json", document, read_tags(request))
        group.save()
        return {"ModelPackageGroupArn": arn}

    def _list_groups(self, request: dict[str, Any]) -> Document:
        documents = [group.document for group in self._groups.values()]
        return list_page("ListModelPackageGroups", request, documents, GROUP_SORT_FIELDS)

    def _delete_group(self, request: dict[str, Any]) -> Document:
        group = self._group(request[GROUP_NAME])
        if group.packages:
            # The rejection is documented, its message is not.
            raise ServiceError("ConflictException", f"{group_arn(group.name)} still has model packages.")
        group.record.unlink(missing_ok=True)
        del self._groups[group.name]
        return {}

    def _create_package(self, request: dict[str, Any]) -> Document:
        token = request.pop("ClientToken", None)
        _check_package_request(request)
        group = self._group(request[GROUP_NAME])
        if token in group.tokens:
            created = group.tokens[token]
            if created["request"] != request:
                # The service's response, and how long it stores a token, are not documented.
                raise ServiceError("ConflictException", f"ClientToken {token} was used with other parameters.")
            return {"ModelPackageArn": package_arn(group.name, created["version"])}
        group.latest += 1
        if token:
            group.tokens[token] = {"version": group.latest, "request": request}
        time, arn = now(), package_arn(group.name, group.latest)
        package = {
            "ModelApprovalStatus": "PendingManualApproval",
            "CertifyForMarketplace": False,
            **request,
            GROUP_NAME: group.name,
            VERSION: group.latest,
            "ModelPackageArn": arn,
            "CreationTime": time,
            "LastModifiedTime": time,
            "CreatedBy": {},
            "LastModifiedBy": {},
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        }
        group.replace(group.latest, package)
        return {"ModelPackageArn": arn}

    def _list_packages(self, request: dict[str, Any]) -> Document:
        groups = [self._group(request[GROUP_NAME])] if GROUP_NAME in request else list(self._groups.values())
        if request.get("ModelPackageType", "Versioned" if GROUP_NAME in request else "Unversioned") == "Unversioned":
            groups = []
        status = request.get("ModelApprovalStatus")
        packages = [package for group in groups for package in group.packages]
        chosen = [package for package in packages if status in (None, package["ModelApprovalStatus"])]
        return list_page("ListModelPackages", request, chosen, PACKAGE_SORT_FIELDS)

    def _update_package(self, request: dict[str, Any]) -> Document:
        group, package = self._package(request["ModelPackageArn"])
        removed = request.pop("CustomerMetadataPropertiesToRemove", [])
        metadata = {key: value for key, value in package.get(METADATA, {}).items() if key not in removed}
        metadata |= request.get(METADATA, {})
        if len(metadata) > MAX_METADATA_ENTRIES:
            raise ServiceError(
                "ValidationException", f"A model package has at most {MAX_METADATA_ENTRIES} metadata properties."
            )
        group.replace(package[VERSION], {**package, **request, METADATA: metadata, "LastModifiedTime": now()})
        return {"ModelPackageArn": package["ModelPackageArn"]}

    def _delete_package(self, request: dict[str, Any]) -> Document:
        group, package = self._package(request["ModelPackageName"])
        version = package[VERSION]
        group.tokens = {token: entry for token, entry in group.tokens.items() if entry["version"] != version}
        group.replace(version)
        return {}

    def _group(self, name: str) -> ModelPackageGroup:
        group, _ = _split_name(name)
        if group not in self._groups:
            raise ServiceError("ValidationException", f"ModelPackageGroup {group_arn(group)} does not exist.")
        return self._groups[group]

    def _package(self, name: str) -> tuple[ModelPackageGroup, Document]:
        wanted, version = _split_name(name)
        packages = self._groups[wanted].packages if wanted in self._groups else []
        package = next((package for package in packages if package[VERSION] == version), None)
        if package is None:
            raise ServiceError("ValidationException", f"ModelPackage {package_arn(wanted, version)} does not exist.")
        return self._groups[wanted], package


def _split_name(name: str) -> tuple[str, int]:
    """Group and version (0 if there is none) of a name or an ARN."""
    group, _, version = re.sub(rf"^{PREFIX}(-group)?/", "", name).partition("/")
    return group, int(version) if version.isdecimal() else 0


def _check_package_request(request: Mapping[str, Any]) -> None:
    broken = ""
    if GROUP_NAME not in request:
        broken = f"The sandbox has versioned model packages only: give a {GROUP_NAME}."
    elif "ModelPackageName" in request:
        broken = f"Both ModelPackageName and {GROUP_NAME} are provided in the input. Cannot determine which one to use."
    elif request.get("Tags"):
        broken = NO_PACKAGE_TAGS
    if broken:
        raise ServiceError("ValidationException", broken)
