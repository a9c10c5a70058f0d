"""The three blocks that say where training runs: credentials, a bucket that refers to them, a workspace on that bucket.

Each is a block of its own, so that whoever rotates a key or moves a bucket edits one of them.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast

import boto3
from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL, PREFECT_HOME
from prefect_aws import AwsCredentials, S3Bucket
from pydantic import SecretStr

from aws.errors import AccessDenied, InvalidRequest, NotFound, translate_errors
from aws.preflight import check_workspace
from aws.workspace import Workspace, load_workspace

SomeBlock = TypeVar("SomeBlock", bound=Block)
Saved = tuple[AwsCredentials | None, S3Bucket | None, Workspace | None]
Wanted = tuple[AwsCredentials, S3Bucket, Workspace]

BUCKET = {"bucket": "bucket_name", "bucket_folder": "bucket_folder"}
CREDENTIALS = {"region": "region_name", "assume_role_arn": "assume_role_arn"}
SECRETS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
SESSION_KEYS_WARNING = (
    "The stored keys are a session's: they expire, and Prefect shows the session token to all who may look at the "
    "block. Keys of a user, or --credentials machine, have neither trouble."
)


def prefect_location() -> str:
    """The Prefect that blocks are saved in; to be asked before one is started for this command alone."""
    if server := PREFECT_API_URL.value():
        return f"in Prefect at {server}"
    return f"in {PREFECT_HOME.value()}, where only runs of this machine look, as no PREFECT_API_URL is set"


def save(name: str, given: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Have the blocks of this name say what is given, and else what they said, once AWS has confirmed it.

    Returns what came of each block and what was checked, and what there is to warn of; no secret is in either.
    Raises AwsError or ValidationError, with nothing saved, for what is missing or wrong.
    """
    saved = _load_saved(name)
    wanted = _build_blocks(name, saved, given)
    if saved[-1] is None:
        for block, unrelated in zip(wanted, saved, strict=True):
            _refuse_to_change(unrelated, block)
    checked, warnings = _check(wanted[-1])
    if wanted[0].aws_session_token:
        warnings += (SESSION_KEYS_WARNING,)
    return (*(_save_if_changed(name, *pair) for pair in zip(wanted, saved, strict=True)), checked), warnings


def _load_saved(name: str) -> Saved:
    """The workspace of this name and what it refers to; what it does not refer to, by the same name."""
    workspace = None
    with suppress(NotFound):
        workspace = load_workspace(name)
    bucket = _load_block(S3Bucket, name, workspace.bucket if workspace else None)
    referenced = bucket.credentials if bucket else None
    return (
        _load_block(AwsCredentials, name, referenced if isinstance(referenced, AwsCredentials) else None),
        bucket,
        workspace,
    )


def _load_block(kind: type[SomeBlock], name: str, referenced: SomeBlock | None) -> SomeBlock | None:
    """The block that is held, when it is one of its own; else the one of this name."""
    if referenced and _document_name(referenced):
        return referenced
    try:
        # Prefect types `load` for sync and async callers alike.
        found = cast("SomeBlock", kind.load(name))
    except ValueError:
        return referenced
    _refuse_to_change(found, referenced)
    return found


def _refuse_to_change(unrelated: Block | None, wanted: Block | None) -> None:
    """Refuse to change a block that has the name by chance: others may use it."""
    if unrelated and wanted and (changes := _changes(wanted, unrelated)):
        raise InvalidRequest(
            f"There is a block {unrelated.get_block_type_name()} {_document_name(unrelated)} already, which no "
            f"Training Workspace of that name uses, with another {', '.join(changes)}. "
            "Take another --name, or what it has."
        )


