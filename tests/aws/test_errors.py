"""Translation of boto3's and botocore's errors: class, operation, response of AWS and remedy."""

import pickle
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import boto3.exceptions
import botocore.exceptions
import pytest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    IncompleteReadError,
    InvalidConfigError,
    InvalidRegionError,
    LoginRefreshRequired,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    ReadTimeoutError,
    UnauthorizedSSOTokenError,
)
from botocore.loaders import create_loader
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker
from hypothesis import given
from hypothesis import strategies as st
from prefect_aws import AwsCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters
from pydantic import SecretStr

from aws.error_catalogue import read_catalogue
from aws.errors import (
    AccessDenied,
    AwsError,
    InvalidRequest,
    JobOutcome,
    NoCapacity,
    NotFound,
    QuotaExceeded,
    TrainingFailed,
    Unavailable,
    UnsupportedInstanceType,
    translate_error,
    translate_errors,
)
from aws.storage import StoredObject, download_object, stat_object, upload_file
from aws.workspace import Workspace

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CODES = {
    AccessDenied: "AccessDenied AccessDeniedException AllAccessDisabled AuthFailure AuthorizationHeaderMalformed "
    "ExpiredToken ExpiredTokenException IncompleteSignature InvalidAccessKeyId InvalidClientTokenId "
    "InvalidSignatureException InvalidToken MissingAuthenticationToken MissingAuthenticationTokenException "
    "RequestExpired RequestInTheFuture RequestTimeTooSkewed SignatureDoesNotMatch TokenRefreshRequired "
    "UnauthorizedOperation UnrecognizedClientException 403",
    NotFound: "NoSuchBucket NoSuchEntity NoSuchKey NoSuchUpload NoSuchVersion NotFoundException "
    "ObjectNotFoundException ResourceNotFound ResourceNotFoundException 404",
    Unavailable: "BadDigest BandwidthLimitExceeded ConcurrentModification ConditionalRequestConflict ConflictException "
    "ConcurrentUpdateException InternalDependencyException ModelNotReadyException "
    "EC2ThrottledException IDPCommunicationError InternalError InternalFailure InternalServerError "
    "InternalServerException InternalServiceError InternalServiceException LimitExceededException OperationAborted "
    "OperationAbortedException PriorRequestNotComplete ProvisionedThroughputExceededException "
    "ReplicatedWriteConflictException RequestLimitExceeded RequestThrottled RequestThrottledException RequestTimeout "
    "RequestTimeoutException ServiceFailure ServiceUnavailable ServiceUnavailableException SlowDown ThrottledException "
    "Throttling ThrottlingException TooManyRequestsException TransactionInProgressException 429 500 502 503 504 509",
    QuotaExceeded: "ResourceLimitExceeded ServiceQuotaExceededException",
    InvalidRequest: "ValidationException ResourceInUse InvalidParameterValue MalformedXML UnknownException "
    "PermanentRedirect IllegalLocationConstraintException KMS.DisabledException KMS.KMSInvalidStateException "
    "KMS.NotFoundException 301 400",
}
CLIENT_ERRORS = [(code, error) for error, codes in CODES.items() for code in codes.split()]
OTHER_ERRORS: list[tuple[BotoCoreError, type[AwsError]]] = [
    (NoCredentialsError(), AccessDenied),
    (PartialCredentialsError(provider="explicit", cred_var="aws_secret_access_key"), AccessDenied),
    (ProfileNotFound(profile="nobody"), AccessDenied),
    (CredentialRetrievalError(provider="process", error_msg="it ended with 1"), AccessDenied),
    (InvalidConfigError(error_msg="The source_profile is missing"), AccessDenied),
    (UnauthorizedSSOTokenError(), AccessDenied),
    (LoginRefreshRequired(), AccessDenied),
    (NoRegionError(), AccessDenied),
    (ParamValidationError(report="Invalid length for parameter VpcConfig.SecurityGroupIds"), InvalidRequest),
    (InvalidRegionError(region_name="here & there"), InvalidRequest),
    (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), Unavailable),
    (ConnectTimeoutError(endpoint_url="http://127.0.0.1:9"), Unavailable),
    (ReadTimeoutError(endpoint_url="http://127.0.0.1:9"), Unavailable),
    (IncompleteReadError(actual_bytes=1, expected_bytes=2), Unavailable),
]
CALLER = "arn:aws:sts::123456789012:assumed-role/nightly/session"
ROLE = "arn:aws:iam::123456789012:role/training"
JOB = "arn:aws:sagemaker:us-east-1:123456789012:training-job/linear-learner-1"
OBJECT = "arn:aws:s3:::data/a key with spaces.csv"
KEY = "arn:aws:kms:eu-west-2:123456789012:key/a466d1fa-5c7f-4b10-8343-08763635d8c4"
DENIALS = [  # the text after "is not authorized to perform: ", and the remedy
    ((f"sagemaker:CreateTrainingJob on resource: {JOB} because no identity-based policy allows the "
     "sagemaker:CreateTrainingJob action"), f"Allow sagemaker:CreateTrainingJob on {JOB} for {CALLER}."),
    (f's3:GetObject on resource: "{OBJECT}" because no identity-based policy allows the s3:GetObject action',
     f"Allow s3:GetObject on {OBJECT} for {CALLER}."),
    (f"kms:GenerateDataKey on resource: {KEY} because no resource-based policy allows the kms:GenerateDataKey action",
     f"Allow kms:GenerateDataKey on {KEY} for {CALLER}."),
    ("iam:ListAttachedRolePolicies on resource: role training",
     f"Allow iam:ListAttachedRolePolicies on role training for {CALLER}."),
    ("sagemaker:ListTrainingJobs because no identity-based policy allows the sagemaker:ListTrainingJobs action",
     f"Allow sagemaker:ListTrainingJobs on * for {CALLER}."),
    (f"iam:PassRole on resource: {ROLE} because no identity-based policy allows the iam:PassRole action",
     (f"Starting a training job requires permission to pass the execution role. Add to the policies of {CALLER}: "
     f'{{"Effect": "Allow", "Action": "iam:PassRole", "Resource": "{ROLE}", '
     '"Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}}')),
    (f"sts:AssumeRole on resource: {ROLE}",
     f"Allow sts:AssumeRole on {ROLE} for {CALLER}, and let the trust policy of {ROLE} allow it too."),
    (f"sagemaker:CreateTrainingJob on resource: {JOB} with an explicit deny",
     (f"Remove the statement that denies sagemaker:CreateTrainingJob on {JOB} to {CALLER}: it overrides every "
      "Allow.")),
    ((f"iam:PassRole on resource: {ROLE} with an explicit deny in a service control policy: "
     "arn:aws:organizations::123456789012:policy/o-1/service_control_policy/p-1"),
     f"Remove the statement that denies iam:PassRole on {ROLE} to {CALLER}: it overrides every Allow."),
]  # fmt: skip
WORDINGS: list[tuple[str, str, type[AwsError], str]] = [
    ("UnauthorizedOperation",
     "You are not authorized to perform this operation. Encoded authorization failure message: 4GIOHlTkIaWHQD0",
     AccessDenied, "Check the workspace's credentials and their policies."),
    ("ExpiredTokenException", "The security token included in the request is expired",
     AccessDenied, ("If the workspace's AWS Credentials block contains the keys, store new ones in it, or let it name "
     "a role to assume, whose keys are renewed. Otherwise renew the session of the profile or environment.")),
    ("InvalidSignatureException",
     "Signature expired: 20240301T100000Z is now earlier than 20240301T110000Z (20240301T110500Z - 5 min.)",
     AccessDenied, "Correct the clock of this machine."),
    ("ValidationException",
     (f"Could not assume role {ROLE}. Please ensure that the role exists and allows principal "
     "'sagemaker.amazonaws.com' to assume the role."),
     AccessDenied,
     (f"Check that {ROLE} exists, and add to its trust policy: "
     '{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}')),
    ("ValidationException",
     ('No S3 objects found under S3 URL "s3://data/train/" given in input data source. Please ensure that the bucket '
     "exists in the selected region (us-west-2), that objects exist under that S3 prefix, and that the role "
     f'"{ROLE}" has "s3:ListBucket" permissions on bucket "data".'),
     NotFound, ("Check that s3://data/train/ contains objects and is in the workspace's region, and allow the "
     "execution role s3:ListBucket on its bucket.")),
    ("AuthorizationHeaderMalformed",
     "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'",
     InvalidRequest, "Set the workspace's region to the bucket's region, or use a bucket in the workspace's."),
    ("ValidationException",
     ("S3 Error Code: PermanentRedirect. S3 Error Message: The bucket is in this region: us-east-1. Please use this "
     "region to retry the request"),
     InvalidRequest, "Set the workspace's region to the bucket's region, or use a bucket in the workspace's."),
    ("KMS.NotFoundException", "Invalid keyId aws/s3",
     InvalidRequest, "Check that the KMS key of the workspace or bucket is enabled and in this region."),
    ("ValidationException",
     ("1 validation error detected: Value 'ml.t2.medium' at 'resourceConfig.instanceType' failed to satisfy "
     "constraint: Member must satisfy enum value set: [ml.p2.xlarge, ml.m5.4xlarge, ml.m4.16xlarge]"),
     UnsupportedInstanceType, "Choose another instance type: SageMaker does not train on ml.t2.medium."),
    ("ValidationException", "KMS key is not supported for NVMe instance storage",
     UnsupportedInstanceType,
     ("The disks of this instance type are encrypted by its hardware: choose another instance type, or leave the "
      "workspace's keys for training volumes and outputs empty.")),
    ("ValidationException", "You can't request a VolumeKmsKeyId when using an instance type with local storage.",
     UnsupportedInstanceType,
     ("The disks of this instance type are encrypted by its hardware: choose another instance type, or leave the "
      "workspace's keys for training volumes and outputs empty.")),
    ("ResourceLimitExceeded", "The requested resource training-job/ml.t3.medium is not available in this region",
     QuotaExceeded, "Choose another instance type: ml.t3.medium is not available in this region."),
    ("ValidationException",
     "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true",
     InvalidRequest, "Set max_wait_seconds only with spot, and to at least max_runtime_seconds."),
    ("ValidationException",
     "EC2 Error Code: InvalidGroup.NotFound. EC2 Error Message: The security group 'sg-123abc' does not exist",
     NotFound, "Check sg-123abc in the workspace: subnets and security groups must be in the workspace's region."),
    ("ValidationException",
     "Cannot find the requested image: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/linear-learner:1",
     NotFound, "Check that the region offers Linear Learner."),
    ("ValidationException", "Requested resource not found.",
     NotFound, "Check the name, and the region and account of the workspace."),
    ("ValidationException",
     ("Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using "
     "a different ML instance type or after some time."),
     NoCapacity, "Wait, or choose another instance type."),
    ("ValidationException",
     'Cannot create already existing endpoint configuration "arn:aws:sagemaker:us-east-1:1:endpoint-config/a"',
     InvalidRequest, "Delete the existing endpoint configuration, or choose another name."),
    ("ValidationException",
     'Cannot create already existing model "arn:aws:sagemaker:us-east-1:123456789012:model/a".',
     InvalidRequest, "Delete the existing model, or choose another name."),
    ("ValidationException",
     'Cannot update in-progress endpoint "arn:aws:sagemaker:us-east-1:123456789012:endpoint/a".',
     InvalidRequest, "Wait until the creation or update that is in progress has ended."),
    ("ValidationException", "Could not find model data at s3://data/model.tar.gz.",
     NotFound,
     ("Check that s3://data/model.tar.gz exists in the workspace's region, and allow the execution role s3:GetObject "
      "on it.")),
    ("ValidationException", 'Could not find endpoint "arn:aws:sagemaker:us-east-1:123456789012:endpoint/a".',
     NotFound, "Check the name, and the region and account of the workspace."),
    ("ValidationException",
     'Could not find endpoint configuration "arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/a".',
     NotFound, "Check the name, and the region and account of the workspace."),
    ("ValidationException", 'Could not find model "arn:aws:sagemaker:us-east-1:123456789012:model/a".',
     NotFound, "Check the name, and the region and account of the workspace."),
    ("ObjectNotFoundException",
     ("No scalable target found for service namespace: sagemaker, resource ID: endpoint/a/variant/main, scalable "
      "dimension: sagemaker:variant:DesiredInstanceCount"),
     NotFound, "Check the name, and the region and account of the workspace."),
    ("ValidationError", "Endpoint a of account 123456789012 not found.",
     NotFound, "Check the name, and the region and account of the workspace."),
    ("ValidationException", "Requested image 123456789012.dkr.ecr.us-east-1.amazonaws.com/serving:1 not found.",
     NotFound,
     ("Check that the image 123456789012.dkr.ecr.us-east-1.amazonaws.com/serving:1 exists in the workspace's region, "
      "and that the execution role may pull it.")),
    ("ThrottlingException", "Rate exceeded", Unavailable,
     "Retried automatically; if the error persists, run again later."),
]  # fmt: skip
QUOTAS = [  # limit, its name, number in use, number requested, whether waiting helps
    (0, "'ml.p3.2xlarge for training job usage'", 0, 1, False),
    (4, "'Number of instances across all processing jobs'", 0, 11, False),
    (0, "for training-job/ml.p2.xlarge", 0, 2, False),
    (1, "'ml.g5.2xlarge for spot training job usage'", 1, 1, True),
    (2, "'ml.p3.8xlarge for training job usage'", 3, 1, True),
]


