"""A job is still improving if its last epoch is the best by a margin and early stopping did not end it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.logs.convergence import measure_late_improvement
from linear_learner.logs.reader import EpochReport, LogReport


def report(*values: float | None, score: bool = False, stopped_early: bool = False) -> LogReport:
    known = {index: value for index, value in enumerate(values) if value is not None}
    best = (max if score else min)(known, key=known.__getitem__, default=None)
    return LogReport(
        epochs=tuple(EpochReport(index=index, value=value) for index, value in enumerate(values)),
        epoch_count=len(values),
        lower_is_better=not score,
        best_epoch=best,
        best_value=None if best is None else known[best],
        stopped_early=stopped_early,
    )


def test_a_loss_that_falls_until_the_last_epoch_is_still_improving() -> None:
    assert measure_late_improvement(report(9.0, 8.0, 7.0, 6.0, 5.0, 4.0)) == pytest.approx(3 / 7)


def test_the_improvement_of_a_score_is_that_of_its_error() -> None:
    assert measure_late_improvement(report(0.7, 0.8, 0.9, score=True)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "finished",
    [
        report(),
        report(5.0),
        report(None, None),
        report(5.0, 4.0, 4.1),
        report(4.0, 4.0, 4.0),
        report(4.0, 3.999, 3.998, 3.997),
        report(5.0, 4.0, 3.0, stopped_early=True),
        report(0.9, 0.95, 0.94, score=True),
        report(1.0, 1.0, score=True),
        report(0.0, 0.0),
    ],
)
def test_a_job_that_has_converged_or_stopped_early_is_not_improving(finished: LogReport) -> None:
    assert measure_late_improvement(finished) is None


def test_a_loss_that_was_not_finite_is_left_out() -> None:
    assert measure_late_improvement(report(float("inf"), float("nan"), 4.0, 2.0)) == pytest.approx(0.5)


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=15))
def test_an_improvement_is_a_fraction_of_the_loss(values: list[float]) -> None:
    found = measure_late_improvement(report(*values))
    assert found is None or (0.01 <= found <= 1 and values[-1] == min(values))
