"""The SageMaker calls that the sandbox itself implements, on training jobs, the Model Registry and endpoints."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from sandbox.sagemaker.api_model import Document, take_tags, validate

TAGGING_ACTIONS = ("AddTags", "ListTags", "DeleteTags")


class TaggedResource(Protocol):
    tags: dict[str, str]

    def save(self) -> None: ...


class Part(Protocol):
    """Some kinds of resources, with the API's actions on them."""

    @property
    def arn_prefixes(self) -> tuple[str, ...]: ...

    @property
    def actions(self) -> Mapping[str, Callable[[dict[str, Any]], Document]]: ...

    def tagged_resource(self, arn: str) -> TaggedResource: ...


class SageMaker:
    """Performs one call at a time; its changes are on disk before it returns."""

    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self._actions = {name: action for part in parts for name, action in part.actions.items()}
        self._lock = threading.Lock()

    def handle(self, action: str, request: dict[str, Any]) -> Document | None:
        """The response to a call, or None for other actions and for the tags of other resources.

        Raises ServiceError for a call that is rejected.
        """
        perform = self._actions.get(action)
        if action in TAGGING_ACTIONS:
            arn = str(request.get("ResourceArn"))
            part = next((part for part in self._parts if arn.startswith(part.arn_prefixes)), None)
            perform = partial(_perform_tagging, action, part.tagged_resource) if part else None
        if perform is None:
            return None
        validate(action, request)
        with self._lock:
            return perform(request)


def _perform_tagging(action: str, find: Callable[[str], TaggedResource], request: dict[str, Any]) -> Document:
    resource = find(request["ResourceArn"])
    if action == "AddTags":
        resource.tags = take_tags(request, resource.tags)
    if action == "DeleteTags":
        resource.tags = {key: value for key, value in resource.tags.items() if key not in request["TagKeys"]}
    if action != "ListTags":
        resource.save()
    listed = [{"Key": key, "Value": value} for key, value in resource.tags.items()]
    return {} if action == "DeleteTags" else {"Tags": listed}
