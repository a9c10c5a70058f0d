"""URLs of AWS's console for a training job and its log; None where the endpoint is not one of AWS's own.

Both forms and the three domains are those that AWS's own sagemaker-ssh-helper links to. The Model Registry has no page
of its own: Studio alone shows it, at the address of an account's Studio domain.
"""

from typing import Final
from urllib.parse import quote, urlsplit

from botocore.client import ClientMeta

from aws.training.following import LOG_GROUP
from aws.workspace import Workspace

CONSOLE_DOMAINS: Final = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}
"""Domain by partition; those of other partitions are not public."""
AWS_ENDPOINT_DOMAINS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn")
"""Domains of AWS's own endpoints in these partitions, VPC endpoints included."""


def job_page(workspace: Workspace, job: str) -> str | None:
    """URL of the training job's page in SageMaker's console."""
    return _page_url(workspace.client("sagemaker").meta, "sagemaker", f"/jobs/{job}")


def log_page(workspace: Workspace, job: str) -> str | None:
    """URL of the page in CloudWatch's console that lists the job's log streams, one per instance."""
    streams = f"{_escape(LOG_GROUP)}$3FlogStreamNameFilter$3D{_escape(f'{job}/')}"
    return _page_url(workspace.client("logs").meta, "cloudwatch", f"logsV2:log-groups/log-group/{streams}")


def _page_url(endpoint: ClientMeta, service: str, place: str) -> str | None:
    console = CONSOLE_DOMAINS.get(endpoint.partition)
    if console is None or not (urlsplit(endpoint.endpoint_url).hostname or "").endswith(AWS_ENDPOINT_DOMAINS):
        return None
    return f"https://{endpoint.region_name}.{console}/{service}/home?region={endpoint.region_name}#{place}"


def _escape(name: str) -> str:
    """A name as CloudWatch's console expects it in its URLs: escaped twice, the second time with $ for %."""
    return quote(quote(name, safe=""), safe="").replace("%", "$")
