"""What an error that AWS answers with means, and what to do about it: by its wording, its code, its HTTP status.

Codes are those common to all services and those of S3, SageMaker, CloudWatch Logs, STS and IAM, from their API
references and from botocore's own retry tables. Wordings are those of real answers.
"""

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

Kind = Literal["AccessDenied", "NotFound", "InvalidRequest", "QuotaExceeded", "NoCapacity", "Unavailable"]


@dataclass(frozen=True)
class Reading:
    """The kind of error an answer is, what to do about it and, for a quota, whether waiting is worth it."""

    kind: Kind
    remedy: str
    waiting_helps: bool = True


DENIED = Reading("AccessDenied", "Check the workspace's credentials and the policies attached to them.")
EXPIRED = Reading("AccessDenied", "Renew the session and give the workspace its new credentials.")
PASSING = Reading("Unavailable", "It is tried again.")
REFUSED = Reading("InvalidRequest", "Correct the parameter that the message names.")
_UNKNOWN_CALLER = Reading("AccessDenied", "Check the workspace's access key, secret key and session token.")
_WRONG_CLOCK = Reading("AccessDenied", "Set this machine's clock.")
_MISSING = Reading("NotFound", "Check the name, and that the workspace's region and account are the ones meant.")
_REGION = Reading("InvalidRequest", "Set the workspace's region to the bucket's, or take a bucket in its region.")
_KEY = Reading("InvalidRequest", "Check that the KMS key of the workspace or bucket is enabled, and in this region.")
_IN_USE = Reading("QuotaExceeded", "Wait for other jobs to end, or ask for a higher quota in Service Quotas.")
_TOO_LOW = Reading(
    "QuotaExceeded", "Ask for a higher quota in Service Quotas, or choose another instance type.", waiting_helps=False
)

_CODES: Final = {
    PASSING: "BadDigest BandwidthLimitExceeded ConcurrentModification ConditionalRequestConflict ConflictException "
    "EC2ThrottledException "
    "IDPCommunicationError InternalError InternalFailure InternalServerError InternalServerException "
    "InternalServiceError InternalServiceException LimitExceededException OperationAborted OperationAbortedException "
    "PriorRequestNotComplete ProvisionedThroughputExceededException ReplicatedWriteConflictException "
    "RequestLimitExceeded RequestThrottled RequestThrottledException RequestTimeout RequestTimeoutException "
    "ServiceFailure ServiceUnavailable ServiceUnavailableException SlowDown ThrottledException Throttling "
    "ThrottlingException TooManyRequestsException TransactionInProgressException",
    DENIED: "AccessDenied AccessDeniedException AllAccessDisabled UnauthorizedOperation",
    EXPIRED: "ExpiredToken ExpiredTokenException RequestExpired TokenRefreshRequired",
    _UNKNOWN_CALLER: "AuthFailure AuthorizationHeaderMalformed IncompleteSignature InvalidAccessKeyId "
    "InvalidClientTokenId InvalidSignatureException InvalidToken MissingAuthenticationToken "
    "MissingAuthenticationTokenException SignatureDoesNotMatch UnrecognizedClientException",
    _WRONG_CLOCK: "RequestInTheFuture RequestTimeTooSkewed",
    _MISSING: "NoSuchBucket NoSuchEntity NoSuchKey NoSuchUpload NoSuchVersion ResourceNotFound "
    "ResourceNotFoundException",
    _REGION: "301 IllegalLocationConstraintException PermanentRedirect",
    _KEY: "KMS.DisabledException KMS.KMSInvalidStateException KMS.NotFoundException",
    _IN_USE: "ResourceLimitExceeded ServiceQuotaExceededException",
    # S3's answer to a HEAD has no body; botocore makes the status its code.
    Reading("InvalidRequest", "S3 does not say why. Renew the session, and check the bucket's region."): "400",
}
BY_CODE: Final = {code: reading for reading, listed in _CODES.items() for code in listed.split()}
_BY_STATUS: Final = {403: DENIED, 404: _MISSING, 429: PASSING}

