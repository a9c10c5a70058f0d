"""The price of an instance: of the workspace, of AWS's price list, cached for a day in the bucket, or of the table."""

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, ClassVar

import botocore.session
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aws.errors import AwsError, InvalidRequest
from aws.prices import (
    Price,
    PriceListAnswer,
    endpoint_region,
    find_price,
    parse_prices,
    read_price_table,
)
from aws.storage import read_object, write_object
from aws.training.compute import Compute
from aws.training.cost import describe_worst_case, runtime_limit
from aws.workspace import Workspace
from sandbox import client

Calls = Callable[[], Counter[str]]
Inject = Callable[..., None]
PRICE_LIST_DATE, USD_PER_HOUR = read_price_table().values()
TODAY = f"{datetime.now(UTC):%Y-%m-%d}"
ASKED = "pricing:GetProducts"


@pytest.fixture
def european(workspace: Workspace) -> Workspace:
    return in_region(workspace, "eu-west-1")


def in_region(workspace: Workspace, region: str) -> Workspace:
    return workspace.with_client_options({}, region)


def cached_uri(workspace: Workspace, instance_type: str = "ml.m5.large") -> str:
    return workspace.uri("results", "prices", workspace.region, f"{instance_type}.json")


def cache_answer(workspace: Workspace, age: timedelta, **per_hour: float) -> str:
    """Store an answer of this age in the bucket; return its date."""
    answer = PriceListAnswer(fetched=datetime.now(UTC) - age, per_hour=per_hour)
    write_object(workspace, cached_uri(workspace), answer.model_dump_json().encode())
    return f"{answer.fetched:%Y-%m-%d}"


def test_the_price_list_has_existing_regions_and_training_instances() -> None:
    session = botocore.session.get_session()
    trainable = set(session.get_service_model("sagemaker").shape_for("TrainingInstanceType").enum)  # type: ignore[attr-defined]
    assert set(USD_PER_HOUR) <= set(session.get_available_regions("sagemaker"))
    for region, listed in USD_PER_HOUR.items():
        assert set(listed) <= trainable, region
    assert date.fromisoformat(PRICE_LIST_DATE) <= date.today()  # noqa: DTZ011


@pytest.mark.parametrize("region", USD_PER_HOUR)
def test_prices_within_a_family_are_proportional_to_the_size(region: str) -> None:
    by_family = defaultdict(set)
    for name, usd in USD_PER_HOUR[region].items():
        _, family, size = name.split(".")
        if family != "g4dn":  # all of these sizes have one GPU
            by_family[family].add(usd / (0.5 if size == "large" else float(size.removesuffix("xlarge") or 1)))
    for family, units in by_family.items():
        assert max(units) == pytest.approx(min(units), rel=0.01), family


def test_the_price_of_any_region_comes_from_aws_and_limits_a_budget(european: Workspace, calls: Calls) -> None:
    before, warnings = calls(), list[str]()
    found = find_price(european, "ml.m5.large", warnings.append)
    assert found.price == Price(usd_per_hour=0.1265, source=f"AWS Price List API, {TODAY}, eu-west-1")
    assert (found.problem, warnings) == ("", [])
    assert (calls() - before)[ASKED] == 1
    limit = runtime_limit(Compute(max_cost_usd=0.01), found.price, found.problem)
    assert limit == int(0.01 / 0.1265 * 3600) - 120
    limited = Compute(max_runtime_seconds=limit)
    assert describe_worst_case(limited, found.price, "eu-west-1").startswith("at most 0.01 USD: 1 x ml.m5.large for")


def test_an_answer_is_cached_for_a_day_for_each_region_and_type(european: Workspace, calls: Calls) -> None:
    before = calls()
    first = find_price(european, "ml.m5.large")
    assert find_price(european, "ml.m5.large") == first
    assert (calls() - before)[ASKED] == 1
    find_price(european, "ml.m5.xlarge")
    find_price(in_region(european, "us-east-1"), "ml.m5.large")
    assert (calls() - before)[ASKED] == 3


