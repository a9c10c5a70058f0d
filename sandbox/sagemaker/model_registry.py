"""SageMaker's Model Registry: package groups and packages, stored on disk."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sandbox.account import SAGEMAKER_ARN
from sandbox.sagemaker.api_model import Document, ServiceError, list_page, now, take_tags
from sandbox.storage import replace_json, skip_if_damaged

GROUP_ARN, PACKAGE_ARN = f"{SAGEMAKER_ARN}model-package-group/", f"{SAGEMAKER_ARN}model-package/"
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

    def save(self) -> None:
        replace_json(self.record, {name: value for name, value in asdict(self).items() if name != "record"})

    def replace(self, version: int, *packages: Document) -> None:
        """Replace the package of this version; without packages, delete it."""
        others = [package for package in self.packages if package[VERSION] != version]
        self.packages = [*others, *packages]
        self.save()


class ModelRegistry:
    arn_prefixes = (GROUP_ARN, PACKAGE_ARN)

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
        if arn.startswith(PACKAGE_ARN):
            raise ServiceError(NO_PACKAGE_TAGS)
        return self._group(arn)

    def _create_group(self, request: dict[str, Any]) -> Document:
        name = request[GROUP_NAME]
        arn = f"{GROUP_ARN}{name}"
        if name in self._groups:
            raise ServiceError(f"Model Package Group already exists: {arn}")
        tags = take_tags(request)
        added = {"ModelPackageGroupArn": arn, "CreationTime": now(), "CreatedBy": {}}
        document = request | added | {"ModelPackageGroupStatus": "Completed"}
        group = self._groups[name] = ModelPackageGroup(self._folder / f"{name}.json", document, tags)
        group.save()
        return {"ModelPackageGroupArn": arn}

    def _list_groups(self, request: dict[str, Any]) -> Document:
        documents = [group.document for group in self._groups.values()]
        return list_page("ListModelPackageGroups", request, documents, GROUP_SORT_FIELDS)

    def _delete_group(self, request: dict[str, Any]) -> Document:
        group = self._group(request[GROUP_NAME])
        if group.packages:
            # The rejection is documented, its message is not.
            raise ServiceError(
                f"{group.document['ModelPackageGroupArn']} still has model packages.", "ConflictException"
            )
        group.record.unlink(missing_ok=True)
        del self._groups[group.document[GROUP_NAME]]
        return {}

    def _create_package(self, request: dict[str, Any]) -> Document:
        token = request.pop("ClientToken", None)
        _check_package_request(request)
        group = self._group(request[GROUP_NAME])
        name = group.document[GROUP_NAME]
        if token in group.tokens:
            created = group.tokens[token]
            if created["request"] != request:
                # The service's response, and how long it stores a token, are not documented.
                raise ServiceError(f"ClientToken {token} was used with other parameters.", "ConflictException")
            return {"ModelPackageArn": f"{PACKAGE_ARN}{name}/{created['version']}"}
        group.latest += 1
        if token:
            group.tokens[token] = {"version": group.latest, "request": request}
        time = now()
        package = {
            "ModelApprovalStatus": "PendingManualApproval",
            "CertifyForMarketplace": False,
            **request,
            GROUP_NAME: name,
            VERSION: group.latest,
            "ModelPackageArn": f"{PACKAGE_ARN}{name}/{group.latest}",
            "CreationTime": time,
            "LastModifiedTime": time,
            "CreatedBy": {},
            "LastModifiedBy": {},
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        }
        group.replace(group.latest, package)
        return {"ModelPackageArn": package["ModelPackageArn"]}

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
            raise ServiceError(f"A model package has at most {MAX_METADATA_ENTRIES} metadata properties.")
        group.replace(package[VERSION], {**package, **request, METADATA: metadata, "LastModifiedTime": now()})
        return {"ModelPackageArn": package["ModelPackageArn"]}

    def _delete_package(self, request: dict[str, Any]) -> Document:
        group, package = self._package(request["ModelPackageName"])
        version = package[VERSION]
        group.tokens = {token: entry for token, entry in group.tokens.items() if entry["version"] != version}
        group.replace(version)
        return {}

    def _group(self, name: str) -> ModelPackageGroup:
        """The group of this name or ARN."""
        wanted = name.removeprefix(GROUP_ARN)
        if wanted not in self._groups:
            raise ServiceError(f"ModelPackageGroup {GROUP_ARN}{wanted} does not exist.")
        return self._groups[wanted]

    def _package(self, name: str) -> tuple[ModelPackageGroup, Document]:
        """The package of an ARN, or of `GROUP/VERSION`."""
        path = name.removeprefix(PACKAGE_ARN)
        group, _, version = path.partition("/")
        for package in self._groups[group].packages if group in self._groups else []:
            if str(package[VERSION]) == version:
                return self._groups[group], package
        raise ServiceError(f"ModelPackage {PACKAGE_ARN}{path} does not exist.")


def _check_package_request(request: Mapping[str, Any]) -> None:
    if GROUP_NAME not in request:
        raise ServiceError(f"The sandbox has versioned model packages only: give a {GROUP_NAME}.")
    if "ModelPackageName" in request:
        raise ServiceError(
            f"Both ModelPackageName and {GROUP_NAME} are provided in the input. Cannot determine which one to use."
        )
    if request.get("Tags"):
        raise ServiceError(NO_PACKAGE_TAGS)
