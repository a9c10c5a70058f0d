"""The errors of this package, and the translation of botocore's errors into them.

AwsError
├── AccessDenied       credentials or policies do not allow it
├── NotFound           a bucket, object, role or job does not exist
├── InvalidRequest     AWS refuses the request, and would refuse it again
├── QuotaExceeded      the account may not run this many instances of this type
├── NoCapacity         AWS has no such instances now
├── Unavailable        throttling, a service fault, no network: worth trying again
└── TrainingFailed     the training job ended without a model

Every message says what was being done, what AWS answered and what to do; `retryable` decides whether a step retries.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from boto3.exceptions import Boto3Error, RetriesExceededError
from botocore.exceptions import (
    BotoCoreError,
    CapacityNotAvailableError,
    ChecksumError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from pydantic import BaseModel, ConfigDict

from aws.error_catalogue import (
    ACCESS_DENIED,
    EXPIRED_CREDENTIALS,
    INVALID_REQUEST,
    TRANSIENT,
    Diagnosis,
    diagnose_error,
)

OutcomeKind = Literal[
    "completed",
    "capacity",  # AWS had no instances
    "internal",  # a fault of AWS's own
    "memory",
    "disk",
    "access",  # a permission is lacking
    "network",  # no way to S3
    "download",  # the data could not be downloaded
    "output",  # the model could not be uploaded
    "input",  # the algorithm refuses the data or the hyperparameters
    "algorithm",  # the algorithm crashed
    "max_runtime",
    "max_wait",
    "stopped",  # by somebody
    "unknown",
]
Retry = Literal["now", "later", "never"]


class JobOutcome(BaseModel):
    """Why a training job ended, in AWS's words, what to do, and whether the same input may be submitted again.

    `retry` is "now" when the same run may submit it again, "later" when a later run may, once something outside of the
    job has changed, and "never" when it would end in the same way again. A "never" of kind "memory", "disk" or
    "max_runtime" holds for the same compute only.
    """

    model_config = ConfigDict(frozen=True)

    kind: OutcomeKind
    cause: str
    remedy: str
    retry: Retry


class AwsError(Exception):
    """AWS did not do what was requested."""

    retryable = False


class AccessDenied(AwsError):
    """The credentials are missing, wrong, or lack a permission."""


class NotFound(AwsError):
    """Something the request names does not exist."""


class InvalidRequest(AwsError):
    """AWS refuses the request; sending it again would not help."""


class QuotaExceeded(AwsError):
    """An account limit is reached; `waiting_helps` is False when the limit itself is below what was requested."""

    def __init__(self, message: str, *, waiting_helps: bool = True) -> None:
        super().__init__(message)
        self.waiting_helps = waiting_helps


class NoCapacity(AwsError):
    """AWS has no such instances now; not retryable, as submission waits and tries other types by itself."""


class Unavailable(AwsError):
    """A transient fault: throttling, a service error, a lost connection."""

    retryable = True


class TrainingFailed(AwsError):
    """The job ended as Failed or Stopped; with its outcome, its cost in USD and the end of its log where known."""

    def __init__(
        self, message: str = "", *, outcome: JobOutcome | None = None, usd: float = 0.0, log_tail: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.outcome, self.usd, self.log_tail = outcome, usd, log_tail


_CLASSES = {kind.__name__: kind for kind in (AccessDenied, NotFound, InvalidRequest, NoCapacity, Unavailable)}
_CLIENT_SIDE_ERRORS: tuple[tuple[tuple[type[Exception], ...], Diagnosis], ...] = (
    ((NoRegionError,), Diagnosis("AccessDenied", "Set the region in the workspace's credentials.")),
    ((NoCredentialsError, PartialCredentialsError, ProfileNotFound, CredentialRetrievalError), ACCESS_DENIED),
    ((SSOError, TokenRetrievalError), EXPIRED_CREDENTIALS),
    ((NoConnectionError, HTTPClientError, IncompleteReadError, RetriesExceededError), TRANSIENT),
    ((ChecksumError, FlexibleChecksumError, CapacityNotAvailableError), TRANSIENT),
)


def error_code_and_message(error: ClientError) -> tuple[str, str]:
    """The code and the message of AWS's response; empty where it has none."""
    details = error.response.get("Error", {})
    return details.get("Code", ""), details.get("Message", "")


def translate_error(error: ClientError | BotoCoreError | Boto3Error, doing: str) -> AwsError:
    """The AwsError that `error` stands for; `doing` completes "AWS failed while …"."""
    if isinstance(error, ClientError):
        code, message = error_code_and_message(error)
        cause = f"{code or 'error'}: {_without_secrets(message) or 'no message'}"
        diagnosis = diagnose_error(code, message, _http_status(error), error.operation_name)
    else:
        cause = str(error)
        known = (diagnosis for classes, diagnosis in _CLIENT_SIDE_ERRORS if isinstance(error, classes))
        diagnosis = next(known, INVALID_REQUEST)
    message = f"AWS failed while {doing}: {cause.rstrip('.')}. {diagnosis.remedy}"
    if diagnosis.kind == "QuotaExceeded":
        return QuotaExceeded(message, waiting_helps=diagnosis.waiting_helps)
    return _CLASSES[diagnosis.kind](message)


def _without_secrets(message: str) -> str:
    # After a wrong signature some services repeat the canonical request, which holds the session token.
    return re.split(r"\s*The Canonical String for this request", message)[0]


def _http_status(error: ClientError) -> int:
    # When a response has no body, botocore uses the status as the code.
    code = error_code_and_message(error)[0]
    return int(code) if code.isdecimal() else error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


@contextmanager
def translate_errors(doing: str) -> Iterator[None]:
    """Translate boto's errors that the block raises; `doing` completes "AWS failed while …"."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise translate_error(error, doing) from error
    except Boto3Error as error:
        # The error of a transfer has the one that AWS answered with as its context, not as its cause.
        original = error.__context__
        raise translate_error(
            original if isinstance(original, ClientError | BotoCoreError) else error, doing
        ) from error
