"""Instance types that the installed version of boto3 knows."""

from difflib import get_close_matches
from typing import Final, Literal

from aws.errors import InvalidRequest
from aws.workspace import Workspace

SHAPES: Final = {"training": "TrainingInstanceType", "hosting": "ProductionVariantInstanceType"}
"""Shape of the service model with the instance types, by what they are for."""


def find_unknown_type(workspace: Workspace, name: str, use: Literal["training", "hosting"]) -> InvalidRequest | None:
    """Return the error for an instance type that AWS does not know, with similar names; None for a known one.

    A type with a price in the workspace counts as known.
    """
    known = workspace.client("sagemaker").meta.service_model.shape_for(SHAPES[use]).enum  # type: ignore[attr-defined]
    if name in known or name in workspace.prices:
        return None
    close = " or ".join(get_close_matches(name, known, n=3, cutoff=0.5))
    return InvalidRequest(
        f"AWS has no instance type {name} for {use}. Did you mean {close or 'ml.m5.large'}? If AWS has introduced it "
        "since this version of boto3, add its price to the workspace's prices."
    )
