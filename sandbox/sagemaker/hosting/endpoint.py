"""An endpoint: its fleets, its deployment in progress, and its description at any time."""

import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from sandbox.sagemaker.api_model import Document
from sandbox.sagemaker.hosting.deployment import Deployment, Fleet
from sandbox.storage import replace_json

SCALING_SECONDS = 15.0
DELETION_SECONDS = 10.0
SAVE_LOCK = threading.Lock()
"""Calls on tags and the thread that checks alarms may save an endpoint at the same time."""


@dataclass
class Endpoint:
    """An endpoint in a file. What it is at any time follows from the stored facts and the clock."""

    record: Path
    name: str
    arn: str
    created: float
    tags: dict[str, str]
    status: str = "InService"
    """The status while nothing is in progress: InService, Failed or UpdateRollbackFailed."""
    modified: float = 0.0
    reason: str = ""
    fleet: Fleet | None = None
    """The fleet in service; None before the first deployment has succeeded."""
    deployment: Deployment | None = None
    last_config: Document = field(default_factory=dict)
    """The DeploymentConfig of the last successful deployment."""
    scaling: tuple[float, int] | None = None
    """When a change of the number of instances started, and the number."""
    deleted: float | None = None
    """When the deletion started."""
    requests: float = 0.0
    """Shares of requests that the new fleet is still to get; not stored."""

    @classmethod
    def load(cls, record: Path, **stored: Any) -> Self:
        """An endpoint from its file."""
        fleet, deployment = stored.pop("fleet"), stored.pop("deployment")
        endpoint = cls(record, **stored)
        endpoint.fleet = Fleet(**fleet) if fleet else None
        if deployment:
            new_fleet = Fleet(**deployment.pop("fleet"))
            stopped = deployment.pop("stopped")
            endpoint.deployment = Deployment(new_fleet, **deployment, stopped=tuple(stopped) if stopped else None)
        return endpoint

    def save(self) -> None:
        with SAVE_LOCK:
            replace_json(self.record, {k: v for k, v in asdict(self).items() if k not in {"record", "requests"}})

    def settle(self, now: float, speed: float) -> None:
        """Record what has ended by now: a deployment, or a change of the number of instances."""
        if self.scaling and self.fleet and now >= self.scaling[0] + SCALING_SECONDS / speed:
            self.modified = self.scaling[0] + SCALING_SECONDS / speed
            self.fleet, self.scaling = replace(self.fleet, instances=self.scaling[1]), None
            self.save()
        if self.deployment is None:
            return
        phase = self.deployment.phase(now, speed)
        if phase.status in {"Updating", "RollingBack"}:
            return
        if phase.status == "Deployed":
            self.fleet, self.last_config = self.deployment.fleet, self.deployment.config
            self.status, self.reason = "InService", ""
        elif self.fleet is None:
            self.status, self.reason = "Failed", phase.reason
            self.fleet = replace(self.deployment.fleet, instances=0)
        else:
            self.status = "UpdateRollbackFailed" if phase.status == "RollbackFailed" else "InService"
            self.reason = "" if self.deployment.is_silent else phase.reason
        self.deployment, self.modified = None, phase.since
        self.save()

    def is_deleted(self, now: float, speed: float) -> bool:
        return self.deleted is not None and now >= self.deleted + DELETION_SECONDS / speed

    def status_at(self, now: float, speed: float) -> tuple[str, float]:
        """The EndpointStatus and when the endpoint entered it, after `settle`."""
        if self.deleted is not None:
            return "Deleting", self.deleted
        if self.scaling:
            return "Updating", self.scaling[0]
        if self.deployment is None:
            return self.status, self.modified
        phase = self.deployment.phase(now, speed)
        return ("Creating", self.created) if self.fleet is None else (phase.status, phase.since)

    def describe(self, now: float, speed: float) -> Document:
        """The response to DescribeEndpoint, after `settle`."""
        status, since = self.status_at(now, speed)
        fleet = self.fleet or (self.deployment.fleet if self.deployment else None)
        document: Document = {
            "EndpointName": self.name,
            "EndpointArn": self.arn,
            "EndpointConfigName": fleet.config_name if fleet else "",
            "EndpointStatus": status,
            "CreationTime": round(self.created, 3),
            "LastModifiedTime": round(since, 3),
        }
        if self.fleet and self.status != "Failed":
            desired = self.scaling[1] if self.scaling else self.fleet.instances
            document["ProductionVariants"] = [_describe_variant(self.fleet, self.fleet.instances, desired)]
        if fleet and "DataCaptureConfig" in fleet.config:
            document["DataCaptureConfig"] = _describe_capture(fleet.config["DataCaptureConfig"])
        if self.reason and status == self.status:
            document["FailureReason"] = self.reason
        if self.last_config:
            document["LastDeploymentConfig"] = self.last_config
        if self.deployment:
            document["PendingDeploymentSummary"] = self._describe_deployment(self.deployment, now, speed)
        return document

    def _describe_deployment(self, deployment: Deployment, now: float, speed: float) -> Document:
        new = deployment.fleet
        current = new.instances if now >= deployment.plan(speed).steps[0][0] else 0
        return {
            "EndpointConfigName": new.config_name,
            "StartTime": round(deployment.started, 3),
            "ProductionVariants": [_describe_variant(new, current, new.instances)],
        }


def _describe_variant(fleet: Fleet, current: int, desired: int) -> Document:
    variant, image = fleet.variant, fleet.model["PrimaryContainer"]["Image"]
    capacity: Document = {"CurrentInstanceCount": current, "DesiredInstanceCount": desired}
    if "ServerlessConfig" in variant:
        capacity = dict.fromkeys(("CurrentServerlessConfig", "DesiredServerlessConfig"), variant["ServerlessConfig"])
    return {
        "VariantName": variant["VariantName"],
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image}],
        "CurrentWeight": variant["InitialVariantWeight"],
        "DesiredWeight": variant["InitialVariantWeight"],
        **capacity,
    }


def _describe_capture(config: Document) -> Document:
    enabled = bool(config.get("EnableCapture"))
    summary = {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
    }
    return summary | ({"KmsKeyId": config["KmsKeyId"]} if "KmsKeyId" in config else {})
