"""When AWS has no instances, alternatives are requested in order, as long as the run may wait."""

from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.training.compute import (
    FIRST_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    CapacityOption,
    Compute,
    capacity_options,
    compute_variants,
)

LARGE, XLARGE, OTHER = "ml.m5.large", "ml.m5.xlarge", "ml.c5.large"

types = st.sampled_from([LARGE, XLARGE, OTHER])
computes = st.builds(
    Compute,
    instance_type=types,
    fallback_instance_types=st.lists(types, max_size=4).map(tuple),
    instance_count=st.integers(1, 20),
    spot=st.booleans(),
    max_queue_seconds=st.integers(0, 5_000),
)


def rounds(compute: Compute, first: int = 0) -> list[list[CapacityOption]]:
    """Return the options, split into rounds of all variants."""
    size = len(compute_variants(compute))
    return [
        list(group) for _, group in groupby(capacity_options(compute, first), key=lambda option: option.step // size)
    ]


def requested(option: CapacityOption) -> tuple[str, bool]:
    return option.compute.instance_type, option.compute.spot


def test_spot_is_requested_before_on_demand_in_the_order_of_the_types() -> None:
    compute = Compute(instance_type=LARGE, fallback_instance_types=(XLARGE, LARGE, OTHER), spot=True)
    one, *_ = rounds(compute)
    assert [requested(option) for option in one] == [
        (LARGE, True),
        (XLARGE, True),
        (OTHER, True),
        (LARGE, False),
        (XLARGE, False),
        (OTHER, False),
    ]


def test_spot_is_not_requested_unless_it_is_set() -> None:
    assert [requested(option) for option in rounds(Compute(fallback_instance_types=(XLARGE,)))[0]] == [
        (LARGE, False),
        (XLARGE, False),
    ]


@pytest.mark.parametrize(
    ("seconds", "pauses"),
    [
        (0, [0]),
        (29, [0]),
        (30, [0, 30]),
        (90, [0, 30, 60]),
        (1800, [0, 30, 60, 120, 240, 300, 300, 300, 300]),
    ],
)
def test_the_pauses_between_the_rounds_double_up_to_five_minutes(seconds: int, pauses: list[int]) -> None:
    compute = Compute(fallback_instance_types=(XLARGE,), max_queue_seconds=seconds)
    assert [[option.pause for option in one] for one in rounds(compute)] == [[pause, 0] for pause in pauses]


@given(computes)
def test_every_round_has_each_variant_once_and_one_pause_before_it(compute: Compute) -> None:
    for number, one in enumerate(rounds(compute)):
        assert [option.compute for option in one] == list(compute_variants(compute))
        assert bool(one[0].pause) == bool(number)
        assert not any(option.pause for option in one[1:])


@given(computes)
def test_pauses_use_the_permitted_wait_without_exceeding_it(compute: Compute) -> None:
    pauses = [one[0].pause for one in rounds(compute)]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= MAX_PAUSE_SECONDS
    another = min(2 * pauses[-1], MAX_PAUSE_SECONDS) or FIRST_PAUSE_SECONDS
    assert sum(pauses) <= compute.max_queue_seconds < sum(pauses) + another


@given(computes, st.integers(0, 60))
def test_options_continue_from_the_given_number(compute: Compute, first: int) -> None:
    every = list(capacity_options(compute))
    assert [option.step for option in every] == list(range(len(every)))
    assert list(capacity_options(compute, first)) == every[first:]


@given(computes)
def test_variants_differ_only_in_instance_type_and_spot(compute: Compute) -> None:
    differs = {"instance_type", "fallback_instance_types", "spot", "max_wait_seconds"}
    found = compute_variants(compute)
    assert len(set(found)) == len(found)
    for variant in found:
        assert Compute.model_validate(variant.model_dump()) == variant
        assert variant.model_dump(exclude=differs) == compute.model_dump(exclude=differs)


@pytest.mark.parametrize("chosen", [{}, {"max_wait_seconds": 3600}, {"checkpoints": False}])
def test_on_demand_variants_have_no_spot_settings(chosen: dict[str, Any]) -> None:
    spot, on_demand = compute_variants(Compute(spot=True, **chosen))
    assert spot.max_wait_seconds == chosen.get("max_wait_seconds")
    assert (on_demand.spot, on_demand.max_wait_seconds) == (False, None)
