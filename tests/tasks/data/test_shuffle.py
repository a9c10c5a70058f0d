"""Rows scattered in chunks and gathered file by file are the rows in the order asked for, whatever the chunks were."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.errors import DataError
from tasks.data.shuffle import assign_positions, gather, scatter

TYPES = {"small": "<i1", "flag": "<i1", "real": "<f8", "number": "<i8"}


def frame(rows: int) -> pl.DataFrame:
    number = np.arange(rows)
    flag = (number % 3 == 0).astype(np.int8)
    return pl.DataFrame({"small": (number % 100).astype(np.int8), "flag": flag, "real": number / 7, "number": number})


@given(
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 120), min_size=1, max_size=12),
    st.lists(st.floats(0, 1), max_size=6),
)
def test_gathering_what_was_scattered_is_indexing(rows: int, seed: int, cuts: list[int], shares: list[float]) -> None:
    table = frame(rows)
    order = np.random.default_rng(seed).permutation(rows)
    starts = sorted({0, *(int(share * rows) for share in shares if int(share * rows) < rows)})
    edges = [0, *(edge for edge in np.cumsum(cuts) if edge < rows), rows]
    chunks = [table[int(first) : int(last)] for first, last in pairwise(edges)]
    places = assign_positions([order[: rows // 2], order[rows // 2 :]], rows)
    with TemporaryDirectory() as folder:
        buckets = scatter(chunks, places, [*starts, rows], TYPES, Path(folder))
        assert buckets == tuple(range(len(starts)))
        for bucket, (start, end) in enumerate(pairwise([*starts, rows])):
            found = [Path(folder, str(bucket)).read_bytes()]
            assert gather(found, (start, end), TYPES).equals(table[order[start:end]])


def test_a_bucket_is_gathered_from_all_that_scattered_to_it(tmp_path: Path) -> None:
    table, places = frame(6), assign_positions([np.array([5, 0, 4, 1, 3, 2])], 6)
    for half, rows in enumerate((slice(0, 3), slice(3, 6))):
        (tmp_path / str(half)).mkdir()
        scatter([table[rows]], places[rows], [0, 6], TYPES, tmp_path / str(half))
    found = [(tmp_path / str(half) / "0").read_bytes() for half in (0, 1)]
    assert gather(found, (0, 6), TYPES)["number"].to_list() == [5, 0, 4, 1, 3, 2]


def test_a_bucket_that_gets_nothing_has_no_file(tmp_path: Path) -> None:
    table = frame(3)
    assert scatter([table], assign_positions([np.arange(6)], 6)[3:], [0, 3, 6], TYPES, tmp_path) == (1,)


def test_more_rows_than_positions_can_count_are_refused() -> None:
    with pytest.raises(DataError, match="more than the 4294967295"):
        assign_positions([], 2**32)