@pytest.mark.parametrize("age", [timedelta(days=2), timedelta(days=-2)], ids=["stale", "from the future"])
def test_an_answer_of_another_day_is_replaced(european: Workspace, age: timedelta) -> None:
    cache_answer(european, age, USD=5)
    assert find_price(european, "ml.m5.large").price == Price(
        usd_per_hour=0.1265, source=f"AWS Price List API, {TODAY}, eu-west-1"
    )
    assert PriceListAnswer.model_validate_json(read_object(european, cached_uri(european))[0]).per_hour == {
        "USD": 0.1265
    }


def test_the_bill_uses_the_cached_price_without_asking_again(european: Workspace, calls: Calls) -> None:
    day, before = cache_answer(european, timedelta(days=4), USD=5), calls()
    found = find_price(european, "ml.m5.large", max_age=timedelta.max)
    assert found.price == Price(usd_per_hour=5, source=f"AWS Price List API, {day}, eu-west-1")
    assert (calls() - before)[ASKED] == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{", b'{"fetched": "2026-11-29T00:00:00Z", "per_hour": {"USD": 0}}', b"[" * 9999],
)
def test_a_damaged_answer_is_replaced(european: Workspace, content: bytes) -> None:
    write_object(european, cached_uri(european), content)
    assert find_price(european, "ml.m5.large").price is not None
    assert PriceListAnswer.model_validate_json(read_object(european, cached_uri(european))[0]).per_hour == {
        "USD": 0.1265
    }


def test_the_workspaces_prices_take_precedence_without_a_call(european: Workspace, calls: Calls) -> None:
    european.prices, before = {"ml.m5.large": 0.08}, calls()
    expected = Price(usd_per_hour=0.08, source="the workspace's prices")
    assert find_price(european, "ml.m5.large").price == expected
    assert calls() - before == Counter()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("access-denied", "Allow pricing:GetProducts on *"),
        ("throttling", "Rate exceeded"),
        ("service-error", "Internal"),
    ],
)
def test_a_refusal_is_one_warning_and_is_not_repeated(
    european: Workspace, inject: Inject, calls: Calls, kind: str, names: str
) -> None:
    inject(kind=kind, action="GetProducts", times=2)  # boto3 retries the transient ones once
    warnings, before = list[str](), calls()
    found = find_price(european, "ml.m5.large", warnings.append)
    assert found.price is None
    assert names in found.problem
    asked = (calls() - before)[ASKED]
    assert find_price(european, "ml.m5.large", warnings.append) == found
    assert (calls() - before)[ASKED] == asked
    assert len(warnings) == 1
    assert "price of training on ml.m5.large is unknown. Set it in the workspace's prices" in warnings[0]
    with pytest.raises(
        InvalidRequest, match=r"^max_cost_usd 1 cannot be enforced: .*Set it in the workspace.*AWS failed"
    ):
        runtime_limit(Compute(max_cost_usd=1), found.price, found.problem)


def test_without_an_answer_the_table_is_used(workspace: Workspace, inject: Inject) -> None:
    inject(kind="access-denied", action="GetProducts")
    warnings = list[str]()
    found = find_price(workspace, "ml.m5.large", warnings.append)
    assert found.price == Price(usd_per_hour=0.115, source=f"price list of {PRICE_LIST_DATE} for us-east-1")
    assert warnings[0].endswith(f"is taken from: price list of {PRICE_LIST_DATE} for us-east-1.")


def test_without_an_answer_a_stale_one_is_better_than_the_table(workspace: Workspace, inject: Inject) -> None:
    day = cache_answer(workspace, timedelta(days=9), USD=0.2)
    inject(kind="access-denied", action="GetProducts")
    warnings = list[str]()
    found = find_price(workspace, "ml.m5.large", warnings.append)
    assert found.price == Price(usd_per_hour=0.2, source=f"AWS Price List API, {day}, us-east-1")
    assert day in warnings[0]


@pytest.mark.parametrize("instance_type", ["ml.x9.large", "ml.p4d.24xlarge"])
def test_a_type_that_the_region_lacks_is_named(european: Workspace, calls: Calls, instance_type: str) -> None:
    before = calls()
    for _ in range(2):
        found = find_price(european, instance_type)
    assert found.price is None
    assert f"no training on {instance_type} in eu-west-1: AWS may not offer it there" in found.problem
    assert (calls() - before)[ASKED] == 1


