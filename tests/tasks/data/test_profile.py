"""The profile of a table equals numpy's and pandas' statistics, independent of chunks, files and machines."""

import pickle
from collections.abc import Sequence
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.data.measurement import Measurement, measure_chunks, merge
from tasks.data.profile import ColumnKind, ColumnProfile, Profile

Floats = NDArray[np.float64]
WHOLE = st.integers(-3, 3).map(float)
CELL = st.one_of(WHOLE, st.floats(-1e6, 1e6), st.sampled_from([np.nan, np.inf, -np.inf, 1e39, -1e39]))


def measure(values: Floats, cuts: Sequence[int] = (), kind: type[pl.DataType] = pl.Float64) -> Measurement:
    """Measure the columns c0 (the target), c1, … of a file in chunks that end at `cuts`."""
    table = pl.DataFrame({f"c{index}": pl.Series(cells).cast(kind) for index, cells in enumerate(values)})
    chunks = [table[start:end] for start, end in pairwise([0, *sorted(cuts), values.shape[1]])]
    return measure_chunks(chunks, table.columns, "c0")


def column(
    values: Sequence[float] | Floats, cuts: Sequence[int] = (), kind: type[pl.DataType] = pl.Float64
) -> ColumnProfile:
    """The profile of a column beside a target of zeros."""
    array = np.array([np.zeros(len(values)), values])
    return measure(array, cuts, kind).profile().columns[1]


@st.composite
def tables(draw: st.DrawFn) -> tuple[Floats, list[int]]:
    rows = draw(st.integers(1, 40))
    width = draw(st.integers(1, 4))
    cells = [draw(st.lists(draw(st.sampled_from([CELL, WHOLE])), min_size=rows, max_size=rows)) for _ in range(width)]
    return np.array(cells), draw(st.lists(st.integers(0, rows), max_size=4))


def check_against_pandas(profile: Profile, values: Floats) -> None:
    label = pd.Series(values[0])
    for one, cells in zip(profile.columns, values, strict=True):
        finite = np.isfinite(cells)
        assert (one.missing, one.infinite) == (np.isnan(cells).sum(), np.isinf(cells).sum())
        assert (one.missing_row, one.infinite_row) == (first(np.isnan(cells)), first(np.isinf(cells)))
        large = finite & (np.abs(cells) > np.finfo(np.float32).max)
        assert (one.too_large, one.too_large_row) == (large.sum(), first(large))
        if finite.any():
            assert (one.minimum, one.maximum) == (cells[finite].min(), cells[finite].max())
            scale = np.abs(cells[finite]).max()
            assert one.mean == pytest.approx(cells[finite].mean(), rel=1e-9, abs=1e-12 * scale)
            assert one.std == pytest.approx(cells[finite].std(), rel=1e-9, abs=1e-12 * scale)
        else:
            assert (one.minimum, one.maximum, one.mean, one.std) == (None, None, None, None)
        if not (one.too_large or profile.columns[0].too_large):  # such values leave no precision for the others
            check_correlation(one, pd.Series(cells), label)


def check_correlation(one: ColumnProfile, cells: "pd.Series[float]", label: "pd.Series[float]") -> None:
    x, t = cells.where(np.isfinite(cells)), label.where(np.isfinite(label))
    if x.hasnans or t.hasnans:
        assert one.correlation is None
        return
    if len(x) < 2 or x.nunique() < 2 or t.nunique() < 2:
        return  # undefined, or only rounding errors of a constant
    if min(np.ptp(x) / np.abs(x).max(), np.ptp(t) / np.abs(t).max()) < 1e-6:
        return  # pandas itself is not precise to nine digits here
    if np.square([np.ptp(x), np.ptp(t)]).min() < np.finfo(float).tiny:
        return  # the squares underflow; in the algorithm's 32-bit floats such numbers are 0
    expected = np.corrcoef(x / np.abs(x).max(), t / np.abs(t).max())[0, 1]
    assert one.correlation == pytest.approx(expected, rel=1e-9, abs=1e-9)


def first(mask: NDArray[np.bool_]) -> int | None:
    return int(mask.argmax()) + 1 if mask.any() else None