def client_error(
    code: str, message: str = "A message.", status: int = 400, operation: str = "Operation"
) -> ClientError:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)  # type: ignore[arg-type]  # only the status of the metadata is read


@pytest.mark.parametrize(("code", "expected"), CLIENT_ERRORS)
def test_an_error_code_determines_the_class_and_the_message(code: str, expected: type[AwsError]) -> None:
    error = translate_error(client_error(code), "running a test")
    assert (type(error), error.code) == (expected, code)
    text = f"AWS failed while running a test: {code}: A message. "
    assert str(error).startswith(text)
    assert re.fullmatch(r"[A-Z].*\.", str(error).removeprefix(text))


def test_every_code_of_the_catalogue_is_tested() -> None:
    assert set(read_catalogue().by_code) <= {code for code, _ in CLIENT_ERRORS}


def test_every_class_of_the_catalogue_is_one_of_botocore_or_boto3() -> None:
    known = {**vars(boto3.exceptions), **vars(botocore.exceptions)}
    assert all(issubclass(known[name], Exception) for name in read_catalogue().by_class)


def retry_responses(rules: object) -> Iterator[tuple[str, int]]:
    """Yield every code and status in botocore's nested retry table."""
    if isinstance(rules, dict):
        if "http_status_code" in rules:
            yield rules.get("service_error_code", ""), rules["http_status_code"]
        for nested in rules.values():
            yield from retry_responses(nested)