def test_prices_in_china_are_unknown_in_usd(workspace: Workspace) -> None:
    warnings = list[str]()
    found = find_price(in_region(workspace, "cn-north-1"), "ml.m5.large", warnings.append)
    assert found.price is None
    assert "only as 0.8855 CNY an hour, not in USD" in found.problem
    assert len(warnings) == 1


def test_govcloud_has_no_price_list_to_ask(workspace: Workspace, calls: Calls) -> None:
    before = calls()
    found = find_price(in_region(workspace, "us-gov-west-1"), "ml.m5.large")
    assert found.price is None
    assert "no endpoint in aws-us-gov" in found.problem
    assert (calls() - before)[ASKED] == 0


def test_an_answer_that_cannot_be_cached_is_used(european: Workspace, inject: Inject) -> None:
    inject(kind="access-denied", action="PutObject")
    assert find_price(european, "ml.m5.large").price is not None


class Answering(BaseHTTPRequestHandler):
    """Answers every call with the same body."""

    body: ClassVar[bytes] = b""
    status: ClassVar[int] = 200
    posts: ClassVar[int] = 0

    def do_POST(self) -> None:
        type(self).posts += 1
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(self.status, self.body)

    def do_GET(self) -> None:
        self._answer(404, b"")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(200, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def strange() -> Iterator[Workspace]:
    """A workspace of an endpoint whose answers are those of `Answering`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield in_region(client.make_workspace(f"http://127.0.0.1:{server.server_port}"), "eu-west-1")
        server.shutdown()


def listing(usd: Any = "0.1280000000", unit: str = "Hrs", terms: Any = None, **attributes: Any) -> str:
    """A product in the form of the price list, by default that of training on ml.m5.large in eu-west-1."""
    training = {
        "regionCode": "eu-west-1", "locationType": "AWS Region", "instanceName": "ml.m5.large",
        "instanceType": "ml.m5.large-Training", "component": "Training", "usagetype": "EUW1-Train:ml.m5.large",
        "operation": "RunInstance", "vCpu": "2",
    }  # fmt: skip
    dimension = {"unit": unit, "beginRange": "0", "pricePerUnit": usd if isinstance(usd, dict) else {"USD": usd}}
    on_demand = {"OnDemand": {"SKU.JRT": {"sku": "SKU", "priceDimensions": {"SKU.JRT.6YS": dimension}}}}
    product = {"sku": "SKU", "productFamily": "ML Instance", "attributes": training | attributes}
    return json.dumps(
        {"product": product, "serviceCode": "AmazonSageMaker", "terms": on_demand if terms is None else terms}
    )


numbers = count()
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
bodies = st.one_of(
    st.binary(max_size=30),
    SHAPES.map(lambda one: json.dumps(one).encode()),
    SHAPES.map(lambda one: json.dumps({"PriceList": one}).encode()),
    SHAPES.map(lambda one: json.dumps({"PriceList": [json.dumps(one)], "NextToken": "x"}).encode()),
    SHAPES.map(
        lambda one: json.dumps({"PriceList": [listing(one), listing(terms=one), listing(usagetype=one)]}).encode()
    ),
)


@pytest.mark.sandbox
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(body=bodies, status=st.sampled_from([200, 400, 403, 404]))
@example(body=b"<html>Log in</html>", status=200)
@example(body=b'{"PriceList": 5}', status=200)
@example(body=json.dumps({"PriceList": [listing("1e308")]}).encode(), status=200)
@example(body=b'{"PriceList": ["{"], "NextToken": {}}', status=200)
def test_no_answer_however_strange_is_an_error(strange: Workspace, body: bytes, status: int) -> None:
    Answering.body, Answering.status, Answering.posts = body, status, 0
    strange.prefix = f"answer-{next(numbers)}"  # so that each answer is asked for
    found = find_price(strange, "ml.m5.large")
    assert found.price or found.problem
    describe_worst_case(Compute(), found.price, "eu-west-1")
    assert 1 <= Answering.posts <= 3


@pytest.mark.sandbox
def test_an_unreachable_api_is_asked_once_for_all_types(strange: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answering, "do_POST", lambda self: self.connection.close())
    strange.prefix = "unreachable"
    first, second = (find_price(strange, name) for name in ("ml.m5.large", "ml.m5.xlarge"))
    assert first == second
    assert "Allow" not in first.problem


@pytest.mark.parametrize(
    ("products", "prices"),
    [
        ([listing()], {"USD": 0.128}),
        ([], {}),
        ([listing(0.12), listing("0.13"), listing("0.11")], {"USD": 0.13}),
        ([listing("0.0000000000"), listing("-1"), listing()], {"USD": 0.128}),
        ([listing({"CNY": "0.9"})], {"CNY": 0.9}),
        ([listing("5", unit="GB-Mo"), listing()], {"USD": 0.128}),
        ([listing("5", component="Hosting", usagetype="EUW1-Host:ml.m5.large"), listing()], {"USD": 0.128}),
        ([listing("5", component="Cluster"), listing()], {"USD": 0.128}),
        ([listing("5", usagetype="EUW1-Train:ml.m5.xlarge"), listing("5", usagetype="EUW1-SpotTrain:ml.m5.large")], {}),
        ([listing(usagetype="Train:ml.m5.large")], {"USD": 0.128}),
        ([listing("5", regionCode="eu-west-2"), listing("5", locationType="AWS Outposts")], {}),
        ([listing(terms={"Reserved": {"SKU.X": {"priceDimensions": {}}}})], {}),
        (["{", listing(), "[]", 5, None], {"USD": 0.128}),
    ],
)
def test_the_price_is_that_of_training_on_demand(products: list[Any], prices: dict[str, float]) -> None:
    assert parse_prices(products, "ml.m5.large", "eu-west-1") == prices


def test_the_price_of_hosting_is_another_product() -> None:
    hosting = listing("0.15", component="Hosting", usagetype="EUW1-Host:ml.m5.large")
    assert parse_prices([listing(), hosting], "ml.m5.large", "eu-west-1", "Hosting") == {"USD": 0.15}
    assert parse_prices([listing()], "ml.m5.large", "eu-west-1", "Hosting") == {}


@pytest.mark.parametrize(
    "product", ["{", "[]", 5, None, listing("NaN"), listing("1e999"), listing([]), listing(terms=[])]
)
def test_a_product_that_cannot_be_read_is_not_a_missing_price(product: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_prices([product], "ml.m5.large", "eu-west-1")


def test_the_sandbox_lists_products_in_pages_as_aws_does(workspace: Workspace) -> None:
    filters = [{"Type": "TERM_MATCH", "Field": "instanceName", "Value": "ml.m5.large"}]
    request = {"ServiceCode": "AmazonSageMaker", "Filters": filters, "FormatVersion": "aws_v1"}
    pricing = workspace.client("pricing")
    pages = list(pricing.get_paginator("get_products").paginate(**request, PaginationConfig={"PageSize": 50}))
    assert {page["FormatVersion"] for page in pages} == {"aws_v1"}
    assert [len(page["PriceList"]) for page in pages[:-1]] == [50] * (len(pages) - 1)
    attributes = [json.loads(text)["product"]["attributes"] for page in pages for text in page["PriceList"]]
    assert len({(one["regionCode"], one["component"]) for one in attributes}) == 38 * 4
    filters.append({"Type": "TERM_MATCH", "Field": "component", "Value": "Hosting"})
    assert len(pricing.get_products(**request)["PriceList"]) == 38
    for changes in ({"NextToken": "x"}, {"ServiceCode": "AmazonEC2"}):
        with pytest.raises(pricing.exceptions.ClientError, match="Invalid"):
            pricing.get_products(**request | changes)
    with pytest.raises(pricing.exceptions.ClientError, match="NotImplemented"):
        pricing.describe_services()


def test_the_api_is_asked_in_its_nearest_region() -> None:
    regions = {"eu-west-1": "eu-central-1", "ap-southeast-2": "ap-south-1", "sa-east-1": "us-east-1"}
    regions |= {"us-east-1": "us-east-1", "cn-north-1": "cn-northwest-1"}
    workspace = client.make_workspace("http://127.0.0.1:9")
    assert {region: endpoint_region(in_region(workspace, region)) for region in regions} == regions
    with pytest.raises(AwsError, match="no endpoint"):
        endpoint_region(in_region(workspace, "us-gov-east-1"))
