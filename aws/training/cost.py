"""Maximum and actual cost of a training job: instances only, without storage, logs and data transfer.

The maximum assumes that AWS enforces MaxRuntimeInSeconds and the documented time for stopping. AWS does not guarantee
this: jobs limited to 60 s have been observed to end after 350 s, uploading the model after a stop is billed as well,
and it is not documented whether the limit of a spot job restarts after an interruption. Spot is counted at the
on-demand price: AWS bills that price for fewer seconds.
"""

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel

from aws.errors import InvalidRequest
from aws.prices import REMEDY, Price
from aws.training.compute import Compute

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef as JobDescription

STOPPING_SECONDS = 120
"""Longest time that a job runs, and is billed, while it is Stopping (AWS: StopTrainingJob, StoppingCondition)."""
MIN_RUNTIME_SECONDS = 60
"""Shortest time limit, as in Compute: a shorter one would stop a job while it loads its data."""


def runtime_limit(compute: Compute, price: Price | None, problem: str = "") -> int:
    """Return MaxRuntimeInSeconds to request: `max_runtime_seconds`, or less when `max_cost_usd` pays for less.

    The budget includes the time that a job may take to stop. Raises InvalidRequest when there is a budget but no
    price, with the `problem` why there is none, or when the budget is too small for a job; the message contains the
    smallest sufficient budget.
    """
    budget, kind, instances = compute.max_cost_usd, compute.instance_type, compute.instance_count
    if budget is None:
        return compute.max_runtime_seconds
    if price is None:
        raise InvalidRequest(
            f"max_cost_usd {budget:g} cannot be enforced: the price of {kind} in this region is unknown. "
            f"{REMEDY} {problem}".rstrip()
        )
    affordable = math.floor(Fraction(str(budget)) / price.cost(1, instances)) - STOPPING_SECONDS
    if affordable < MIN_RUNTIME_SECONDS:
        enough = _round_up_to_cents(price.cost(MIN_RUNTIME_SECONDS + STOPPING_SECONDS, instances))
        raise InvalidRequest(
            f"max_cost_usd {budget:g} pays for {max(0, affordable)} s of {instances} x {kind} at "
            f"{price.usd_per_hour:g} USD an hour; a job needs at least {MIN_RUNTIME_SECONDS} s: set at least {enough}"
        )
    return min(compute.max_runtime_seconds, affordable)


def describe_worst_case(compute: Compute, price: Price | None, region: str) -> str:
    """Return the maximum cost of a job with this compute's time limit as text, rounded up to cents."""
    longest = compute.max_runtime_seconds + STOPPING_SECONDS
    kind, instances = compute.instance_type, compute.instance_count
    if price is None:
        count = f"{instances} instance{'s' if instances > 1 else ''}"
        return f"price of {kind} in {region} unknown: at most {longest} s on {count}"
    most = _round_up_to_cents(price.cost(longest, instances))
    rate = f"{price.usd_per_hour:g} USD an hour ({price.source})"
    return f"at most {most} USD: {instances} x {kind} for {longest} s at {rate}"


def _round_up_to_cents(usd: Fraction) -> str:
    # A maximum or minimum that was rounded down would be too low.
    return f"{math.ceil(usd * 100) / 100:.2f}"


class Bill(BaseModel, frozen=True):
    """Cost of a job: billable seconds of each instance, times the price; `usd` is None when the price is unknown.

    Seconds are those of DescribeTrainingJob; a job that is running or never started has none. Spot is also counted at
    the on-demand price, as its discount is fewer billable seconds: the saving is 1 - billable / training.
    """

    instance_type: str
    instance_count: int
    spot: bool
    training_seconds: int
    billable_seconds: int
    price: Price | None
    usd: float | None

    @classmethod
    def of(cls, job: "JobDescription", price: Price | None) -> Self:
        """Return the bill of a job from its DescribeTrainingJob response."""
        billable, instances = job.get("BillableTimeInSeconds", 0), job["ResourceConfig"]["InstanceCount"]
        return cls(
            instance_type=job["ResourceConfig"]["InstanceType"],
            instance_count=instances,
            spot=job.get("EnableManagedSpotTraining", False),
            training_seconds=job.get("TrainingTimeInSeconds", 0),
            billable_seconds=billable,
            price=price,
            usd=float(price.cost(billable, instances)) if price else None,
        )

    def __str__(self) -> str:
        """Return one line, such as `0.0038 USD: 120 billable s x 1 ml.m5.large at 0.115 USD an hour`."""
        total = "price unknown" if self.usd is None else f"{self.usd:.4f} USD"
        if self.usd and float(f"{self.usd:.4f}") == 0:
            total = "below 0.0001 USD"
        rate = f" at {self.price.usd_per_hour:g} USD an hour" if self.price else ""
        saved = ""
        if self.spot and self.training_seconds > self.billable_seconds > 0:
            saved = f", {100 * (1 - self.billable_seconds / self.training_seconds):.0f} % saved by spot"
        return f"{total}: {self.billable_seconds} billable s x {self.instance_count} {self.instance_type}{rate}{saved}"
