"""botocore's errors become this project's tree, each with what was done, what AWS said and what to do."""

from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
)
from prefect_aws import AwsCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters
from pydantic import SecretStr

from aws import errors
from aws.errors import (
    AccessDenied,
    AwsError,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    TrainingFailed,
    Unavailable,
    translate,
    translated,
)
from aws.storage import look, put
from aws.workspace import Workspace

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CODES = {
    AccessDenied: "AccessDenied AccessDeniedException 403 ExpiredToken ExpiredTokenException InvalidToken "
    "InvalidAccessKeyId InvalidClientTokenId SignatureDoesNotMatch UnrecognizedClientException",
    NotFound: "NoSuchBucket NoSuchKey 404 ResourceNotFound ResourceNotFoundException",
    Unavailable: "Throttling ThrottlingException TooManyRequestsException RequestLimitExceeded SlowDown RequestTimeout "
    "InternalFailure InternalError InternalServerError ServiceUnavailable 500 503",
    QuotaExceeded: "ResourceLimitExceeded",
    InvalidRequest: "ValidationException ResourceInUse InvalidParameterValue MalformedXML NeverHeardOfException",
}
CLIENT_ERRORS = [(code, error) for error, codes in CODES.items() for code in codes.split()]
OTHER_ERRORS: list[tuple[BotoCoreError, type[AwsError]]] = [
    (NoCredentialsError(), AccessDenied),
    (PartialCredentialsError(provider="explicit", cred_var="aws_secret_access_key"), AccessDenied),
    (ProfileNotFound(profile="nobody"), AccessDenied),
    (NoRegionError(), AccessDenied),
    (ParamValidationError(report="Invalid length for parameter VpcConfig.SecurityGroupIds"), InvalidRequest),
    (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), Unavailable),
    (ConnectTimeoutError(endpoint_url="http://127.0.0.1:9"), Unavailable),
    (ReadTimeoutError(endpoint_url="http://127.0.0.1:9"), Unavailable),
]


def client_error(code: str, message: str = "what AWS said.") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Operation")


@pytest.mark.parametrize(("code", "expected"), CLIENT_ERRORS)
def test_a_code_of_aws_becomes_its_class_and_says_doing_answer_and_cure(code: str, expected: type[AwsError]) -> None:
    error = translate(client_error(code), "looking at the sky")
    assert type(error) is expected
    said = f"AWS failed while looking at the sky: {code}: what AWS said. "
    assert str(error).startswith(said)
    assert str(error).removeprefix(said).endswith(".")


def test_every_code_the_project_knows_is_tested() -> None:
    assert set(errors._KINDS) <= {code for code, _ in CLIENT_ERRORS}


@pytest.mark.parametrize(("error", "expected"), OTHER_ERRORS, ids=lambda case: getattr(case, "__name__", ""))
def test_an_error_before_any_answer_becomes_its_class(error: BotoCoreError, expected: type[AwsError]) -> None:
    assert type(translate(error, "connecting")) is expected


def test_only_a_passing_fault_is_retryable() -> None:
    assert {kind for kind in AwsError.__subclasses__() if kind.retryable} == {Unavailable}
    assert not AwsError.retryable
    assert not TrainingFailed.retryable


def test_an_answer_without_code_or_message_is_still_an_error_of_the_tree() -> None:
    assert type(translate(ClientError({}, "Operation"), "asking")) is InvalidRequest


def test_the_original_error_is_kept_as_the_cause_and_others_pass_untouched() -> None:
    original = client_error("NoSuchKey")
    with pytest.raises(NotFound) as caught, translated("fetching"):
        raise original
    assert caught.value.__cause__ is original
    with pytest.raises(ZeroDivisionError), translated("dividing"):
        raise ZeroDivisionError


def secretive(endpoint_url: str, bucket: str = "linear-learner-sandbox") -> Workspace:
    parameters = AwsClientParameters(endpoint_url=endpoint_url, config=Config(retries={"max_attempts": 0}))
    credentials = AwsCredentials(
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key=SecretStr(SECRET),
        region_name="us-east-1",
        aws_client_parameters=parameters,
    )
    role = "arn:aws:iam::123456789012:role/training"
    return Workspace(bucket=S3Bucket(bucket_name=bucket, credentials=credentials), role_arn=role)


def test_no_message_holds_the_secret_key(sandbox_url: str) -> None:
    for workspace, expected in ((secretive(sandbox_url), NotFound), (secretive("http://127.0.0.1:9"), Unavailable)):
        with pytest.raises(expected) as caught:
            look(workspace, workspace.uri("nothing"))
        assert SECRET not in f"{caught.value} {caught.value.__cause__} {workspace}"


def test_an_upload_to_a_bucket_that_is_not_there_is_not_found(sandbox_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    workspace = secretive(sandbox_url, bucket="never-made")
    with pytest.raises(NotFound, match="never-made"):
        put(workspace, tmp_path / "file", workspace.uri("file"), "0" * 64)
