"""boto's errors become this project's tree, each with what was done, what AWS said and what to do."""

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
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
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
    NotFound: "NoSuchBucket NoSuchEntity NoSuchKey NoSuchUpload NoSuchVersion NotFoundException ResourceNotFound "
    "ResourceNotFoundException 404",
    Unavailable: "BadDigest BandwidthLimitExceeded ConcurrentModification ConditionalRequestConflict ConflictException "
    "EC2ThrottledException IDPCommunicationError InternalError InternalFailure InternalServerError "
    "InternalServerException InternalServiceError InternalServiceException LimitExceededException OperationAborted "
    "OperationAbortedException PriorRequestNotComplete ProvisionedThroughputExceededException "
    "ReplicatedWriteConflictException RequestLimitExceeded RequestThrottled RequestThrottledException RequestTimeout "
    "RequestTimeoutException ServiceFailure ServiceUnavailable ServiceUnavailableException SlowDown ThrottledException "
    "Throttling ThrottlingException TooManyRequestsException TransactionInProgressException 429 500 502 503 504 509",
    QuotaExceeded: "ResourceLimitExceeded ServiceQuotaExceededException",
    InvalidRequest: "ValidationException ResourceInUse InvalidParameterValue MalformedXML NeverHeardOfException "
    "PermanentRedirect IllegalLocationConstraintException KMS.DisabledException KMS.KMSInvalidStateException "
    "KMS.NotFoundException 301 400",
}
CLIENT_ERRORS = [(code, error) for error, codes in CODES.items() for code in codes.split()]
OTHER_ERRORS: list[tuple[BotoCoreError, type[AwsError]]] = [
    (NoCredentialsError(), AccessDenied),
    (PartialCredentialsError(provider="explicit", cred_var="aws_secret_access_key"), AccessDenied),
    (ProfileNotFound(profile="nobody"), AccessDenied),
    (CredentialRetrievalError(provider="process", error_msg="it ended with 1"), AccessDenied),
    (UnauthorizedSSOTokenError(), AccessDenied),
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
DENIALS = [  # what follows "is not authorized to perform: ", and the remedy
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
     (f"Whoever starts a training job passes SageMaker the execution role. Add to the policies of {CALLER}: "
     f'{{"Effect": "Allow", "Action": "iam:PassRole", "Resource": "{ROLE}", '
     '"Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}}')),
    (f"sagemaker:CreateTrainingJob on resource: {JOB} with an explicit deny",
     f"Remove the deny of sagemaker:CreateTrainingJob on {JOB} for {CALLER}: no other policy can allow it."),
    ((f"iam:PassRole on resource: {ROLE} with an explicit deny in a service control policy: "
     "arn:aws:organizations::123456789012:policy/o-1/service_control_policy/p-1"),
     f"Remove the deny of iam:PassRole on {ROLE} for {CALLER}: no other policy can allow it."),
]  # fmt: skip
WORDINGS: list[tuple[str, str, type[AwsError], str]] = [
    ("UnauthorizedOperation",
     "You are not authorized to perform this operation. Encoded authorization failure message: 4GIOHlTkIaWHQD0",
     AccessDenied, "Check the workspace's credentials and the policies attached to them."),
    ("ExpiredTokenException", "The security token included in the request is expired",
     AccessDenied, "Renew the session and give the workspace its new credentials."),
    ("InvalidSignatureException",
     "Signature expired: 20240301T100000Z is now earlier than 20240301T110000Z (20240301T110500Z - 5 min.)",
     AccessDenied, "Set this machine's clock."),
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
     NotFound, ("Check that s3://data/train/ holds objects in the workspace's region, and allow the execution role "
     "s3:ListBucket on its bucket.")),
    ("AuthorizationHeaderMalformed",
     "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'",
     InvalidRequest, "Set the workspace's region to the bucket's, or take a bucket in its region."),
    ("ValidationException",
     ("S3 Error Code: PermanentRedirect. S3 Error Message: The bucket is in this region: us-east-1. Please use this "
     "region to retry the request"),
     InvalidRequest, "Set the workspace's region to the bucket's, or take a bucket in its region."),
    ("KMS.NotFoundException", "Invalid keyId aws/s3",
     InvalidRequest, "Check that the KMS key of the workspace or bucket is enabled, and in this region."),
    ("ValidationException",
     ("1 validation error detected: Value 'ml.t2.medium' at 'resourceConfig.instanceType' failed to satisfy "
     "constraint: Member must satisfy enum value set: [ml.p2.xlarge, ml.m5.4xlarge, ml.m4.16xlarge]"),
     InvalidRequest, "Choose another instance type: SageMaker does not train on ml.t2.medium."),
    ("ResourceLimitExceeded", "The requested resource training-job/ml.t3.medium is not available in this region",
     QuotaExceeded, "Choose another instance type: this region does not train on ml.t3.medium."),
    ("ValidationException",
     "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true",
     InvalidRequest, "Set max_wait_seconds with spot only, and to max_runtime_seconds or more."),
    ("ValidationException",
     "EC2 Error Code: InvalidGroup.NotFound. EC2 Error Message: The security group 'sg-123abc' does not exist",
     NotFound, "Check sg-123abc in the workspace: subnets and security groups must be in its region."),
    ("ValidationException",
     "Cannot find the requested image: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/linear-learner:1",
     NotFound, "Check that the workspace's region has Linear Learner."),
    ("ValidationException", "Requested resource not found.",
     NotFound, "Check the name, and that the workspace's region and account are the ones meant."),
    ("ValidationException",
     ("Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using "
     "a different ML instance type or after some time."),
     NoCapacity, "Wait, or choose another instance type."),
    ("ThrottlingException", "Rate exceeded", Unavailable, "It is tried again."),
]  # fmt: skip
QUOTAS = [  # limit, its name, in use, asked for, whether waiting helps
    (0, "'ml.p3.2xlarge for training job usage'", 0, 1, False),
    (4, "'Number of instances across all processing jobs'", 0, 11, False),
    (0, "for training-job/ml.p2.xlarge", 0, 2, False),
    (1, "'ml.g5.2xlarge for spot training job usage'", 1, 1, True),
    (2, "'ml.p3.8xlarge for training job usage'", 3, 1, True),
]