@given(tables())
def test_statistics_do_not_depend_on_chunks(table: tuple[Floats, list[int]]) -> None:
    values, cuts = table
    profile = measure(values, cuts).profile()
    assert profile.rows == values.shape[1]
    check_against_pandas(profile, values)


@given(tables())
def test_label_counts_equal_numpy(table: tuple[Floats, list[int]]) -> None:
    values, cuts = table
    profile = measure(values, cuts).profile()
    target = values[0]
    found, rows, counts = np.unique(target[np.isfinite(target)] + 0.0, return_index=True, return_counts=True)
    del rows
    expected = [(value, count, first(target == value)) for value, count in zip(found, counts, strict=True)]
    assert [(one.value, one.rows, one.first_row) for one in profile.labels or ()] == expected
    assert profile.fractional_label_row == first(np.isfinite(target) & (target != np.floor(target)))


@given(tables(), st.data())
def test_statistics_do_not_depend_on_files(table: tuple[Floats, list[int]], data: st.DataObject) -> None:
    values, cuts = table
    ends = sorted(data.draw(st.lists(st.integers(0, values.shape[1]), max_size=3)))
    files = [measure(values[:, start:end]) for start, end in pairwise([0, *ends, values.shape[1]])]
    merged, whole = merge(files).profile(), measure(values, cuts).profile()
    check_against_pandas(merged, values)
    assert (merged.labels, merged.fractional_label_row) == (whole.labels, whole.fractional_label_row)


@given(tables(), tables())
def test_a_measurement_can_be_sent_to_another_process(
    table: tuple[Floats, list[int]], other: tuple[Floats, list[int]]
) -> None:
    width = min(len(table[0]), len(other[0]))
    first_file, second_file = (measure(values[:width], cuts) for values, cuts in (table, other))
    received = pickle.loads(pickle.dumps(second_file))  # noqa: S301 - pickled by this test
    assert merge([first_file, received]).profile() == merge([first_file, second_file]).profile()


@given(tables())
def test_a_profile_can_be_stored_as_json(table: tuple[Floats, list[int]]) -> None:
    profile = measure(*table).profile()
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


@given(tables(), st.data())
def test_digests_are_equal_only_for_equal_columns(table: tuple[Floats, list[int]], data: st.DataObject) -> None:
    values, cuts = table
    order = data.draw(st.permutations(range(values.shape[1])))
    both = np.concatenate([values, values, values[:, order]])
    digests = [one.digest for one in measure(both, cuts).profile().columns]
    width = len(values)
    assert digests[:width] == digests[width : 2 * width]
    for cells, digest, permuted in zip(values, digests, digests[2 * width :], strict=False):
        assert (digest == permuted) == np.array_equal(cells, cells[order], equal_nan=True)


def test_digests_do_not_depend_on_the_position_of_the_column() -> None:
    values = np.random.default_rng(0).normal(size=(1, 5000))
    digests = {one.digest for one in measure(np.repeat(values, 37, axis=0), [1, 1700]).profile().columns}
    assert len(digests) == 1


def test_digests_differ_for_flags_that_differ_in_two_rows() -> None:
    flags = np.random.default_rng(0).integers(0, 2, (300, 2000)).astype(float)
    flags[1:] = flags[0]
    ones, zeros = np.flatnonzero(flags[0] == 1), np.flatnonzero(flags[0] == 0)
    for row in range(1, 300):
        flags[row, [ones[row], zeros[row]]] = [0, 1]
    assert len({one.digest for one in measure(flags).profile().columns}) == 300


def test_digests_of_zero_and_minus_zero_are_equal() -> None:
    profile = measure(np.array([[0.0, 1.0], [-0.0, 1.0]])).profile()
    assert profile.columns[0].digest == profile.columns[1].digest


def test_digests_depend_on_the_order_of_files() -> None:
    one, two = (measure(np.array([[0.0, 1.0], cells])) for cells in ([3.0, 4.0], [5.0, 6.0]))
    assert merge([one, two]).profile().columns[1].digest != merge([two, one]).profile().columns[1].digest


