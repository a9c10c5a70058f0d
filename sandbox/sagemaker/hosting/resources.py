"""What models, endpoint configurations and endpoints have in common: a document and tags, stored in a file."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from sandbox.account import SAGEMAKER_ARN
from sandbox.sagemaker.api_model import Document, ServiceError
from sandbox.storage import replace_json, skip_if_damaged


@dataclass
class Resource:
    """A model or an endpoint configuration. The document is that of the Describe call; it is never modified."""

    record: Path
    document: Document
    tags: dict[str, str]

    def save(self) -> None:
        replace_json(self.record, {"document": self.document, "tags": self.tags})


R = TypeVar("R")


class ResourceFolder(Generic[R]):
    """The resources of one kind, each in a file with its name.

    `kind` is the kind in the service's messages, such as `endpoint configuration`; `load` makes a resource of its file
    and the file's content.
    """

    def __init__(self, folder: Path, kind: str, arn_name: str, load: Callable[..., R]) -> None:
        self.arn_prefix = f"{SAGEMAKER_ARN}{arn_name}/"
        self._folder = folder
        self._kind = kind
        self._resources: dict[str, R] = {}
        for record in folder.glob("*.json"):
            with skip_if_damaged(record):
                self._resources[record.stem] = load(record, **json.loads(record.read_text()))

    def __iter__(self) -> Iterator[R]:
        return iter(list(self._resources.values()))

    def find(self, name: str) -> R | None:
        return self._resources.get(name.removeprefix(self.arn_prefix))

    def get(self, name: str) -> R:
        """The resource of this name or ARN; raises ServiceError if there is none."""
        resource = self.find(name)
        if resource is None:
            raise ServiceError(f'Could not find {self._kind} "{self.arn_prefix}{name.removeprefix(self.arn_prefix)}".')
        return resource

    def check_is_new(self, name: str) -> None:
        if name in self._resources:
            raise ServiceError(f'Cannot create already existing {self._kind} "{self.arn_prefix}{name}".')

    def record(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def add(self, name: str, resource: R) -> None:
        self._resources[name] = resource

    def remove(self, name: str) -> None:
        self.record(name).unlink(missing_ok=True)
        self._resources.pop(name, None)
