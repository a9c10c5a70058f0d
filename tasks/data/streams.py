"""Iterating over large tables: reading ahead in a thread, and saying how far the work is."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import polars as pl
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from tasks.data.reader import Chunk

T = TypeVar("T")
_END: Final = object()


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """The same items; while one is worked on, a thread makes the next."""
    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(next, items, _END)
        while (item := pending.result()) is not _END:
            pending = thread.submit(next, items, _END)
            yield item  # type: ignore[misc] # it is no _END


Rows = TypeVar("Rows", Chunk, pl.DataFrame)
EVERY: Final = 10.0
"""Seconds from one line to the next; what is done sooner needs none."""


def log_progress(items: Iterator[Rows], doing: str) -> Iterator[Rows]:
    """The same items, frames or pieces; while it takes long, the run's log counts their rows."""
    rows, last = 0, time.monotonic()
    for item in items:
        yield item
        rows += (item.frame if isinstance(item, Chunk) else item).height
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            _logger().info("%s: %s rows so far", doing, f"{rows:,}")


def _logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    try:
        return get_run_logger()
    except MissingContextError:  # as in a benchmark
        return logging.getLogger(__name__)
