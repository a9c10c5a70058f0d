"""URLs of the pages of a job, its log and an endpoint in the AWS console, by partition and endpoint."""

import pytest
from prefect_aws import AwsCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters

from aws.console import endpoint_page, job_page, log_page
from aws.workspace import Workspace

JOB = "linear-learner-7c44904b5d64b721854e"


def workspace(region: str, endpoint_url: str | None = None) -> Workspace:
    parameters = AwsClientParameters(endpoint_url=endpoint_url)
    bucket = S3Bucket(
        bucket_name="data", credentials=AwsCredentials(region_name=region, aws_client_parameters=parameters)
    )
    return Workspace(bucket=bucket, role_arn="arn:aws:iam::123456789012:role/training")


@pytest.mark.parametrize(
    ("region", "domain"),
    [
        ("eu-west-1", "console.aws.amazon.com"),
        ("cn-north-1", "console.amazonaws.cn"),
        ("us-gov-west-1", "console.amazonaws-us-gov.com"),
    ],
)
def test_a_job_its_log_and_an_endpoint_have_a_page_in_the_console_of_their_partition(region: str, domain: str) -> None:
    block = workspace(region)
    assert job_page(block, JOB) == f"https://{region}.{domain}/sagemaker/home?region={region}#/jobs/{JOB}"
    assert endpoint_page(block, "churn") == f"https://{region}.{domain}/sagemaker/home?region={region}#/endpoints/churn"
    assert log_page(block, JOB) == (
        f"https://{region}.{domain}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/"
        f"$252Faws$252Fsagemaker$252FTrainingJobs$3FlogStreamNameFilter$3D{JOB}$252F"
    )


def test_a_vpc_endpoint_counts_as_an_aws_endpoint() -> None:
    block = workspace("eu-west-1", "https://vpce-0a1b2c3d-4e5f.sagemaker.eu-west-1.vpce.amazonaws.com")
    assert job_page(block, JOB) == job_page(workspace("eu-west-1"), JOB)


@pytest.mark.parametrize(
    "block",
    [
        workspace("eu-west-1", "http://127.0.0.1:4566"),
        workspace("us-east-1", "https://amazonaws.com.example.org"),
        workspace("us-iso-east-1"),
    ],
    ids=["sandbox", "look-alike", "isolated partition"],
)
def test_other_endpoints_have_no_console_page(block: Workspace) -> None:
    assert job_page(block, JOB) is None
    assert endpoint_page(block, "churn") is None
    assert log_page(block, JOB) is None
