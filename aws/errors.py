"""Exceptions of this package, all derived from AwsError, and the translation of botocore's exceptions into them.

Every message states the operation, the response of AWS and the remedy; `retryable` decides whether a task retries.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError, ProxyConnectionError
from botocore.httpsession import mask_proxy_url
from botocore.utils import get_environ_proxies

from aws.error_catalogue import diagnose_client_error, diagnose_error

OutcomeKind = Literal[
    "completed",
    "capacity",  # AWS had no instances available
    "internal",  # an internal error of AWS
    "compute",  # too little memory, disk or time: other instances or limits are needed
    "input",  # the algorithm rejects the data or the hyperparameters
    "other",  # a permission, the network, a crash or a stop: the same request may succeed later
]


@dataclass(frozen=True)
class JobOutcome:
    """Why a training job ended, as AWS reports it, and the remedy."""

    kind: OutcomeKind
    cause: str
    remedy: str

    @property
    def retry(self) -> Literal["now", "later", "never"]:
        """When the same input may be submitted again: now by the same run, later by another run, or never."""
        if self.kind in {"capacity", "internal"}:
            return "now"
        return "never" if self.kind in {"compute", "input"} else "later"


class AwsError(Exception):
    """Base class of all errors of AWS; `code` is the error code of the response, empty if there is none."""

    retryable = False
    code = ""


class AccessDenied(AwsError):
    """The credentials are missing, wrong, or lack a permission."""


class NotFound(AwsError):
    """A resource that the request names does not exist."""


class InvalidRequest(AwsError):
    """The request is not valid; sending it again does not help."""


class UnsupportedInstanceType(AwsError):
    """The request is not valid because of its instance type; the same request for another type may be."""


class QuotaExceeded(AwsError):
    """A quota of the account is exceeded; `waiting_helps` is False when the request is larger than the quota."""

    waiting_helps = True


class NoCapacity(AwsError):
    """AWS has no instances of the type available; not retryable, as submission itself waits and tries other types."""


class EndpointUpdateFailed(AwsError):
    """An endpoint was not created or updated; the message has the cause and the remedy."""


class Unavailable(AwsError):
    """A transient error: throttling, a service error, a lost connection."""

    retryable = True


class TrainingFailed(AwsError):
    """The job ended as Failed or Stopped; has its outcome, its cost in USD and its last log lines, where known."""

    def __init__(
        self, message: str = "", *, outcome: JobOutcome | None = None, usd: float = 0.0, log_tail: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.outcome, self.usd, self.log_tail = outcome, usd, log_tail


class EndpointError(AwsError):
    """The container of an endpoint answered a request with an error; `status` is its HTTP status, 0 if not known."""

    def __init__(self, message: str = "", *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


_CLASSES = {subclass.__name__: subclass for subclass in AwsError.__subclasses__()}


def translate_error(error: ClientError | BotoCoreError | Boto3Error, doing: str) -> AwsError:
    """Return `error` as an AwsError; `doing` completes "AWS failed while …"."""
    code = ""
    if isinstance(error, ClientError):
        details = error.response.get("Error", {})
        code, message = details.get("Code", ""), details.get("Message", "")
        # When a response has no body, botocore uses the status as the code.
        status = int(code) if code.isdecimal() else error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        diagnosis = diagnose_error(code, message, status, error.operation_name)
        # Some responses to a wrong signature contain the canonical request, which includes the session token.
        message = re.split(r"\s*The Canonical String for this request", message)[0]
        # SageMaker lists all of its 250 instance types when it rejects one.
        message = re.sub(r"(enum value set: \[)[^\]]{300,}\]", r"\1…]", message)
        cause = f"{code or 'error'}: {message or 'no message'}"
        if error.operation_name.startswith("AssumeRole"):  # it may precede any call
            cause = f"{cause.rstrip('.')}. The role of the workspace's credentials could not be assumed"
    else:
        cause = f"{str(error).rstrip('.')}{_describe_proxy(error)}"
        diagnosis = diagnose_client_error(error)
    translated = _CLASSES[diagnosis.kind](f"AWS failed while {doing}: {cause.rstrip('.')}. {diagnosis.remedy}")
    translated.code = code
    if isinstance(translated, QuotaExceeded):
        translated.waiting_helps = diagnosis.waiting_helps
    return translated


def _describe_proxy(error: BotoCoreError | Boto3Error) -> str:
    """Return which proxy of the environment a failed connection was to use, without its password; empty if none."""
    if isinstance(error, ProxyConnectionError):  # it names the proxy itself
        return ". Check the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
    url = getattr(error, "kwargs", {}).get("endpoint_url", "")
    proxy = mask_proxy_url(get_environ_proxies(url).get(urlsplit(url).scheme, "")) if url else ""
    return f", through the proxy {proxy}. Check the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY" if proxy else ""


@contextmanager
def translate_errors(doing: str) -> Iterator[None]:
    """Translate boto3 and botocore errors raised in the block; `doing` completes "AWS failed while …"."""
    try:
        yield
    except (ClientError, BotoCoreError, Boto3Error) as error:
        # boto3's transfer errors have the error response of AWS as their context, not as their cause.
        original = error.__context__ if isinstance(error, Boto3Error) else error
        original = original if isinstance(original, ClientError | BotoCoreError) else error
        raise translate_error(original, doing) from error
