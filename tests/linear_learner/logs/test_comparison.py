import pytest

from linear_learner.__main__ import main
from linear_learner.logs.comparison import ComparedValue, compare_logs
from linear_learner.logs.reader import EpochReport, LogReport


def report(scale: float = 1.0, **changes: object) -> LogReport:
    """A log of two models and two epochs; `scale` multiplies all losses and scores."""
    epochs = tuple(
        EpochReport(index=index, train={0: scale * (5.0 - index), 1: scale * (4.0 - index)}) for index in range(2)
    )
    fields = {
        "epochs": epochs,
        "epoch_count": 2,
        "saved_model": 1,
        "saved_epoch": 1,
        "scores": {"train": {"mse": scale * 3.0}},
        "best_hyperparameters": {"wd": 0.01, "optimizer": "adam"},
    }
    return LogReport.model_validate(fields | changes)


def test_a_log_equals_itself() -> None:
    comparison = compare_logs(report(), report())
    assert comparison.is_equal(0.0)
    assert len(comparison.losses) == 4


def test_relative_differences_are_compared_with_the_tolerance() -> None:
    comparison = compare_logs(report(), report(scale=1.001))
    assert comparison.median_difference == pytest.approx(0.001, rel=0.01)
    assert comparison.is_equal(0.01)
    assert not comparison.is_equal(0.0001)


@pytest.mark.parametrize(
    "changes",
    [
        {"saved_model": 0},
        {"saved_epoch": 0},
        {"epoch_count": 3},
        {"stopped_early": True},
        {"best_hyperparameters": {"wd": 0.01, "optimizer": "rmsprop"}},
        {"best_hyperparameters": {}},
        {"scores": {"train": {"mse": 4.0}}},
        {"epochs": ()},
    ],
)
def test_another_model_another_end_or_another_score_is_no_equal_log(changes: dict[str, object]) -> None:
    assert not compare_logs(report(), report(**changes)).is_equal(0.1)


def test_scores_of_one_log_alone_decide_nothing() -> None:
    other = report(scores={"train": {"mse": 3.0, "rmse": 1.7}})
    assert compare_logs(report(), other).is_equal(0.0)


def test_one_model_that_differs_is_shown_and_decides_nothing() -> None:
    epochs = tuple(EpochReport(index=index, train={0: 5.0 - index, 1: 9.0}) for index in range(2))
    many = tuple(EpochReport(index=index, train=dict.fromkeys(range(5), 1.0)) for index in range(2))
    one_off = tuple(EpochReport(index=index, train={**dict.fromkeys(range(5), 1.0), 4: 2.0}) for index in range(2))
    comparison = compare_logs(report(epochs=many), report(epochs=one_off))
    assert comparison.is_equal(0.0)
    assert "model 4, epoch 0, train" in str(comparison).split("The largest differences")[1]
    assert not compare_logs(report(), report(epochs=epochs)).is_equal(0.1)


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (2.0, 1.0, 0.5),
        (1, 1.0, 0.0),
        (float("nan"), float("nan"), 0.0),
        ("a", "b", float("inf")),
        (None, 1.0, float("inf")),
    ],
)
def test_a_difference_is_relative(one: object, other: object, difference: float) -> None:
    assert ComparedValue("value", one, other).difference == difference


def test_the_command_line_compares_two_files(tmp_path, capsys, corpus) -> None:
    log = corpus / "jobs" / "salary" / "job.log"
    assert main(["compare", str(log), str(log)]) == 0
    assert "The logs are equal within 0.0001." in capsys.readouterr().out
    changed = tmp_path / "changed.log"
    changed.write_text(log.read_text().replace("7907.846958705357", "7917.846958705357"))
    assert main(["compare", str(log), str(changed)]) == 1
    assert "The logs are not equal within 0.0001." in capsys.readouterr().out
    assert main(["compare", str(log), str(changed), "--tolerance", "0.01"]) == 0
    assert main(["compare", str(log), str(tmp_path / "missing.log")]) == 2
