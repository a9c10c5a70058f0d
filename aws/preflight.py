"""Pre-flight check whether a workspace can train: at most twelve AWS calls, before anything is paid for.

A check that the caller is not permitted to make becomes a warning. Whether the caller may pass the execution role, and
SageMaker may assume it, is not checked: CreateTrainingJob rejects such a role before the job costs anything.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from aws.errors import AccessDenied, AwsError, InvalidRequest, NotFound, Unavailable, translate_errors
from aws.instance_types import find_unknown_type
from aws.prices import find_price
from aws.storage import write_encryption
from aws.training.compute import Compute
from aws.training.cost import runtime_limit
from aws.training.job_log import LOG_GROUP
from aws.training.request import NAME_PREFIX, image_uri
from aws.workspace import Workspace

CheckResult = AwsError | str
"""An error, or a warning that names what could not be checked."""


def check_workspace(workspace: Workspace, compute: Compute = Compute()) -> tuple[str, ...]:  # noqa: B008 - it is frozen
    """Check credentials, bucket, role, KMS keys, log, prices, network ids and the algorithm's image; return warnings.

    Raises one error that lists all errors with their remedies; its class is that of the first one that is not
    retryable. Writes one empty object, `preflight` under the prefix, to the bucket and deletes it if permitted.
    """
    results = list(_run_checks(workspace, compute))
    errors = [result for result in results if isinstance(result, AwsError)]
    if not errors:
        return tuple(result for result in results if isinstance(result, str))
    first = min(errors, key=lambda error: error.retryable)
    if len(errors) == 1:
        raise first
    listed = "".join(f"\n{number}. {error}" for number, error in enumerate(errors, start=1))
    raise type(first)(f"{len(errors)} problems prevent training with this workspace:{listed}") from first


def _run_checks(workspace: Workspace, compute: Compute) -> Iterator[CheckResult]:
    short_timeouts, caller, accepted = workspace.with_short_timeouts(), "", True
    try:
        with translate_errors("looking up the identity of the credentials"):
            caller = short_timeouts.client("sts").get_caller_identity()["Arn"]
    except AwsError as error:
        yield (result := _error_or_warning(error, "the identity of the credentials"))
        accepted = isinstance(result, str)
    if accepted:  # otherwise every other call would be rejected as well
        bucket = list(_check_bucket(workspace))
        yield from bucket
        yield from _check_role(short_timeouts, caller)
        for key in dict.fromkeys(filter(None, (workspace.kms_key_id, workspace.volume_kms_key_id))):
            yield from _check_kms_key(short_timeouts, key)
        yield from _check_log(short_timeouts)
        yield from _check_instance_types(short_timeouts, compute)
        if not any(isinstance(result, AwsError) for result in bucket):  # it keeps prices
            yield from _check_prices(workspace, compute)
    else:
        with suppress(AwsError):  # only the missing profile knows the region
            yield from _check_bucket_place(workspace.without_credentials())
    try:
        image_uri(workspace.region)
    except AwsError as error:
        yield error
    subnets = [("subnet", name) for name in workspace.subnets]
    for prefix, name in subnets + [("sg", name) for name in workspace.security_group_ids]:
        if not re.fullmatch(rf"{prefix}-[0-9a-f]+", name):
            yield InvalidRequest(f"{name!r} is not an id such as {prefix}-0a1b2c3d4e5f60718. Correct the workspace.")


def _check_instance_types(workspace: Workspace, compute: Compute) -> Iterator[AwsError]:
    """Find types that AWS does not know: CreateTrainingJob would reject them, but a reused job is not created."""
    for name in dict.fromkeys((compute.instance_type, *compute.fallback_instance_types)):
        if unknown := find_unknown_type(workspace, name, "training"):
            yield unknown


def _error_or_warning(error: AwsError, check: str, not_found: str = "") -> CheckResult:
    """Return the error (for NotFound with the message `not_found`), or a warning if the check was not possible."""
    if not_found and isinstance(error, NotFound):
        return NotFound(not_found)
    # Credentials may have to assume a role first; if that is denied, there are no credentials, which is an error.
    assuming = isinstance(error.__cause__, ClientError) and error.__cause__.operation_name.startswith("AssumeRole")
    prevented = error.code in {"AccessDenied", "AccessDeniedException"} and not assuming
    return f"Not checked: {check}. {error}" if prevented or isinstance(error, Unavailable) else error


def _check_bucket(workspace: Workspace) -> Iterator[CheckResult]:
    """Check that the bucket is in the workspace's region and that objects can be written to it."""
    places = list(_check_bucket_place(workspace))
    yield from places
    if not any(isinstance(place, AwsError) for place in places):
        yield from _check_write(workspace)


