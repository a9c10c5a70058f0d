"""How far the work on a large file is, said now and then."""

import logging
import time
from collections.abc import Iterator
from typing import Final, TypeVar

import polars as pl
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from tasks.table.pieces import Piece

T = TypeVar("T", Piece, pl.DataFrame)
EVERY: Final = 10.0
"""Seconds from one line to the next; what is done sooner needs none."""


def told(items: Iterator[T], doing: str) -> Iterator[T]:
    """The same items, frames or pieces; while it takes long, the run's log counts their rows."""
    rows, last = 0, time.monotonic()
    for item in items:
        yield item
        rows += (item.frame if isinstance(item, Piece) else item).height
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            _logger().info("%s: %s rows so far", doing, f"{rows:,}")


def _logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    try:
        return get_run_logger()
    except MissingContextError:  # as in a benchmark
        return logging.getLogger(__name__)
