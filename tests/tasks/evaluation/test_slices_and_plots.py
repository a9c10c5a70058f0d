"""A column becomes a few groups of rows; plots keep their shape and their ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, average_precision_score, confusion_matrix, roc_auc_score, roc_curve

from tasks.evaluation.assessment import MAX_CURVE_POINTS, class_curves, classification_plot_data, regression_plot_data
from tasks.evaluation.metrics import ActualLabels, CandidatePredictions
from tasks.evaluation.slices import slice_by_values


def as_lists(values: list[str | None]) -> dict[str, list[int]]:
    return {name: rows.tolist() for name, rows in slice_by_values(values)}


def test_few_numbers_are_shown_one_by_one_however_they_are_written() -> None:
    assert as_lists(["10", "2", " 2.0", "1e1", None]) == {"2": [1, 2], "10": [0, 3], "(missing)": [4]}


def test_many_numbers_become_quarters_that_do_not_overlap() -> None:
    found = as_lists([str(number / 2) for number in range(12)])
    assert found == {"0 to 1": [0, 1, 2], "1.5 to 2.5": [3, 4, 5], "3 to 4": [6, 7, 8], "4.5 to 5.5": [9, 10, 11]}


def test_a_number_that_fills_several_quarters_is_one_range() -> None:
    found = as_lists(["0"] * 60 + [str(number) for number in range(1, 41)])
    assert list(found) == ["0", "1 to 15", "16 to 40"]


def test_numbers_that_differ_in_late_digits_have_different_names() -> None:
    assert list(as_lists(["1.0000001", "1.0000002"])) == ["1.0000001", "1.0000002"]


def test_texts_are_the_most_frequent_and_the_rest() -> None:
    names = [f"city {index:02d}" for index in range(22)]
    found = as_lists([*names, *names[:21], "city 21", "city 21", "NA", ""])
    assert list(found)[:2] == ["city 21", "city 00"]
    assert found["(others)"] == [19, 20, 41, 42]
    assert found["(missing)"] == [45, 46]
    assert len(found) == 22


def test_one_text_among_numbers_makes_texts_of_them_all() -> None:
    assert list(as_lists(["1", "2", "two"])) == ["1", "2", "two"]
    assert list(as_lists(["1", "inf"])) == ["1", "inf"]


def test_a_column_of_nothing_is_missing() -> None:
    assert as_lists([None, "?"]) == {"(missing)": [0, 1]}
    assert as_lists([]) == {}


@given(st.lists(st.none() | st.floats().map(str) | st.text(max_size=2)) | st.lists(st.floats(-9, 9).map(str)))
def test_every_row_is_in_one_slice(values: list[str | None]) -> None:
    found = slice_by_values(values)
    rows = np.concatenate([np.empty(0, np.intp), *(rows for _, rows in found)])
    assert sorted(rows.tolist()) == list(range(len(values)))
    assert all(len(rows) for _, rows in found)


@pytest.mark.parametrize("steps", [7, 100_000])
@pytest.mark.parametrize("share", [0.5, 0.01])
def test_thinned_curves_keep_their_ends_and_areas(steps: int, share: float) -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(20_000) < share
    scores = np.round((positive + rng.normal(size=20_000)) * steps) / steps
    found = class_curves(positive, scores, 1)
    assert len(found.roc.x) <= MAX_CURVE_POINTS
    assert (found.roc.x[0], found.roc.y[0], found.roc.x[-1], found.roc.y[-1]) == (0, 0, 1, 1)
    assert auc(found.roc.x, found.roc.y) == pytest.approx(roc_auc_score(positive, scores), abs=0.003)
    recall, precision = found.precision_recall.x, found.precision_recall.y
    assert (recall[0], precision[0], recall[-1]) == (0, 1, 1)
    assert precision[-1] == pytest.approx(positive.mean(), abs=1e-6)
    steps_sum = float(np.sum(np.diff(recall) * precision[1:]))
    assert steps_sum == pytest.approx(average_precision_score(positive, scores), abs=0.01)


def test_few_points_are_all_retained() -> None:
    positive, scores = np.array([False, True, False, True]), np.array([0.1, 0.2, 0.3, 0.3])
    false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
    assert class_curves(positive, scores, 1).roc.model_dump() == {"x": tuple(false), "y": tuple(true)}


def test_calibration_is_per_tenth_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(1000).round(1)
    labels = (rng.random(1000) < scores).astype(np.intp)
    plot_data = classification_plot_data(
        ActualLabels(labels, 2), CandidatePredictions(scores, labels, probabilities=True)
    )
    share, mean = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    assert plot_data.calibration is not None
    assert plot_data.calibration.x == pytest.approx(mean, abs=1e-6)
    assert plot_data.calibration.y == pytest.approx(share, abs=1e-6)
    assert classification_plot_data(ActualLabels(labels, 2), CandidatePredictions(scores, labels)).calibration is None


def test_a_multiclass_has_curves_of_its_ten_largest_classes_and_confusion_up_to_twenty() -> None:
    rng = np.random.default_rng(0)
    for classes in (12, 21):
        labels = np.minimum(rng.integers(0, classes + 4, 500), classes - 2)
        scores = rng.dirichlet(np.ones(classes), 500)
        said = scores.argmax(axis=1)
        plot_data = classification_plot_data(
            ActualLabels(labels, classes), CandidatePredictions(scores, said, probabilities=True)
        )
        shown = [one.label for one in plot_data.curves]
        rows = np.bincount(labels, minlength=classes)
        assert len(shown) == 10
        assert rows[shown].min() >= np.sort(rows)[-10]
        if classes == 12:
            assert plot_data.confusion is not None
            assert (np.array(plot_data.confusion.counts) == confusion_matrix(labels, said, labels=range(12))).all()
        else:
            assert plot_data.confusion is None


def test_one_class_has_no_curves() -> None:
    ones = np.ones(3, np.intp)
    plot_data = classification_plot_data(
        ActualLabels(ones, 2), CandidatePredictions(np.array([0.2, 0.6, 0.6]), ones, probabilities=True)
    )
    assert plot_data.curves == ()


def test_far_off_values_are_counted_at_the_edges_of_a_regression_s_picture() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=1000)
    labels[3] = 1e9
    plot_data = regression_plot_data(ActualLabels(labels), CandidatePredictions(labels * 0.9))
    counts = np.array(plot_data.density.counts)
    assert counts.shape == (40, 40)
    assert counts.sum() == sum(plot_data.residuals.counts) == 1000
    assert counts[39, 39] >= 1
    assert 1 <= plot_data.clipped_rows <= 30
    assert plot_data.density.edges[-1] < 10
    assert plot_data.residual_quantiles[0.5] == pytest.approx(np.median(labels * 0.1))


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=5), st.floats(-1e30, 1e30))
def test_any_regression_has_a_picture_that_holds_every_row(labels: list[float], said: float) -> None:
    plot_data = regression_plot_data(ActualLabels(np.array(labels)), CandidatePredictions(np.full(len(labels), said)))
    assert sum(plot_data.residuals.counts) == np.sum(plot_data.density.counts) == len(labels)
    assert (np.diff(plot_data.density.edges) >= 0).all()
