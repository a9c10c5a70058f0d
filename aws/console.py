"""URLs of training jobs, their logs and endpoints in the AWS console; None when the endpoint is not an AWS endpoint.

The URL formats and the three domains are those that AWS's sagemaker-ssh-helper uses. The Model Registry has no console
page: only SageMaker Studio shows it, at a URL that depends on the account's Studio domain.
"""

from typing import Final
from urllib.parse import quote, urlsplit

from botocore.client import ClientMeta

from aws.training.job_log import LOG_GROUP
from aws.workspace import Workspace

CONSOLE_DOMAINS: Final = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}
"""Console domain by AWS partition; the domains of other partitions are not public."""
AWS_ENDPOINT_DOMAINS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn")
"""Domains of AWS endpoints in these partitions, including VPC endpoints."""


def job_page(workspace: Workspace, job: str) -> str | None:
    """Return the URL of the training job's page in the SageMaker console."""
    return _page_url(workspace.client("sagemaker").meta, "sagemaker", f"/jobs/{job}")


def endpoint_page(workspace: Workspace, endpoint: str) -> str | None:
    """Return the URL of the endpoint's page in the SageMaker console."""
    return _page_url(workspace.client("sagemaker").meta, "sagemaker", f"/endpoints/{endpoint}")


def log_page(workspace: Workspace, job: str) -> str | None:
    """Return the URL of the page in the CloudWatch console that lists the job's log streams, one per instance."""
    streams = f"{_escape(LOG_GROUP)}$3FlogStreamNameFilter$3D{_escape(f'{job}/')}"
    return _page_url(workspace.client("logs").meta, "cloudwatch", f"logsV2:log-groups/log-group/{streams}")


def approval_place(workspace: Workspace) -> str:
    """Return where else than on the command line a model is approved; empty outside of AWS."""
    return (
        ", or in SageMaker Studio under Models (the AWS console has no page for it)" if job_page(workspace, "") else ""
    )


def _page_url(endpoint: ClientMeta, service: str, fragment: str) -> str | None:
    console = CONSOLE_DOMAINS.get(endpoint.partition)
    if console is None or not (urlsplit(endpoint.endpoint_url).hostname or "").endswith(AWS_ENDPOINT_DOMAINS):
        return None
    return f"https://{endpoint.region_name}.{console}/{service}/home?region={endpoint.region_name}#{fragment}"


def _escape(name: str) -> str:
    """Escape a name for a URL of the CloudWatch console: twice, the second time with $ instead of %."""
    return quote(quote(name, safe=""), safe="").replace("%", "$")
