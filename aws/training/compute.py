"""Instances and limits of a training job, and the alternatives to request when AWS has no capacity."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, model_validator

from aws.parameters import Parameters

InstanceType = Annotated[str, Field(pattern=r"^ml\.[a-z0-9\-]+\.[a-z0-9]+$")]
MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS = 3600
"""Seconds; AWS's limit for spot training of built-in algorithms without checkpoints."""


class Compute(Parameters):
    """Instances, limits on time and cost, and what to do when no instances are available."""

    instance_type: InstanceType = "ml.m5.large"
    """SageMaker instance type, such as ml.m5.large; Linear Learner needs no GPU. The sandbox trains on this machine."""
    fallback_instance_types: tuple[InstanceType, ...] = ()
    """Other instance types, tried in this order when AWS has none of the first or your quota for it is used up."""
    instance_count: Annotated[int, Field(ge=1, le=20)] = 1
    """Number of instances, 1 to 20; each reads a part of the training rows."""
    volume_size_gb: Annotated[int, Field(title="Volume Size (GB)", ge=1, le=16_384)] = 10
    """Disk size of each instance in GB, 1 to 16384; the data must fit on it."""
    max_runtime_seconds: Annotated[int, Field(ge=60, le=432_000)] = 3600
    """Time limit in seconds, 60 to 432000, after which the job is stopped; it also limits the cost."""
    max_cost_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(None, title="Max Cost (USD)")
    """Maximum cost of this run in USD; lowers the time limit to what it pays for. None: the time limit applies."""
    spot: bool = False
    """Train on spot instances, which are cheaper but may be interrupted; on demand when none are available."""
    max_wait_seconds: Annotated[int, Field(ge=60, le=2_592_000)] | None = None
    """Spot: maximum seconds of waiting and training combined. None: one hour more than the time limit."""
    checkpoints: bool = True
    """Spot: save checkpoints in S3, so that an interrupted job continues instead of starting over."""
    max_queue_seconds: Annotated[int, Field(ge=0, le=86_400)] = 1800
    """Maximum wait in seconds, 0 to 86400, when AWS has no instances or other jobs use your quota."""
    stop_when_diverging: bool = False
    """Stop the job when its loss becomes infinite or grows a thousandfold, instead of paying for the rest of it."""

    @model_validator(mode="after")
    def _check_wait_limit(self) -> Self:
        if not self.spot and self.max_wait_seconds is not None:
            raise ValueError("max_wait_seconds is for spot instances: set spot, or leave max_wait_seconds empty")
        if self.spot and self.wait_limit < self.max_runtime_seconds:
            limits = f"{self.wait_limit} is less than max_runtime_seconds, {self.max_runtime_seconds}"
            raise ValueError(f"max_wait_seconds includes waiting and training: {limits}")
        if self.spot and not self.checkpoints and self.wait_limit > MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS:
            raise ValueError(
                "without checkpoints AWS limits waiting and training of a spot job to "
                f"{MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS} s, and this job may take {self.wait_limit} s: "
                "enable checkpoints or lower max_wait_seconds"
            )
        return self

    @property
    def wait_limit(self) -> int:
        """Maximum seconds from the creation of a spot job to its end."""
        if self.max_wait_seconds is not None:
            return self.max_wait_seconds
        # Without checkpoints AWS rejects a higher limit.
        spare = 3600 if self.checkpoints else max(0, MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS - self.max_runtime_seconds)
        return self.max_runtime_seconds + spare


FIRST_PAUSE_SECONDS, PAUSE_GROWTH, MAX_PAUSE_SECONDS = 30.0, 2.0, 300.0
"""Pause between two rounds of requests for all variants of a compute."""


@dataclass(frozen=True)
class CapacityOption:
    """Instances to request (`compute`) after a pause in seconds; `step` numbers the options from 0."""

    step: int
    compute: Compute
    pause: float = 0.0


def compute_variants(compute: Compute) -> tuple[Compute, ...]:
    """Return all alternatives that `compute` allows: every instance type on spot, if set, then each on demand."""
    types = dict.fromkeys((compute.instance_type, *compute.fallback_instance_types))
    on_demand = compute.model_copy(update={"spot": False, "max_wait_seconds": None})
    markets = (compute, on_demand) if compute.spot else (compute,)
    return tuple(
        market.model_copy(update={"instance_type": name, "fallback_instance_types": ()})
        for market in markets
        for name in types
    )


def capacity_options(compute: Compute, first: int = 0, excluded: Container[Compute] = ()) -> Iterator[CapacityOption]:
    """Yield the options from number `first` on, in rounds, until the pauses would exceed `max_queue_seconds`.

    Skips variants that are in `excluded` when they are due.
    """
    step, pause, remaining = 0, 0.0, float(compute.max_queue_seconds)
    while pause <= remaining:
        remaining -= pause
        due = pause if step >= first else 0.0
        for variant in compute_variants(compute):
            if step >= first and variant not in excluded:
                yield CapacityOption(step=step, compute=variant, pause=due)
                due = 0.0
            step += 1
        pause = min(pause * PAUSE_GROWTH, MAX_PAUSE_SECONDS) or FIRST_PAUSE_SECONDS