def test_every_error_that_botocore_retries_is_retryable() -> None:
    retried = set(retry_responses(create_loader().load_data("_retry")))
    assert len(retried) > 15
    transient, throttled = vars(TransientRetryableChecker), vars(ThrottledRetryableChecker)
    retried |= {("", status) for status in transient["_TRANSIENT_STATUS_CODES"]}
    retried |= {(code, 400) for code in transient["_TRANSIENT_ERROR_CODES"] + throttled["_THROTTLED_ERROR_CODES"]}
    for code, status in retried:
        assert translate_error(client_error(code, status=status), "testing").retryable, (code, status)


@pytest.mark.parametrize(
    ("status", "expected"), [(403, AccessDenied), (404, NotFound), (429, Unavailable), (599, Unavailable)]
)
def test_an_unknown_code_is_classified_by_its_http_status(status: int, expected: type[AwsError]) -> None:
    assert type(translate_error(client_error("Unknown", status=status), "testing")) is expected


@pytest.mark.parametrize(("code", "message", "expected", "remedy"), WORDINGS)
def test_a_known_wording_gets_its_remedy(code: str, message: str, expected: type[AwsError], remedy: str) -> None:
    error = translate_error(client_error(code, message), "testing")
    assert type(error) is expected
    assert str(error) == f"AWS failed while testing: {code}: {message.rstrip('.')}. {remedy}"


