"""What can go wrong with AWS, drawn as a tree; botocore's errors are translated here and nowhere else.

AwsError
├── AccessDenied       credentials or policies do not allow it
├── NotFound           a bucket, object, role or job that is not there
├── InvalidRequest     AWS refuses the request as it stands
├── QuotaExceeded      the account may not run this many instances of this type
├── Unavailable        throttling, a service fault, no network: worth trying again
└── TrainingFailed     the training job ended without a model

Every message says what was being done, what AWS answered and what to do; `retryable` is what retries look at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)


class AwsError(Exception):
    """AWS could not do what was asked."""

    retryable = False


class AccessDenied(AwsError):
    """The credentials are missing, wrong, or lack a permission."""


class NotFound(AwsError):
    """Something the request names does not exist."""


class InvalidRequest(AwsError):
    """AWS refuses the request; sending it again would not help."""


class QuotaExceeded(AwsError):
    """An account limit stands in the way."""


class Unavailable(AwsError):
    """A passing fault: throttling, a service error, a lost connection."""

    retryable = True


class TrainingFailed(AwsError):
    """The job ended as Failed or Stopped."""


@dataclass(frozen=True)
class _Kind:
    error: type[AwsError]
    cure: str


_NO_ACCESS = _Kind(AccessDenied, "Check the workspace's credentials and the policies attached to them.")
_MISSING = _Kind(NotFound, "Check the name, and that the workspace's region and account are the ones meant.")
_BUSY = _Kind(Unavailable, "It is tried again.")
_REFUSED = _Kind(InvalidRequest, "Correct the parameter that the message names.")
_QUOTA = _Kind(QuotaExceeded, "Ask for a higher quota in Service Quotas, or choose another instance type.")

_KINDS = {
    **dict.fromkeys(
        (
            "AccessDenied", "AccessDeniedException", "403", "ExpiredToken", "ExpiredTokenException", "InvalidToken",
            "InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException",
        ),
        _NO_ACCESS,
    ),
    **dict.fromkeys(("NoSuchBucket", "NoSuchKey", "404", "ResourceNotFound", "ResourceNotFoundException"), _MISSING),
    **dict.fromkeys(
        (
            "Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown",
            "RequestTimeout", "InternalFailure", "InternalError", "InternalServerError", "ServiceUnavailable",
            "500", "503",
        ),
        _BUSY,
    ),
    "ResourceLimitExceeded": _QUOTA,
}  # fmt: skip
_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, ProfileNotFound, NoRegionError)


def answer(error: ClientError) -> tuple[str, str]:
    """The code and the message AWS answered with; empty where it gave none."""
    said = error.response.get("Error", {})
    return said.get("Code", ""), said.get("Message", "")


def translate(error: ClientError | BotoCoreError, doing: str) -> AwsError:
    """`error` as one of this tree; `doing` completes "AWS failed while …"."""
    if isinstance(error, ClientError):
        code, message = answer(error)
        kind = _KINDS.get(code, _REFUSED)
        said = f"{code or 'error'}: {message or 'no message'}"
    elif isinstance(error, _CREDENTIALS):
        kind, said = _NO_ACCESS, str(error)
    elif isinstance(error, ParamValidationError):
        kind, said = _REFUSED, str(error)
    else:
        kind, said = _BUSY, str(error)
    return kind.error(f"AWS failed while {doing}: {said.rstrip('.')}. {kind.cure}")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise botocore's errors from the block as one of this tree."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise translate(error, doing) from error
    except Boto3Error as error:
        # A transfer's error hides the one that AWS answered with, and names no cause.
        if isinstance(error.__context__, ClientError | BotoCoreError):
            raise translate(error.__context__, doing) from error
        raise
