"""The cost of a job: its maximum before it is submitted, and its bill after it has ended."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from prefect_aws import S3Bucket
from pydantic import ValidationError

from aws.errors import InvalidRequest
from aws.prices import Price
from aws.training.compute import Compute
from aws.training.cost import MIN_RUNTIME_SECONDS, STOPPING_SECONDS, Bill, describe_worst_case, runtime_limit
from aws.workspace import Workspace

LARGE = Price(usd_per_hour=0.115, source="a test")
rates = st.floats(0.001, 200).map(lambda usd: round(usd, 4))
budgets = st.floats(0.001, 100_000).map(lambda usd: round(usd, 4))
counts = st.integers(1, 20)
runtimes = st.integers(MIN_RUNTIME_SECONDS, 432_000)


def description(spot: bool = False, instances: int = 1, **times: int) -> Any:
    """Return the DescribeTrainingJob response of a job on ml.m5.large."""
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": instances, "VolumeSizeInGB": 10}
    return {"ResourceConfig": resources, "EnableManagedSpotTraining": spot, **times}


@pytest.mark.parametrize("usd", [0.0, -1.0, float("nan")])
def test_a_workspace_rejects_a_price_that_is_not_positive(usd: float) -> None:
    fields: dict[str, Any] = {"bucket": S3Bucket(bucket_name="data"), "role_arn": "arn:aws:iam::123456789012:role/t"}
    assert Workspace(**fields).prices == {}
    assert Workspace(**fields, prices={"ml.m5.large": 0.1}).prices == {"ml.m5.large": 0.1}
    with pytest.raises(ValidationError, match=r"prices.`ml\.m5\.large`"):
        Workspace(**fields, prices={"ml.m5.large": usd})


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
def test_the_seconds_of_a_budget_are_computed_in_exact_decimals(
    budget: float, rate: float, instances: int, seconds: int
) -> None:
    price = Price(usd_per_hour=rate, source="a test")
    # With a time limit beyond the maximum of Compute.
    compute = Compute(max_cost_usd=budget, instance_count=instances).model_copy(update={"max_runtime_seconds": 10**999})
    assert runtime_limit(compute, price) == seconds


@given(runtimes, budgets, rates, counts)
@example(432_000, 0.3, 0.1, 3)
def test_the_limit_is_the_requested_one_or_the_longest_within_the_budget(
    requested: int, budget: float, rate: float, instances: int
) -> None:
    price = Price(usd_per_hour=rate, source="a test")
    assume(price.cost(MIN_RUNTIME_SECONDS + STOPPING_SECONDS, instances) <= Fraction(str(budget)))
    limit = runtime_limit(Compute(max_runtime_seconds=requested, max_cost_usd=budget, instance_count=instances), price)
    assert MIN_RUNTIME_SECONDS <= limit <= requested
    assert price.cost(limit + STOPPING_SECONDS, instances) <= Fraction(str(budget))
    assert limit == requested or price.cost(limit + STOPPING_SECONDS + 1, instances) > Fraction(str(budget))


@given(runtimes, st.none() | st.just(LARGE), counts)
def test_without_a_budget_the_limit_is_the_requested_one(requested: int, hourly: Price | None, instances: int) -> None:
    assert runtime_limit(Compute(max_runtime_seconds=requested, instance_count=instances), hourly) == requested


def test_a_budget_without_a_price_is_rejected_with_a_remedy() -> None:
    text = (
        r"^max_cost_usd 0\.5 cannot be enforced: the price of ml\.x\.large .* unknown. Set it in the workspace's prices"
    )
    with pytest.raises(InvalidRequest, match=text):
        runtime_limit(Compute(max_cost_usd=0.5, instance_type="ml.x.large"), None)
    with pytest.raises(InvalidRequest, match=r"Set it in the workspace's prices.* hour\. AWS is away\.$"):
        runtime_limit(Compute(max_cost_usd=0.5), None, "AWS is away.")


def test_a_budget_that_is_too_small_is_rejected_with_the_smallest_sufficient_one() -> None:
    with pytest.raises(InvalidRequest) as caught:
        runtime_limit(Compute(max_cost_usd=0.001), LARGE)
    assert str(caught.value) == (
        "max_cost_usd 0.001 pays for 0 s of 1 x ml.m5.large at 0.115 USD an hour; "
        "a job needs at least 60 s: set at least 0.01"
    )
    with pytest.raises(InvalidRequest, match=r"pays for 36 s of 20 x .* set at least 0\.12$"):
        runtime_limit(Compute(max_cost_usd=0.1, instance_count=20), LARGE)


@given(rates, counts)
def test_the_smallest_sufficient_budget_is_exact_to_the_cent(rate: float, instances: int) -> None:
    hourly = Price(usd_per_hour=rate, source="a test")
    with pytest.raises(InvalidRequest) as caught:
        runtime_limit(Compute(max_cost_usd=1e-9, instance_count=instances), hourly)
    smallest = float(str(caught.value).rsplit(maxsplit=1)[1])
    assert runtime_limit(Compute(max_cost_usd=smallest, instance_count=instances), hourly) >= MIN_RUNTIME_SECONDS
    assert hourly.cost(MIN_RUNTIME_SECONDS + STOPPING_SECONDS, instances) > Fraction(str(round(smallest - 0.01, 2)))


def test_the_worst_case_names_the_source_of_the_price() -> None:
    assert describe_worst_case(Compute(), LARGE, "us-east-1") == (
        "at most 0.12 USD: 1 x ml.m5.large for 3720 s at 0.115 USD an hour (a test)"
    )


def test_the_worst_case_without_a_price_is_given_in_seconds() -> None:
    text = describe_worst_case(Compute(instance_type="ml.x.large"), None, "mars-1")
    assert text == "price of ml.x.large in mars-1 unknown: at most 3720 s on 1 instance"
    three = Compute(max_runtime_seconds=60, instance_count=3)
    assert describe_worst_case(three, None, "mars-1").endswith("180 s on 3 instances")


@given(runtimes, rates, counts)
def test_the_worst_case_is_never_rounded_down(runtime: int, rate: float, instances: int) -> None:
    price = Price(usd_per_hour=rate, source="a test")
    compute = Compute(max_runtime_seconds=runtime, instance_count=instances)
    text = describe_worst_case(compute, price, "us-east-1")
    usd = float(text.removeprefix("at most ").split()[0])
    assert usd - 0.01 <= float(price.cost(runtime + STOPPING_SECONDS, instances)) <= usd


def test_a_bill_is_billable_seconds_of_every_instance_at_the_price() -> None:
    bill = Bill.of(description(TrainingTimeInSeconds=120, BillableTimeInSeconds=120), LARGE)
    assert str(bill) == "0.0038 USD: 120 billable s x 1 ml.m5.large at 0.115 USD an hour"
    assert bill.usd == pytest.approx(0.115 / 30)
    four = Bill.of(description(instances=4, TrainingTimeInSeconds=3600, BillableTimeInSeconds=3600), LARGE)
    assert four.usd == 0.46
    assert str(four) == "0.4600 USD: 3600 billable s x 4 ml.m5.large at 0.115 USD an hour"


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "below 0.0001 USD: 1 "), (2, "0.0001 USD: 2 "), (0, "0.0000 USD: 0 ")]
)
def test_a_bill_above_zero_is_not_rounded_to_zero(seconds: int, text: str) -> None:
    assert str(Bill.of(description(BillableTimeInSeconds=seconds), LARGE)).startswith(text)


def test_a_spot_bill_contains_the_saving() -> None:
    bill = Bill.of(description(spot=True, instances=2, TrainingTimeInSeconds=400, BillableTimeInSeconds=120), LARGE)
    assert bill.usd == pytest.approx(2 * 120 * 0.115 / 3600)
    assert str(bill) == "0.0077 USD: 120 billable s x 2 ml.m5.large at 0.115 USD an hour, 70 % saved by spot"


def test_a_bill_without_a_price_contains_the_seconds() -> None:
    bill = Bill.of(description(spot=True, TrainingTimeInSeconds=400, BillableTimeInSeconds=120), None)
    assert bill.usd is None
    assert str(bill) == "price unknown: 120 billable s x 1 ml.m5.large, 70 % saved by spot"


@pytest.mark.parametrize("times", [{}, {"TrainingTimeInSeconds": 300}], ids=["never started", "running"])
def test_a_job_without_billable_seconds_costs_and_saves_nothing(times: dict[str, int]) -> None:
    bill = Bill.of(description(spot=True, **times), LARGE)
    assert (bill.billable_seconds, bill.usd) == (0, 0.0)
    assert str(bill) == "0.0000 USD: 0 billable s x 1 ml.m5.large at 0.115 USD an hour"


@given(st.booleans(), counts, st.integers(0, 10**6), st.integers(0, 10**6), st.none() | st.just(LARGE))
def test_any_bill_can_be_serialised_and_printed(
    spot: bool, instances: int, training: int, billable: int, hourly: Price | None
) -> None:
    bill = Bill.of(description(spot, instances, TrainingTimeInSeconds=training, BillableTimeInSeconds=billable), hourly)
    assert Bill.model_validate_json(bill.model_dump_json()) == bill
    assert f"{billable} billable s x {instances} ml.m5.large" in str(bill)
    if bill.usd is not None:
        assert bill.usd == pytest.approx(billable * instances * 0.115 / 3600)
