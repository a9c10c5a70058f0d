"""The models of tables as they are published, with text, dates and missing cells, are as good as scikit-learn's."""

from pathlib import Path

import pytest

from benchmarks.quality import SEEDS, TABLES, compare

DOMINATED_BY_AN_OUTLIER = "epilepsy"
"""One of its labels is 102, with a mean of 8: docs/decisions/0013-small-tables.md."""


@pytest.mark.parametrize("name", sorted(TABLES.keys() - {DOMINATED_BY_AN_OUTLIER}))
def test_a_model_is_as_good_as_scikit_learns_of_the_same_rows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any option but the table and the target; the mean of ten splits, as one has few test rows."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    figures = compare(TABLES[name], SEEDS, tmp_path)
    assert not figures.is_worse, figures
