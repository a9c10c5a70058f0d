"""The on-demand price of an instance for training or hosting: of the workspace, AWS's Price List API or a dated table.

An answer of the API is cached for a day in the workspace's bucket, where all runs read it. If AWS gives no answer, an
older cached price is used, then the table prices.yaml; this never ends a run.

Facts that public tools which query these prices agree on, and that were not tried on AWS: a product of AmazonSageMaker
is one component (Training, Hosting, Notebook, …) of one instance type (`instanceName`) in one region (`regionCode`);
what is billed for it is its usage type, such as `EUW1-Train:ml.m5.large` or `EUW1-Host:ml.m5.large`; the free tier has
products of its own with the price 0, and Outposts have another `locationType`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from botocore.loaders import create_loader
from botocore.regions import EndpointResolver
from pydantic import AwareDatetime, BaseModel, Field

from aws.errors import AwsError, InvalidRequest, Unavailable, translate_errors
from aws.storage import read_object, write_object
from aws.workspace import SHORT_TIMEOUTS, Workspace

MAX_AGE = timedelta(days=1)
"""How long a cached answer is used without asking again."""
MAX_PAGES = 3
"""Pages of 100 products that are read; an instance type has about twenty products in a region (inferred)."""
MAX_PRICE = 100_000.0
"""A listed price above this is not taken for the price of an hour."""
TIMEOUTS: Final = {**SHORT_TIMEOUTS, "read_timeout": 4}
REMEDY = "Set it in the workspace's prices, in USD per instance and hour."
Component = Literal["Training", "Hosting"]
"""What an instance is used for: its price differs from one component to another."""
USAGE_TYPES: Final[dict[Component, str]] = {"Training": "Train", "Hosting": "Host"}
"""By component: the beginning of the usage type of its instances."""


class Price(BaseModel, frozen=True):
    """USD per instance and hour, and the source of this price."""

    usd_per_hour: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    source: str

    def cost(self, seconds: int, instances: int) -> Fraction:
        """Return the exact cost in USD: a budget must not be rejected because of a binary rounding error."""
        return seconds * instances * Fraction(str(self.usd_per_hour)) / 3600


@dataclass(frozen=True)
class PriceLookup:
    """A price, or None, and why AWS did not give the current one; the problem is empty if it did or was not asked."""

    price: Price | None
    problem: str = ""


class PriceListAnswer(BaseModel, frozen=True):
    """What the API answered for one instance type and region: the prices per hour by currency, none if not offered."""

    fetched: AwareDatetime
    per_hour: dict[str, Annotated[float, Field(gt=0, le=MAX_PRICE)]]

    def is_older_than(self, age: timedelta) -> bool:
        """Whether the answer is older; one from the future, by another machine's clock, is too."""
        return abs(datetime.now(UTC) - self.fetched) > age


_failures: dict[str, str] = {}
"""Why AWS gave no answer, by the URI of the answer, or of the region's folder if the API was not reachable at all."""
_warnings: set[tuple[str, str]] = set()
"""Problems of which this process has warned, with the region's folder."""


def find_price(
    workspace: Workspace,
    instance_type: str,
    on_warning: Callable[[str], None] = lambda _: None,
    max_age: timedelta = MAX_AGE,
    component: Component = "Training",
) -> PriceLookup:
    """Return the price of one instance in the workspace's region; no failure to find it is an error.

    An answer of AWS that is older than `max_age` is asked for again, but not after a failure in the same process.
    Calls `on_warning` once per process for each problem. The workspace's own prices are used for every component.
    """
    if instance_type in workspace.prices:
        return PriceLookup(Price(usd_per_hour=workspace.prices[instance_type], source="the workspace's prices"))
    region = workspace.region
    folder = workspace.uri("results", "prices", region)
    # Answers on training have no component in their key, as those of earlier versions.
    parts = (folder, instance_type) if component == "Training" else (folder, component.lower(), instance_type)
    answer, problem = _current_answer(workspace, instance_type, f"{'/'.join(parts)}.json", max_age, component)
    if answer and "USD" in answer.per_hour:
        source = f"AWS Price List API, {answer.fetched:%Y-%m-%d}, {region}"
        price: Price | None = Price(usd_per_hour=answer.per_hour["USD"], source=source)
    else:
        price = _look_up_in_table(instance_type, region, component)
        problem = problem or _describe_missing_usd(answer, instance_type, region, component)
    if problem and (folder, problem) not in _warnings:
        _warnings.add((folder, problem))
        used = f"taken from: {price.source}." if price else f"unknown. {REMEDY}"
        on_warning(f"{problem} The price of {component.lower()} on {instance_type} is {used}")
    return PriceLookup(price, problem)


