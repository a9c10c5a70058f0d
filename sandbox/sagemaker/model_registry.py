"""SageMaker's Model Registry: package groups and packages, on disk."""

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from sandbox.account import ACCOUNT, REGION
from sandbox.sagemaker.api_model import Document, ServiceError, paginate, tag_list, validate
from sandbox.storage import replace_json

PREFIX = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package"
MAX_METADATA_ENTRIES = 50
UPDATABLE_FIELDS = (
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
    """A group with its packages; documents are replaced, never changed, as responses may still refer to them."""

    document: Document
    tags: dict[str, str]
    packages: list[Document] = field(default_factory=list)
    latest: int = 0
    """The highest version that was ever used, as no version is used twice."""
    tokens: dict[str, Document] = field(default_factory=dict)
    """By ClientToken: the `version` that was created and the `request` that created it."""

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
        """The ARN."""
        return group_arn(self.name)

    def find(self, version: int) -> Document | None:
        """The DescribeModelPackage response for this version."""
        return next((package for package in self.packages if package["ModelPackageVersion"] == version), None)

    def add(self, request: Document, token: str | None) -> str:
        """The ARN of the next version."""
        self.latest += 1
        package = _new_package(request, self.name, self.latest)
        self.packages.append(package)
        if token:
            self.tokens[token] = {"version": self.latest, "request": request}
        return str(package["ModelPackageArn"])

    def update(self, version: int, request: Mapping[str, Any]) -> None:
        """Apply an UpdateModelPackage request to this version."""
        self.packages = [
            _apply_update(package, request) if package["ModelPackageVersion"] == version else package
            for package in self.packages
        ]

    def remove(self, version: int) -> None:
        """Delete this version and the token that created it."""
        self.packages = [package for package in self.packages if package["ModelPackageVersion"] != version]
        self.tokens = {token: entry for token, entry in self.tokens.items() if entry["version"] != version}


def group_arn(name: str) -> str:
    """The ARN of a group."""
    return f"{PREFIX}-group/{name}"


def package_arn(group: str, version: int) -> str:
    """The ARN of a version; without its version where that is 0."""
    return f"{PREFIX}/{group}/{version}" if version else f"{PREFIX}/{group}"


def _new_package(request: Document, group: str, version: int) -> Document:
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


def _apply_update(package: Document, request: Mapping[str, Any]) -> Document:
    """The document after an UpdateModelPackage request."""
    changes = {name: value for name, value in request.items() if name in UPDATABLE_FIELDS}
    removed = request.get("CustomerMetadataPropertiesToRemove", [])
    saved = {key: value for key, value in package.get("CustomerMetadataProperties", {}).items() if key not in removed}
    metadata = saved | request.get("CustomerMetadataProperties", {})
    if len(metadata) > MAX_METADATA_ENTRIES:
        raise ServiceError(
            "ValidationException", f"A model package has at most {MAX_METADATA_ENTRIES} metadata properties."
        )
    if more := request.get("AdditionalInferenceSpecificationsToAdd"):
        changes["AdditionalInferenceSpecifications"] = package.get("AdditionalInferenceSpecifications", []) + more
    return package | changes | {"CustomerMetadataProperties": metadata, "LastModifiedTime": _now()}


def _now() -> float:
    return round(time.time(), 3)


ARN_PATTERN = re.compile(rf"{PREFIX}(?:-group)?/.+")
GROUP_NAME = "ModelPackageGroupName"
GROUP_SUMMARY_FIELDS = (
    "ModelPackageGroupName",
    "ModelPackageGroupArn",
    "ModelPackageGroupDescription",
    "CreationTime",
    "ModelPackageGroupStatus",
)
PACKAGE_SUMMARY_FIELDS = (
    "ModelPackageGroupName",
    "ModelPackageVersion",
    "ModelPackageArn",
    "ModelPackageDescription",
    "CreationTime",
    "ModelPackageStatus",
    "ModelApprovalStatus",
    "ModelLifeCycle",
    "ModelPackageRegistrationType",
)
GROUP_SORT_FIELDS = {"Name": (GROUP_NAME,), "CreationTime": ("CreationTime", GROUP_NAME)}
PACKAGE_SORT_FIELDS = {
    "Name": (GROUP_NAME, "ModelPackageVersion"),
    "CreationTime": ("CreationTime", GROUP_NAME, "ModelPackageVersion"),
}


class ModelRegistry:
    """The groups of a folder; every change is on disk before the call that made it returns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._groups = {group.name: group for group in _load(folder)}
        self.actions: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateModelPackageGroup": self._create_group,
            "DescribeModelPackageGroup": lambda request: self._group(request[GROUP_NAME]).document,
            "ListModelPackageGroups": self._list_groups,
            "DeleteModelPackageGroup": self._delete_group,
            "CreateModelPackage": self._create_package,
            "DescribeModelPackage": lambda request: self._find_package(request["ModelPackageName"])[1],
            "ListModelPackages": self._list_packages,
            "UpdateModelPackage": self._update_package,
            "DeleteModelPackage": self._delete_package,
            "AddTags": self._add_tags,
            "ListTags": lambda request: {"Tags": tag_list(self._group_of_arn(request).tags)},
            "DeleteTags": self._delete_tags,
        }

    def handle(self, action: str, request: Any) -> dict[str, Any]:
        """The response to one call, or a `ServiceError`."""
        checked = validate(action, request)
        with self._lock:
            return self.actions[action](checked)

    def _create_group(self, request: dict[str, Any]) -> dict[str, Any]:
        if request[GROUP_NAME] in self._groups:
            arn = group_arn(request[GROUP_NAME])
            raise ServiceError("ValidationException", f"Model Package Group already exists: {arn}")
        group = self._groups[request[GROUP_NAME]] = ModelPackageGroup.create(request)
        self._save(group)
        return {"ModelPackageGroupArn": group.arn}

    def _list_groups(self, request: dict[str, Any]) -> dict[str, Any]:
        documents = [group.document for group in self._groups.values()]
        shown, rest = paginate(
            documents, request, name=GROUP_NAME, orders=GROUP_SORT_FIELDS, summary=GROUP_SUMMARY_FIELDS
        )
        return {"ModelPackageGroupSummaryList": shown, **rest}

    def _delete_group(self, request: dict[str, Any]) -> dict[str, Any]:
        group = self._group(request[GROUP_NAME])
        if group.packages:
            # That it is refused is documented, the wording is not.
            raise ServiceError("ConflictException", f"{group.arn} still has model packages.")
        self._record(group).unlink(missing_ok=True)
        del self._groups[group.name]
        return {}

    def _create_package(self, request: dict[str, Any]) -> dict[str, Any]:
        token = request.pop("ClientToken", None)
        _check_package_request(request)
        arn = self._find_by_token(token, request)
        if arn is None:
            group = self._group(request[GROUP_NAME])
            arn = group.add(request, token)
            self._save(group)
        return {"ModelPackageArn": arn}

    def _find_by_token(self, token: str | None, request: dict[str, Any]) -> str | None:
        for group in self._groups.values():
            created = group.tokens.get(token or "")
            if created and created["request"] != request:
                # The real service's response, and how long it remembers a token, are not documented.
                raise ServiceError("ConflictException", f"ClientToken {token} was used with other parameters.")
            if created:
                return package_arn(group.name, created["version"])
        return None

    def _list_packages(self, request: dict[str, Any]) -> dict[str, Any]:
        groups = [self._group(request[GROUP_NAME])] if GROUP_NAME in request else list(self._groups.values())
        if request.get("ModelPackageType", "Versioned" if GROUP_NAME in request else "Unversioned") == "Unversioned":
            groups = []
        status = request.get("ModelApprovalStatus")
        every = (package for group in groups for package in group.packages)
        chosen = [package for package in every if status in (None, package["ModelApprovalStatus"])]
        shown, rest = paginate(
            chosen, request, name=GROUP_NAME, orders=PACKAGE_SORT_FIELDS, summary=PACKAGE_SUMMARY_FIELDS
        )
        return {"ModelPackageSummaryList": shown, **rest}

    def _update_package(self, request: dict[str, Any]) -> dict[str, Any]:
        group, package = self._find_package(request["ModelPackageArn"])
        group.update(package["ModelPackageVersion"], request)
        self._save(group)
        return {"ModelPackageArn": package["ModelPackageArn"]}

    def _delete_package(self, request: dict[str, Any]) -> dict[str, Any]:
        group, package = self._find_package(request["ModelPackageName"])
        group.remove(package["ModelPackageVersion"])
        self._save(group)
        return {}

    def _add_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        group = self._group_of_arn(request)
        group.tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        self._save(group)
        return {"Tags": tag_list(group.tags)}

    def _delete_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        group = self._group_of_arn(request)
        group.tags = {key: value for key, value in group.tags.items() if key not in request["TagKeys"]}
        self._save(group)
        return {}

    def _group_of_arn(self, request: Mapping[str, Any]) -> ModelPackageGroup:
        arn = request["ResourceArn"]
        if arn.startswith(f"{PREFIX}/"):
            raise ServiceError("ValidationException", "A versioned model package has no tags but those of its group.")
        return self._group(arn)

    def _group(self, name: str) -> ModelPackageGroup:
        wanted, _ = _split_name(name)
        if wanted not in self._groups:
            raise ServiceError("ValidationException", f"ModelPackageGroup {group_arn(wanted)} does not exist.")
        return self._groups[wanted]

    def _find_package(self, name: str) -> tuple[ModelPackageGroup, Document]:
        wanted, version = _split_name(name)
        group = self._groups.get(wanted)
        package = group.find(version) if group else None
        if group is None or package is None:
            raise ServiceError("ValidationException", f"ModelPackage {package_arn(wanted, version)} does not exist.")
        return group, package

    def _record(self, group: ModelPackageGroup) -> Path:
        return self._folder / f"{group.name}.json"

    def _save(self, group: ModelPackageGroup) -> None:
        group.save(self._record(group))


def _load(folder: Path) -> Iterator[ModelPackageGroup]:
    for record in folder.glob("*.json"):
        try:
            yield ModelPackageGroup.load(record)
        except (ValueError, KeyError, TypeError) as error:
            print(f"sandbox: skipped {record}, which is damaged: {error!r}", file=sys.stderr)  # noqa: T201


def _split_name(name: str) -> tuple[str, int]:
    """Group and version, 0 where there is none, of a name or an ARN."""
    group, _, version = re.sub(rf"^{PREFIX}(-group)?/", "", name).partition("/")
    return group, int(version) if version.isdecimal() else 0


def _check_package_request(request: Mapping[str, Any]) -> None:
    """Raise ServiceError for a request that cannot create a version."""
    broken = ""
    if GROUP_NAME not in request:
        broken = f"The sandbox has versioned model packages only: give a {GROUP_NAME}."
    elif "ModelPackageName" in request:
        broken = f"Both ModelPackageName and {GROUP_NAME} are provided in the input. Cannot determine which one to use."
    elif request.get("Tags"):
        broken = "A versioned model package has no tags but those of its group."  # AWS's wording differs
    if broken:
        raise ServiceError("ValidationException", broken)
