"""What a training job runs on and may cost, and which instances to request when AWS lacks those first requested."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

InstanceType = Annotated[str, Field(pattern=r"^ml\.[a-z0-9\-]+\.[a-z0-9]+$")]
MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS = 3600
"""Seconds; AWS's limit for spot training of built-in algorithms without checkpoints."""


class Compute(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Instances, limits of time and money, and what to do when there are no instances."""

    instance_type: InstanceType = "ml.m5.large"
    """SageMaker instance type, such as ml.m5.large; Linear Learner needs no GPU. The sandbox trains on this machine."""
    fallback_instance_types: tuple[InstanceType, ...] = ()
    """Instance types to take, in this order, when AWS has none of the first or your quota for it is used up."""
    instance_count: Annotated[int, Field(ge=1, le=20)] = 1
    """How many instances train together, 1 to 20; each reads its share of the training rows."""
    volume_size_gb: Annotated[int, Field(title="Volume Size (GB)", ge=1, le=16_384)] = 10
    """Disk of each instance in GB, 1 to 16384; it must hold the data."""
    max_runtime_seconds: Annotated[int, Field(ge=60, le=432_000)] = 3600
    """The job is stopped when it trains for longer, 60 to 432000 seconds; this bounds what it can cost."""
    max_cost_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(None, title="Max Cost (USD)")
    """Most this run may cost in USD; the job's time limit is lowered to what that buys. Empty: the time limit alone."""
    spot: bool = False
    """Train on spare (spot) instances, which are much cheaper but may be taken away; on demand when there are none."""
    max_wait_seconds: Annotated[int, Field(ge=60, le=2_592_000)] | None = None
    """Spot: longest time for waiting and training together. Empty: one hour more than the time limit."""
    checkpoints: bool = True
    """Spot: keep checkpoints in S3, so that an interrupted job need not begin again."""
    max_queue_seconds: Annotated[int, Field(ge=0, le=86_400)] = 1800
    """How long to wait, 0 to 86400 seconds, when AWS has no instances or your quota is in use by other jobs."""
    stop_when_diverging: bool = False
    """Stop the job when its loss becomes infinite or grows a thousandfold, instead of paying for it to the end."""

    @model_validator(mode="after")
    def _waits_long_enough(self) -> Self:
        if not self.spot and self.max_wait_seconds is not None:
            raise ValueError("max_wait_seconds is for spot instances; set spot, or leave it empty")
        if self.spot and self.wait_limit < self.max_runtime_seconds:
            limits = f"{self.wait_limit} is less than max_runtime_seconds, {self.max_runtime_seconds}"
            raise ValueError(f"max_wait_seconds covers waiting and training: {limits}")
        if self.spot and not self.checkpoints and self.wait_limit > MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS:
            raise ValueError(
                "without checkpoints AWS lets a spot job wait and train for "
                f"{MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS} s at most, and this one might for {self.wait_limit} s: "
                "switch checkpoints on or lower max_wait_seconds"
            )
        return self

    @property
    def wait_limit(self) -> int:
        """Seconds a spot job may take from its creation to its end."""
        if self.max_wait_seconds is not None:
            return self.max_wait_seconds
        # Without checkpoints there is nothing to gain from a limit that AWS refuses.
        spare = 3600 if self.checkpoints else max(0, MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS - self.max_runtime_seconds)
        return self.max_runtime_seconds + spare


FIRST_PAUSE_SECONDS, PAUSE_GROWTH, MAX_PAUSE_SECONDS = 30.0, 2.0, 300.0
"""Seconds between two rounds through all variants of a compute."""


@dataclass(frozen=True)
class CapacityOption:
    """Instances to request, as `compute`, after a pause in seconds; `step` numbers the options from 0."""

    step: int
    compute: Compute
    pause: float = 0.0


def compute_variants(compute: Compute) -> tuple[Compute, ...]:
    """Every combination that `compute` allows: all instance types on spot if it is set, then all of them on demand."""
    types = dict.fromkeys((compute.instance_type, *compute.fallback_instance_types))
    on_demand = compute.model_copy(update={"spot": False, "max_wait_seconds": None})
    markets = (compute, on_demand) if compute.spot else (compute,)
    return tuple(
        market.model_copy(update={"instance_type": name, "fallback_instance_types": ()})
        for market in markets
        for name in types
    )


def capacity_options(compute: Compute, first: int = 0, excluded: Container[Compute] = ()) -> Iterator[CapacityOption]:
    """The options from number `first` on, round after round, until the pauses would exceed `max_queue_seconds`.

    Variants that are in `excluded` when their turn comes are left out.
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
