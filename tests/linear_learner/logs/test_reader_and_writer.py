import ast
import io
import json
import math
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_learner.logs.metric_definitions import METRIC_DEFINITIONS
from linear_learner.logs.reader import EpochReport, LogReader, LogReport
from linear_learner.logs.writer import DEFAULTS, TrainingLog
from linear_learner.model import LinearModel
from linear_learner.training.engine import Epoch, TrainingResult
from linear_learner.training.metrics import Score

CORPUS = os.environ.get("LINEAR_LEARNER_CORPUS")
REAL_LOGS = sorted(Path(CORPUS).glob("logs/*.log")) + sorted(Path(CORPUS).glob("jobs/*/job.log")) if CORPUS else []
LOSS = re.compile(r'"(train|validation)_[a-z_0-9]+_objective": \{[^}]*"sum": ([^,}]+)')
SCORE = re.compile(r"#(train|validation|test)_score \(algo-1\) : \('(\S+)', (\S+)\)")
FROM_CONTAINER = re.compile(r"#metrics |\[\d\d/\d\d/\d{4} ")
MODEL = LinearModel("regressor", "squared_loss", np.ones((1, 1), np.float32), np.zeros(1, np.float32))

needs_real_logs = pytest.mark.skipif(not REAL_LOGS, reason="LINEAR_LEARNER_CORPUS does not name the real logs' folder")
each_real_log = pytest.mark.parametrize("file", REAL_LOGS, ids=lambda file: f"{file.parent.name}/{file.stem}")


def read(*lines: str) -> LogReport:
    return LogReader.read(lines)


def report_of(file: str) -> LogReport:
    return LogReader.read((Path(CORPUS or "") / file).read_text().splitlines())


@needs_real_logs
@each_real_log
def test_all_losses_of_a_real_log_are_read_and_no_others(file):
    written = Counter((channel, float(value)) for channel, value in LOSS.findall(file.read_text()))
    report = LogReader.read(file.read_text().splitlines())
    found = Counter(
        (channel, loss)
        for epoch in report.epochs
        for channel in ("train", "validation")
        for loss in getattr(epoch, channel).values()
    )
    assert found == written


@needs_real_logs
@each_real_log
def test_all_scores_of_a_real_log_are_read_and_no_others(file):
    written = {(channel, name, float(value)) for channel, name, value in SCORE.findall(file.read_text())}
    scores = LogReader.read(file.read_text().splitlines()).scores
    assert {(channel, name, value) for channel in scores for name, value in scores[channel].items()} == written


@needs_real_logs
@each_real_log
def test_the_best_hyperparameters_of_a_real_log_are_read(file):
    line = re.search(r"Best model found for hyperparameters: (.*)", file.read_text())
    expected = json.loads(line[1]) if line else {}
    assert LogReader.read(file.read_text().splitlines()).best_hyperparameters == expected


@needs_real_logs
@each_real_log
def test_the_configuration_of_a_real_log_is_read(file):
    line = re.search(r"Final configuration: (.*)", file.read_text())
    expected = ast.literal_eval(line[1]) if line else {}
    assert LogReader.read(file.read_text().splitlines()).configuration == expected


@needs_real_logs
def test_a_complete_real_log_is_read():
    report = report_of("jobs/attrition/job.log")
    assert report.objective == "binary_classification_cross_entropy"
    assert [len(epoch.train) for epoch in report.epochs] == [32] * 10
    assert (report.saved_epoch, report.saved_model, report.best_epoch) == (5, 2, 9)
    assert (report.saved_value, report.best_value) == (report.epochs[5].value, report.epochs[9].value)
    assert (report.criterion, report.lower_is_better) == ("binary_classification_cross_entropy_objective", True)
    assert (report.model_count, report.epoch_count) == (32, 10)
    assert report.stopped_early
    assert report.progress == 100
    assert report.throughput == pytest.approx(4366.7062)
    assert report.scores["train"]["binary_classification_accuracy"] == 0.7112095296273672
    assert report.epochs[5].value == min(report.epochs[5].train.values())
    assert report.failure is None


@needs_real_logs
def test_a_job_with_all_epochs_has_not_stopped_early():
    report = report_of("jobs/salary/job.log")
    assert len(report.epochs) == 15
    assert not report.stopped_early


