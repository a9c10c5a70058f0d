"""In which order instances are asked for when there are none: spot, on demand, other types, and all over again."""

from collections.abc import Iterator
from dataclasses import dataclass

from aws.compute import Compute

FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 30.0, 2.0, 300.0
"""Seconds between two rounds through all kinds of instances."""


@dataclass(frozen=True)
class Offer:
    """One kind of instances to ask for, as `compute`, after so many seconds; `step` counts the offers from 0."""

    step: int
    compute: Compute
    pause: float = 0.0


def kinds(compute: Compute) -> tuple[Compute, ...]:
    """Every kind of instances that `compute` allows: all types on spot if wanted, then all of them on demand."""
    types = dict.fromkeys((compute.instance_type, *compute.fallback_instance_types))
    spots = (True, False) if compute.spot else (False,)
    on_demand = {"max_wait_seconds": None}
    return tuple(
        compute.model_copy(
            update={"instance_type": name, "fallback_instance_types": (), "spot": spot} | ({} if spot else on_demand)
        )
        for spot in spots
        for name in types
    )


def offers(compute: Compute, first: int = 0) -> Iterator[Offer]:
    """The offers from number `first` on, round after round, until the pauses would exceed `max_queue_seconds`."""
    step, pause, left = 0, 0.0, float(compute.max_queue_seconds)
    while pause <= left:
        left -= pause
        for number, kind in enumerate(kinds(compute)):
            if step >= first:
                yield Offer(step=step, compute=kind, pause=0.0 if number else pause)
            step += 1
        pause = min(pause * GROWTH, LONGEST_PAUSE) or FIRST_PAUSE
