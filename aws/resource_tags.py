"""Tags of SageMaker's resources: jobs, models, endpoint configurations and endpoints, by their ARN."""

from collections.abc import Iterable, Mapping

from aws.errors import translate_errors
from aws.workspace import Workspace


def read_tags(workspace: Workspace, arn: str) -> dict[str, str]:
    """Return all tags of a resource."""
    with translate_errors(f"reading the tags of {arn}"):
        pages = workspace.client("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def add_tags(workspace: Workspace, arn: str, tags: Mapping[str, str]) -> None:
    """Add tags to a resource; they replace tags with the same keys."""
    with translate_errors(f"tagging {arn}"):
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        workspace.client("sagemaker").add_tags(ResourceArn=arn, Tags=listed)  # type: ignore[arg-type]


def remove_tags(workspace: Workspace, arn: str, keys: Iterable[str]) -> None:
    """Remove the tags with these keys from a resource; missing ones are no error."""
    with translate_errors(f"removing a tag from {arn}"):
        workspace.client("sagemaker").delete_tags(ResourceArn=arn, TagKeys=list(keys))
