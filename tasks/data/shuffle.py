"""Rows of many files into the order of a split, with little memory: scattered to buckets, gathered bucket by bucket."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aws.storage import StoredObject, read_object, remove_all, write_file
from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.data.measurement import stored
from tasks.data.reader import Types, pieces
from tasks.data.source import copy_folder, local_copy
from tasks.data.spill import spill_folder, take_spilled
from tasks.data.streams import log_progress, prefetch


class ShuffleFiles(NamedTuple):
    """A folder with one folder per file of the table, and in it one file per bucket; `shared` means in the bucket."""

    folder: str
    shared: bool

    @contextmanager
    def writing(self, workspace: Workspace, name: str) -> Iterator[Path]:
        """An empty folder for the buckets of one file of the table."""
        if not self.shared:
            folder = Path(self.folder, name)
            rmtree(folder, ignore_errors=True)  # of a try before
            folder.mkdir(parents=True)
            yield folder
            return
        with TemporaryDirectory() as own:
            yield Path(own)
            for file in Path(own).iterdir():
                write_file(workspace, file, workspace.uri(self.folder, name, file.name))

    def reading(self, workspace: Workspace, found: Mapping[str, Sequence[int]], bucket: int) -> Iterator[bytes]:
        """What each file of the table has of a bucket; `found` names the buckets that each has anything of."""
        for name, buckets in found.items():
            if bucket not in buckets:
                continue
            if self.shared:
                yield read_object(workspace, workspace.uri(self.folder, name, str(bucket)))[0]
            else:
                file = Path(self.folder, name, str(bucket))
                yield file.read_bytes()
                file.unlink()  # what is written instead needs as much room

    def clear(self, workspace: Workspace) -> None:
        """Remove everything."""
        if self.shared:
            remove_all(workspace, workspace.uri(self.folder) + "/")
        else:
            rmtree(self.folder, ignore_errors=True)


Positions = NDArray[np.uint32]
ROWS_AT_ONCE = 1_000_000
MAX_ROWS = int(np.iinfo(np.uint32).max)
_COUNT = np.dtype("<u4")


def positions(channels: Iterable[NDArray[np.signedinteger]], rows: int) -> Positions:
    """For each row of the table its place in the channels laid end to end."""
    if rows > MAX_ROWS:
        raise DataError(f"{rows} rows are more than the {MAX_ROWS} that can be shuffled. Train on a sample of them.")
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


def scatter_file(  # noqa: PLR0913, PLR0917 - what to read, and where each row goes
    workspace: Workspace,
    part: StoredObject,
    name: str,
    places: Positions,
    wanted: Sequence[str],
    types: Types,
    starts: Sequence[int],
    runs: ShuffleFiles,
) -> tuple[int, ...]:
    """Write the file's rows to the buckets of the run `name`; returns the numbers of those that got any."""
    found = take_spilled(spill_folder(part, wanted)) or (
        piece.frame for piece in pieces(local_copy(workspace, part), part.uri, list(types), types)
    )
    frames = (_narrow(frame, types, part.uri) for frame in found)
    with runs.writing(workspace, name) as folder:
        buckets = scatter(
            log_progress(prefetch(frames), f"shuffling {part.uri}"), places, starts, stored(types), folder
        )
    if runs.shared:
        rmtree(copy_folder(part), ignore_errors=True)  # nobody comes back to this worker to do it
    return buckets


def _narrow(frame: pl.DataFrame, types: Types, name: str) -> pl.DataFrame:
    try:
        return frame.select(list(types)).cast(types).with_columns(pl.col(pl.Boolean).cast(pl.Int8))  # type: ignore[arg-type] # by name
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{name} is not what it was when it was checked. Run again to take the new one.") from error