def _check_bucket_place(workspace: Workspace) -> Iterator[CheckResult]:
    """Check that the bucket exists in the workspace's region; the request may be unsigned, without credentials.

    S3 returns the region regardless of permissions (S3's API reference, HeadBucket). SageMaker's input "must be in the
    same Amazon Web Services Region as your training job" (CreateTrainingJob); the model is written to the same bucket.
    """
    name, region, failure = workspace.bucket.bucket_name, workspace.region, None
    try:
        with translate_errors(f"checking bucket {name}"):
            bucket_region = workspace.client("s3").head_bucket(Bucket=name).get("BucketRegion", region)
    except AwsError as error:
        # After a 301 or 400 botocore retries in the region of this header, and raises if that request fails as well.
        cause, bucket_region, failure = error.__cause__, region, error
        if isinstance(cause, ClientError):
            bucket_region = cause.response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", region)
    if bucket_region != region:
        yield InvalidRequest(
            f"Bucket {name} is in {bucket_region}, but the workspace is in {region}: they must be in one region. "
            f"Set the region of the workspace's credentials to {bucket_region}, or use a bucket in {region}."
        )
    elif isinstance(failure, NotFound):
        yield NotFound(f"There is no bucket {name}. Correct its name in the workspace, or create it in {region}.")
    elif isinstance(failure, AccessDenied):
        yield f"Not checked: whether S3 reports missing objects to these credentials as missing. {failure}"
    elif failure:
        yield failure


def _check_write(workspace: Workspace) -> Iterator[CheckResult]:
    # With the encryption of all other writes: the bucket's policy may demand it.
    s3, bucket, key = workspace.client("s3"), workspace.bucket.bucket_name, workspace.key("preflight")
    try:
        with translate_errors(f"writing the empty object {workspace.uri('preflight')} to check the permission"):
            written = s3.put_object(Bucket=bucket, Key=key, Body=b"", **write_encryption(workspace))
    except AwsError as error:
        yield error
        return
    version: dict[str, Any] = {"VersionId": written["VersionId"]} if "VersionId" in written else {}
    with suppress(ClientError, BotoCoreError):  # the permission to delete is not required
        s3.delete_object(Bucket=bucket, Key=key, **version)


def _check_role(workspace: Workspace, caller: str) -> Iterator[CheckResult]:
    arn, name = workspace.role_arn, workspace.role_arn.rpartition("/")[2]
    if caller and caller.split(":")[4] != arn.split(":")[4]:
        yield AccessDenied(f"{caller} cannot pass {arn} of another account. Use a role and credentials of one account.")
        return
    try:
        with translate_errors(f"checking the execution role {name}"):
            found = workspace.client("iam").get_role(RoleName=name)["Role"]["Arn"]
    except AwsError as error:
        not_found = f"There is no role {arn}. Create it, or correct the workspace's execution role."
        yield _error_or_warning(error, "whether the execution role exists", not_found)
    else:
        if found != arn:  # the path is missing or differs
            yield NotFound(f"There is no role {arn}. Set the workspace's execution role to {found}.")


def _check_log(workspace: Workspace) -> Iterator[str]:
    """Warn if the log of training jobs cannot be read, as jobs can be followed without it."""
    logs, stream = workspace.client("logs"), f"{NAME_PREFIX}preflight/algo-1-0"
    calls = (
        partial(logs.describe_log_streams, logGroupName=LOG_GROUP, logStreamNamePrefix=stream),
        partial(logs.get_log_events, logGroupName=LOG_GROUP, logStreamName=stream, limit=1),
    )
    for call in calls:
        # The stream does not exist; the log group is created with the account's first job.
        try:
            with suppress(NotFound), translate_errors("reading the log of training jobs"):
                call()
        except AwsError as error:
            yield f"Training jobs will be followed without their log, progress and learning curve. {error}"
            return


def _check_prices(workspace: Workspace, compute: Compute) -> Iterator[CheckResult]:
    """Check that `max_cost_usd` can be enforced and pays for a job on one of the instance types; warn of the others."""
    warnings: list[str] = []
    refused: list[InvalidRequest] = []
    types = dict.fromkeys((compute.instance_type, *compute.fallback_instance_types))
    for name in types:
        found = find_price(workspace, name, warnings.append)
        try:
            runtime_limit(compute.model_copy(update={"instance_type": name}), found.price, found.problem)
        except InvalidRequest as error:
            refused.append(error)
    yield from warnings
    yield from refused if len(refused) == len(types) else map(str, refused)


def _check_kms_key(workspace: Workspace, name: str) -> Iterator[CheckResult]:
    """Check that the key exists, is enabled and is symmetric, as S3 and EBS require (their references)."""
    try:
        with translate_errors(f"checking KMS key {name}"):
            key = workspace.client("kms").describe_key(KeyId=name)["KeyMetadata"]
    except AwsError as error:
        not_found = f"There is no KMS key {name} in {workspace.region}. Correct it in the workspace, or create it."
        yield _error_or_warning(error, f"whether KMS key {name} can be used", not_found)
        return
    use = (key.get("KeyUsage", "ENCRYPT_DECRYPT"), key.get("KeySpec", "SYMMETRIC_DEFAULT"))
    if use != ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT"):
        yield InvalidRequest(f"KMS key {name} is for {' with '.join(use)}. Choose a symmetric encryption key.")
    # A multi-Region key that is Updating can be used (inferred).
    if (state := key.get("KeyState", "Enabled")) not in {"Enabled", "Updating"}:
        yield InvalidRequest(f"KMS key {name} is {state}, not Enabled. Enable it, or choose another key.")