def client_error(
    code: str, message: str = "what AWS said.", status: int = 400, operation: str = "Operation"
) -> ClientError:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)  # type: ignore[arg-type]  # of the metadata only the status is read


@pytest.mark.parametrize(("code", "expected"), CLIENT_ERRORS)
def test_a_code_of_aws_becomes_its_class_and_says_doing_answer_and_cure(code: str, expected: type[AwsError]) -> None:
    error = translate_error(client_error(code), "looking at the sky")
    assert (type(error), error.code) == (expected, code)
    said = f"AWS failed while looking at the sky: {code}: what AWS said. "
    assert str(error).startswith(said)
    assert re.fullmatch(r"[A-Z].*\.", str(error).removeprefix(said))


def test_every_code_the_project_knows_is_tested() -> None:
    assert set(read_catalogue().by_code) <= {code for code, _ in CLIENT_ERRORS}


def test_every_class_of_the_catalogue_is_one_of_botocore_or_boto3() -> None:
    known = {**vars(boto3.exceptions), **vars(botocore.exceptions)}
    assert all(issubclass(known[name], Exception) for name in read_catalogue().by_class)


def answers(rules: object) -> Iterator[tuple[str, int]]:
    """Every code and status that botocore's retry table names, however deep."""
    if isinstance(rules, dict):
        if "http_status_code" in rules:
            yield rules.get("service_error_code", ""), rules["http_status_code"]
        for deeper in rules.values():
            yield from answers(deeper)


def test_whatever_botocore_would_retry_may_be_retried_here() -> None:
    retried = set(answers(create_loader().load_data("_retry")))
    assert len(retried) > 15
    passing, throttled = vars(TransientRetryableChecker), vars(ThrottledRetryableChecker)
    retried |= {("", status) for status in passing["_TRANSIENT_STATUS_CODES"]}
    retried |= {(code, 400) for code in passing["_TRANSIENT_ERROR_CODES"] + throttled["_THROTTLED_ERROR_CODES"]}
    for code, status in retried:
        assert translate_error(client_error(code, status=status), "asking").retryable, (code, status)


