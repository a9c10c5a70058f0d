"""The deployment of a fleet of instances to an endpoint: a plan of timed steps, and its state at any time.

The service creates the new ("green") fleet beside the old ("blue") one, moves the requests in one or more steps,
watches alarms after every step, and then terminates the old fleet. Times are in seconds since the epoch; those of the
API are divided by the sandbox's hosting speed.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from sandbox.sagemaker.api_model import Document

PROVISION_SECONDS = 30.0
"""From the request to a new fleet that answers; minutes on AWS, and here also divided by the hosting speed."""
ROLLBACK_SECONDS = 15.0


@dataclass(frozen=True)
class Fleet:
    """Instances, or serverless capacity, with the configuration and model of the time at which they were created."""

    config: Document
    model: Document
    instances: int
    """0 for serverless capacity."""
    answers_wrong: bool = False
    delay_seconds: float = 0.0

    @property
    def variant(self) -> Document:
        variant: Document = self.config["ProductionVariants"][0]
        return variant

    @property
    def config_name(self) -> str:
        return str(self.config["EndpointConfigName"])


class Plan(NamedTuple):
    """When an uninterrupted deployment does what."""

    steps: list[tuple[float, float]]
    """Times, and the share of the requests that the new fleet gets from then on."""
    baked: float
    """When the last baking period, in which alarms are watched, ends."""
    end: float
    """When the old fleet is terminated and the deployment ends."""


class Phase(NamedTuple):
    """The state of a deployment at one time."""

    status: str
    """EndpointStatus while it is in progress; `Deployed`, `RolledBack` or `RollbackFailed` after its end."""
    share: float
    """The share of the requests that the new fleet gets."""
    since: float
    """When the endpoint entered this status."""
    reason: str = ""


@dataclass
class Deployment:
    """A new fleet on its way into service. Only `stopped` changes after the start."""

    fleet: Fleet
    started: float
    config: Document = field(default_factory=dict)
    """The DeploymentConfig of the request."""
    failure: str = ""
    """Why the new fleet does not answer after its provisioning; empty for a healthy one."""
    is_silent: bool = False
    """Whether the deployment is undone without RollingBack and without a reason."""
    rollback_fails: bool = False
    stopped: tuple[float, str] | None = None
    """When and why an alarm stopped it."""

    def plan(self, speed: float) -> Plan:
        policy = self.config.get("BlueGreenUpdatePolicy", {})
        routing = policy.get("TrafficRoutingConfiguration", {})
        wait = routing.get("WaitIntervalInSeconds", 0) / speed
        ready = self.started + PROVISION_SECONDS / speed
        shares = traffic_shares(routing, self.fleet.instances)
        steps = [(ready + number * wait, share) for number, share in enumerate(shares)]
        # The service's documentation has a baking period after every step, the last included.
        baked = ready + len(shares) * wait
        return Plan(steps, baked, baked + policy.get("TerminationWaitInSeconds", 0) / speed)

    def phase(self, now: float, speed: float) -> Phase:
        plan, stop = self.plan(speed), self._first_stop(speed)
        if now >= min(stop[0], plan.end):
            return (
                self._phase_after_stop(now, speed, *stop) if stop[0] <= plan.end else Phase("Deployed", 1.0, plan.end)
            )
        share = max((share for time, share in plan.steps if time <= now), default=0.0)
        return Phase("Updating", share, self.started)

    def is_baking(self, now: float, margin: float, speed: float) -> bool:
        """Whether alarms stop the deployment at this time: from `margin` seconds before the first requests move."""
        plan = self.plan(speed)
        return plan.steps[0][0] - margin <= now < plan.baked and self.phase(now, speed).status == "Updating"

    def _first_stop(self, speed: float) -> tuple[float, str]:
        """When and why the deployment is undone; infinity if it is not."""
        stops = [self.stopped] if self.stopped else []
        if self.failure:
            stops.append((self.started + PROVISION_SECONDS / speed, self.failure))
        limit = self.config.get("BlueGreenUpdatePolicy", {}).get("MaximumExecutionTimeoutInSeconds", math.inf)
        if limit < math.inf:
            message = f"The deployment exceeded its MaximumExecutionTimeoutInSeconds of {limit} seconds."  # inferred
            stops.append((self.started + limit / speed, message))
        return min(stops, default=(math.inf, ""))

    def _phase_after_stop(self, now: float, speed: float, stopped: float, reason: str) -> Phase:
        end = stopped + ROLLBACK_SECONDS / speed
        if now < end:
            return Phase("Updating", 0.0, self.started) if self.is_silent else Phase("RollingBack", 0.0, stopped)
        return Phase("RollbackFailed" if self.rollback_fails else "RolledBack", 0.0, end, reason)


def traffic_shares(routing: Document, instances: int) -> list[float]:
    """The share of the requests that the new fleet gets after each step of a TrafficRoutingConfiguration."""
    kind = routing.get("Type", "ALL_AT_ONCE")
    if kind == "ALL_AT_ONCE":
        return [1.0]
    size = routing["CanarySize" if kind == "CANARY" else "LinearStepSize"]
    first = size["Value"] / (100 if size["Type"] == "CAPACITY_PERCENT" else instances)
    steps = 1 if kind == "CANARY" else math.ceil(1 / first - 1e-9) - 1
    return [first * number for number in range(1, steps + 1)] + [1.0]
