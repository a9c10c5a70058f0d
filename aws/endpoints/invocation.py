"""Requests to an endpoint, and their number."""

from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from aws.endpoints.alarms import SAGEMAKER
from aws.endpoints.specification import VARIANT
from aws.errors import EndpointError, translate_errors
from aws.workspace import Workspace

MAX_BODY_BYTES = 6 << 20
"""Largest body of a request that botocore's service model allows."""
JSON = "application/json"
CHECK_ID = "linear-learner-check"
"""Inference id of the requests that check an endpoint during an update."""
DAY_SECONDS = 86_400


def invoke(
    workspace: Workspace,
    endpoint: str,
    body: bytes,
    content_type: str,
    inference_id: str | None = None,
) -> bytes:
    """Return the answer of an endpoint to a request, in JSON; `inference_id` marks the request where it is captured.

    Raises EndpointError with the container's status and message if the container answers with an error, which is not
    retryable if it is a 4XX; NotFound if there is no such endpoint; other AwsErrors as for every call.
    """
    with translate_errors(f"asking endpoint {endpoint}"):
        try:
            response: dict[str, Any] = workspace.client("sagemaker-runtime").invoke_endpoint(
                EndpointName=endpoint,
                Body=body,
                ContentType=content_type,
                Accept=JSON,
                **({"InferenceId": inference_id} if inference_id else {}),
            )
            return bytes(response["Body"].read())
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ModelError":
                raise
            raise _container_error(endpoint, error) from error


def _container_error(endpoint: str, error: ClientError) -> EndpointError:
    response: dict[str, Any] = dict(error.response)
    status = int(response.get("OriginalStatusCode") or 0)
    message = str(response.get("OriginalMessage") or response.get("Error", {}).get("Message", "")).strip().rstrip(".")
    remedy = (
        "Correct the request."
        if 400 <= status < 500
        else f"Read the log group /aws/sagemaker/Endpoints/{endpoint}, and look at the endpoint's alarms."
    )
    translated = EndpointError(
        f"The container of endpoint {endpoint} answered with status {status or 'unknown'}: {message}. {remedy}",
        status=status,
    )
    translated.code = "ModelError"
    return translated


def invocations(workspace: Workspace, endpoint: str, days: int) -> int:
    """Return the number of requests of the last `days` days, from CloudWatch, which shows them minutes later.

    Requests that check an endpoint during an update count too.
    """
    end = datetime.now(UTC)
    with translate_errors(f"counting the requests to endpoint {endpoint}"):
        points = workspace.client("cloudwatch").get_metric_statistics(
            Namespace=SAGEMAKER,
            MetricName="Invocations",
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": VARIANT}],
            StartTime=end - timedelta(days=days),
            EndTime=end,
            Period=DAY_SECONDS,
            Statistics=["Sum"],
        )["Datapoints"]
    return round(sum(float(point["Sum"]) for point in points))
