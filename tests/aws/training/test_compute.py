"""Validation of a job's compute: values that AWS rejects, or that contradict each other, raise an error."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aws.training.compute import MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS, Compute

runtimes = st.integers(60, 432_000)


@pytest.mark.parametrize(
    ("fields", "message"),
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
        (
            {"max_wait_seconds": 7200},
            "max_wait_seconds is for spot instances: set spot, or leave max_wait_seconds empty",
        ),
        (
            {"spot": True, "max_runtime_seconds": 3600, "max_wait_seconds": 3599},
            "max_wait_seconds includes waiting and training: 3599 is less than max_runtime_seconds, 3600",
        ),
        (
            {"spot": True, "checkpoints": False, "max_runtime_seconds": 3601},
            (
                "without checkpoints AWS limits waiting and training of a spot job to 3600 s, and this job may take "
                "3601 s: enable checkpoints or lower max_wait_seconds"
            ),
        ),
        (
            {"spot": True, "checkpoints": False, "max_runtime_seconds": 600, "max_wait_seconds": 3601},
            "3600 s, and this job may take 3601 s",
        ),
    ],
)
def test_invalid_or_contradictory_compute_is_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Compute(**fields)


@pytest.mark.parametrize(
    "fields",
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
def test_valid_compute_is_accepted(fields: dict[str, Any]) -> None:
    assert Compute(**fields).model_dump() == Compute().model_dump() | fields


def test_a_given_wait_limit_is_used() -> None:
    assert Compute(spot=True, max_runtime_seconds=600, max_wait_seconds=700).wait_limit == 700


@given(runtimes)
def test_the_default_wait_limit_is_one_hour_more_than_the_time_limit(seconds: int) -> None:
    assert Compute(spot=True, max_runtime_seconds=seconds).wait_limit == seconds + 3600


@given(st.integers(60, MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS))
def test_without_checkpoints_the_default_wait_limit_is_that_of_aws(seconds: int) -> None:
    compute = Compute(spot=True, checkpoints=False, max_runtime_seconds=seconds)
    assert compute.wait_limit == MAX_WAIT_SECONDS_WITHOUT_CHECKPOINTS


def test_compute_is_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Compute().instance_count = 2  # type: ignore[misc]