@pytest.mark.parametrize(("denied", "remedy"), DENIALS)
def test_the_remedy_of_a_denial_names_caller_action_and_resource(denied: str, remedy: str) -> None:
    error = translate_error(
        client_error("AccessDenied", f"User: {CALLER} is not authorized to perform: {denied}"), "testing"
    )
    assert type(error) is AccessDenied
    assert str(error).endswith(f" {remedy}")


@pytest.mark.parametrize(("limit", "name", "used", "requested", "helps"), QUOTAS)
def test_waiting_helps_unless_the_request_is_larger_than_the_quota(
    limit: int, name: str, used: int, requested: int, helps: bool
) -> None:
    message = (
        f"The account-level service limit {name} is {limit} Instances, with current utilization of {used} Instances "
        f"and a request delta of {requested} Instances. Contact AWS support to request an increase for this limit."
    )
    error = translate_error(client_error("ResourceLimitExceeded", message), "creating a training job")
    assert isinstance(error, QuotaExceeded)
    assert error.waiting_helps is helps
    assert ("Wait until other jobs end" in str(error)) is helps


def test_waiting_does_not_help_if_endpoints_have_used_up_a_quota() -> None:
    message = (
        "The account-level service limit 'ml.m5.large for endpoint usage' is 2 Instances, with current utilization of "
        "2 Instances and a request delta of 1 Instances. Please contact AWS support to request an increase."
    )
    error = translate_error(client_error("ResourceLimitExceeded", message), "creating endpoint a")
    assert isinstance(error, QuotaExceeded)
    assert not error.waiting_helps
    assert 'request a higher quota "ml.m5.large for endpoint usage" in Service Quotas' in str(error)


