"""What a job runs on: choices that AWS would refuse, or that contradict each other, are refused in words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aws.training.compute import MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS, Compute

runtimes = st.integers(60, 432_000)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"instance_type": "m5.large"}, "instance_type"),
        ({"instance_type": "ml.m5"}, "instance_type"),
        ({"fallback_instance_types": ["ml.m5.large", "m5.large"]}, r"fallback_instance_types\.1"),
        ({"instance_count": 0}, "instance_count"),
        ({"instance_count": 21}, "instance_count"),
        ({"volume_size_gb": 0}, "volume_size_gb"),
        ({"max_runtime_seconds": 59}, "max_runtime_seconds"),
        ({"max_cost_usd": 0}, "max_cost_usd"),
        ({"max_cost_usd": float("inf")}, "max_cost_usd"),
        ({"max_cost_usd": float("nan")}, "max_cost_usd"),
        ({"max_queue_seconds": -1}, "max_queue_seconds"),
        ({"spot": True, "max_wait_seconds": 59}, "max_wait_seconds"),
        ({"x": 1}, "x\n.*not permitted"),
        ({"max_wait_seconds": 7200}, "max_wait_seconds is for spot instances; set spot, or leave it empty"),
        (
            {"spot": True, "max_runtime_seconds": 3600, "max_wait_seconds": 3599},
            "max_wait_seconds covers waiting and training: 3599 is less than max_runtime_seconds, 3600",
        ),
        (
            {"spot": True, "checkpoints": False, "max_runtime_seconds": 3601},
            (
                "without checkpoints AWS lets a spot job wait and train for 3600 s at most, and this one might for "
                "3601 s: switch checkpoints on or lower max_wait_seconds"
            ),
        ),
        (
            {"spot": True, "checkpoints": False, "max_runtime_seconds": 600, "max_wait_seconds": 3601},
            "3600 s at most, and this one might for 3601 s",
        ),
    ],
)
def test_compute_that_no_service_has_or_that_contradicts_itself_is_refused(
    choice: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Compute(**choice)


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"spot": True},
        {"spot": True, "max_runtime_seconds": 3600, "max_wait_seconds": 3600},
        {"spot": True, "checkpoints": False},
        {"spot": True, "checkpoints": False, "max_runtime_seconds": 600, "max_wait_seconds": 3600},
        {"checkpoints": False, "max_runtime_seconds": 432_000},
        {"spot": True, "max_runtime_seconds": 432_000, "max_wait_seconds": 2_592_000},
    ],
)
def test_what_aws_allows_is_allowed(choice: dict[str, Any]) -> None:
    assert Compute(**choice).model_dump() == Compute().model_dump() | choice


def test_a_chosen_wait_is_retained() -> None:
    assert Compute(spot=True, max_runtime_seconds=600, max_wait_seconds=700).wait_limit == 700


@given(runtimes)
def test_a_spot_job_may_wait_an_hour_longer_than_it_trains(seconds: int) -> None:
    assert Compute(spot=True, max_runtime_seconds=seconds).wait_limit == seconds + 3600


@given(st.integers(60, MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS))
def test_without_checkpoints_a_spot_job_may_wait_as_long_as_aws_allows(seconds: int) -> None:
    compute = Compute(spot=True, checkpoints=False, max_runtime_seconds=seconds)
    assert compute.wait_limit == MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS


def test_compute_cannot_be_changed_once_it_is_chosen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Compute().instance_count = 2  # type: ignore[misc]
