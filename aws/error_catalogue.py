"""Meaning and remedy of AWS error responses, by their wording, error code or HTTP status.

The codes are those common to all services and those of S3, SageMaker, CloudWatch Logs, STS and IAM, from their API
references and botocore's retry tables. The wordings come from real responses.
"""

import re
from dataclasses import dataclass, replace
from string import Template
from typing import Final, Literal

ErrorKind = Literal["AccessDenied", "NotFound", "InvalidRequest", "QuotaExceeded", "NoCapacity", "Unavailable"]


@dataclass(frozen=True)
class Diagnosis:
    """The kind of an error, its remedy and, for a quota, whether waiting can help."""

    kind: ErrorKind
    remedy: str
    waiting_helps: bool = True


ACCESS_DENIED = Diagnosis("AccessDenied", "Check the workspace's credentials and their policies.")
EXPIRED_CREDENTIALS = Diagnosis("AccessDenied", "Renew the session and store its new credentials in the workspace.")
TRANSIENT = Diagnosis("Unavailable", "Retried automatically; if the error persists, run again later.")
INVALID_REQUEST = Diagnosis("InvalidRequest", "Correct the parameter that the message names.")
_WRONG_CLOCK = Diagnosis("AccessDenied", "Correct the clock of this machine.")
_NOT_FOUND = Diagnosis("NotFound", "Check the name, and the region and account of the workspace.")
_WRONG_REGION = Diagnosis(
    "InvalidRequest", "Set the workspace's region to the bucket's region, or use a bucket in the workspace's."
)
_UNUSABLE_KMS_KEY = Diagnosis(
    "InvalidRequest", "Check that the KMS key of the workspace or bucket is enabled and in this region."
)
_QUOTA_IN_USE = Diagnosis("QuotaExceeded", "Wait until other jobs end, or request a higher quota in Service Quotas.")
_QUOTA_TOO_LOW = Diagnosis(
    "QuotaExceeded", "Request a higher quota in Service Quotas, or choose another instance type.", waiting_helps=False
)

_CODES_BY_DIAGNOSIS: Final = {
    TRANSIENT: "BadDigest BandwidthLimitExceeded ConcurrentModification ConditionalRequestConflict ConflictException "
    "EC2ThrottledException IDPCommunicationError InternalError InternalFailure InternalServerError "
    "InternalServerException InternalServiceError InternalServiceException LimitExceededException OperationAborted "
    "OperationAbortedException PriorRequestNotComplete ProvisionedThroughputExceededException "
    "ReplicatedWriteConflictException RequestLimitExceeded RequestThrottled RequestThrottledException RequestTimeout "
    "RequestTimeoutException ServiceFailure ServiceUnavailable ServiceUnavailableException SlowDown "
    "ThrottledException Throttling ThrottlingException TooManyRequestsException TransactionInProgressException",
    ACCESS_DENIED: "AccessDenied AccessDeniedException AllAccessDisabled UnauthorizedOperation",
    EXPIRED_CREDENTIALS: "ExpiredToken ExpiredTokenException RequestExpired TokenRefreshRequired",
    Diagnosis("AccessDenied", "Check the workspace's access key, secret key and session token."): "AuthFailure "
    "AuthorizationHeaderMalformed IncompleteSignature InvalidAccessKeyId InvalidClientTokenId "
    "InvalidSignatureException InvalidToken MissingAuthenticationToken MissingAuthenticationTokenException "
    "SignatureDoesNotMatch UnrecognizedClientException",
    _WRONG_CLOCK: "RequestInTheFuture RequestTimeTooSkewed",
    _NOT_FOUND: "NoSuchBucket NoSuchEntity NoSuchKey NoSuchUpload NoSuchVersion NotFoundException ResourceNotFound "
    "ResourceNotFoundException",
    _WRONG_REGION: "301 IllegalLocationConstraintException PermanentRedirect",
    _UNUSABLE_KMS_KEY: "KMS.DisabledException KMS.KMSInvalidStateException KMS.NotFoundException",
    _QUOTA_IN_USE: "ResourceLimitExceeded ServiceQuotaExceededException",
    # S3's response to a HEAD has no body; botocore uses the status as its code.
    Diagnosis("InvalidRequest", "S3 gives no reason. Renew the session, and check the bucket's region."): "400",
}
DIAGNOSIS_BY_CODE: Final = {code: found for found, codes in _CODES_BY_DIAGNOSIS.items() for code in codes.split()}
_DIAGNOSIS_BY_STATUS: Final = {403: ACCESS_DENIED, 404: _NOT_FOUND, 429: TRANSIENT}