@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_a_small_spread_around_a_large_mean_is_precise(size: float) -> None:
    spread = size * np.random.default_rng(0).normal(size=50_000)
    values = np.stack([spread, spread + 1e9, -3 * spread - 1e9])
    files = measure(values[:, :20_000], [7]), measure(values[:, 20_000:], [30, 9000])
    for profile in (measure(values, [7, 30_000]).profile(), merge(files).profile()):
        target, far, opposite = profile.columns
        assert (target.std, target.mean) == pytest.approx((spread.std(), spread.mean()), rel=1e-9)
        assert (far.std, opposite.std) == pytest.approx(((values[1] - 1e9).std(), (values[2] + 1e9).std()), rel=1e-6)
        assert far.mean == pytest.approx(1e9, rel=1e-9)
        assert (far.correlation, opposite.correlation) == pytest.approx((1, -1), rel=1e-7)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_correlation_requires_all_cells_of_both_columns(missing: int) -> None:
    values = np.random.default_rng(0).normal(size=(3, 20_000))
    values[1:] += values[0]
    expected = pd.Series(values[0]).corr(pd.Series(values[2]))
    assert measure(values, [11_111]).profile().columns[2].correlation == pytest.approx(expected, rel=1e-9)
    values[missing, 12_345] = np.nan
    _, one, other = measure(values, [11_111]).profile().columns
    assert one.correlation is None
    assert (other.correlation is None) == (missing == 0)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9 + 0.1])
def test_a_constant_has_no_spread_and_no_correlation(constant: float) -> None:
    values = np.array([np.arange(999.0), np.full(999, constant)])
    one = measure(values, [10, 300]).profile().columns[1]
    assert (one.mean, one.std, one.correlation) == (constant, 0, None)


def test_a_statistic_that_overflows_float64_is_none() -> None:
    one = column([1e308, 1e308, -1e308, 0])
    assert (one.too_large, one.too_large_row, one.minimum, one.maximum) == (3, 1, -1e308, 1e308)
    assert one.std is None


def test_text_is_not_counted_as_missing() -> None:
    cells = ["1", "x" * 100, None, "x", "inf", "-NaN", "1e39"]
    one = measure_chunks([pl.DataFrame({"y": [0.0] * 7, "x": cells})], ["y", "x"], "y").profile().columns[1]
    assert (one.kind, one.text, one.text_row, one.text_example) == ("text", 2, 2, "x" * 60)
    assert (one.missing, one.missing_row, one.infinite, one.infinite_row) == (2, 3, 1, 5)
    assert (one.too_large, one.too_large_row) == (1, 7)


def test_first_rows_and_examples_are_from_the_first_chunk_with_such_a_cell() -> None:
    chunks = [pl.DataFrame({"y": 0.0, "x": cells}) for cells in ([1, 2], ["3.0", "Ulm"], ["Bonn", None])]
    file = measure_chunks(chunks, ["y", "x"], "y")
    one = file.profile().columns[1]
    assert (one.kind, one.text, one.text_row, one.text_example) == ("text", 2, 4, "Ulm")
    assert (one.missing, one.missing_row, one.minimum, one.maximum) == (1, 6, 1, 3)
    twice = merge([file, file]).profile().columns[1]
    assert (twice.text, twice.text_row, twice.missing, twice.missing_row) == (4, 4, 2, 6)


@pytest.mark.parametrize(
    ("chunks", "kind"),
    [
        ([[True], [False]], "boolean"),
        ([[1], [None]], "integer"),
        ([[1.5], [2]], "number"),
        ([[None], [None]], "number"),
        ([[date(2024, 1, 1)], [None]], "date"),
        ([[1.5], ["Ulm"]], "text"),
        ([[True], [2]], "text"),
        ([[date(2024, 1, 1)], [2]], "text"),
    ],
)
def test_the_kind_of_a_column_is_that_of_all_its_chunks(chunks: list[list[object]], kind: ColumnKind) -> None:
    frames = [pl.DataFrame({"y": pl.Series(cells, dtype=None if cells != [None] else pl.Float64)}) for cells in chunks]
    assert measure_chunks(frames, ["y"], "y").profile().columns[0].kind == kind


