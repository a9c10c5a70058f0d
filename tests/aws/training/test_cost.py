"""A job's cost, bounded before it is submitted and told after it is over."""

from collections import defaultdict
from datetime import date
from fractions import Fraction
from typing import Any

import botocore.session
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from prefect_aws import S3Bucket
from pydantic import ValidationError

from aws.errors import InvalidRequest
from aws.training.compute import Compute
from aws.training.cost import (
    MIN_RUNTIME_SECONDS,
    STOPPING_SECONDS,
    Bill,
    Price,
    describe_worst_case,
    find_price,
    read_price_table,
    runtime_limit,
)
from aws.workspace import Workspace

LARGE = Price(usd_per_hour=0.115, source="a test")
rates = st.floats(0.001, 200).map(lambda usd: round(usd, 4))
budgets = st.floats(0.001, 100_000).map(lambda usd: round(usd, 4))
counts = st.integers(1, 20)
runtimes = st.integers(MIN_RUNTIME_SECONDS, 432_000)

PRICE_LIST_DATE, USD_PER_HOUR = read_price_table().values()


def found(spot: bool = False, instances: int = 1, **times: int) -> Any:
    """What DescribeTrainingJob says of a job on ml.m5.large."""
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": instances, "VolumeSizeInGB": 10}
    return {"ResourceConfig": resources, "EnableManagedSpotTraining": spot, **times}


def test_the_table_prices_instances_that_training_can_have_in_regions_that_exist() -> None:
    session = botocore.session.get_session()
    trainable = set(session.get_service_model("sagemaker").shape_for("TrainingInstanceType").enum)  # type: ignore[attr-defined]
    assert set(USD_PER_HOUR) <= set(session.get_available_regions("sagemaker"))
    for region, listed in USD_PER_HOUR.items():
        assert set(listed) <= trainable, region
    assert date.fromisoformat(PRICE_LIST_DATE) <= date.today()  # noqa: DTZ011


@pytest.mark.parametrize("region", USD_PER_HOUR)
def test_within_a_family_prices_are_in_proportion_to_the_size_so_that_no_row_is_mistyped(region: str) -> None:
    by_family = defaultdict(set)
    for name, usd in USD_PER_HOUR[region].items():
        _, family, size = name.split(".")
        if family != "g4dn":  # one GPU at any of these sizes
            by_family[family].add(usd / (0.5 if size == "large" else float(size.removesuffix("xlarge") or 1)))
    for family, units in by_family.items():
        assert max(units) == pytest.approx(min(units), rel=0.01), family


def test_a_price_says_where_it_comes_from() -> None:
    assert find_price("ml.m5.large", "us-east-1", {}) == Price(
        usd_per_hour=0.115, source=f"price list of {PRICE_LIST_DATE} for us-east-1"
    )
    assert find_price("ml.m5.large", "mars-1", {}) is None
    assert find_price("ml.x.large", "us-east-1", {}) is None


def test_the_workspaces_prices_win_and_only_for_their_instance_type() -> None:
    mine = {"ml.m5.large": 0.08, "ml.x.large": 7.0}
    ours = "the workspace's prices"
    assert find_price("ml.m5.large", "us-east-1", mine) == Price(usd_per_hour=0.08, source=ours)
    assert find_price("ml.x.large", "mars-1", mine) == Price(usd_per_hour=7.0, source=ours)
    assert find_price("ml.m5.xlarge", "us-east-1", mine) == find_price("ml.m5.xlarge", "us-east-1", {})


@pytest.mark.parametrize("usd", [0.0, -1.0, float("nan")])
def test_a_workspace_refuses_a_price_that_is_none(usd: float) -> None:
    place: dict[str, Any] = {"bucket": S3Bucket(bucket_name="data"), "role_arn": "arn:aws:iam::123456789012:role/t"}
    assert Workspace(**place).prices == {}
    assert Workspace(**place, prices={"ml.m5.large": 0.1}).prices == {"ml.m5.large": 0.1}
    with pytest.raises(ValidationError, match=r"prices.`ml\.m5\.large`"):
        Workspace(**place, prices={"ml.m5.large": usd})


