"""The three blocks of a workspace: credentials, a bucket that refers to them, and the workspace on that bucket.

They are separate, so that a new key or another bucket is a change of one block.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import boto3
from prefect.blocks.core import Block
from prefect_aws import AwsCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters
from pydantic import SecretStr

from aws.errors import AccessDenied, InvalidRequest, NotFound, translate_errors
from aws.preflight import check_workspace
from aws.workspace import Workspace, load_workspace
from deployments.first_use import find_region, missing_flags_message

SECRETS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def save_blocks(name: str, given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Save the given values in the blocks of this name, after a check with AWS; other values stay as they are.

    Args:
        name: Name of the three blocks.
        given: New values by field name; also `endpoint_url`, and `keys`: "machine" or "keys".

    Returns lines about what was saved and checked, and warnings; neither contains secrets.
    Raises AwsError or ValidationError for missing or wrong values; nothing is saved then.
    """
    saved = _load_saved(name)
    workspace = _build_workspace(name, saved, given)
    blocks: tuple[Any, ...] = (workspace.bucket.credentials, workspace.bucket, workspace)
    for block in blocks if Workspace not in saved else ():  # other workspaces may use a block of this name
        existing = saved.get(type(block))
        if existing and block.model_dump(exclude={"credentials"}) != existing.model_dump(exclude={"credentials"}):
            raise InvalidRequest(
                f"The block {existing.get_block_type_name()} {name} already exists with other values, and no Training "
                "Workspace of that name uses it. Choose another --name."
            )
    warnings = [*check_workspace(workspace)]
    if blocks[0].aws_session_token:
        who = "all users who can view the block"
        warnings.append(f"The stored keys are temporary: they expire, and Prefect shows their session token to {who}.")
    done = []
    for block in blocks:
        # A workspace may refer to blocks with other names; Prefect stores these only in a private attribute.
        own_name = getattr(saved.get(type(block)), "_block_document_name", None) or name
        block.save(own_name, overwrite=True)
        done.append(f"{block.get_block_type_name()} {own_name}: saved")
    checked = f"Checked: bucket {workspace.bucket.bucket_name} in {workspace.region}, role {workspace.role_arn}"
    return [*done, checked], warnings


def check_new_blocks(name: str, given: Mapping[str, Any]) -> None:
    """Check with AWS what `save_blocks` would save if there is no block of this name yet; needs no Prefect server.

    Raises as `save_blocks`.
    """
    check_workspace(_build_workspace(name, {}, given))


def _load_saved(name: str) -> dict[type[Block], Any]:
    """The workspace of this name and the blocks it refers to; without a workspace, those of the same name."""
    saved: dict[type[Block], Any] = {}
    with suppress(NotFound):
        saved[Workspace] = load_workspace(name)
    with suppress(ValueError):
        saved[S3Bucket] = saved[Workspace].bucket if Workspace in saved else S3Bucket.load(name)
    with suppress(ValueError):
        saved[AwsCredentials] = saved[S3Bucket].credentials if S3Bucket in saved else AwsCredentials.load(name)
    return saved


def _build_workspace(name: str, saved: Mapping[type[Block], Any], given: Mapping[str, Any]) -> Workspace:
    credentials = AwsCredentials(**_credentials(saved.get(AwsCredentials), given))
    bucket, workspace = (_merge(kind, saved.get(kind), given) for kind in (S3Bucket, Workspace))
    needed = {
        "--bucket": "bucket_name" in bucket,
        "--role-arn": "role_arn" in workspace,
        "--region": AwsCredentials in saved or credentials.region_name,
    }
    if missing := [flag for flag, found in needed.items() if not found]:
        raise InvalidRequest(missing_flags_message(name, missing))
    bucket["credentials"] = credentials
    return Workspace(**workspace | {"bucket": S3Bucket(**bucket)})


def _merge(kind: type[Block], saved: Block | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a block's fields: the given ones, else the saved ones."""
    values = {field: getattr(saved, field) for field in kind.model_fields} if saved else {}
    return values | {field: given[field] for field in kind.model_fields if field in given}


def _credentials(saved: AwsCredentials | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the credentials block; a new one takes region and endpoint from the environment, as AWS's tools do."""
    profile, keys = given.get("profile_name"), given.get("keys")
    if saved is None:
        with translate_errors("looking for the region"):
            region = find_region(profile)
        given = {"region_name": region, "endpoint_url": os.environ.get("AWS_ENDPOINT_URL") or None, **given}
    values = _merge(AwsCredentials, saved, given)
    if "endpoint_url" in given:
        parameters = saved.aws_client_parameters if saved else AwsClientParameters()
        values["aws_client_parameters"] = parameters.model_copy(update={"endpoint_url": given["endpoint_url"]})
    if keys or "profile_name" in given:
        values |= {**dict.fromkeys(SECRETS), "profile_name": profile}
    if keys == "keys":
        values |= {**_find_keys(profile), "profile_name": None}
    return values


def _find_keys(profile: str | None) -> dict[str, Any]:
    with translate_errors("looking for keys to store"):
        session = boto3.Session(profile_name=profile).get_credentials()
        found = session and session.get_frozen_credentials()
    if not found or not found.access_key or not found.secret_key:
        raise AccessDenied("There are no keys to store. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --profile.")
    return dict(zip(SECRETS, (found.access_key, SecretStr(found.secret_key), found.token), strict=True))