@needs_real_logs
def test_the_saved_model_is_unknown_if_the_criterion_is_an_accuracy():
    report = report_of("logs/binary_val_2023_flightdelay_sampled_accuracy.log")
    assert (report.saved_epoch, report.saved_model, report.lower_is_better) == (14, None, False)
    assert report.epochs[report.best_epoch].value == max(epoch.value for epoch in report.epochs)


@needs_real_logs
def test_the_complete_message_of_a_real_failure_is_read():
    failure = report_of("logs/FAIL_regression_missing_values_2025.log").failure
    assert failure.startswith(
        "Found at least 16 entries in file /opt/ml/input/data/train/train.csv with missing values"
    )
    assert failure.splitlines()[1] == "Row 2, column 1"
    assert failure.splitlines()[-1] == "Row 32, column 6"


@needs_real_logs
def test_a_failure_reported_only_by_sagemaker_is_read():
    failure = report_of("logs/FAIL_artifact_upload_NoSuchBucket_2020.log").failure
    assert failure.startswith("ClientError: Artifact upload failed:Error 7: NoSuchBucket")


@needs_real_logs
def test_a_report_survives_a_json_round_trip():
    report = report_of("jobs/ufo/job.log")
    assert LogReport.model_validate_json(report.model_dump_json()) == report


@needs_real_logs
@each_real_log
def test_a_real_log_joined_to_one_line_gives_the_same_report(file):
    # Failures have several lines, so only the other lines can be joined.
    lines = [line for line in file.read_text().splitlines() if line.startswith(("#metrics", "["))]
    lines = [line for line in lines if "Error" not in line]
    assert read("".join(lines)) == read(*lines)


@needs_real_logs
@each_real_log
def test_a_real_log_is_complete_only_with_the_containers_last_line(file):
    lines = file.read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if FROM_CONTAINER.match(line))
    reader = LogReader()
    for line in lines[:last]:
        reader.feed(line)
        assert not reader.is_complete
    for line in lines[last:]:
        reader.feed(line)
        assert reader.is_complete


@needs_real_logs
def test_the_default_configuration_equals_the_containers():
    text = (Path(CORPUS or "") / "jobs/attrition/job.log").read_text()
    assert ast.literal_eval(re.search(r"Reading default configuration from \S+: (.*)", text)[1]) == DEFAULTS


def test_a_reader_without_lines_gives_an_empty_report():
    assert LogReader().report() == LogReport()


def test_a_loss_that_is_not_finite_is_read_but_is_not_the_best():
    line = '#metrics {"Dimensions": {"epoch": 0, "model": %d}, "Metrics": {"train_mse_objective": {"sum": %s}}}'
    improvement = "Epoch 0: Loss improved. Updating best model"
    report = read(line % (0, "NaN"), line % (1, "Infinity"), line % (2, "4.5"), improvement)
    assert math.isnan(report.epochs[0].train[0])
    assert report.saved_model == 2
    assert LogReport.model_validate_json(report.model_dump_json()).epochs[0].train[1] == math.inf


def test_truncated_and_invalid_statements_are_ignored():
    assert (
        read(
            '#metrics {"Dimensions": {"epoch": 0, "model": 0}, "Metrics": {"train_mse_obj',
            '#metrics {"Dimensions": [], "Metrics": 3}',
            '#metrics {"Metrics": {"train_mse_objective": {"sum": "much"}}, "Dimensions": {"epoch": 0, "model": 1}}',
            "Best model found for hyperparameters: {wd}",
            "#progress_metric: host=algo-1, completed some % of epochs",
        )
        == LogReport()
    )


def test_an_epoch_is_returned_when_it_ends():
    reader = LogReader()
    criterion = "#early_stopping_criteria_metric: host=algo-1, epoch=4, criteria=mse_objective, value=0.5"
    assert reader.feed(criterion) == ()
    (epoch,) = reader.feed("#throughput_metric: host=algo-1, train throughput=10.5 records/second")
    assert (epoch.index, epoch.value, epoch.throughput) == (4, 0.5, 10.5)


def test_a_written_log_is_complete_only_with_its_last_line():
    reader = LogReader()
    *lines, last = log_of(small_training()).splitlines()
    for line in lines:
        reader.feed(line)
        assert not reader.is_complete
    reader.feed(last)
    assert reader.is_complete


def test_a_log_that_ends_with_a_failure_is_complete():
    stream, reader = io.StringIO(), LogReader()
    TrainingLog(stream).write_failure("mini_batch_size is 5")
    reader.feed(stream.getvalue())
    assert reader.is_complete


