"""The pre-flight: checks with six AWS calls at most whether a workspace can train, before anything is paid for.

What AWS does not let the caller check becomes a warning. Whether SageMaker may be given the execution role, and may
assume it, is left to CreateTrainingJob, which refuses such a role before the job costs anything.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, cast

from botocore.exceptions import BotoCoreError, ClientError

from aws.errors import AccessDenied, AwsError, InvalidRequest, NotFound, Unavailable, translate_errors
from aws.workspace import Workspace

CheckResult = AwsError | str
"""An error, or a warning that says what could not be checked."""
SHORT_TIMEOUTS: Final = {"connect_timeout": 3, "read_timeout": 10, "retries": {"total_max_attempts": 2}}
"""For services that training itself does not need, and that a private network may block."""


def check_workspace(workspace: Workspace) -> tuple[str, ...]:
    """Check credentials, bucket, execution role, KMS key and network ids; the warnings say what could not be checked.

    Raises one error that lists all that is wrong, each with its remedy, of the class of the first that is not
    retryable. Into the bucket it writes one empty object, `preflight` under the prefix, and removes it where allowed.
    """
    results = list(_run_checks(workspace))
    errors = [result for result in results if isinstance(result, AwsError)]
    if not errors:
        return tuple(result for result in results if isinstance(result, str))
    first = min(errors, key=lambda error: error.retryable)
    if len(errors) == 1:
        raise first
    listed = "".join(f"\n{number}. {error}" for number, error in enumerate(errors, start=1))
    raise type(first)(f"{len(errors)} things keep this workspace from training:{listed}") from first


def _run_checks(workspace: Workspace) -> Iterator[CheckResult]:
    short_timeouts, caller, accepted = _with_short_timeouts(workspace), "", True
    try:
        with translate_errors("asking whose credentials these are"):
            caller = short_timeouts.client("sts").get_caller_identity()["Arn"]
    except AwsError as error:
        yield (result := _error_or_warning(error, "whose credentials these are"))
        accepted = isinstance(result, str)
    if accepted:  # else every other call would be refused as well
        yield from _check_bucket(workspace)
        yield from _check_role(short_timeouts, caller)
        if workspace.kms_key_id:
            yield from _check_kms_key(short_timeouts, workspace.kms_key_id)
    subnets = [("subnet", name) for name in workspace.subnets]
    for prefix, name in subnets + [("sg", name) for name in workspace.security_group_ids]:
        if not re.fullmatch(rf"{prefix}-[0-9a-f]+", name):
            yield InvalidRequest(f"{name!r} is not an id such as {prefix}-0a1b2c3d4e5f60718. Correct the workspace's.")


def _with_short_timeouts(workspace: Workspace) -> Workspace:
    """The same workspace with clients that fail after some seconds."""
    # Both of prefect-aws's kinds of credentials have these parameters; their base class does not say so.
    credentials = cast("Any", workspace.bucket.credentials)
    parameters = credentials.aws_client_parameters
    parameters = parameters.model_copy(update={"config": {**(parameters.config or {}), **SHORT_TIMEOUTS}})
    credentials = credentials.model_copy(update={"aws_client_parameters": parameters})
    return workspace.model_copy(update={"bucket": workspace.bucket.model_copy(update={"credentials": credentials})})


def _error_or_warning(error: AwsError, what: str, absent: str = "") -> CheckResult:
    """The error itself, `absent` for NotFound, or a warning where a policy or the network only prevents the check."""
    if absent and isinstance(error, NotFound):
        return NotFound(absent)
    # Credentials may assume a role first; if that is denied, there are no credentials.
    assuming = isinstance(error.__cause__, ClientError) and error.__cause__.operation_name.startswith("AssumeRole")
    prevented = error.code in {"AccessDenied", "AccessDeniedException"} and not assuming
    return f"Not checked: {what}. {error}" if prevented or isinstance(error, Unavailable) else error


def _check_bucket(workspace: Workspace) -> Iterator[CheckResult]:
    """Whether the bucket is in the workspace's region, and can be written to.

    S3 returns the region whatever the permissions (S3's API reference, HeadBucket). SageMaker's input "must be in the
    same Amazon Web Services Region as your training job" (CreateTrainingJob); the model goes to the same bucket.
    """
    name, region, refused = workspace.bucket.bucket_name, workspace.region, None
    try:
        with translate_errors(f"looking at bucket {name}"):
            found = workspace.client("s3").head_bucket(Bucket=name).get("BucketRegion", region)
    except AwsError as error:
        # botocore itself follows S3's 301 or 400 to the region of this header, and raises when that refuses as well.
        cause, found, refused = error.__cause__, region, error
        if isinstance(cause, ClientError):
            found = cause.response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", region)
    if found != region:
        yield InvalidRequest(
            f"Bucket {name} is in {found}, the workspace in {region}: SageMaker trains where its data is. Set the "
            f"region of the workspace's credentials to {found}, or take a bucket in {region}."
        )
    elif isinstance(refused, NotFound):
        yield NotFound(f"There is no bucket {name}. Correct its name in the workspace, or create it in {region}.")
    elif refused and not isinstance(refused, AccessDenied):
        yield refused
    else:
        if refused:
            yield f"Not checked: whether S3 tells these credentials what is missing from what is denied. {refused}"
        yield from _check_write(workspace)


def _check_write(workspace: Workspace) -> Iterator[CheckResult]:
    # As uploads do, it leaves the encryption to the bucket: the workspace's key is for what SageMaker writes.
    s3, bucket, key = workspace.client("s3"), workspace.bucket.bucket_name, workspace.key("preflight")
    try:
        with translate_errors(f"writing an empty object, {workspace.uri('preflight')}, to see whether that is allowed"):
            written = s3.put_object(Bucket=bucket, Key=key, Body=b"")
    except AwsError as error:
        yield error
        return
    version: dict[str, Any] = {"VersionId": written["VersionId"]} if "VersionId" in written else {}
    with suppress(ClientError, BotoCoreError):  # the permission to delete is not required
        s3.delete_object(Bucket=bucket, Key=key, **version)


def _check_role(workspace: Workspace, caller: str) -> Iterator[CheckResult]:
    arn, name = workspace.role_arn, workspace.role_arn.rpartition("/")[2]
    if caller and caller.split(":")[4] != arn.split(":")[4]:
        yield AccessDenied(f"{caller} cannot pass {arn}, of another account. Take role and credentials of one account.")
        return
    try:
        with translate_errors(f"looking at the execution role {name}"):
            found = workspace.client("iam").get_role(RoleName=name)["Role"]["Arn"]
    except AwsError as error:
        absent = f"There is no role {arn}. Create it, or correct the workspace's execution role."
        yield _error_or_warning(error, "whether the execution role exists", absent)
    else:
        if found != arn:  # the path is missing, or another
            yield NotFound(f"There is no role {arn}. Set the workspace's execution role to {found}.")


def _check_kms_key(workspace: Workspace, name: str) -> Iterator[CheckResult]:
    """Whether the key is there, in use, and symmetric, as S3 needs it (S3's API reference, Encryption)."""
    try:
        with translate_errors(f"looking at KMS key {name}"):
            key = workspace.client("kms").describe_key(KeyId=name)["KeyMetadata"]
    except AwsError as error:
        absent = f"There is no KMS key {name} in {workspace.region}. Correct it in the workspace, or create it."
        yield _error_or_warning(error, f"whether KMS key {name} can be used", absent)
        return
    use = (key.get("KeyUsage", "ENCRYPT_DECRYPT"), key.get("KeySpec", "SYMMETRIC_DEFAULT"))
    if use != ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT"):
        yield InvalidRequest(f"KMS key {name} is for {' with '.join(use)}. Choose a symmetric one for encryption.")
    # A multi-Region key that is Updating works (inferred).
    if (state := key.get("KeyState", "Enabled")) not in {"Enabled", "Updating"}:
        yield InvalidRequest(f"KMS key {name} is {state}. See that it is Enabled again, or choose another key.")