_CALLER = r"User: (?P<who>\S+) is not authorized to perform: "
_RESOURCE = r"(?: on resource: \"?(?P<what>[^\"]+?)\"?)?(?= because | with an explicit|\.?$)"
# In order; a cure may name what the wording holds, and a resource that is not named is every one, as in a policy.
_WORDINGS: Final[tuple[tuple[str, Reading], ...]] = (
    (
        rf"{_CALLER}(?P<action>[\w:]+){_RESOURCE} with an explicit deny",
        Reading("AccessDenied", "Remove the deny of {action} on {what} for {who}: no other policy can allow it."),
    ),
    (
        rf"{_CALLER}iam:PassRole{_RESOURCE}",
        Reading(
            "AccessDenied",
            "Allow iam:PassRole on {what} for {who}, to sagemaker.amazonaws.com: whoever starts a training job passes "
            "it the execution role.",
        ),
    ),
    (
        rf"{_CALLER}(?P<action>[\w:]+){_RESOURCE}",
        Reading("AccessDenied", "Allow {action} on {what} for {who}."),
    ),
    (
        r"Could not assume role (?P<role>\S+)\. Please ensure",
        Reading(
            "AccessDenied",
            "Check that {role} exists, and let its trust policy allow sts:AssumeRole to sagemaker.amazonaws.com.",
        ),
    ),
    (
        r'No S3 objects found under S3 URL "(?P<url>[^"]*)"',
        Reading(
            "NotFound",
            "Check that {url} holds objects in the workspace's region, and allow the execution role s3:ListBucket on "
            "its bucket.",
        ),
    ),
    (r"the region '[^']*' is wrong; expecting '|[Tt]he bucket is in this region: ", _REGION),
    (
        r"Value '(?P<type>[^']*)' at '\S*instanceType' failed to satisfy constraint: Member must satisfy enum",
        Reading("InvalidRequest", "Choose another instance type: SageMaker does not train on {type}."),
    ),
    (
        r"resource training-job/(?P<type>\S+) is not available in this region",
        Reading(
            "QuotaExceeded", "Choose another instance type: this region does not train on {type}.", waiting_helps=False
        ),
    ),
    (
        r"Invalid MaxWaitTimeInSeconds",
        Reading("InvalidRequest", "Set max_wait_seconds with spot only, and to max_runtime_seconds or more."),
    ),
    (
        # EC2's wording; that SageMaker hands it on is inferred.
        r"(?:subnet ID|security group) '(?P<id>[^']+)' does not exist",
        Reading("NotFound", "Check {id} in the workspace: subnets and security groups must be in its region."),
    ),
    (r"Cannot find the requested image", Reading("NotFound", "Check that the workspace's region has Linear Learner.")),
    (r"Requested resource not found|Could not find job to update|ModelPackage(?:Group)? \S+ does not exist", _MISSING),
    (
        r"InsufficientInstanceCapacity|Unable to provision requested ML compute capacity",
        Reading("NoCapacity", "Wait, or choose another instance type."),
    ),
    (r"^Signature (?:expired|not yet current)", _WRONG_CLOCK),
)
_LIMIT = re.compile(
    r"is (?P<limit>\d+)\S* \w+, with current utilization of \S+ \w+ and a request delta of (?P<delta>\d+)\S* \w+"
)
_S3_ACTIONS: Final = {
    **dict.fromkeys(
        ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
        "s3:PutObject on the object",
    ),
    "GetObject": "s3:GetObject on the object, and s3:GetObjectVersion where the bucket keeps versions",
    "HeadObject": "s3:GetObject on the object and s3:ListBucket on its bucket: without that, S3 denies what is missing",
    **dict.fromkeys(("HeadBucket", "ListObjectsV2"), "s3:ListBucket on the bucket"),
}
"""What the documentation says S3's operations need, for the denials that do not."""


def read_answer(code: str, message: str, status: int, operation: str) -> Reading:
    """What an answer means: its wording first, then its code, then its HTTP status."""
    for wording, reading in _WORDINGS:
        if match := re.search(wording, message):
            return replace(reading, remedy=reading.remedy.format(**match.groupdict("*")))
    reading = BY_CODE.get(code) or _BY_STATUS.get(status) or (PASSING if status >= 500 else REFUSED)
    if reading is _IN_USE:
        return _read_quota(message)
    if reading is DENIED and operation in _S3_ACTIONS:
        return replace(reading, remedy=f"Check the workspace's credentials, and allow them {_S3_ACTIONS[operation]}.")
    return reading


def _read_quota(message: str) -> Reading:
    """Too low for what was asked, however long one waits; or in use, which is also assumed when it cannot be told."""
    found = _LIMIT.search(message)
    return _TOO_LOW if found and int(found["limit"]) < int(found["delta"]) else _IN_USE