def test_the_containers_message_is_used_rather_than_sagemakers_repetition():
    report = read(
        "[01/01/2024 00:00:00 ERROR 1] Customer Error: no",
        "",
        "Failed. Reason: ClientError: no, exit code: 2",
    )
    assert report.failure == "no"


@needs_real_logs
@each_real_log
def test_a_condensed_report_has_the_losses_of_the_saved_model_or_the_lowest(file):
    report = LogReader.read(file.read_text().splitlines())
    condensed = report.condensed()
    assert condensed.model_copy(update={"epochs": report.epochs}) == report
    for epoch, whole in zip(condensed.epochs, report.epochs, strict=True):
        for found, losses in ((epoch.train, whole.train), (epoch.validation, whole.validation)):
            model = min(losses, key=losses.get, default=None) if report.saved_model is None else report.saved_model
            assert found == ({model: losses[model]} if losses else {})


def test_a_condensed_report_of_a_long_job_is_small_and_survives_a_json_round_trip():
    model_losses = {model: 1.0 / (1 + model) for model in range(32)} | {0: math.inf, 1: math.nan}
    epochs = [
        EpochReport(index=index, train=model_losses, value=math.inf if index else math.nan) for index in range(1000)
    ]
    report = LogReport(epoch_count=1000, epochs=epochs, saved_model=0, scores={"test": {"mse": math.inf}}).condensed()
    assert (report.epoch_count, len(report.epochs), report.epochs[-1].index) == (1000, 125, 999)
    assert {len(epoch.train) for epoch in report.epochs} == {0}
    assert len(report.model_dump_json()) < 50_000
    assert LogReport.model_validate_json(report.model_dump_json()) == report
    lowest = LogReport(epochs=epochs).condensed()
    assert lowest.epochs[0].train == {31: 1 / 32}


@pytest.mark.parametrize(
    ("saved", "best", "fraction"),
    [(2.0, 1.5, 0.25), (-0.5, -0.6, 0.2), (2.0, 2.0, 0.0), (0.0, 1.0, 0.0), (None, 1.0, None)],
)
def test_the_discarded_improvement_is_that_of_the_best_over_the_saved_epoch(saved, best, fraction):
    report = LogReport(saved_value=saved, best_value=best)
    assert report.discarded_improvement == (fraction if fraction is None else pytest.approx(fraction))


@given(st.lists(st.text()), st.sampled_from(["#metrics {", "Customer Error: ", "Final configuration: {'a': ", ""]))
def test_arbitrary_lines_are_read_without_an_error(lines, start):
    report = read(*(start + line for line in lines))
    assert LogReport.model_validate_json(report.model_dump_json()).epochs == report.epochs


losses = st.floats(allow_nan=False) | st.just(math.nan)
OBJECTIVES = ["mse", "absolute_loss", "binary_classification_weighted_cross_entropy"]
SCORE_NAMES = ["mse", "r2", "binary_f_1.000", "multiclass_top_k_accuracy_3"]


@st.composite
def trainings(draw):
    count, models = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    objective, validated = draw(st.sampled_from(OBJECTIVES)), draw(st.booleans())
    model_losses = st.lists(losses, min_size=models, max_size=models).map(np.array)
    epochs = tuple(
        Epoch(
            index=index,
            objective=objective,
            train=draw(model_losses),
            validation=draw(model_losses) if validated else None,
            criteria=f"{objective}_objective",
            value=draw(st.floats(0, 1e6)),
            best_model=0,
            improved=index == 0 or draw(st.booleans()),
            extended=draw(st.booleans()),
            stop=index == count - 1 and draw(st.booleans()),
            records=100,
            batches=10,
            seconds=draw(st.floats(1e-3, 10)),
        )
        for index in range(count)
    )
    scores = st.lists(
        st.builds(Score, st.sampled_from(SCORE_NAMES), losses, st.sampled_from(["loss", "score"])),
        unique_by=lambda score: score.name,
    ).map(tuple)
    channels = draw(st.dictionaries(st.sampled_from(["train", "validation", "test"]), scores))
    best_hyperparameters = {"optimizer": "adam", "learning_rate": draw(st.floats(1e-9, 1)), "lr_scheduler_step": 10}
    return TrainingResult(MODEL, epochs, 0, 0, best_hyperparameters, channels)


