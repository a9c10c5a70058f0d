"""The errors of this package, one tree below AwsError, and the translation of botocore's errors into them.

Every message says what was being done, what AWS answered and what to do; `retryable` decides whether a step retries.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from aws.error_catalogue import diagnose_client_error, diagnose_error

OutcomeKind = Literal[
    "completed",
    "capacity",  # AWS had no instances
    "internal",  # a fault of AWS's own
    "compute",  # too little memory, disk or time: other instances or limits are needed
    "input",  # the algorithm refuses the data or the hyperparameters
    "other",  # a permission, the network, a crash, a stop: something outside of the request may change it
]


@dataclass(frozen=True)
class JobOutcome:
    """Why a training job ended, in AWS's words, and what to do."""

    kind: OutcomeKind
    cause: str
    remedy: str

    @property
    def retry(self) -> Literal["now", "later", "never"]:
        """Whether the same input may be submitted again: by the same run, by a later one, or not at all."""
        if self.kind in {"capacity", "internal"}:
            return "now"
        return "never" if self.kind in {"compute", "input"} else "later"


class AwsError(Exception):
    """AWS did not do what was requested; `code` is AWS's own for it, where AWS answered with one."""

    retryable = False
    code = ""


class AccessDenied(AwsError):
    """The credentials are missing, wrong, or lack a permission."""


class NotFound(AwsError):
    """Something the request names does not exist."""


class InvalidRequest(AwsError):
    """AWS refuses the request; sending it again would not help."""


class QuotaExceeded(AwsError):
    """An account limit is reached; `waiting_helps` is False when the limit itself is below what was requested."""

    waiting_helps = True


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


_CLASSES = {kind.__name__: kind for kind in AwsError.__subclasses__()}


def translate_error(error: ClientError | BotoCoreError | Boto3Error, doing: str) -> AwsError:
    """The AwsError that `error` stands for; `doing` completes "AWS failed while …"."""
    code = ""
    if isinstance(error, ClientError):
        details = error.response.get("Error", {})
        code, message = details.get("Code", ""), details.get("Message", "")
        # When a response has no body, botocore uses the status as the code.
        status = int(code) if code.isdecimal() else error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        diagnosis = diagnose_error(code, message, status, error.operation_name)
        # After a wrong signature some services repeat the canonical request, which holds the session token.
        message = re.split(r"\s*The Canonical String for this request", message)[0]
        cause = f"{code or 'error'}: {message or 'no message'}"
    else:
        cause = str(error)
        diagnosis = diagnose_client_error(error)
    translated = _CLASSES[diagnosis.kind](f"AWS failed while {doing}: {cause.rstrip('.')}. {diagnosis.remedy}")
    translated.code = code
    if isinstance(translated, QuotaExceeded):
        translated.waiting_helps = diagnosis.waiting_helps
    return translated


@contextmanager
def translate_errors(doing: str) -> Iterator[None]:
    """Translate boto's errors that the block raises; `doing` completes "AWS failed while …"."""
    try:
        yield
    except (ClientError, BotoCoreError, Boto3Error) as error:
        # The error of a transfer has the one that AWS answered with as its context, not as its cause.
        original = error.__context__ if isinstance(error, Boto3Error) else error
        original = original if isinstance(original, ClientError | BotoCoreError) else error
        raise translate_error(original, doing) from error
