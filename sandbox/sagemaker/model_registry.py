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
from sandbox.sagemaker.api_model import Document, ServiceError, page, tag_list, validate
from sandbox.storage import replace_json

PREFIX = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package"
MAX_METADATA_ENTRIES = 50
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


ARN = re.compile(rf"{PREFIX}(?:-group)?/.+")
NAME = "ModelPackageGroupName"
GROUP_SUMMARY = (
    "ModelPackageGroupName",
    "ModelPackageGroupArn",
    "ModelPackageGroupDescription",
    "CreationTime",
    "ModelPackageGroupStatus",
)
PACKAGE_SUMMARY = (
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
GROUP_ORDERS = {"Name": (NAME,), "CreationTime": ("CreationTime", NAME)}
PACKAGE_ORDERS = {
    "Name": (NAME, "ModelPackageVersion"),
    "CreationTime": ("CreationTime", NAME, "ModelPackageVersion"),
}


class ModelRegistry:
    """The groups of a folder; every change is on disk before the call that made it returns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._groups = {group.name: group for group in _load(folder)}
        self.actions: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateModelPackageGroup": self._create_group,
            "DescribeModelPackageGroup": lambda request: self._group(request[NAME]).document,
            "ListModelPackageGroups": self._list_groups,
            "DeleteModelPackageGroup": self._delete_group,
            "CreateModelPackage": self._create_package,
            "DescribeModelPackage": lambda request: self._package(request["ModelPackageName"])[1],
            "ListModelPackages": self._list_packages,
            "UpdateModelPackage": self._update_package,
            "DeleteModelPackage": self._delete_package,
            "AddTags": self._add_tags,
            "ListTags": lambda request: {"Tags": tag_list(self._tagged(request).tags)},
            "DeleteTags": self._delete_tags,
        }

    def answer(self, action: str, request: Any) -> dict[str, Any]:
        """The response to one call, or a `ServiceError`."""
        checked = validate(action, request)
        with self._lock:
            return self.actions[action](checked)

    def _create_group(self, request: dict[str, Any]) -> dict[str, Any]:
        if request[NAME] in self._groups:
            arn = group_arn(request[NAME])
            raise ServiceError("ValidationException", f"Model Package Group already exists: {arn}")
        group = self._groups[request[NAME]] = ModelPackageGroup.create(request)
        self._save(group)
        return {"ModelPackageGroupArn": group.arn}

    def _list_groups(self, request: dict[str, Any]) -> dict[str, Any]:
        documents = [group.document for group in self._groups.values()]
        shown, rest = page(documents, request, name=NAME, orders=GROUP_ORDERS, summary=GROUP_SUMMARY)
        return {"ModelPackageGroupSummaryList": shown, **rest}

    def _delete_group(self, request: dict[str, Any]) -> dict[str, Any]:
        group = self._group(request[NAME])
        if group.packages:
            # That it is refused is documented; in which words is not.
            raise ServiceError("ConflictException", f"{group.arn} still has model packages.")
        self._record(group).unlink(missing_ok=True)
        del self._groups[group.name]
        return {}

    def _create_package(self, request: dict[str, Any]) -> dict[str, Any]:
        token = request.pop("ClientToken", None)
        _check(request)
        arn = self._made_before(token, request)
        if arn is None:
            group = self._group(request[NAME])
            arn = group.add(request, token)
            self._save(group)
        return {"ModelPackageArn": arn}

    def _made_before(self, token: str | None, request: dict[str, Any]) -> str | None:
        for group in self._groups.values():
            made = group.tokens.get(token or "")
            if made and made["request"] != request:
                # What the real service answers, and for how long it remembers a token, is not known.
                raise ServiceError("ConflictException", f"ClientToken {token} was used with other parameters.")
            if made:
                return package_arn(group.name, made["version"])
        return None

    def _list_packages(self, request: dict[str, Any]) -> dict[str, Any]:
        groups = [self._group(request[NAME])] if NAME in request else list(self._groups.values())
        if request.get("ModelPackageType", "Versioned" if NAME in request else "Unversioned") == "Unversioned":
            groups = []
        status = request.get("ModelApprovalStatus")
        every = (package for group in groups for package in group.packages)
        chosen = [package for package in every if status in (None, package["ModelApprovalStatus"])]
        shown, rest = page(chosen, request, name=NAME, orders=PACKAGE_ORDERS, summary=PACKAGE_SUMMARY)
        return {"ModelPackageSummaryList": shown, **rest}

    def _update_package(self, request: dict[str, Any]) -> dict[str, Any]:
        group, package = self._package(request["ModelPackageArn"])
        group.update(package["ModelPackageVersion"], request)
        self._save(group)
        return {"ModelPackageArn": package["ModelPackageArn"]}

    def _delete_package(self, request: dict[str, Any]) -> dict[str, Any]:
        group, package = self._package(request["ModelPackageName"])
        group.remove(package["ModelPackageVersion"])
        self._save(group)
        return {}

    def _add_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        group = self._tagged(request)
        group.tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        self._save(group)
        return {"Tags": tag_list(group.tags)}

    def _delete_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        group = self._tagged(request)
        group.tags = {key: value for key, value in group.tags.items() if key not in request["TagKeys"]}
        self._save(group)
        return {}

    def _tagged(self, request: Mapping[str, Any]) -> ModelPackageGroup:
        arn = request["ResourceArn"]
        if arn.startswith(f"{PREFIX}/"):
            raise ServiceError("ValidationException", "A versioned model package has no tags but those of its group.")
        return self._group(arn)

    def _group(self, name: str) -> ModelPackageGroup:
        wanted, _ = _parts(name)
        if wanted not in self._groups:
            raise ServiceError("ValidationException", f"ModelPackageGroup {group_arn(wanted)} does not exist.")
        return self._groups[wanted]

    def _package(self, name: str) -> tuple[ModelPackageGroup, Document]:
        wanted, version = _parts(name)
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


def _parts(name: str) -> tuple[str, int]:
    """Group and version, 0 where there is none, of a name or an ARN."""
    group, _, version = re.sub(rf"^{PREFIX}(-group)?/", "", name).partition("/")
    return group, int(version) if version.isdecimal() else 0


def _check(request: Mapping[str, Any]) -> None:
    """Refuse what no version can be made of."""
    broken = ""
    if NAME not in request:
        broken = f"The sandbox has versioned model packages only: give a {NAME}."
    elif "ModelPackageName" in request:
        broken = f"Both ModelPackageName and {NAME} are provided in the input. Cannot determine which one to use."
    elif request.get("Tags"):
        broken = "A versioned model package has no tags but those of its group."  # in other words, on AWS
    if broken:
        raise ServiceError("ValidationException", broken)
