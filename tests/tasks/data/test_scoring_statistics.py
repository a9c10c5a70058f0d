"""The statistics of scored rows can be merged in any grouping, and are those of all rows."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data import scoring_statistics
from tasks.data.scoring_statistics import NumberDistribution, ScoringStatistics, UnseenCategories

NUMBERS = st.lists(st.floats(width=32), max_size=30)
TEXTS = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=20)


def distribution(values: list[float]) -> NumberDistribution | None:
    return NumberDistribution.measure(np.array(values, np.float32))


def unseen(texts: list[str]) -> UnseenCategories:
    counts = Counter(texts)
    return UnseenCategories.of(list(counts), list(counts.values()))


def statistics(values: list[float], texts: list[str]) -> ScoringStatistics:
    rows = tuple({"prediction": value, "id": text} for value, text in zip(values, texts, strict=False))[:10]
    return ScoringStatistics(
        rows=len(values),
        missing=dict(Counter(texts[::3])),
        unseen={texts[0]: unseen(texts)},
        classes=dict(Counter(texts[::2])),
        predictions=distribution(values),
        first_rows=rows,
    )


def without_total(one: ScoringStatistics) -> ScoringStatistics:
    """The statistics without the sum of the predictions, which depends on the order to the precision of a float."""
    found = one.predictions
    return one.model_copy(update={"predictions": found and found.model_copy(update={"total": 0})})


@given(st.lists(NUMBERS, min_size=1, max_size=4), st.integers(2, 6))
def test_the_distribution_of_parts_is_that_of_all_numbers(parts: list[list[float]], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring_statistics, "MAX_BINS", limit)
        merged = NumberDistribution.merge([found for part in parts if (found := distribution(part))])
        whole = distribution([value for part in parts for value in part])
    finite = np.array([value for part in parts for value in part if np.isfinite(value)])
    assert (merged is None) == (whole is None) == (not finite.size)
    if merged and whole:
        assert merged.model_copy(update={"total": 0}) == whole.model_copy(update={"total": 0})
        assert merged.total == pytest.approx(whole.total, abs=1e-9 * np.abs(finite).sum())
        assert len(merged.bins) <= limit
        assert sum(merged.counts) == merged.count == finite.size
        assert (merged.minimum, merged.maximum) == (finite.min(), finite.max())


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(1, 6))
def test_the_unseen_categories_of_parts_are_those_of_all_rows(parts: list[list[str]], limit: int) -> None:
    texts = [text for part in parts for text in part]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring_statistics, "MAX_UNSEEN", limit)
        merged = UnseenCategories.merge([unseen(part) for part in parts])
        assert merged == unseen(texts)
    counts = Counter(texts)
    assert merged.cells == len(texts)
    assert len(merged.counts) == min(limit, len(counts))
    assert all(counts[text] == rows for text, rows in merged.counts.items())
    if len(counts) <= limit:
        most = counts.most_common(1)[0][1]
        assert next(iter(merged.most_frequent().values())) == most


@given(st.tuples(*[st.tuples(NUMBERS, TEXTS)] * 3))
def test_merging_is_associative_and_the_result_is_the_same_as_json(parts: list[tuple[list[float], list[str]]]) -> None:
    one, two, three = (statistics(*part) for part in parts)
    merge = ScoringStatistics.merge
    left, right = merge([merge([one, two]), three]), merge([one, merge([two, three])])
    assert without_total(left) == without_total(right) == without_total(merge([one, two, three]))
    assert merge([ScoringStatistics(), left]) == left
    assert left.rows == sum(len(values) for values, _ in parts)
    finite = left.model_copy(update={"first_rows": left.first_rows[:0]})  # JSON has no infinite cells
    assert ScoringStatistics.model_validate_json(finite.model_dump_json()) == finite


def test_quantiles_are_accurate_to_the_width_of_a_bin() -> None:
    values = np.random.default_rng(0).normal(500, 100, 20_000).astype(np.float32)
    found = NumberDistribution.merge(
        [one for part in np.split(values, 10) if (one := NumberDistribution.measure(part))]
    )
    assert found is not None
    shares = np.linspace(0, 1, 11)
    assert [found.quantile(share) for share in shares] == pytest.approx(np.quantile(values, shares).tolist(), rel=2e-3)
    assert found.mean == pytest.approx(values.mean(), rel=1e-6)
    assert len(found.model_dump_json()) < 20_000
