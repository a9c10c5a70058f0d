"""Rows that are scattered in chunks and gathered by bucket are in the requested order, independent of the chunks."""

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

TYPES = {"small": pl.Int8(), "flag": pl.Int8(), "real": pl.Float64(), "number": pl.Int64()}


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
def test_scattering_and_gathering_equals_indexing(rows: int, seed: int, cuts: list[int], shares: list[float]) -> None:
    table = frame(rows)
    order = np.random.default_rng(seed).permutation(rows)
    starts = sorted({0, *(int(share * rows) for share in shares if int(share * rows) < rows)})
    cuts_at = [0, *(int(cut) for cut in np.cumsum(cuts) if cut < rows), rows]
    chunks = [table[first:last] for first, last in pairwise(cuts_at)]
    positions = assign_positions([order[: rows // 2], order[rows // 2 :]], rows)
    with TemporaryDirectory() as folder:
        scatter(chunks, positions, [*starts, rows], TYPES, Path(folder))
        assert {path.name for path in Path(folder).iterdir()} == {str(start) for start in starts}
        for start, end in pairwise([*starts, rows]):
            content = Path(folder, str(start)).read_bytes()
            assert gather(content, (start, end), TYPES).equals(table[order[start:end]])


def test_a_bucket_has_the_rows_of_all_calls_of_scatter(tmp_path: Path) -> None:
    table, positions = frame(6), assign_positions([np.array([5, 0, 4, 1, 3, 2])], 6)
    for rows in (slice(3, 6), slice(0, 3)):
        scatter([table[rows]], positions[rows], [0, 6], TYPES, tmp_path)
    assert gather((tmp_path / "0").read_bytes(), (0, 6), TYPES)["number"].to_list() == [5, 0, 4, 1, 3, 2]


def test_a_bucket_without_rows_has_no_file(tmp_path: Path) -> None:
    scatter([frame(3)], assign_positions([np.arange(6)], 6)[3:], [0, 3, 6], TYPES, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


def test_more_rows_than_uint32_can_count_are_rejected() -> None:
    with pytest.raises(DataError, match="more than the 4294967295"):
        assign_positions([], 2**32)
