"""What can go wrong with AWS, drawn as a tree; botocore's errors are translated here and nowhere else.

AwsError
├── AccessDenied       credentials or policies do not allow it
├── NotFound           a bucket, object, role or job that is not there
├── InvalidRequest     AWS refuses the request as it stands
├── QuotaExceeded      the account may not run this many instances of this type
├── NoCapacity         AWS has no such instances now
├── Unavailable        throttling, a service fault, no network: worth trying again
└── TrainingFailed     the training job ended without a model

Every message says what was being done, what AWS answered and what to do; `retryable` is what retries look at.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

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

from aws.error_catalogue import DENIED, EXPIRED, PASSING, REFUSED, Reading, read_answer
from aws.training.outcome import JobOutcome


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
    """An account limit stands in the way; `waiting_helps` unless the limit itself is below what was asked for."""

    def __init__(self, message: str, *, waiting_helps: bool = True) -> None:
        super().__init__(message)
        self.waiting_helps = waiting_helps


class NoCapacity(AwsError):
    """AWS has no such instances now; no retry of a step, as submitting already waits and takes other types."""


class Unavailable(AwsError):
    """A passing fault: throttling, a service error, a lost connection."""

    retryable = True


class TrainingFailed(AwsError):
    """The job ended as Failed or Stopped; with what it came to, its cost in USD and the end of its log where known."""

    def __init__(
        self, message: str = "", *, outcome: JobOutcome | None = None, usd: float = 0.0, log_tail: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.outcome, self.usd, self.log_tail = outcome, usd, log_tail


_CLASSES = {kind.__name__: kind for kind in (AccessDenied, NotFound, InvalidRequest, NoCapacity, Unavailable)}
_BEFORE_ANY_ANSWER: tuple[tuple[tuple[type[Exception], ...], Reading], ...] = (
    ((NoRegionError,), Reading("AccessDenied", "Set the region in the workspace's credentials.")),
    ((NoCredentialsError, PartialCredentialsError, ProfileNotFound, CredentialRetrievalError), DENIED),
    ((SSOError, TokenRetrievalError), EXPIRED),
    ((NoConnectionError, HTTPClientError, IncompleteReadError, RetriesExceededError), PASSING),
    ((ChecksumError, FlexibleChecksumError, CapacityNotAvailableError), PASSING),
)


def answer(error: ClientError) -> tuple[str, str]:
    """The code and the message AWS answered with; empty where it gave none."""
    said = error.response.get("Error", {})
    return said.get("Code", ""), said.get("Message", "")


def translate(error: ClientError | BotoCoreError | Boto3Error, doing: str) -> AwsError:
    """`error` as one of this tree; `doing` completes "AWS failed while …"."""
    if isinstance(error, ClientError):
        code, message = answer(error)
        said = f"{code or 'error'}: {_printable(message) or 'no message'}"
        reading = read_answer(code, message, _status(error), error.operation_name)
    else:
        said = str(error)
        known = (reading for classes, reading in _BEFORE_ANY_ANSWER if isinstance(error, classes))
        reading = next(known, REFUSED)
    text = f"AWS failed while {doing}: {said.rstrip('.')}. {reading.remedy}"
    if reading.kind == "QuotaExceeded":
        return QuotaExceeded(text, waiting_helps=reading.waiting_helps)
    return _CLASSES[reading.kind](text)


def _printable(message: str) -> str:
    # To a wrong signature some services add the request it should have been computed of, session token included.
    return re.split(r"\s*The Canonical String for this request", message)[0]


def _status(error: ClientError) -> int:
    # Without a body to read a code from, botocore makes the status the code.
    code = answer(error)[0]
    return int(code) if code.isdecimal() else error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise boto's errors from the block as one of this tree."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise translate(error, doing) from error
    except Boto3Error as error:
        # A transfer's error hides the one that AWS answered with, and names no cause.
        hidden = error.__context__
        raise translate(hidden if isinstance(hidden, ClientError | BotoCoreError) else error, doing) from error
