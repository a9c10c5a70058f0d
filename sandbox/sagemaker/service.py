"""The SageMaker calls that the sandbox itself implements: training jobs, the Model Registry, and their tags."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from sandbox.sagemaker.api_model import Document, take_tags, validate
from sandbox.sagemaker.model_registry import ModelPackageGroup, ModelRegistry
from sandbox.sagemaker.training_jobs import TrainingJob, TrainingJobs

TAGGING_ACTIONS = ("AddTags", "ListTags", "DeleteTags")


class SageMaker:
    """Performs one call at a time; its changes are on disk before it returns."""

    def __init__(self, jobs: TrainingJobs, registry: ModelRegistry) -> None:
        self._parts = (jobs, registry)
        self._actions = {**jobs.actions, **registry.actions}
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


def _perform_tagging(
    action: str, find: Callable[[str], TrainingJob | ModelPackageGroup], request: dict[str, Any]
) -> Document:
    resource = find(request["ResourceArn"])
    if action == "AddTags":
        resource.tags = take_tags(request, resource.tags)
    if action == "DeleteTags":
        resource.tags = {key: value for key, value in resource.tags.items() if key not in request["TagKeys"]}
    if action != "ListTags":
        resource.save()
    listed = [{"Key": key, "Value": value} for key, value in resource.tags.items()]
    return {} if action == "DeleteTags" else {"Tags": listed}