_CALLER = r"User: (?P<caller>\S+) is not authorized to perform: "
_RESOURCE = r"(?: on resource: \"?(?P<resource>[^\"]+?)\"?)?(?= because | with an explicit|\.?$)"
_DIAGNOSIS_BY_WORDING: Final = {
    rf"{_CALLER}(?P<action>[\w:]+){_RESOURCE} with an explicit deny": Diagnosis(
        "AccessDenied", "Remove the statement that denies $action on $resource to $caller: it overrides every Allow."
    ),
    rf"{_CALLER}iam:PassRole{_RESOURCE}": Diagnosis(
        "AccessDenied",
        "Starting a training job requires permission to pass the execution role. Add to the policies of $caller: "
        '{"Effect": "Allow", "Action": "iam:PassRole", "Resource": "$resource", '
        '"Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}}',
    ),
    rf"{_CALLER}(?P<action>[\w:]+){_RESOURCE}": Diagnosis("AccessDenied", "Allow $action on $resource for $caller."),
    r"Could not assume role (?P<role>\S+)\. Please ensure": Diagnosis(
        "AccessDenied",
        "Check that $role exists, and add to its trust policy: "
        '{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}',
    ),
    r'No S3 objects found under S3 URL "(?P<url>[^"]*)"': Diagnosis(
        "NotFound",
        "Check that $url contains objects and is in the workspace's region, and allow the execution role "
        "s3:ListBucket on its bucket.",
    ),
    r"the region '[^']*' is wrong; expecting '|[Tt]he bucket is in this region: ": _WRONG_REGION,
    r"Value '(?P<type>[^']*)' at '\S*instanceType' failed to satisfy constraint: Member must satisfy enum": Diagnosis(
        "InvalidRequest", "Choose another instance type: SageMaker does not train on $type."
    ),
    r"resource training-job/(?P<type>\S+) is not available in this region": Diagnosis(
        "QuotaExceeded", "Choose another instance type: $type is not available in this region.", waiting_helps=False
    ),
    r"Invalid MaxWaitTimeInSeconds": Diagnosis(
        "InvalidRequest", "Set max_wait_seconds only with spot, and to at least max_runtime_seconds."
    ),
    # EC2's wording; that SageMaker returns it unchanged is inferred.
    r"(?:subnet ID|security group) '(?P<id>[^']+)' does not exist": Diagnosis(
        "NotFound", "Check $id in the workspace: subnets and security groups must be in the workspace's region."
    ),
    r"Cannot find the requested image": Diagnosis("NotFound", "Check that the region offers Linear Learner."),
    r"resource not found|Could not find job to update|ModelPackage\S* \S+ (?:does not exist|not found)": _NOT_FOUND,
    r"InsufficientInstanceCapacity|Unable to provision requested ML compute capacity": Diagnosis(
        "NoCapacity", "Wait, or choose another instance type."
    ),
    r"^Signature (?:expired|not yet current)": _WRONG_CLOCK,
}
"""Diagnosis by pattern; the first match applies. Remedies may name its groups; one that did not match becomes *."""
_QUOTA_NUMBERS = re.compile(
    r"is (?P<limit>\d+)\S* \w+, with current utilization of \S+ \w+ and a request delta of (?P<delta>\d+)\S* \w+"
)
_S3_PERMISSIONS: Final = {
    **dict.fromkeys(
        ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"), "s3:PutObject on the object"
    ),
    "GetObject": "s3:GetObject on the object, and s3:GetObjectVersion if the bucket is versioned",
    "HeadObject": "s3:GetObject on the object and s3:ListBucket on its bucket: else a missing object is denied",
    **dict.fromkeys(("HeadBucket", "ListObjectsV2"), "s3:ListBucket on the bucket"),
}
"""Permissions that S3 operations require, from S3's documentation, for denials that do not name the permission."""


def diagnose_error(code: str, message: str, status: int, operation: str) -> Diagnosis:
    """Return the meaning of an error response: by its wording, otherwise by its code or its HTTP status."""
    for wording, diagnosis in _DIAGNOSIS_BY_WORDING.items():
        if match := re.search(wording, message):
            return replace(diagnosis, remedy=Template(diagnosis.remedy).substitute(match.groupdict("*")))
    found = DIAGNOSIS_BY_CODE.get(code) or _DIAGNOSIS_BY_STATUS.get(status)
    if found is None:
        return TRANSIENT if status >= 500 else INVALID_REQUEST
    if found is _QUOTA_IN_USE and (numbers := _QUOTA_NUMBERS.search(message)):
        return _QUOTA_TOO_LOW if int(numbers["limit"]) < int(numbers["delta"]) else _QUOTA_IN_USE
    if found is ACCESS_DENIED and operation in _S3_PERMISSIONS:
        return replace(found, remedy=f"Check the workspace's credentials, and grant them {_S3_PERMISSIONS[operation]}.")
    return found
