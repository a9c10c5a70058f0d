"""Rows of many files into the order of a split, with little memory: scattered to buckets, gathered bucket by bucket.

A bucket holds the rows that come next to each other in the end, some thirty megabytes of them. They arrive in the order
of the table, in segments: how many rows, their positions, then column after column, as numpy holds them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linear_learner.errors import DataError

Positions = NDArray[np.uint32]
ROWS_AT_ONCE = 1_000_000
MOST_ROWS = int(np.iinfo(np.uint32).max)
_COUNT = np.dtype("<u4")


def positions(channels: Iterable[NDArray[np.signedinteger]], rows: int) -> Positions:
    """For each row of the table its place in the channels laid end to end."""
    if rows > MOST_ROWS:
        raise DataError(f"{rows} rows are more than the {MOST_ROWS} that can be shuffled. Train on a sample of them.")
    places, start = np.empty(rows, np.uint32), 0
    for chosen in channels:
        places[chosen] = np.arange(start, start + len(chosen), dtype=np.uint32)
        start += len(chosen)
    return places


def scatter(
    frames: Iterable[pl.DataFrame], places: Positions, starts: Sequence[int], types: Mapping[str, str], folder: Path
) -> tuple[int, ...]:
    """Append each row to its bucket's file in `folder`, the columns as numpy's `types`.

    `starts` are the buckets' first positions and the end of the last. Returns the numbers of the buckets that got any,
    which name their files.
    """
    edges, row = np.asarray(starts[1:-1], np.uint32), 0
    for frame in _together(frames):
        here = places[row : row + frame.height]
        row += frame.height
        buckets = np.searchsorted(edges, here, side="right").astype(np.uint16 if len(edges) < 2**16 else np.uint32)
        order = np.argsort(buckets, kind="stable")  # of small integers: a radix sort
        columns = [here.take(order)]
        columns += [frame[name].to_numpy().astype(kind, copy=False).take(order) for name, kind in types.items()]
        _append(columns, np.bincount(buckets), folder)
    return tuple(sorted(int(file.name) for file in folder.iterdir()))


def gather(pieces: Iterable[bytes], edges: Sequence[int], types: Mapping[str, str]) -> pl.DataFrame:
    """The rows of a bucket, from one position to another, in their order, from what every scatter wrote of it."""
    start, end = edges
    ordered = {name: np.empty(end - start, kind) for name, kind in types.items()}
    for piece in pieces:
        at = 0
        while at < len(piece):
            count = int(np.frombuffer(piece, _COUNT, 1, at)[0])
            at += _COUNT.itemsize
            places = (np.frombuffer(piece, _COUNT, count, at) - np.uint32(start)).astype(np.intp)
            at += count * _COUNT.itemsize
            for column in ordered.values():
                column[places] = np.frombuffer(piece, column.dtype, count, at)
                at += count * column.itemsize
    return pl.DataFrame(ordered)


def _together(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Several frames as one: the fewer segments a bucket has, the less each of its rows costs."""
    some: list[pl.DataFrame] = []
    for frame in frames:
        some.append(frame)
        if sum(one.height for one in some) >= ROWS_AT_ONCE:
            yield pl.concat(some, rechunk=True)
            some.clear()
    if some:
        yield pl.concat(some, rechunk=True)


def _append(columns: Sequence[NDArray[Any]], counts: NDArray[np.intp], folder: Path) -> None:
    """Add a segment to the file of each bucket that has any of the rows, which are ordered by bucket."""
    first = 0
    for bucket, count in enumerate(counts.tolist()):
        if not count:
            continue
        with (folder / str(bucket)).open("ab") as file:
            file.write(_COUNT.type(count).tobytes())
            for column in columns:
                file.write(column[first : first + count].data)
        first += count
