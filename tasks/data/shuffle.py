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

from aws.storage import StoredObject, delete_objects, read_object, write_file
from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.data.measurement import numpy_types
from tasks.data.parallel import log_progress, prefetch
from tasks.data.reader import ColumnTypes, read_chunks, spill_folder, take_spilled_chunks
from tasks.data.source import local_copy_folder, make_local_copy


class ShuffleFiles(NamedTuple):
    """A folder with one folder per file of the table, and in it one file per bucket; `shared` means in the bucket."""

    folder: str
    shared: bool

    @contextmanager
    def write_buckets(self, workspace: Workspace, name: str) -> Iterator[Path]:
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

    def read_bucket(
        self, workspace: Workspace, buckets_by_file: Mapping[str, Sequence[int]], bucket: int
    ) -> Iterator[bytes]:
        """What each file of the table has of a bucket; `buckets_by_file` names the buckets that each has rows of."""
        for name, buckets in buckets_by_file.items():
            if bucket not in buckets:
                continue
            if self.shared:
                yield read_object(workspace, workspace.uri(self.folder, name, str(bucket)))[0]
            else:
                file = Path(self.folder, name, str(bucket))
                yield file.read_bytes()
                file.unlink()  # what is written instead needs as much room

    def remove(self, workspace: Workspace) -> None:
        """Remove everything."""
        if self.shared:
            delete_objects(workspace, workspace.uri(self.folder) + "/")
        else:
            rmtree(self.folder, ignore_errors=True)


Positions = NDArray[np.uint32]
SEGMENT_ROWS = 1_000_000
MAX_ROWS = int(np.iinfo(np.uint32).max)
_COUNT_TYPE = np.dtype("<u4")


def assign_positions(channels: Iterable[NDArray[np.signedinteger]], rows: int) -> Positions:
    """For each row of the table its place in the channels laid end to end."""
    if rows > MAX_ROWS:
        raise DataError(f"{rows} rows are more than the {MAX_ROWS} that can be shuffled. Train on a sample of them.")
    positions, start = np.empty(rows, np.uint32), 0
    for chosen in channels:
        positions[chosen] = np.arange(start, start + len(chosen), dtype=np.uint32)
        start += len(chosen)
    return positions


def scatter(
    frames: Iterable[pl.DataFrame], positions: Positions, starts: Sequence[int], types: Mapping[str, str], folder: Path
) -> tuple[int, ...]:
    """Append each row to its bucket's file in `folder`, the columns as numpy's `types`.

    `starts` are the buckets' first positions and the end of the last. Returns the numbers of the buckets that got any,
    which name their files.
    """
    edges, row = np.asarray(starts[1:-1], np.uint32), 0
    for frame in _concat_frames(frames):
        here = positions[row : row + frame.height]
        row += frame.height
        buckets = np.searchsorted(edges, here, side="right").astype(np.uint16 if len(edges) < 2**16 else np.uint32)
        order = np.argsort(buckets, kind="stable")  # of small integers: a radix sort
        columns = [here.take(order)]
        columns += [frame[name].to_numpy().astype(kind, copy=False).take(order) for name, kind in types.items()]
        _append_segments(columns, np.bincount(buckets), folder)
    return tuple(sorted(int(file.name) for file in folder.iterdir()))


def gather(segments_by_file: Iterable[bytes], edges: Sequence[int], types: Mapping[str, str]) -> pl.DataFrame:
    """The rows of a bucket, from one position to another, in their order, from what every scatter wrote of it."""
    start, end = edges
    ordered = {name: np.empty(end - start, kind) for name, kind in types.items()}
    for segments in segments_by_file:
        at = 0
        while at < len(segments):
            count = int(np.frombuffer(segments, _COUNT_TYPE, 1, at)[0])
            at += _COUNT_TYPE.itemsize
            positions = (np.frombuffer(segments, _COUNT_TYPE, count, at) - np.uint32(start)).astype(np.intp)
            at += count * _COUNT_TYPE.itemsize
            for column in ordered.values():
                column[positions] = np.frombuffer(segments, column.dtype, count, at)
                at += count * column.itemsize
    return pl.DataFrame(ordered)


def _concat_frames(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Several frames as one: the fewer segments a bucket has, the less each of its rows costs."""
    some: list[pl.DataFrame] = []
    for frame in frames:
        some.append(frame)
        if sum(one.height for one in some) >= SEGMENT_ROWS:
            yield pl.concat(some, rechunk=True)
            some.clear()
    if some:
        yield pl.concat(some, rechunk=True)


def _append_segments(columns: Sequence[NDArray[Any]], counts: NDArray[np.intp], folder: Path) -> None:
    """Add a segment to the file of each bucket that has any of the rows, which are ordered by bucket."""
    first = 0
    for bucket, count in enumerate(counts.tolist()):
        if not count:
            continue
        with (folder / str(bucket)).open("ab") as file:
            file.write(_COUNT_TYPE.type(count).tobytes())
            for column in columns:
                file.write(column[first : first + count].data)
        first += count


def scatter_file(  # noqa: PLR0913, PLR0917 - what to read, and where each row goes
    workspace: Workspace,
    part: StoredObject,
    name: str,
    positions: Positions,
    wanted: Sequence[str],
    types: ColumnTypes,
    starts: Sequence[int],
    shuffle_files: ShuffleFiles,
) -> tuple[int, ...]:
    """Write the file's rows to the buckets of the file called `name`; returns the numbers of those that got any."""
    found = take_spilled_chunks(spill_folder(part, wanted)) or (
        chunk.frame for chunk in read_chunks(make_local_copy(workspace, part), part.uri, list(types), types)
    )
    frames = (_cast_frame(frame, types, part.uri) for frame in found)
    with shuffle_files.write_buckets(workspace, name) as folder:
        buckets = scatter(
            log_progress(prefetch(frames), f"shuffling {part.uri}"), positions, starts, numpy_types(types), folder
        )
    if shuffle_files.shared:
        rmtree(local_copy_folder(part), ignore_errors=True)  # nobody comes back to this worker to do it
    return buckets


def _cast_frame(frame: pl.DataFrame, types: ColumnTypes, name: str) -> pl.DataFrame:
    try:
        return frame.select(list(types)).cast(types).with_columns(pl.col(pl.Boolean).cast(pl.Int8))  # type: ignore[arg-type] # by name
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{name} is not what it was when it was checked. Run again to take the new one.") from error