@pytest.mark.parametrize("spread", [1, 3, 1_000_003])
def test_distinct_requires_integers_without_repeats(spread: int) -> None:
    ids = np.random.default_rng(0).permutation(5000).astype(np.float64) * spread - 2000
    assert column(ids, kind=pl.Int64).distinct
    assert not column([*ids, ids[0]], kind=pl.Int64).distinct
    assert not column(ids).distinct
    assert not column([ids[0], *ids[:9]], [5], kind=pl.Int64).distinct


def test_at_most_1000_labels_are_listed() -> None:
    values = np.arange(1000.0)[None] / 4
    file = measure(values, [3, 500])
    assert len(file.profile().labels or ()) == 1000
    assert file.profile().fractional_label_row == 2
    assert merge([file, file]).profile().labels is not None
    assert merge([file, measure(np.array([[-1.0]]))]).profile().labels is None
    assert measure(np.append(values, [[-1.0]], axis=1), [3, 1000]).profile().labels is None


def test_a_table_without_rows_has_a_profile() -> None:
    empty = measure(np.zeros((2, 0)))
    profile = empty.profile()
    assert (profile.rows, profile.labels, profile.columns[1].minimum) == (0, (), None)
    full = measure(np.array([[0.0, 1.0], [5.0, 6.0]]))
    assert merge([empty, full]).profile().columns[1].maximum == 6
    assert merge([full, empty]).profile().columns[1].mean == 5.5


def test_merging_does_not_change_its_inputs() -> None:
    one, two = (measure(np.array([[0.0, 1.0, label]])) for label in (0.0, 5.0))
    before = one.profile(), two.profile()
    merge([one, two])
    assert (one.profile(), two.profile()) == before


@pytest.mark.parametrize(("first", "counted"), [(0, True), (1, True), (2, False)])
def test_a_column_counts_rows_from_0_or_1_in_every_file(first: int, counted: bool) -> None:
    numbers = np.arange(first, first + 50.0)
    assert column(numbers, [7, 30], pl.Int32).counts_rows == counted
    assert not column([*numbers[:-1], 7.0], [7, 30], pl.Int32).counts_rows
    file = measure(np.array([np.zeros(50), numbers]), [20], pl.Int32)
    assert merge([file, file]).profile().columns[1].counts_rows == counted


@pytest.mark.parametrize("copies", [1, 2, 5])
def test_duplicate_rows_are_counted_across_chunks_and_files(copies: int) -> None:
    values = np.random.default_rng(0).normal(size=(3, 400))
    file = measure(np.concatenate([values] * copies, axis=1), [7, 300])
    assert file.profile().duplicates == pytest.approx(1 - 1 / copies)
    assert merge([file, file]).profile().duplicates == pytest.approx(1 - 1 / (2 * copies))


def test_the_share_of_duplicate_rows_of_a_large_table_is_estimated() -> None:
    values = np.random.default_rng(0).normal(size=(2, 20_000))
    repeated = np.concatenate([values, values[:, :5000]], axis=1)
    assert measure(repeated, [9000]).profile().duplicates == pytest.approx(0.2, abs=0.03)


def test_columns_that_determine_the_target_together_are_found() -> None:
    random = np.random.default_rng(0)
    features = random.integers(0, 100, (4, 5000)).astype(float)
    total = features[1] + features[3]
    assert measure(np.array([total, *features]), [70, 4000]).profile().determining == ("c2", "c4")
    weighted = 3 * features[0] - 0.1 * features[1] + 1e6 * features[2] + 5
    assert measure(np.array([weighted, *features[2:]])).profile().determining == ("c1",)
    assert measure(np.array([random.normal(size=5000), *features])).profile().determining == ()
    noisy = total + random.normal(size=5000) * total.std() * 0.05
    assert measure(np.array([noisy, *features])).profile().determining == ()


def test_a_few_rows_that_are_fitted_by_chance_have_no_determining_columns() -> None:
    assert measure(np.random.default_rng(0).normal(size=(40, 25))).profile().determining == ()
