"""The state of endpoints as SageMaker describes it, and what an endpoint configuration serves."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from aws.endpoints.scaling import describe_scaling
from aws.endpoints.settings import Hosting
from aws.endpoints.specification import ENDPOINT_TAG, JOB_TAG, PACKAGE_TAG, SHA256_TAG, ServedModel
from aws.errors import InvalidRequest, NotFound, translate_errors
from aws.resource_tags import read_tags
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeEndpointOutputTypeDef

CHANGING_STATUSES = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack"})
"""Statuses in which SageMaker refuses to update or delete an endpoint."""


class EndpointState(BaseModel, frozen=True):
    """An endpoint, as SageMaker describes it."""

    name: str
    arn: str
    status: str
    config: str | None
    """The configuration that serves, or that is being created; None if SageMaker names none."""
    pending_config: str | None = None
    """The configuration that an update in progress applies."""
    failure_reason: str = ""
    created: datetime
    modified: datetime
    tags: dict[str, str]
    instances: int | None = None
    """Number of running instances; None for serverless endpoints and those that do not run yet."""

    @property
    def is_own(self) -> bool:
        """Whether this project created the endpoint."""
        return self.tags.get(ENDPOINT_TAG) == self.name

    @property
    def is_changing(self) -> bool:
        """Whether a creation, an update or a rollback is in progress."""
        return self.status in CHANGING_STATUSES


class Served(BaseModel, frozen=True):
    """What an endpoint configuration serves, read back from the configuration, its model and their tags.

    Of `hosting`, the expiry and the cost limit are not recorded, and have their default values.
    """

    config: str
    model_name: str
    model: ServedModel
    hosting: Hosting


def describe_endpoint(workspace: Workspace, name: str) -> EndpointState | None:
    """Return the endpoint's state, with its tags; None if there is no such endpoint."""
    try:
        with translate_errors(f"looking for endpoint {name}"):
            found = workspace.client("sagemaker").describe_endpoint(EndpointName=name)
        return read_state(found, read_tags(workspace, found["EndpointArn"]))
    except NotFound:
        return None


def read_state(found: "DescribeEndpointOutputTypeDef | Mapping[str, Any]", tags: dict[str, str]) -> EndpointState:
    """Return the state from a DescribeEndpoint response."""
    variant: Mapping[str, Any] = next(iter(found.get("ProductionVariants", [])), {})
    # Whether SageMaker gives serverless variants a number of instances is not documented.
    instances = None if "CurrentServerlessConfig" in variant else variant.get("CurrentInstanceCount")
    pending = found.get("PendingDeploymentSummary")
    return EndpointState(
        name=found["EndpointName"],
        arn=found["EndpointArn"],
        status=found["EndpointStatus"],
        config=found.get("EndpointConfigName"),
        pending_config=pending["EndpointConfigName"] if pending else None,
        failure_reason=found.get("FailureReason", ""),
        created=found["CreationTime"],
        modified=found["LastModifiedTime"],
        tags=tags,
        instances=instances,
    )


def list_endpoints(workspace: Workspace) -> list[EndpointState]:
    """Return all endpoints of this project in the workspace's region and account, newest first.

    Reads the tags of every endpoint of the account in this region: call it rarely. Endpoints that are deleted in the
    meantime are left out.
    """
    with translate_errors("listing the endpoints"):
        pages = workspace.client("sagemaker").get_paginator("list_endpoints")
        found = [one for page in pages.paginate(PaginationConfig={"PageSize": 100}) for one in page["Endpoints"]]
    return [
        state
        for one in found
        if is_tagged(workspace, one["EndpointArn"], one["EndpointName"])
        and (state := describe_endpoint(workspace, one["EndpointName"]))
    ]


def is_tagged(workspace: Workspace, arn: str, endpoint: str) -> bool:
    """Return whether a resource belongs to this endpoint by its tag; one that was deleted in the meantime does not."""
    try:
        return read_tags(workspace, arn).get(ENDPOINT_TAG) == endpoint
    except NotFound:
        return False


def describe_served(workspace: Workspace, config: str) -> Served:
    """Return what the endpoint configuration of this name serves.

    Raises NotFound if it or its model does not exist, and InvalidRequest if this project did not create it.
    """
    client = workspace.client("sagemaker")
    with translate_errors(f"reading endpoint configuration {config}"):
        found = client.describe_endpoint_config(EndpointConfigName=config)
    endpoint = read_tags(workspace, found["EndpointConfigArn"]).get(ENDPOINT_TAG)
    variant = found["ProductionVariants"][0]
    name = variant.get("ModelName")
    if endpoint is None or name is None:
        raise InvalidRequest(
            f"Endpoint configuration {config} was not created by this project: it has no tag {ENDPOINT_TAG}. Deploy to "
            "an endpoint with another name."
        )
    scaling = describe_scaling(workspace, endpoint)
    hosting = read_hosting(found)
    if scaling and hosting.kind == "instances":
        hosting = hosting.model_copy(update=scaling.as_hosting())
    return Served(config=config, model_name=name, model=_describe_model(workspace, name), hosting=hosting)


def read_hosting(found: Mapping[str, Any]) -> Hosting:
    """Return the hosting of a DescribeEndpointConfig response, which does not contain the scaling."""
    variant = found["ProductionVariants"][0]
    if serverless := variant.get("ServerlessConfig"):
        return Hosting(
            kind="serverless",
            memory_mb=serverless["MemorySizeInMB"],
            max_concurrency=serverless["MaxConcurrency"],
        )
    capture = found.get("DataCaptureConfig", {})
    return Hosting(
        instance_type=variant["InstanceType"],
        min_instances=variant["InitialInstanceCount"],
        capture_percent=capture["InitialSamplingPercentage"] if capture.get("EnableCapture") else 0,
    )


def _describe_model(workspace: Workspace, name: str) -> ServedModel:
    with translate_errors(f"reading model {name}"):
        found = workspace.client("sagemaker").describe_model(ModelName=name)
    container: Mapping[str, Any] = found.get("PrimaryContainer", {})
    tags = read_tags(workspace, found["ModelArn"])
    return ServedModel(
        image=container.get("Image", ""),
        model_uri=container.get("ModelDataUrl", ""),
        sha256=tags.get(SHA256_TAG, ""),
        package_arn=tags.get(PACKAGE_TAG),
        training_job=tags.get(JOB_TAG),
    )