def _build_blocks(name: str, saved: Saved, given: Mapping[str, Any]) -> Wanted:
    """Each block as it is to be, referring to the one before."""
    credentials = _credentials(saved[0], given)
    needed = {"bucket": saved[1], "role_arn": saved[2], "region": saved[0] or credentials.region_name}
    if missing := [f"--{flag.replace('_', '-')}" for flag, found in needed.items() if not (found or flag in given)]:
        raise InvalidRequest(f"Give {' and '.join(missing)} too: no saved block named {name!r} has them yet.")
    changes = {field: given[flag] for flag, field in BUCKET.items() if flag in given} | {"credentials": credentials}
    bucket = saved[1].model_copy(update=changes) if saved[1] else S3Bucket(**changes)
    fields = {field: getattr(saved[2], field) for field in Workspace.model_fields if saved[2]}
    fields |= {field: given[field] for field in Workspace.model_fields if field in given}
    return credentials, bucket, Workspace(**(fields | {"bucket": bucket}))


def _credentials(saved: AwsCredentials | None, given: Mapping[str, Any]) -> AwsCredentials:
    """The credentials with what is given; new ones look for the rest where AWS's own tools do."""
    if saved is None:
        saved, given = AwsCredentials(), {**_shell_settings(given.get("profile")), **given}
    changes = {field: given[flag] or None for flag, field in CREDENTIALS.items() if flag in given}
    if "endpoint_url" in given:
        parameters = {"endpoint_url": given["endpoint_url"] or None}
        changes["aws_client_parameters"] = saved.aws_client_parameters.model_copy(update=parameters)
    if "credentials" in given or "profile" in given:
        changes |= _keys(given.get("profile") or None, stored=given.get("credentials") == "keys")
    return saved.model_copy(update=changes)


def _shell_settings(profile: str | None) -> dict[str, str]:
    """Region and endpoint as they are set for this shell."""
    with translate_errors("looking for the region"):
        region = os.environ.get("AWS_REGION") or boto3.Session(profile_name=profile or None).region_name
    found = {"region": region, "endpoint_url": os.environ.get("AWS_ENDPOINT_URL")}
    return {flag: value for flag, value in found.items() if value}


def _keys(profile: str | None, *, stored: bool) -> dict[str, Any]:
    """The fields that say whose credentials they are: none, a profile's name, or keys as they are found now."""
    fields: dict[str, Any] = dict.fromkeys((*SECRETS, "profile_name"))
    if not stored:
        return fields | {"profile_name": profile}
    with translate_errors("looking for keys to store"):
        session = boto3.Session(profile_name=profile).get_credentials()
        found = session and session.get_frozen_credentials()
    if not found or not found.access_key or not found.secret_key:
        raise AccessDenied("There are no keys to store. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --profile.")
    return fields | dict(zip(SECRETS, (found.access_key, SecretStr(found.secret_key), found.token), strict=True))


def _check(workspace: Workspace) -> tuple[str, tuple[str, ...]]:
    """What AWS confirms, in a line, and what it could not be asked."""
    unchecked = check_workspace(workspace)
    caller = "credentials that AWS did not tell"
    if not any("whose credentials" in warning for warning in unchecked):
        with translate_errors("asking whose credentials these are"):
            caller = workspace.client("sts").get_caller_identity()["Arn"]
    where = f"bucket {workspace.bucket.bucket_name} in {workspace.region}, role {workspace.role_arn}"
    return f"Checked as {caller}: {where}", unchecked


def _save_if_changed(name: str, wanted: Block, saved: Block | None) -> str:
    """Save the block if it is not saved so; what came of it, without a value."""
    own = saved and _document_name(saved)
    changes = _changes(wanted, saved) if saved and own else []
    if changes or not own:
        wanted.save(own or name, overwrite=True)
    done = f"updated {', '.join(changes)}" if changes else "unchanged" if own else "created"
    return f"{wanted.get_block_type_name()} {own or name}: {done}"


def _changes(wanted: Block, saved: Block) -> list[str]:
    """The fields that differ; one that refers to a block, when it refers to another."""

    def comparable(value: Any) -> Any:
        return _document_name(value) if isinstance(value, Block) else value

    return [
        field
        for field in type(wanted).model_fields
        if comparable(getattr(wanted, field)) != comparable(getattr(saved, field))
    ]


def _document_name(block: Block) -> str | None:
    """The name the block is saved under, if it is a block of its own."""
    return block._block_document_name  # noqa: SLF001 - Prefect tells it in no other way
