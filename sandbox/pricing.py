"""The Price List API of the sandbox: GetProducts for SageMaker's instances.

Each instance type has a product for every component in every region of SageMaker. The prices of the families in
BASE_PRICES in us-east-1 are about those that AWS publishes for training and hosting, which are equal; all other prices
are invented.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from botocore.loaders import create_loader
from botocore.regions import EndpointResolver

from sandbox.sagemaker.api_model import Document, ServiceError, service_model

BASE_PRICES = {"m5": 0.23, "m6i": 0.23, "c5": 0.204, "c6i": 0.204, "r5": 0.302, "g4dn": 0.736}
"""USD per hour of an xlarge instance in us-east-1, by family."""
USAGE_TYPES = {"Hosting": "Host", "Notebook": "Notebk", "Processing": "Processing", "Training": "Train"}
"""What is billed for each component."""
MAX_PAGE_SIZE = 100
MATCHES: Mapping[str, Callable[[str, str], bool]] = {
    "TERM_MATCH": lambda value, given: value == given,
    "EQUALS": lambda value, given: value == given,
    "CONTAINS": lambda value, given: given in value,
    "ANY_OF": lambda value, given: value in given.split(","),
    "NONE_OF": lambda value, given: value not in given.split(","),
}


def handle(action: str, request: Mapping[str, Any]) -> Document:
    """The response to a call; raises ServiceError for a call that is rejected, and for all others than GetProducts."""
    if action != "GetProducts":
        raise ServiceError(f"The sandbox does not implement pricing:{action}.", "NotImplemented")
    if request.get("ServiceCode") != "AmazonSageMaker" or request.get("FormatVersion", "aws_v1") != "aws_v1":
        message = "The sandbox has the products of AmazonSageMaker only, in FormatVersion aws_v1."
        raise ServiceError(message, "InvalidParameterException")
    filters = request.get("Filters", [])
    if unknown := {one.get("Type") for one in filters} - MATCHES.keys():
        raise ServiceError(f"Invalid filter type {unknown.pop()}.", "InvalidParameterException")
    token, size = request.get("NextToken", "0"), request.get("MaxResults", MAX_PAGE_SIZE)
    if not token.isdecimal():
        raise ServiceError("Invalid NextToken.", "InvalidNextTokenException")
    found = list(_find_products(filters))
    page = found[int(token) :][:size]
    end = int(token) + len(page)
    rest = {"NextToken": str(end)} if end < len(found) else {}
    return {"FormatVersion": "aws_v1", "PriceList": [_price_document(*one) for one in page], **rest}


def _find_products(filters: list[Document]) -> Iterator[tuple[Document, float]]:
    """The attributes and hourly prices of the products that match all filters, the free tier of training included."""
    types = service_model().shape_for("TrainingInstanceType").enum
    for region in (one for one in _regions() if _fits({"regionCode": one}, filters)):
        for name in (one for one in types if _fits({"instanceName": one}, filters)):
            if _is_offered(name, region):
                for attributes, price in _components(name, region):
                    if _fits(attributes, filters) and {one["Field"] for one in filters} <= attributes.keys():
                        yield attributes, price


def _fits(attributes: Document, filters: list[Document]) -> bool:
    """Whether these attributes pass the filters on them; the others may still reject the product."""
    return all(
        MATCHES[one["Type"]](attributes[one["Field"]], one["Value"]) for one in filters if one["Field"] in attributes
    )


@cache
def _regions() -> list[str]:
    endpoints = EndpointResolver(create_loader().load_data("endpoints"))
    partitions = ("aws", "aws-cn", "aws-us-gov")
    return [name for one in partitions for name in endpoints.get_available_endpoints("api.sagemaker", one)]


def _is_offered(name: str, region: str) -> bool:
    # Invented: the largest accelerators are in few regions.
    return not name.startswith(("ml.p", "ml.trn")) or region in {"us-east-1", "us-west-2"}


def _components(name: str, region: str) -> Iterator[tuple[Document, float]]:
    price = _training_price(name, region)
    code = hashlib.sha256(region.encode()).hexdigest()[:4].upper()
    for component, usage in USAGE_TYPES.items():  # Training is the last, as its free tier follows
        attributes = {
            "servicecode": "AmazonSageMaker",
            "servicename": "Amazon SageMaker",
            "regionCode": region,
            "locationType": "AWS Region",
            "instanceName": name,
            "instanceType": f"{name}-{component}",
            "component": component,
            "platoinstancename": name.split(".")[1],
            "platoinstancetype": component,
            "usagetype": f"{code}-{usage}:{name}",
            "operation": "RunInstance",
        }
        has_same_price = component == "Training" or (component == "Hosting" and name.split(".")[1] in BASE_PRICES)
        yield attributes, price if has_same_price else round(1.2 * price, 4)
    yield attributes | {"platoinstancetype": f"{component}-Free"}, 0.0  # the name is invented


def _training_price(name: str, region: str) -> float:
    _, family, size = name.split(".")
    units = {"medium": 0.25, "large": 0.5, "xlarge": 1.0}.get(size) or float(size.removesuffix("xlarge"))
    return round(BASE_PRICES.get(family, 0.25) * units * (1 if region == "us-east-1" else 1.1), 4)


def _price_document(attributes: Document, price: float) -> str:
    """A product with its on-demand price, as a JSON string."""
    sku = hashlib.sha256(json.dumps(attributes).encode()).hexdigest()[:16].upper()
    # In China prices are in its currency; the rate is invented.
    in_china = attributes["regionCode"].startswith("cn-")
    amount = {"CNY": f"{7 * price:.10f}"} if in_china else {"USD": f"{price:.10f}"}
    dimension = {
        "rateCode": f"{sku}.JRTCKXETXF.6YS6EN2CT7",
        "unit": "Hrs",
        "beginRange": "0",
        "endRange": "Inf",
        "description": f"{attributes['instanceType']} in {attributes['regionCode']}",
        "appliesTo": [],
        "pricePerUnit": amount,
    }
    term = {
        "sku": sku,
        "offerTermCode": "JRTCKXETXF",
        "effectiveDate": "2026-11-01T00:00:00Z",
        "priceDimensions": {dimension["rateCode"]: dimension},
        "termAttributes": {},
    }
    document = {
        "product": {"sku": sku, "productFamily": "ML Instance", "attributes": attributes},
        "serviceCode": "AmazonSageMaker",
        "terms": {"OnDemand": {f"{sku}.JRTCKXETXF": term}},
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
    }
    return json.dumps(document)