def test_waiting_helps_if_the_message_does_not_name_the_quota() -> None:
    error = translate_error(client_error("ResourceLimitExceeded", "You have too many of something."), "testing")
    assert isinstance(error, QuotaExceeded)
    assert error.waiting_helps


def test_waiting_does_not_help_if_the_region_lacks_the_instance_type() -> None:
    message = "The requested resource training-job/ml.t3.medium is not available in this region"
    error = translate_error(client_error("ResourceLimitExceeded", message), "creating a training job")
    assert isinstance(error, QuotaExceeded)
    assert not error.waiting_helps


@pytest.mark.parametrize(
    ("code", "operation", "permission"),
    [
        ("403", "HeadObject", "s3:GetObject on the object and s3:ListBucket on its bucket"),
        ("AccessDenied", "PutObject", "s3:PutObject"),
        ("AccessDenied", "CreateMultipartUpload", "s3:PutObject"),
        ("AccessDenied", "GetObject", "s3:GetObject"),
        ("403", "HeadBucket", "s3:ListBucket"),
    ],
)
def test_the_remedy_of_an_s3_denial_names_the_required_permission(code: str, operation: str, permission: str) -> None:
    error = translate_error(client_error(code, "Access Denied", 403, operation), "testing")
    assert type(error) is AccessDenied
    assert f"Check the workspace's credentials, and grant them {permission}" in str(error)


def test_a_denial_of_an_unknown_operation_gets_the_general_remedy() -> None:
    error = translate_error(client_error("AccessDenied", "Access Denied", 403, "PutBucketPolicy"), "testing")
    assert str(error).endswith("Check the workspace's credentials and their policies.")


@given(message=st.text(), code=st.text(), status=st.integers(0, 999))
def test_any_error_response_is_translated(message: str, code: str, status: int) -> None:
    assert isinstance(translate_error(client_error(code, message, status), "testing"), AwsError)


@given(st.text())
def test_any_denial_is_translated(text: str) -> None:
    message = f"User: {text} is not authorized to perform: {text} on resource: {text} because {text}"
    assert type(translate_error(client_error("AccessDenied", message, 403), "testing")) is AccessDenied


@pytest.mark.parametrize(("error", "expected"), OTHER_ERRORS, ids=lambda case: getattr(case, "__name__", ""))
def test_a_client_error_without_response_is_translated(error: BotoCoreError, expected: type[AwsError]) -> None:
    assert type(translate_error(error, "connecting")) is expected


def test_there_are_ten_error_classes_and_only_unavailable_is_retryable() -> None:
    kinds = AwsError.__subclasses__()
    assert len(kinds) == 10
    assert not [nested for kind in kinds for nested in kind.__subclasses__()]
    assert {kind for kind in kinds if kind.retryable} == {Unavailable}
    assert not AwsError.retryable


def test_a_long_list_of_instance_types_is_shortened() -> None:
    types = ", ".join(f"ml.m{n}.large" for n in range(200))
    message = (
        "1 validation error detected: Value 'ml.x.large' at 'resourceConfig.instanceType' failed to satisfy "
        f"constraint: Member must satisfy enum value set: [{types}]"
    )
    error = translate_error(client_error("ValidationException", message, 400), "testing")
    assert "Member must satisfy enum value set: […]. Choose another instance type" in str(error)


