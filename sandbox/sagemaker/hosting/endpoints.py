"""SageMaker's endpoints: the API calls on them, and the fleet that answers a request."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.cloudwatch.service import CloudWatch
from sandbox.faults import Fault, Faults
from sandbox.sagemaker.api_model import Document, ServiceError, list_page, take_tags
from sandbox.sagemaker.hosting.containers import UNHEALTHY_MESSAGE, ContainerError, Containers
from sandbox.sagemaker.hosting.deployment import Deployment, Fleet
from sandbox.sagemaker.hosting.endpoint import Endpoint
from sandbox.sagemaker.hosting.models import CONFIG, Actions, EndpointConfigs, Models
from sandbox.sagemaker.hosting.resources import ResourceFolder

NAME = "EndpointName"
SORT_FIELDS = {
    "Name": (NAME,),
    "CreationTime": ("CreationTime", NAME),
    "Status": ("EndpointStatus", NAME),
}
NO_CAPACITY_MESSAGE = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using "
    "a different ML instance type or after some time."
)
IN_SERVICE = ("InService", "UpdateRollbackFailed")


class Endpoints:
    """The endpoints of a folder. An hour of the service takes 3600 / `speed` seconds."""

    def __init__(  # noqa: PLR0913, PLR0917 - an endpoint depends on this many things
        self,
        folder: Path,
        models: Models,
        configs: EndpointConfigs,
        containers: Containers,
        faults: Faults,
        cloudwatch: CloudWatch,
        speed: float,
    ) -> None:
        self._models = models
        self._configs = configs
        self._containers = containers
        self._faults = faults
        self._cloudwatch = cloudwatch
        self._speed = speed
        self._endpoints = ResourceFolder(folder, "endpoint", "endpoint", Endpoint.load)
        self._lock = threading.RLock()
        self.arn_prefixes = (self._endpoints.arn_prefix,)
        self.actions: Actions = {
            "CreateEndpoint": self._create,
            "UpdateEndpoint": self._update,
            "UpdateEndpointWeightsAndCapacities": self._scale,
            "DescribeEndpoint": self._describe,
            "ListEndpoints": self._list,
            "DeleteEndpoint": self._delete,
        }

    def tagged_resource(self, arn: str) -> Endpoint:
        with self._lock:
            return self._get(arn)

    def statuses(self) -> dict[str, str]:
        """The EndpointStatus by the name of each endpoint."""
        with self._lock:
            return {endpoint.name: endpoint.status_at(time.time(), self._speed)[0] for endpoint in self._all()}

    def route(self, name: str) -> Fleet | None:
        """The fleet that answers the next request to an endpoint; None if there is none in service.

        The fleets get their shares of the requests in turn, so that they are exact; the service draws them.
        """
        with self._lock:
            endpoint = self._find(name)
            if endpoint is None or endpoint.fleet is None or endpoint.status == "Failed" or endpoint.deleted:
                return None
            if endpoint.deployment is None:
                return endpoint.fleet
            endpoint.requests += endpoint.deployment.phase(time.time(), self._speed).share
            if endpoint.requests < 1 - 1e-9:
                return endpoint.fleet
            endpoint.requests -= 1
            return endpoint.deployment.fleet

    def stop_deployments(self, margin: float) -> None:
        """Roll back the updates one of whose alarms is in the state ALARM.

        Alarms stop an update while the new fleet bakes, and before it gets requests: `margin` is the number of seconds
        until the next call.
        """
        with self._lock:
            for endpoint in self._endpoints:
                deployment, now = endpoint.deployment, time.time()
                if deployment is None or endpoint.fleet is None or not deployment.is_baking(now, margin, self._speed):
                    continue
                if name := self._cloudwatch.first_in_alarm(alarm_names(deployment.config)):
                    # The wording is inferred.
                    reason = f"The deployment was rolled back because the CloudWatch alarm {name} is in ALARM state."
                    deployment.stopped = now, reason
                    endpoint.save()

    def _create(self, request: dict[str, Any]) -> Document:
        name, config = request[NAME], self._configs.get(request[CONFIG])
        with self._lock:
            self._find(name)
            self._endpoints.check_is_new(name)
            deployment_config = request.get("DeploymentConfig", {})
            deployment = self._prepare(name, config, deployment_config, None)
            arn = f"{self._endpoints.arn_prefix}{name}"
            tags, started = take_tags(request), deployment.started
            record = self._endpoints.record(name)
            endpoint = Endpoint(record, name, arn, started, tags, modified=started, deployment=deployment)
            endpoint.save()
            self._endpoints.add(name, endpoint)
        return {"EndpointArn": arn}

    def _update(self, request: dict[str, Any]) -> Document:
        with self._lock:
            endpoint, fleet = self._get_updatable(request[NAME])
            config = self._configs.get(request[CONFIG])
            if config["ProductionVariants"][0]["VariantName"] != fleet.variant["VariantName"]:
                raise ServiceError("The variants of the new and the old endpoint configuration differ.")  # inferred
            changed = {one["VariantPropertyType"] for one in request.get("ExcludeRetainedVariantProperties", [])}
            is_retained = request.get("RetainAllVariantProperties") and "DesiredInstanceCount" not in changed
            instances = fleet.instances if is_retained else None
            retained = request.get("RetainDeploymentConfig") and endpoint.last_config
            deployment_config = retained or request.get("DeploymentConfig", {})
            endpoint.deployment = self._prepare(endpoint.name, config, deployment_config, instances)
            endpoint.requests = 0.0
            endpoint.save()
        return {"EndpointArn": endpoint.arn}

    def _prepare(self, name: str, config: Document, deployment_config: Document, instances: int | None) -> Deployment:
        """A deployment that starts now, with the faults that affect it."""
        variant = config["ProductionVariants"][0]
        model = self._models.get(variant["ModelName"])
        if instances is None or "ServerlessConfig" in variant:
            instances = int(variant.get("InitialInstanceCount", 0))
        check_deployment_config(deployment_config, instances)
        if missing := self._cloudwatch.missing_alarms(alarm_names(deployment_config)):
            raise ServiceError(f"Could not find the CloudWatch alarm {missing[0]}.")  # inferred
        faults = self._faults.take_for_fleet(name)
        if quota := faults.get("endpoint-quota"):
            raise ServiceError(_quota_message(variant, quota.limit, instances), "ResourceLimitExceeded")
        failure = self._find_failure(model, variant["VariantName"], faults)
        delay = faults["slow-answers"].seconds if "slow-answers" in faults else 0.0
        fleet = Fleet(config, model, instances, "wrong-answers" in faults, delay)
        return Deployment(
            fleet,
            time.time(),
            deployment_config,
            failure,
            is_silent="silent-rollback" in faults,
            rollback_fails="rollback-fails" in faults,
        )

    def _find_failure(self, model: Document, variant: str, faults: Mapping[str, Fault]) -> str:
        """Why a new fleet does not become healthy; empty if it does."""
        if "endpoint-no-capacity" in faults:
            return NO_CAPACITY_MESSAGE
        if faults.keys() & {"endpoint-unhealthy", "rollback-fails", "silent-rollback"}:
            return UNHEALTHY_MESSAGE.format(variant)
        try:
            self._containers.get(model, variant)
        except ContainerError as error:
            return str(error)
        return ""

    def _scale(self, request: dict[str, Any]) -> Document:
        [change, *others] = request["DesiredWeightsAndCapacities"]
        with self._lock:
            endpoint, fleet = self._get_updatable(request[NAME])
            variant = fleet.variant["VariantName"]
            if others or change["VariantName"] != variant:
                raise ServiceError(f'The endpoint "{endpoint.arn}" has the variant {variant} only.')
            if "DesiredInstanceCount" in change and "ServerlessConfig" in fleet.variant:
                raise ServiceError("A serverless endpoint variant has no DesiredInstanceCount.")  # inferred
            endpoint.scaling = time.time(), change.get("DesiredInstanceCount", fleet.instances)
            endpoint.save()
        return {"EndpointArn": endpoint.arn}

    def _describe(self, request: dict[str, Any]) -> Document:
        with self._lock:
            return self._get(request[NAME]).describe(time.time(), self._speed)

    def _list(self, request: dict[str, Any]) -> Document:
        status = request.get("StatusEquals")
        with self._lock:
            documents = [endpoint.describe(time.time(), self._speed) for endpoint in self._all()]
        chosen = [one for one in documents if status in {None, one["EndpointStatus"]}]
        return list_page("ListEndpoints", {"SortOrder": "Descending"} | request, chosen, SORT_FIELDS)

    def _delete(self, request: dict[str, Any]) -> Document:
        with self._lock:
            endpoint = self._get_idle(request[NAME])
            endpoint.deleted = time.time()
            endpoint.save()
        return {}

    def _all(self) -> list[Endpoint]:
        return [endpoint for one in self._endpoints if (endpoint := self._find(one.name))]

    def _find(self, name: str) -> Endpoint | None:
        endpoint, now = self._endpoints.find(name), time.time()
        if endpoint and endpoint.is_deleted(now, self._speed):
            self._endpoints.remove(endpoint.name)
            return None
        if endpoint:
            endpoint.settle(now, self._speed)
        return endpoint

    def _get(self, name: str) -> Endpoint:
        self._find(name)
        return self._endpoints.get(name)

    def _get_updatable(self, name: str) -> tuple[Endpoint, Fleet]:
        """The endpoint and its fleet; raises ServiceError unless it answers, with a configuration that exists.

        That the service does not change a fleet whose configuration was deleted is inferred.
        """
        endpoint = self._get_idle(name)
        if endpoint.fleet is None or endpoint.status not in IN_SERVICE:
            raise ServiceError(f'Cannot update endpoint "{endpoint.arn}" in status {endpoint.status}.')  # inferred
        self._configs.get(endpoint.fleet.config_name)
        return endpoint, endpoint.fleet

    def _get_idle(self, name: str) -> Endpoint:
        """The endpoint; raises ServiceError while an operation on it is in progress."""
        endpoint = self._get(name)
        if endpoint.deployment or endpoint.scaling or endpoint.deleted is not None:
            raise ServiceError(f'Cannot update in-progress endpoint "{endpoint.arn}".')
        return endpoint


def _quota_message(variant: Mapping[str, Any], limit: int, instances: int) -> str:
    return (
        f"The account-level service limit '{variant.get('InstanceType')} for endpoint usage' is {limit} Instances, "
        f"with current utilization of {limit} Instances and a request delta of {instances} Instances. Please use AWS "
        "Service Quotas to request an increase for this quota. If AWS Service Quotas is not available, contact AWS "
        "support to request an increase for this quota."
    )


def alarm_names(deployment_config: Mapping[str, Any]) -> list[str]:
    alarms = deployment_config.get("AutoRollbackConfiguration", {}).get("Alarms", [])
    return [alarm["AlarmName"] for alarm in alarms]


def check_deployment_config(config: Mapping[str, Any], instances: int) -> None:
    """Raise ServiceError for a deployment that the service or the sandbox does not support; wordings are inferred."""
    if "RollingUpdatePolicy" in config:
        raise ServiceError("The sandbox does not implement RollingUpdatePolicy: use BlueGreenUpdatePolicy.")
    routing = config.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    kind = routing.get("Type", "ALL_AT_ONCE")
    if kind == "ALL_AT_ONCE":
        return
    member = "CanarySize" if kind == "CANARY" else "LinearStepSize"
    if member not in routing:
        raise ServiceError(f"{member} is required for the traffic routing type {kind}.")
    if instances == 0:
        raise ServiceError(f"Traffic routing type {kind} is not supported for serverless endpoints.")
    size = routing[member]
    percent = size["Value"] * (1 if size["Type"] == "CAPACITY_PERCENT" else 100 / instances)
    smallest = 10 if kind == "LINEAR" else 0
    if instances < 2 or not smallest <= percent <= 50:
        raise ServiceError(
            f"{member} must be at most 50%{' and at least 10%' if smallest else ''} of the variant's total instance "
            f"count, which is {instances}, and one instance at least."
        )