@pytest.mark.parametrize(
    ("budget", "rate", "instances", "seconds"),
    [
        (0.115, 0.115, 1, 3480),
        (0.23, 0.115, 2, 3480),
        (0.3, 0.1, 3, 3480),  # 0.3 is less than 3 * 0.1 in binary
        (0.7, 0.1, 7, 3480),
        (1e300, 1e-300, 1, 3600 * 10**600 - 120),
    ],
)
def test_a_budget_buys_exactly_the_seconds_that_the_decimals_say(
    budget: float, rate: float, instances: int, seconds: int
) -> None:
    price = Price(usd_per_hour=rate, source="a test")
    # A run that may take longer than any that Compute allows.
    compute = Compute(max_cost_usd=budget, instance_count=instances).model_copy(update={"max_runtime_seconds": 10**999})
    assert runtime_limit(compute, price) == seconds


@given(runtimes, budgets, rates, counts)
@example(432_000, 0.3, 0.1, 3)
def test_the_limit_is_the_one_asked_for_or_the_longest_that_the_budget_buys(
    asked: int, budget: float, rate: float, instances: int
) -> None:
    price = Price(usd_per_hour=rate, source="a test")
    assume(price.cost(MIN_RUNTIME_SECONDS + STOPPING_SECONDS, instances) <= Fraction(str(budget)))
    limit = runtime_limit(Compute(max_runtime_seconds=asked, max_cost_usd=budget, instance_count=instances), price)
    assert MIN_RUNTIME_SECONDS <= limit <= asked
    assert price.cost(limit + STOPPING_SECONDS, instances) <= Fraction(str(budget))
    assert limit == asked or price.cost(limit + STOPPING_SECONDS + 1, instances) > Fraction(str(budget))


@given(runtimes, st.none() | st.just(LARGE), counts)
def test_without_a_budget_the_limit_is_the_one_asked_for(asked: int, hourly: Price | None, instances: int) -> None:
    assert runtime_limit(Compute(max_runtime_seconds=asked, instance_count=instances), hourly) == asked


def test_a_budget_without_a_price_is_refused_with_the_cure() -> None:
    said = (
        r"^max_cost_usd 0\.5 cannot be kept: the price of ml\.x\.large .* not known. Set it in the workspace's prices"
    )
    with pytest.raises(InvalidRequest, match=said):
        runtime_limit(Compute(max_cost_usd=0.5, instance_type="ml.x.large"), None)


def test_a_budget_too_small_for_any_job_is_refused_with_the_least_that_would_do() -> None:
    with pytest.raises(InvalidRequest) as caught:
        runtime_limit(Compute(max_cost_usd=0.001), LARGE)
    assert str(caught.value) == (
        "max_cost_usd 0.001 buys 0 s of 1 x ml.m5.large at 0.115 USD an hour; "
        "a job needs at least 60 s: give at least 0.01"
    )
    with pytest.raises(InvalidRequest, match=r"buys 36 s of 20 x .* give at least 0\.12$"):
        runtime_limit(Compute(max_cost_usd=0.1, instance_count=20), LARGE)


@given(rates, counts)
def test_the_least_budget_that_the_error_names_is_enough_and_a_cent_less_is_not(rate: float, instances: int) -> None:
    hourly = Price(usd_per_hour=rate, source="a test")
    with pytest.raises(InvalidRequest) as caught:
        runtime_limit(Compute(max_cost_usd=1e-9, instance_count=instances), hourly)
    least = float(str(caught.value).rsplit(maxsplit=1)[1])
    assert runtime_limit(Compute(max_cost_usd=least, instance_count=instances), hourly) >= MIN_RUNTIME_SECONDS
    assert hourly.cost(MIN_RUNTIME_SECONDS + STOPPING_SECONDS, instances) > Fraction(str(round(least - 0.01, 2)))


