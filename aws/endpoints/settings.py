"""What a user chooses about an endpoint: its instances or serverless capacity, its updates and their guards."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from aws.parameters import Parameters
from aws.training.compute import InstanceType

NAME_PATTERN = r"^[A-Za-z0-9](?:-*[A-Za-z0-9]){0,62}$"
EndpointName = Annotated[str, Field(pattern=NAME_PATTERN)]
MIN_BAKING_MINUTES = 3
"""The alarm on missing checks needs two minutes, and CloudWatch up to a minute to evaluate it."""


class Hosting(Parameters):
    """What an endpoint runs on, what it records and what it may cost."""

    kind: Literal["instances", "serverless"] = "instances"
    """Instances run, and cost, all the time; serverless costs only while it answers, and starts slowly when idle."""
    instance_type: InstanceType = "ml.m5.large"
    """Instances: the type, such as ml.m5.large; Linear Learner needs no GPU."""
    min_instances: Annotated[int, Field(ge=1, le=100)] = 1
    """Instances: their number, or the smallest number if they are scaled."""
    max_instances: Annotated[int, Field(ge=1, le=100)] | None = None
    """Instances: the largest number to which they are scaled with the requests. None: they are not scaled."""
    requests_per_instance: Annotated[int, Field(ge=1)] = 10_000
    """Instances: requests per minute and instance at which more are added, if they are scaled."""
    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = Field(2048, title="Memory (MB)")
    """Serverless: memory in MB; it also determines the share of a processor."""
    max_concurrency: Annotated[int, Field(ge=1, le=200)] = 20
    """Serverless: the most requests that are answered at the same time."""
    capture_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Percentage of requests that are recorded in the workspace's bucket, with their answers."""
    expires_after: Annotated[str, Field(pattern=r"^[1-9]\d{0,3}[hd]$")] | None = None
    """After this time, such as 8h or 14d, the reaper removes the endpoint. None: it stays until it is removed."""
    max_usd_per_month: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, title="Max Cost per Month (USD)"
    )
    """The most that the instances may cost in a month of 730 hours; an endpoint that may cost more is refused."""

    @model_validator(mode="after")
    def _check_instances(self) -> "Hosting":
        if self.max_instances is not None and self.max_instances < self.min_instances:
            raise ValueError(
                f"max_instances, {self.max_instances}, is less than min_instances, {self.min_instances}: raise it, or "
                "leave it empty"
            )
        return self

    @property
    def is_scaled(self) -> bool:
        return self.kind == "instances" and (self.max_instances or 0) > self.min_instances

    @property
    def lifetime(self) -> timedelta | None:
        """`expires_after` as a duration."""
        if self.expires_after is None:
            return None
        number = int(self.expires_after[:-1])
        return timedelta(days=number) if self.expires_after.endswith("d") else timedelta(hours=number)


class Traffic(Parameters):
    """How requests move to the new instances during an update, while alarms are watched."""

    shift: Literal["all-at-once", "canary", "linear"] = "all-at-once"
    """All at once; a canary share first and then the rest; or in equal steps. A canary needs two or more instances."""
    percent: Annotated[int, Field(ge=1, le=50)] = 10
    """Canary: percentage that gets the new model first. Linear: percentage that moves with every step, from 10."""
    minutes: Annotated[int, Field(ge=MIN_BAKING_MINUTES, le=60)] = 5
    """Minutes for which alarms are watched after every step; any alarm rolls the update back."""

    @model_validator(mode="after")
    def _check_steps(self) -> "Traffic":
        if self.shift == "linear" and self.percent < 10:
            raise ValueError(f"percent, {self.percent}, is too small for linear steps: give 10 to 50")
        return self


class Guard(Parameters):
    """What stops an update before it starts, and what rolls it back."""

    max_changed: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Largest share of rows whose decision may change: another class, or a number that moves by a tenth of the
    standard deviation of the present predictions. Compared on this machine, before AWS is called."""
    max_latency_ms: Annotated[int, Field(title="Max Latency (ms)", ge=1, le=60_000)] = 1000
    """Average time in milliseconds that the model may take in a minute; a longer one rolls the update back."""
    max_errors: Annotated[int, Field(ge=1)] = 5
    """Number of 5XX errors in a minute that rolls the update back."""
    allow_unapproved: bool = False
    """Also serve a model package that is not Approved. Default false."""