def _current_answer(
    workspace: Workspace, instance_type: str, uri: str, max_age: timedelta, component: Component
) -> tuple[PriceListAnswer | None, str]:
    """Return the cached answer or, if it is too old, a new one; the old one and the problem if AWS gives no new one."""
    cached = _read_cached_answer(workspace, uri)
    if cached and not cached.is_older_than(max_age):
        return cached, ""
    try:
        return _ask(workspace, instance_type, uri, component), ""
    except AwsError as error:
        return cached, str(error)


def _describe_missing_usd(answer: PriceListAnswer | None, instance_type: str, region: str, component: Component) -> str:
    listed = " and ".join(f"{amount:g} {currency}" for currency, amount in answer.per_hour.items()) if answer else ""
    if not listed:
        return (
            f"AWS's price list has no {component.lower()} on {instance_type} in {region}: AWS may not offer it there."
        )
    return (
        f"AWS's price list has the price of {component.lower()} on {instance_type} in {region} only as {listed} an "
        "hour, not in USD."
    )


def _look_up_in_table(instance_type: str, region: str, component: Component) -> Price | None:
    table = read_price_table()
    if listed := table["usd_per_hour"].get(region, {}).get(instance_type):
        source = f"price list of {table['date']} for {region}"
        # Inferred: where public copies of the list have both, hosting has the same price as training.
        source += "" if component == "Training" else f", its price of training, which {component.lower()} has as well"
        return Price(usd_per_hour=listed, source=source)
    return None


@cache
def read_price_table() -> dict[str, Any]:
    """The content of prices.yaml: its `date`, and `usd_per_hour` by region and instance type."""
    table: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("prices.yaml").read_text())
    return table


def _read_cached_answer(workspace: Workspace, uri: str) -> PriceListAnswer | None:
    """Return the answer that is cached in the bucket, or None if there is none, or none that can be read."""
    try:
        return PriceListAnswer.model_validate_json(read_object(workspace, uri)[0])
    except (AwsError, ValueError):
        return None


def _ask(workspace: Workspace, instance_type: str, uri: str, component: Component) -> PriceListAnswer:
    """Ask the API and cache its answer; raises AwsError, also when this process failed to get the answer before."""
    folder = uri.rpartition("/")[0]
    if problem := _failures.get(uri) or _failures.get(folder):
        raise AwsError(problem)
    try:
        answer = PriceListAnswer(fetched=datetime.now(UTC), per_hour=_fetch(workspace, instance_type, component))
    except AwsError as error:
        no_response = isinstance(error, Unavailable) and not error.code
        _failures[folder if no_response else uri] = str(error)
        raise
    with suppress(AwsError):  # the next run asks again; one that may not write to the bucket fails elsewhere
        write_object(workspace, uri, answer.model_dump_json().encode())
    return answer


