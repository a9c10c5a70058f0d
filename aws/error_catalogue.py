"""What each error response of AWS means, and its remedy, by its wording, its code and its HTTP status.

Codes are those common to all services and those of S3, SageMaker, CloudWatch Logs, STS and IAM, from their API
references and from botocore's own retry tables. Wordings are those of real responses.
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


ACCESS_DENIED = Diagnosis("AccessDenied", "Check the workspace's credentials and the policies attached to them.")
EXPIRED_CREDENTIALS = Diagnosis("AccessDenied", "Renew the session and give the workspace its new credentials.")
TRANSIENT = Diagnosis("Unavailable", "It is tried again.")
INVALID_REQUEST = Diagnosis("InvalidRequest", "Correct the parameter that the message names.")
_WRONG_CLOCK = Diagnosis("AccessDenied", "Set this machine's clock.")
_NOT_FOUND = Diagnosis("NotFound", "Check the name, and that the workspace's region and account are the ones meant.")
_WRONG_REGION = Diagnosis(
    "InvalidRequest", "Set the workspace's region to the bucket's, or take a bucket in its region."
)
_UNUSABLE_KMS_KEY = Diagnosis(
    "InvalidRequest", "Check that the KMS key of the workspace or bucket is enabled, and in this region."
)
_QUOTA_IN_USE = Diagnosis("QuotaExceeded", "Wait for other jobs to end, or ask for a higher quota in Service Quotas.")
_QUOTA_TOO_LOW = Diagnosis(
    "QuotaExceeded", "Ask for a higher quota in Service Quotas, or choose another instance type.", waiting_helps=False
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
    Diagnosis("InvalidRequest", "S3 does not say why. Renew the session, and check the bucket's region."): "400",
}
DIAGNOSIS_BY_CODE: Final = {code: one for one, codes in _CODES_BY_DIAGNOSIS.items() for code in codes.split()}
_DIAGNOSIS_BY_STATUS: Final = {403: ACCESS_DENIED, 404: _NOT_FOUND, 429: TRANSIENT}

_CALLER = r"User: (?P<who>\S+) is not authorized to perform: "
_RESOURCE = r"(?: on resource: \"?(?P<what>[^\"]+?)\"?)?(?= because | with an explicit|\.?$)"
_DIAGNOSIS_BY_WORDING: Final = {
    rf"{_CALLER}(?P<action>[\w:]+){_RESOURCE} with an explicit deny": Diagnosis(
        "AccessDenied", "Remove the deny of $action on $what for $who: no other policy can allow it."
    ),
    rf"{_CALLER}iam:PassRole{_RESOURCE}": Diagnosis(
        "AccessDenied",
        "Whoever starts a training job passes SageMaker the execution role. Add to the policies of $who: "
        '{"Effect": "Allow", "Action": "iam:PassRole", "Resource": "$what", '
        '"Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}}',
    ),
    rf"{_CALLER}(?P<action>[\w:]+){_RESOURCE}": Diagnosis("AccessDenied", "Allow $action on $what for $who."),
    r"Could not assume role (?P<role>\S+)\. Please ensure": Diagnosis(
        "AccessDenied",
        "Check that $role exists, and add to its trust policy: "
        '{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}',
    ),
    r'No S3 objects found under S3 URL "(?P<url>[^"]*)"': Diagnosis(
        "NotFound",
        "Check that $url holds objects in the workspace's region, and allow the execution role s3:ListBucket on its "
        "bucket.",
    ),
    r"the region '[^']*' is wrong; expecting '|[Tt]he bucket is in this region: ": _WRONG_REGION,
    r"Value '(?P<type>[^']*)' at '\S*instanceType' failed to satisfy constraint: Member must satisfy enum": Diagnosis(
        "InvalidRequest", "Choose another instance type: SageMaker does not train on $type."
    ),
    r"resource training-job/(?P<type>\S+) is not available in this region": Diagnosis(
        "QuotaExceeded", "Choose another instance type: this region does not train on $type.", waiting_helps=False
    ),
    r"Invalid MaxWaitTimeInSeconds": Diagnosis(
        "InvalidRequest", "Set max_wait_seconds with spot only, and to max_runtime_seconds or more."
    ),
    # EC2's wording; that SageMaker passes it on is inferred.
    r"(?:subnet ID|security group) '(?P<id>[^']+)' does not exist": Diagnosis(
        "NotFound", "Check $id in the workspace: subnets and security groups must be in its region."
    ),
    r"Cannot find the requested image": Diagnosis("NotFound", "Check that the workspace's region has Linear Learner."),
    r"resource not found|Could not find job to update|ModelPackage\S* \S+ (?:does not exist|not found)": _NOT_FOUND,
    r"InsufficientInstanceCapacity|Unable to provision requested ML compute capacity": Diagnosis(
        "NoCapacity", "Wait, or choose another instance type."
    ),
    r"^Signature (?:expired|not yet current)": _WRONG_CLOCK,
}
"""By a pattern, of which the first match counts; a remedy may use its groups: * for a resource that is not named."""
_QUOTA_NUMBERS = re.compile(
    r"is (?P<limit>\d+)\S* \w+, with current utilization of \S+ \w+ and a request delta of (?P<delta>\d+)\S* \w+"
)
_S3_PERMISSIONS: Final = {
    **dict.fromkeys(
        ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"), "s3:PutObject on the object"
    ),
    "GetObject": "s3:GetObject on the object, and s3:GetObjectVersion where the bucket keeps versions",
    "HeadObject": "s3:GetObject on the object and s3:ListBucket on its bucket: without that, S3 denies what is missing",
    **dict.fromkeys(("HeadBucket", "ListObjectsV2"), "s3:ListBucket on the bucket"),
}
"""The permissions that S3's operations need by its documentation, for denials that do not name them."""


def diagnose_error(code: str, message: str, status: int, operation: str) -> Diagnosis:
    """What an error response means: by its wording, else by its code, else by its HTTP status."""
    for wording, diagnosis in _DIAGNOSIS_BY_WORDING.items():
        if match := re.search(wording, message):
            return replace(diagnosis, remedy=Template(diagnosis.remedy).substitute(match.groupdict("*")))
    found = DIAGNOSIS_BY_CODE.get(code) or _DIAGNOSIS_BY_STATUS.get(status)
    if found is None:
        return TRANSIENT if status >= 500 else INVALID_REQUEST
    if found is _QUOTA_IN_USE and (numbers := _QUOTA_NUMBERS.search(message)):
        return _QUOTA_TOO_LOW if int(numbers["limit"]) < int(numbers["delta"]) else _QUOTA_IN_USE
    if found is ACCESS_DENIED and operation in _S3_PERMISSIONS:
        return replace(found, remedy=f"Check the workspace's credentials, and allow them {_S3_PERMISSIONS[operation]}.")
    return found