@pytest.mark.parametrize(
    ("status", "expected"), [(403, AccessDenied), (404, NotFound), (429, Unavailable), (599, Unavailable)]
)
def test_a_code_never_heard_of_is_judged_by_its_http_status(status: int, expected: type[AwsError]) -> None:
    assert type(translate_error(client_error("NeverHeardOf", status=status), "asking")) is expected


@pytest.mark.parametrize(("code", "message", "expected", "remedy"), WORDINGS)
def test_a_wording_of_aws_gets_the_cure_for_it(code: str, message: str, expected: type[AwsError], remedy: str) -> None:
    error = translate_error(client_error(code, message), "asking")
    assert type(error) is expected
    assert str(error) == f"AWS failed while asking: {code}: {message.rstrip('.')}. {remedy}"


@pytest.mark.parametrize(("denied", "remedy"), DENIALS)
def test_a_denial_says_who_must_be_allowed_what_on_which_resource(denied: str, remedy: str) -> None:
    error = translate_error(
        client_error("AccessDenied", f"User: {CALLER} is not authorized to perform: {denied}"), "asking"
    )
    assert type(error) is AccessDenied
    assert str(error).endswith(f" {remedy}")


@pytest.mark.parametrize(("limit", "name", "used", "asked", "helps"), QUOTAS)
def test_waiting_helps_with_a_quota_that_is_in_use_but_not_with_one_that_is_too_low(
    limit: int, name: str, used: int, asked: int, helps: bool
) -> None:
    message = (
        f"The account-level service limit {name} is {limit} Instances, with current utilization of {used} Instances "
        f"and a request delta of {asked} Instances. Please contact AWS support to request an increase for this limit."
    )
    error = translate_error(client_error("ResourceLimitExceeded", message), "creating a training job")
    assert isinstance(error, QuotaExceeded)
    assert error.waiting_helps is helps
    assert ("Wait for other jobs" in str(error)) is helps


def test_waiting_may_help_with_a_quota_that_says_nothing_of_itself() -> None:
    error = translate_error(client_error("ResourceLimitExceeded", "You have too many of something."), "asking")
    assert isinstance(error, QuotaExceeded)
    assert error.waiting_helps


def test_a_type_the_region_does_not_have_is_not_waited_for() -> None:
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
def test_a_denial_of_s3_that_names_nothing_names_the_permission_its_operation_needs(
    code: str, operation: str, permission: str
) -> None:
    error = translate_error(client_error(code, "Access Denied", 403, operation), "asking")
    assert type(error) is AccessDenied
    assert f"Check the workspace's credentials, and allow them {permission}" in str(error)


def test_a_denial_without_a_known_operation_gets_the_general_cure() -> None:
    error = translate_error(client_error("AccessDenied", "Access Denied", 403, "PutBucketPolicy"), "asking")
    assert str(error).endswith("Check the workspace's credentials and the policies attached to them.")


@given(message=st.text(), code=st.text(), status=st.integers(0, 999))
def test_no_answer_whatever_is_beyond_translation(message: str, code: str, status: int) -> None:
    assert isinstance(translate_error(client_error(code, message, status), "asking"), AwsError)


@given(st.text())
def test_no_denial_whatever_is_beyond_translation(said: str) -> None:
    message = f"User: {said} is not authorized to perform: {said} on resource: {said} because {said}"
    assert type(translate_error(client_error("AccessDenied", message, 403), "asking")) is AccessDenied


@pytest.mark.parametrize(("error", "expected"), OTHER_ERRORS, ids=lambda case: getattr(case, "__name__", ""))
def test_an_error_before_any_answer_becomes_its_class(error: BotoCoreError, expected: type[AwsError]) -> None:
    assert type(translate_error(error, "connecting")) is expected


