"""What an endpoint costs while it runs: instances only, without requests, captures, logs and data transfer."""

from collections.abc import Callable

from pydantic import BaseModel

from aws.endpoints.settings import Hosting
from aws.errors import InvalidRequest
from aws.prices import REMEDY, find_price
from aws.workspace import Workspace

HOURS_PER_MONTH = 730
"""Hours of a month in AWS's own price examples."""


class HostingCost(BaseModel, frozen=True):
    """Cost in USD of the smallest and the largest number of instances; 0 for serverless endpoints."""

    usd_per_hour_min: float
    usd_per_hour_max: float
    usd_per_month_min: float
    usd_per_month_max: float
    source: str
    """Where the price is from; empty for serverless endpoints."""
    text: str
    """The cost in one line."""


def hosting_cost(
    workspace: Workspace, hosting: Hosting, on_warning: Callable[[str], None] = lambda _: None
) -> HostingCost | str:
    """Return the cost of an endpoint in the workspace's region, or the problem if the price is not known.

    During an update the old and the new instances run, and cost, at the same time; this is not included.
    """
    if hosting.kind == "serverless":
        return _serverless_cost(hosting)
    found = find_price(workspace, hosting.instance_type, on_warning, component="Hosting")
    if found.price is None:
        where = f"The price of hosting on {hosting.instance_type} in {workspace.region} is unknown."
        return f"{where} {REMEDY} {found.problem}".rstrip()
    return build_cost(hosting, found.price.usd_per_hour, found.price.source)


def build_cost(hosting: Hosting, usd_per_hour: float, source: str) -> HostingCost:
    """Return the cost of instances that cost `usd_per_hour` each."""
    fewest = hosting.min_instances
    most = (hosting.max_instances or fewest) if hosting.is_scaled else fewest
    hours = [count * usd_per_hour for count in (fewest, most)]
    months = [HOURS_PER_MONTH * usd for usd in hours]
    counts = f"{fewest}" if most == fewest else f"{fewest} to {most}"
    per_hour, per_month = (_range(usd, digits) for usd, digits in ((hours, 4), (months, 2)))
    return HostingCost(
        usd_per_hour_min=hours[0],
        usd_per_hour_max=hours[1],
        usd_per_month_min=months[0],
        usd_per_month_max=months[1],
        source=source,
        text=f"{counts} x {hosting.instance_type}: {per_hour} USD an hour, {per_month} USD a month ({source})",
    )


def _range(amounts_usd: list[float], digits: int) -> str:
    """Return one or two amounts of money; those of an hour without trailing zeros."""
    amounts = [f"{usd:.{digits}f}" for usd in amounts_usd]
    amounts = [text.rstrip("0").rstrip(".") if digits > 2 else text for text in amounts]
    return " to ".join(dict.fromkeys(amounts))


def _serverless_cost(hosting: Hosting) -> HostingCost:
    return HostingCost(
        usd_per_hour_min=0,
        usd_per_hour_max=0,
        usd_per_month_min=0,
        usd_per_month_max=0,
        source="",
        text=f"serverless with {hosting.memory_mb} MB: no fixed cost; AWS bills each request by its duration, and the "
        "data in and out",
    )


def check_budget(hosting: Hosting, cost: HostingCost | str) -> None:
    """Raise InvalidRequest if the largest number of instances may cost more than `max_usd_per_month`.

    Also if the price is not known: the limit could not be kept. It does not limit what serverless endpoints cost.
    """
    budget = hosting.max_usd_per_month
    if budget is None or hosting.kind == "serverless":
        return
    if isinstance(cost, str):
        raise InvalidRequest(f"max_usd_per_month {budget:g} cannot be enforced. {cost}")
    if cost.usd_per_month_max > budget:
        raise InvalidRequest(
            f"The endpoint may cost {cost.usd_per_month_max:.2f} USD a month, more than max_usd_per_month {budget:g}: "
            f"{cost.text}. Raise max_usd_per_month, or choose fewer instances or another instance type."
        )