def _fetch(workspace: Workspace, instance_type: str, component: Component) -> dict[str, float]:
    """Return the prices of an hour by currency; raises AwsError if there is no answer, or a strange one."""
    # Without the instance type, so that the failures of several types are one problem.
    doing = f"looking up prices of {component.lower()} in {workspace.region}"
    wanted = {"regionCode": workspace.region, "instanceName": instance_type}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    client = workspace.with_client_options(TIMEOUTS, endpoint_region(workspace)).client("pricing")
    try:
        with translate_errors(doing):
            pages = client.get_paginator("get_products").paginate(
                ServiceCode="AmazonSageMaker",
                Filters=filters,
                FormatVersion="aws_v1",
                PaginationConfig={"PageSize": 100},
            )
            products = [product for page in islice(pages, MAX_PAGES) for product in page["PriceList"]]
        return parse_prices(products, instance_type, workspace.region, component)
    except AwsError:
        raise
    except Exception as error:  # such as botocore's ResponseParserError, for the web page of a proxy
        message = f"AWS's answer while {doing} is not in the form of its price list ({type(error).__name__})."
        raise InvalidRequest(message) from error


def endpoint_region(workspace: Workspace) -> str:
    """Return the region of the API to ask: few have one, and each answers for all regions of its partition.

    Raises InvalidRequest in GovCloud, which has none: its prices are in the list of the commercial regions, which its
    credentials cannot ask for.
    """
    own, partition = workspace.region, workspace.client("s3").meta.partition
    if not (regions := _api_regions(partition)):
        raise InvalidRequest(f"AWS's Price List API has no endpoint in {partition}, the partition of {own}.")
    return max(regions, key=lambda name: (name == own, name[:3] == own[:3], name == "us-east-1"))


@cache
def _api_regions(partition: str) -> list[str]:
    return EndpointResolver(create_loader().load_data("endpoints")).get_available_endpoints("api.pricing", partition)


class _Product(BaseModel):
    attributes: dict[str, Any]


class _Dimension(BaseModel):
    unit: str
    per_unit: Annotated[dict[str, Annotated[float, Field(allow_inf_nan=False)]], Field(alias="pricePerUnit")]


class _Term(BaseModel):
    dimensions: Annotated[dict[str, _Dimension], Field(alias="priceDimensions")]


class _Terms(BaseModel):
    # Terms of other kinds, such as Reserved, are no prices of a job.
    on_demand: Annotated[dict[str, _Term], Field(alias="OnDemand")] = {}


class _Listing(BaseModel):
    """One product of the price list, with the members that are read."""

    product: _Product
    terms: _Terms = _Terms()

    def is_for(self, instance_type: str, region: str, component: Component) -> bool:
        has: Mapping[str, Any] = self.product.attributes
        usage = rf"(\w+-)?{USAGE_TYPES[component]}:{re.escape(instance_type)}"
        return (
            bool(re.fullmatch(usage, str(has.get("usagetype"))))
            and has.get("component", component) == component
            and has.get("regionCode", region) == region
            and has.get("locationType", "AWS Region") == "AWS Region"
        )

    def hourly_prices(self) -> Iterator[tuple[str, float]]:
        for term in self.terms.on_demand.values():
            for dimension in term.dimensions.values():
                if dimension.unit.lower() in {"hrs", "hours", "hour"}:
                    yield from (item for item in dimension.per_unit.items() if 0 < item[1] <= MAX_PRICE)


def parse_prices(
    products: Iterable[Any], instance_type: str, region: str, component: Component = "Training"
) -> dict[str, float]:
    """Return the on-demand price of an hour by currency, empty if no product has one.

    `products` is the PriceList of a response: JSON documents as strings. The highest of several prices counts, so that
    a budget is not exceeded. Raises ValueError when there is no price, but a product that could not be read.
    """
    prices: dict[str, float] = {}
    unreadable: ValueError | None = None
    for text in products:
        try:
            listing = _Listing.model_validate_json(text)
        except ValueError as error:
            unreadable = error
            continue
        if listing.is_for(instance_type, region, component):
            for currency, price in listing.hourly_prices():
                prices[currency] = max(price, prices.get(currency, 0))
    if unreadable and not prices:
        raise unreadable
    return prices
