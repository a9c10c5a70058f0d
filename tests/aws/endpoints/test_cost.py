"""Cost of an endpoint per hour and month, and its limit."""

from collections import Counter
from collections.abc import Callable

import pytest

from aws.endpoints.cost import HostingCost, build_cost, check_budget, hosting_cost
from aws.endpoints.settings import Hosting
from aws.errors import InvalidRequest
from aws.prices import find_price
from aws.workspace import Workspace

SERVERLESS = Hosting(kind="serverless", max_usd_per_month=1)


@pytest.mark.parametrize(
    ("hosting", "hours", "months", "text"),
    [
        (Hosting(), (0.115, 0.115), (83.95, 83.95), "1 x ml.m5.large: 0.115 USD an hour, 83.95 USD a month (a list)"),
        (
            Hosting(min_instances=2, max_instances=6),
            (0.23, 0.69),
            (167.9, 503.7),
            "2 to 6 x ml.m5.large: 0.23 to 0.69 USD an hour, 167.90 to 503.70 USD a month (a list)",
        ),
        (
            Hosting(min_instances=2, max_instances=2),
            (0.23, 0.23),
            (167.9, 167.9),
            "2 x ml.m5.large: 0.23 USD an hour, 167.90 USD a month (a list)",
        ),
    ],
)
def test_the_cost_is_that_of_the_fewest_and_the_most_instances(
    hosting: Hosting, hours: tuple[float, float], months: tuple[float, float], text: str
) -> None:
    cost = build_cost(hosting, 0.115, "a list")
    assert (cost.usd_per_hour_min, cost.usd_per_hour_max) == pytest.approx(hours)
    assert (cost.usd_per_month_min, cost.usd_per_month_max) == pytest.approx(months)
    assert cost.text == text


def test_a_limit_is_compared_with_the_most_instances() -> None:
    hosting = Hosting(max_instances=3, max_usd_per_month=200)
    with pytest.raises(InvalidRequest, match=r"may cost 251\.85 USD a month, more than max_usd_per_month 200"):
        check_budget(hosting, build_cost(hosting, 0.115, "a list"))
    check_budget(hosting, build_cost(hosting, 0.05, "a list"))
    check_budget(Hosting(), build_cost(Hosting(), 99, "a list"))


def test_a_limit_without_a_price_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"max_usd_per_month 200 cannot be enforced\. No price\."):
        check_budget(Hosting(max_usd_per_month=200), "No price.")
    check_budget(Hosting(), "No price.")
    check_budget(SERVERLESS, "No price.")


def test_hosting_has_a_price_of_its_own_in_the_list(workspace: Workspace, calls: Callable[[], Counter[str]]) -> None:
    europe, before = workspace.with_client_options({}, "eu-west-1"), calls()
    costs = [hosting_cost(europe, Hosting(min_instances=2)) for _ in range(2)]
    training = find_price(europe, "ml.m5.large").price
    assert training is not None
    assert training.usd_per_hour == 0.1265
    assert (calls() - before)["pricing:GetProducts"] == 2  # one for each component
    assert costs[0] == costs[1]
    assert isinstance(costs[0], HostingCost)
    assert costs[0].usd_per_hour_min == pytest.approx(2 * 0.1265)
    assert costs[0].source.startswith("AWS Price List API")


def test_without_an_answer_the_price_of_training_is_used(workspace: Workspace, inject: Callable[..., None]) -> None:
    inject(kind="access-denied", action="GetProducts", times=2)
    warnings: list[str] = []
    cost = hosting_cost(workspace, Hosting(), warnings.append)
    assert isinstance(cost, HostingCost)
    assert cost.usd_per_hour_min == 0.115
    assert "its price of training" in cost.source
    assert len(warnings) == 1
    unknown = hosting_cost(workspace, Hosting(instance_type="ml.x9.large"))
    assert isinstance(unknown, str)
    assert "The price of hosting on ml.x9.large in us-east-1 is unknown. Set it in the workspace's prices" in unknown


def test_a_serverless_endpoint_has_no_fixed_cost(workspace: Workspace, calls: Callable[[], Counter[str]]) -> None:
    before = calls()
    cost = hosting_cost(workspace, SERVERLESS)
    assert isinstance(cost, HostingCost)
    assert cost.usd_per_month_max == 0
    assert "no fixed cost; AWS bills each request" in cost.text
    check_budget(SERVERLESS, cost)
    assert calls() == before