def test_the_worst_case_is_said_in_one_sentence_with_the_source_of_the_price() -> None:
    listed = find_price("ml.m5.large", "us-east-1", {})
    assert describe_worst_case(Compute(), listed, "us-east-1") == (
        "at most 0.12 USD: 1 x ml.m5.large for 3720 s at 0.115 USD an hour "
        f"(price list of {PRICE_LIST_DATE} for us-east-1)"
    )


def test_an_unknown_price_is_said_too_and_what_is_bounded_all_the_same() -> None:
    said = describe_worst_case(Compute(instance_type="ml.x.large"), None, "mars-1")
    assert said == "price of ml.x.large in mars-1 unknown: at most 3720 s on 1 instance"
    three = Compute(max_runtime_seconds=60, instance_count=3)
    assert describe_worst_case(three, None, "mars-1").endswith("180 s on 3 instances")


@given(runtimes, rates, counts)
def test_the_worst_case_said_is_never_less_than_the_worst_case(runtime: int, rate: float, instances: int) -> None:
    price = Price(usd_per_hour=rate, source="a test")
    compute = Compute(max_runtime_seconds=runtime, instance_count=instances)
    said = describe_worst_case(compute, price, "us-east-1")
    usd = float(said.removeprefix("at most ").split()[0])
    assert usd - 0.01 <= float(price.cost(runtime + STOPPING_SECONDS, instances)) <= usd


def test_a_bill_is_billable_seconds_of_every_instance_at_the_price() -> None:
    bill = Bill.of(found(TrainingTimeInSeconds=120, BillableTimeInSeconds=120), LARGE)
    assert str(bill) == "0.0038 USD: 120 billable s x 1 ml.m5.large at 0.115 USD an hour"
    assert bill.usd == pytest.approx(0.115 / 30)
    four = Bill.of(found(instances=4, TrainingTimeInSeconds=3600, BillableTimeInSeconds=3600), LARGE)
    assert four.usd == 0.46
    assert str(four) == "0.4600 USD: 3600 billable s x 4 ml.m5.large at 0.115 USD an hour"


def test_a_spot_bill_says_what_spot_saved() -> None:
    bill = Bill.of(found(spot=True, instances=2, TrainingTimeInSeconds=400, BillableTimeInSeconds=120), LARGE)
    assert bill.usd == pytest.approx(2 * 120 * 0.115 / 3600)
    assert str(bill) == "0.0077 USD: 120 billable s x 2 ml.m5.large at 0.115 USD an hour, 70 % saved by spot"


def test_a_bill_at_an_unknown_price_still_tells_the_seconds() -> None:
    bill = Bill.of(found(spot=True, TrainingTimeInSeconds=400, BillableTimeInSeconds=120), None)
    assert bill.usd is None
    assert str(bill) == "price unknown: 120 billable s x 1 ml.m5.large, 70 % saved by spot"


@pytest.mark.parametrize("times", [{}, {"TrainingTimeInSeconds": 300}], ids=["never started", "running"])
def test_a_job_without_billable_seconds_costs_nothing_and_saved_nothing(times: dict[str, int]) -> None:
    bill = Bill.of(found(spot=True, **times), LARGE)
    assert (bill.billable_seconds, bill.usd) == (0, 0.0)
    assert str(bill) == "0.0000 USD: 0 billable s x 1 ml.m5.large at 0.115 USD an hour"


@given(st.booleans(), counts, st.integers(0, 10**6), st.integers(0, 10**6), st.none() | st.just(LARGE))
def test_a_bill_survives_json_and_can_always_be_said(
    spot: bool, instances: int, training: int, billable: int, hourly: Price | None
) -> None:
    bill = Bill.of(found(spot, instances, TrainingTimeInSeconds=training, BillableTimeInSeconds=billable), hourly)
    assert Bill.model_validate_json(bill.model_dump_json()) == bill
    assert f"{billable} billable s x {instances} ml.m5.large" in str(bill)
    if bill.usd is not None:
        assert bill.usd == pytest.approx(billable * instances * 0.115 / 3600)