def log_of(training: TrainingResult) -> str:
    stream = io.StringIO()
    log = TrainingLog(stream, clock=lambda: 1_700_000_000.25)
    log.write_configuration({"predictor_type": "regressor", "wd": "0.1"}, "hyperparameters.json")
    for epoch in training.epochs:
        log.write_epoch(epoch, epochs=len(training.epochs))
    log.write_result(training)
    return stream.getvalue()


def equal_losses(found: dict[int, float], expected: np.ndarray | None) -> bool:
    if expected is None:
        return not found
    return np.array_equal([found[model] for model in range(len(expected))], expected, equal_nan=True)


@given(trainings())
def test_a_written_log_is_read_back_unchanged(training):
    report = LogReader.read(log_of(training).splitlines())
    assert report.objective == training.epochs[0].objective
    assert report.configuration == DEFAULTS | {"predictor_type": "regressor", "wd": "0.1"}
    for found, epoch in zip(report.epochs, training.epochs, strict=True):
        assert equal_losses(found.train, epoch.train)
        assert equal_losses(found.validation, epoch.validation)
        assert (found.criteria, found.value, found.improved) == (epoch.criteria, epoch.value, epoch.improved)
        assert found.throughput == epoch.records / epoch.seconds
    assert report.saved_epoch == max(epoch.index for epoch in training.epochs if epoch.improved)
    assert report.stopped_early == training.epochs[-1].stop
    assert report.progress == 100
    assert report.best_hyperparameters == dict(training.hyperparameters)
    for channel, scores in training.scores.items():
        for score in scores:
            assert np.array_equal(report.scores[channel][score.name], score.value, equal_nan=True)
    assert report.failure is None


@pytest.mark.parametrize("message", ["mini_batch_size is 5", "missing values:\nRow 2, column 1\nRow 3, column 4"])
def test_a_written_failure_is_read_back_unchanged(message):
    stream = io.StringIO()
    log = TrainingLog(stream)
    log.write_failure(message)
    log.write("the end")
    assert "ERROR" in stream.getvalue()
    assert LogReader.read(stream.getvalue().splitlines()).failure == message


def small_training(validation: list[float] | None = None) -> TrainingResult:
    held_out = None if validation is None else np.array(validation)
    epoch = Epoch(0, "mse", np.array([0.5, 0.25]), held_out, "mse_objective", 0.25, 1, True, False, False, 100, 10, 2.0)
    scores = {"validation": (Score("mse_objective", 0.25, "loss"), Score("mse", 0.125, "loss"))}
    return TrainingResult(MODEL, (epoch,), 1, 0, {"wd": 0.1}, scores)


def test_the_metric_regexes_find_the_values_of_the_first_model_and_the_scores():
    log = log_of(small_training(validation=[0.75, 0.625]))
    found = {name: match for name, pattern in METRIC_DEFINITIONS.items() if (match := re.findall(pattern, log))}
    assert found == {
        "train:objective_loss": ["0.5"],
        "validation:objective_loss": ["0.75"],
        "validation:objective_loss:final": ["0.25"],
        "validation:mse": ["0.125"],
        "train:progress": ["100.0"],
        "train:throughput": ["50.0"],
    }


def test_lines_have_the_containers_prefix():
    log = log_of(small_training())
    prefix = re.compile(r"\[11/14/2023 22:13:20 INFO \d+\] \S")
    assert all(prefix.match(line) or line.startswith("#metrics {") for line in log.splitlines())
    assert "Test data is not provided." in log


def test_every_written_message_has_the_format_of_a_real_one():
    if not CORPUS:
        pytest.skip("LINEAR_LEARNER_CORPUS does not name the real logs' folder")
    real_log = (Path(CORPUS) / "jobs/attrition/job.log").read_text()
    name = "binary_classification_cross_entropy"
    epoch = Epoch(0, name, np.array([0.5]), None, f"{name}_objective", 0.5, 0, True, False, True, 100, 10, 2.0)
    scores = {"train": (Score(f"{name}_objective", 0.5, "loss"), Score("binary_f_1.000", 0.5, "score"))}
    written_log = log_of(TrainingResult(MODEL, (epoch,), 0, 0, {"wd": 0.1}, scores))
    assert len(message_formats(written_log)) > 12
    assert message_formats(written_log) <= message_formats(real_log)


def message_formats(log: str) -> set[str]:
    messages = [line.partition("] ")[2] for line in log.splitlines() if line.startswith("[") and "INFO" in line]
    return {re.sub(r"from \S+:|\{.*|\d+(\.\d+)?(e-?\d+)?", "…", line) for line in messages}