def test_a_response_without_code_and_message_is_translated() -> None:
    assert type(translate_error(ClientError({}, "Operation"), "testing")) is InvalidRequest


def test_pickled_errors_keep_their_attributes() -> None:
    outcome = JobOutcome(kind="compute", cause="It was large.", remedy="Take more.")
    failed = pickle.loads(pickle.dumps(TrainingFailed("no model", outcome=outcome, usd=0.5, log_tail=("one", "two"))))  # noqa: S301
    assert (str(failed), failed.outcome, failed.usd, failed.log_tail) == ("no model", outcome, 0.5, ("one", "two"))
    message = "The requested resource training-job/ml.t3.medium is not available in this region"
    refused = pickle.loads(pickle.dumps(translate_error(client_error("ResourceLimitExceeded", message), "testing")))  # noqa: S301
    assert (refused.code, refused.waiting_helps) == ("ResourceLimitExceeded", False)


def test_the_original_error_is_the_cause_and_other_exceptions_are_not_translated() -> None:
    original = client_error("NoSuchKey")
    with pytest.raises(NotFound) as caught, translate_errors("fetching"):
        raise original
    assert caught.value.__cause__ is original
    with pytest.raises(ZeroDivisionError), translate_errors("dividing"):
        raise ZeroDivisionError


def make_workspace(endpoint_url: str, bucket: str = "linear-learner-sandbox") -> Workspace:
    parameters = AwsClientParameters(endpoint_url=endpoint_url, config=Config(retries={"max_attempts": 0}))
    credentials = AwsCredentials(
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key=SecretStr(SECRET),
        region_name="us-east-1",
        aws_client_parameters=parameters,
    )
    return Workspace(bucket=S3Bucket(bucket_name=bucket, credentials=credentials), role_arn=ROLE)


def test_no_message_contains_the_secret_key(sandbox_url: str) -> None:
    for workspace, expected in (
        (make_workspace(sandbox_url), NotFound),
        (make_workspace("http://127.0.0.1:9"), Unavailable),
    ):
        with pytest.raises(expected) as caught:
            stat_object(workspace, workspace.uri("nothing"))
        assert SECRET not in f"{caught.value} {caught.value.__cause__} {workspace}"


def test_a_session_token_in_the_response_is_removed_from_the_message() -> None:
    message = (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for this "
        "request should have been\n'POST\n/\n\nhost:api.sagemaker.us-east-1.amazonaws.com\n"
        "x-amz-security-token:FwoGZXIvYXdzEXAMPLE\n\nhost;x-amz-security-token\n44136fa355b3678a'\n"
    )
    error = translate_error(client_error("InvalidSignatureException", message, 403), "testing")
    assert "FwoGZXIvYXdzEXAMPLE" not in str(error)
    assert "Consult the service documentation for details. Check the workspace's access key" in str(error)


def test_an_upload_to_a_missing_bucket_raises_not_found(sandbox_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    workspace = make_workspace(sandbox_url, bucket="does-not-exist")
    with pytest.raises(NotFound, match="does-not-exist"):
        upload_file(workspace, tmp_path / "file", workspace.uri("file"), "0" * 64)


class TruncatingHandler(BaseHTTPRequestHandler):
    """Announces an object of 1000 bytes and closes the connection after three."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.send_header("ETag", '"etag"')
        self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"1,2")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def truncating_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), TruncatingHandler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_download_that_is_always_truncated_is_retryable(truncating_server: str, tmp_path: Path) -> None:
    workspace = make_workspace(truncating_server)
    stored = StoredObject(uri=workspace.uri("file"), size=1000, etag="etag")
    with pytest.raises(Unavailable, match="Max Retries Exceeded"):
        download_object(workspace, stored, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_failed_connection_names_the_url_and_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:hidden@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    url = "https://s3.eu-west-1.amazonaws.com/table.csv"
    message = str(translate_error(EndpointConnectionError(endpoint_url=url), "reading"))
    assert url in message
    assert "@127.0.0.1:9" in message
    assert "NO_PROXY" in message
    assert "hidden" not in message
    lost = ProxyConnectionError(proxy_url="http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in str(translate_error(lost, "reading"))
    monkeypatch.setenv("no_proxy", ".amazonaws.com")
    assert "proxy" not in str(translate_error(EndpointConnectionError(endpoint_url=url), "reading"))
