import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.formats.artifact import read_model
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.training.selection import EarlyStopping, Progress, find_best_threshold

CORPUS = os.environ.get("LINEAR_LEARNER_CORPUS")
needs_corpus = pytest.mark.skipif(CORPUS is None, reason="LINEAR_LEARNER_CORPUS, the folder of real jobs, is not set")

# Each score occurs five times, so that every score is a candidate.
SCORES = np.repeat(np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], dtype=np.float32), 5)
LABELS = np.repeat(np.array([1, 1, 0, 1, 0, 0, 1], dtype=np.float32), 5)


def criterion(name: str, **targets: float) -> Hyperparameters:
    return Hyperparameters(
        predictor_type="binary_classifier", binary_classifier_model_selection_criteria=name, **targets
    )


@pytest.mark.parametrize(
    ("chosen", "threshold", "value"),
    [
        (criterion("accuracy"), 0.6, 5 / 7),  # equal at 0.8; the lowest candidate is selected
        (criterion("f1"), 0.6, 2 * 3 / (4 + 4)),
        (criterion("f_beta", f_beta=2.0), 0.3, 5 * 4 / (4 * 4 + 7)),
        (criterion("precision_at_target_recall", target_recall=0.7), 0.6, 3 / 4),
        (criterion("precision_at_target_recall", target_recall=1.0), 0.3, 4 / 7),
        (criterion("recall_at_target_precision", target_precision=0.7), 0.6, 3 / 4),
        (criterion("recall_at_target_precision", target_precision=1.0), 0.8, 2 / 4),
    ],
    ids=str,
)
def test_each_criterion_selects_its_best_threshold(chosen, threshold, value):
    shuffled = np.random.default_rng(0).permutation(len(SCORES))
    found, reached = find_best_threshold(SCORES[shuffled], LABELS[shuffled], chosen)
    assert found == np.float32(threshold)
    assert reached == pytest.approx(value)


def test_the_value_for_an_unreachable_precision_is_0():
    labels = np.array([0, 1, 0, 0], dtype=np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.6], dtype=np.float32)
    chosen = criterion("recall_at_target_precision", target_precision=0.9)
    assert find_best_threshold(scores, labels, chosen)[1] == 0.0


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.booleans()), min_size=1, max_size=30))
def test_the_best_of_every_fifth_score_is_selected(rows):
    scores = np.array([score for score, _ in rows], dtype=np.float32)
    labels = np.array([label for _, label in rows], dtype=np.float32)
    threshold, value = find_best_threshold(scores, labels, criterion("accuracy"))
    accuracy = {candidate: np.mean((scores >= candidate) == labels) for candidate in np.sort(scores)[::5]}
    assert value == pytest.approx(max(accuracy.values()))
    assert np.float32(threshold) == min(cut for cut, reached in accuracy.items() if reached == max(accuracy.values()))


def observe(values: list[float], patience: int = 3, tolerance: float = 0.001) -> list[Progress]:
    stopping = EarlyStopping(patience, tolerance)
    return [stopping.observe(epoch, value) for epoch, value in enumerate(values)]


def test_only_improvements_above_the_tolerance_are_saved():
    progress = observe([1.0, 0.95, 0.91, 0.80, 0.79], tolerance=0.1)
    assert [one.improved for one in progress] == [True, False, False, True, False]


def test_small_improvements_lower_the_best_value():
    assert [one.improved for one in observe([1.0, 0.95, 0.87], tolerance=0.1)] == [True, False, False]


def test_training_stops_when_patience_is_exceeded():
    assert [one.stop for one in observe([1.0] * 5)] == [False] * 4 + [True]


def test_patience_restarts_if_an_epoch_is_better_than_all_since_the_last_improvement():
    progress = observe([1.0, 1.2, 1.3, 1.2, 1.1, 1.1, 1.1, 1.1, 1.1])
    assert [one.extended for one in progress] == [False] * 4 + [True] + [False] * 4
    assert [one.improved for one in progress] == [True] + [False] * 8
    assert [one.stop for one in progress] == [False] * 8 + [True]


def test_a_value_that_is_not_finite_is_no_improvement():
    improved, extended, stop = zip(*observe([np.inf, 2.0, np.inf], patience=1), strict=True)
    assert improved == (False, True, False)
    assert not any(extended + stop)


def test_training_stops_if_no_value_is_finite():
    assert observe([np.inf] * 3, patience=1)[-1].stop


def logged(log: Path) -> tuple[list[tuple[int, float]], set[int], set[int], bool]:
    """A log's pairs (epoch, minimised value), its improved and extended epochs, and whether training stopped early."""
    lines = log.read_text(encoding="utf-8").splitlines()
    values = [re.search(r"epoch=(\d+), criteria=(\w+), value=(\S+)", line) for line in lines]
    pairs = [(int(m[1]), float(m[3]) * (-1 if m[2].startswith("sampled") else 1)) for m in values if m]
    improved = {int(m[1]) for line in lines if (m := re.search(r"Epoch (\d+): Loss improved", line))}
    extended = {int(m[1]) for line in lines if (m := re.search(r"Epoch (\d+): Loss has not improved for 0", line))}
    first_of_each = [pair for index, pair in enumerate(pairs) if pair[0] == index]
    return first_of_each, improved, extended, any("Early stop condition met" in line for line in lines)


@needs_corpus
def test_improved_extended_and_last_epochs_equal_those_of_every_real_log():
    epochs = 0
    for log in sorted(Path(CORPUS or "").glob("**/*.log")):
        pairs, improved, extended, stopped = logged(log)
        stopping = EarlyStopping(patience=3, tolerance=0.001)
        for epoch, value in pairs:
            progress = stopping.observe(epoch, value)
            assert progress.improved == (epoch in improved), (log.name, epoch)
            assert progress.extended == (epoch in extended), (log.name, epoch)
            assert progress.stop == (stopped and epoch == pairs[-1][0]), (log.name, epoch)
            epochs += 1
    assert epochs > 150


@needs_corpus
def test_the_threshold_of_a_real_model_is_reproduced_from_its_training_data():
    job = Path(CORPUS or "") / "jobs" / "attrition"
    rows = np.loadtxt(job / "train.csv", delimiter=",", dtype=np.float32)
    model = read_model(job / "model_algo-1")
    scores = model.predict(rows[:, 1:]).scores
    threshold, accuracy = find_best_threshold(scores, rows[:, 0], criterion("accuracy"))
    assert threshold == model.threshold
    assert np.mean((scores >= np.float32(threshold)) == rows[:, 0]) == pytest.approx(0.7112095296273672)
    assert accuracy == pytest.approx(0.7112095296273672)