def test_the_tree_is_small_and_only_a_passing_fault_is_retryable() -> None:
    kinds = AwsError.__subclasses__()
    assert len(kinds) == 7
    assert not [deeper for kind in kinds for deeper in kind.__subclasses__()]
    assert {kind for kind in kinds if kind.retryable} == {Unavailable}
    assert not AwsError.retryable


def test_an_answer_without_code_or_message_is_still_an_error_of_the_tree() -> None:
    assert type(translate_error(ClientError({}, "Operation"), "asking")) is InvalidRequest


def test_errors_keep_what_they_know_when_they_are_stored() -> None:
    outcome = JobOutcome(kind="compute", cause="It was large.", remedy="Take more.")
    failed = pickle.loads(pickle.dumps(TrainingFailed("no model", outcome=outcome, usd=0.5, log_tail=("one", "two"))))  # noqa: S301
    assert (str(failed), failed.outcome, failed.usd, failed.log_tail) == ("no model", outcome, 0.5, ("one", "two"))
    message = "The requested resource training-job/ml.t3.medium is not available in this region"
    refused = pickle.loads(pickle.dumps(translate_error(client_error("ResourceLimitExceeded", message), "asking")))  # noqa: S301
    assert (refused.code, refused.waiting_helps) == ("ResourceLimitExceeded", False)


def test_the_original_error_is_retained_as_the_cause_and_others_pass_untouched() -> None:
    original = client_error("NoSuchKey")
    with pytest.raises(NotFound) as caught, translate_errors("fetching"):
        raise original
    assert caught.value.__cause__ is original
    with pytest.raises(ZeroDivisionError), translate_errors("dividing"):
        raise ZeroDivisionError


def secretive(endpoint_url: str, bucket: str = "linear-learner-sandbox") -> Workspace:
    parameters = AwsClientParameters(endpoint_url=endpoint_url, config=Config(retries={"max_attempts": 0}))
    credentials = AwsCredentials(
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key=SecretStr(SECRET),
        region_name="us-east-1",
        aws_client_parameters=parameters,
    )
    return Workspace(bucket=S3Bucket(bucket_name=bucket, credentials=credentials), role_arn=ROLE)


def test_no_message_holds_the_secret_key(sandbox_url: str) -> None:
    for workspace, expected in ((secretive(sandbox_url), NotFound), (secretive("http://127.0.0.1:9"), Unavailable)):
        with pytest.raises(expected) as caught:
            stat_object(workspace, workspace.uri("nothing"))
        assert SECRET not in f"{caught.value} {caught.value.__cause__} {workspace}"


def test_a_session_token_that_aws_repeats_is_not_passed_on() -> None:
    message = (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for this "
        "request should have been\n'POST\n/\n\nhost:api.sagemaker.us-east-1.amazonaws.com\n"
        "x-amz-security-token:FwoGZXIvYXdzEXAMPLE\n\nhost;x-amz-security-token\n44136fa355b3678a'\n"
    )
    error = translate_error(client_error("InvalidSignatureException", message, 403), "asking")
    assert "FwoGZXIvYXdzEXAMPLE" not in str(error)
    assert "Consult the service documentation for details. Check the workspace's access key" in str(error)


def test_an_upload_to_a_bucket_that_is_not_there_is_not_found(sandbox_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    workspace = secretive(sandbox_url, bucket="never-made")
    with pytest.raises(NotFound, match="never-made"):
        upload_file(workspace, tmp_path / "file", workspace.uri("file"), "0" * 64)


class BrokenOff(BaseHTTPRequestHandler):
    """Promises a thousand bytes of an object and hangs up after three."""

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
def breaking_off() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), BrokenOff) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_download_that_breaks_off_every_time_may_be_tried_again(breaking_off: str, tmp_path: Path) -> None:
    workspace = secretive(breaking_off)
    stored = StoredObject(uri=workspace.uri("file"), size=1000, etag="etag")
    with pytest.raises(Unavailable, match="Max Retries Exceeded"):
        download_object(workspace, stored, tmp_path / "file")
    assert not (tmp_path / "file").exists()
