"""What a training job may cost at most, and what it did cost: instances only, not storage, logs or data transfer.

The bound holds as far as AWS keeps MaxRuntimeInSeconds and the time it documents for stopping. Three things it does not
promise: short limits have been seen kept late (jobs limited to 60 s ended after 350 s), uploading the model after a
stop is billed too, and whether the limit of a spot job starts anew after an interruption is not said. Spot is counted
at the on-demand price: AWS bills it at that price for fewer seconds.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import yaml
from pydantic import BaseModel, Field

from aws.errors import InvalidRequest
from aws.training.compute import Compute

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef as JobDescription

STOPPING_SECONDS = 120
"""How long a job may still run, and is billed, once it is Stopping (AWS: StopTrainingJob, StoppingCondition)."""
MIN_RUNTIME_SECONDS = 60
"""The shortest time limit there is, as in Compute: less would stop a job while it loads its data."""


class Price(BaseModel, frozen=True):
    """USD per instance and hour, and where that figure comes from."""

    usd_per_hour: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    source: str

    def cost(self, seconds: int, instances: int) -> Fraction:
        """USD, exactly: 0.1 means a tenth, and a budget must not fail for a digit that only binary fractions have."""
        return seconds * instances * Fraction(str(self.usd_per_hour)) / 3600


def find_price(instance_type: str, region: str, overrides: Mapping[str, float]) -> Price | None:
    """The price of one instance: from `overrides`, the workspace's prices, or else the table; None when unknown."""
    if instance_type in overrides:
        return Price(usd_per_hour=overrides[instance_type], source="the workspace's prices")
    table = read_price_table()
    if listed := table["usd_per_hour"].get(region, {}).get(instance_type):
        return Price(usd_per_hour=listed, source=f"price list of {table['date']} for {region}")
    return None


@cache
def read_price_table() -> dict[str, Any]:
    """The content of prices.yaml: its `date`, and `usd_per_hour` by region and instance type."""
    table: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("prices.yaml").read_text())
    return table


def runtime_limit(compute: Compute, price: Price | None) -> int:
    """MaxRuntimeInSeconds to ask for: `max_runtime_seconds`, or less when `max_cost_usd` buys less.

    The budget covers the time that a job may take to stop, too. Raises InvalidRequest when there is a budget and no
    price, or when the budget is too small for a job; the message names the smallest that would do.
    """
    budget, kind, instances = compute.max_cost_usd, compute.instance_type, compute.instance_count
    if budget is None:
        return compute.max_runtime_seconds
    if price is None:
        raise InvalidRequest(
            f"max_cost_usd {budget:g} cannot be kept: the price of {kind} in this region is not known. "
            "Set it in the workspace's prices, in USD per instance and hour."
        )
    affordable = math.floor(Fraction(str(budget)) / price.cost(1, instances)) - STOPPING_SECONDS
    if affordable < MIN_RUNTIME_SECONDS:
        enough = _round_up_to_cents(price.cost(MIN_RUNTIME_SECONDS + STOPPING_SECONDS, instances))
        raise InvalidRequest(
            f"max_cost_usd {budget:g} buys {max(0, affordable)} s of {instances} x {kind} at "
            f"{price.usd_per_hour:g} USD an hour; a job needs at least {MIN_RUNTIME_SECONDS} s: give at least {enough}"
        )
    return min(compute.max_runtime_seconds, affordable)


def describe_worst_case(compute: Compute, price: Price | None, region: str) -> str:
    """What a job with this compute's time limit costs at most, in one sentence, cents rounded up."""
    longest = compute.max_runtime_seconds + STOPPING_SECONDS
    kind, instances = compute.instance_type, compute.instance_count
    if price is None:
        count = f"{instances} instance{'s' if instances > 1 else ''}"
        return f"price of {kind} in {region} unknown: at most {longest} s on {count}"
    most = _round_up_to_cents(price.cost(longest, instances))
    rate = f"{price.usd_per_hour:g} USD an hour ({price.source})"
    return f"at most {most} USD: {instances} x {kind} for {longest} s at {rate}"


def _round_up_to_cents(usd: Fraction) -> str:
    # Of a bound, less than it is would be wrong.
    return f"{math.ceil(usd * 100) / 100:.2f}"


class Bill(BaseModel, frozen=True):
    """What a job cost: AWS's billable seconds, of each instance, at the price; USD are None when that is unknown.

    Seconds are those of DescribeTrainingJob, where a job that runs or never started has none. The price is on demand
    also for spot, whose discount AWS expresses in fewer billable seconds: saved is 1 - billable / training.
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
        """The bill of a job as DescribeTrainingJob tells it."""
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
        """One line, such as `0.0038 USD: 120 billable s x 1 ml.m5.large at 0.115 USD an hour`."""
        total = "price unknown" if self.usd is None else f"{self.usd:.4f} USD"
        rate = f" at {self.price.usd_per_hour:g} USD an hour" if self.price else ""
        saved = ""
        if self.spot and self.training_seconds > self.billable_seconds > 0:
            saved = f", {100 * (1 - self.billable_seconds / self.training_seconds):.0f} % saved by spot"
        return f"{total}: {self.billable_seconds} billable s x {self.instance_count} {self.instance_type}{rate}{saved}"
