import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from linear_learner.container import run
from linear_learner.formats.artifact import read_model
from linear_learner.logs.metric_definitions import METRIC_DEFINITIONS
from linear_learner.logs.reader import LogReader, LogReport
from tests.linear_learner.formats.files import records

REGRESSION = {"predictor_type": "regressor", "mini_batch_size": "20", "epochs": "20", "num_models": "8"}
CSV = "text/csv"


def table(rows: int = 200, seed: int = 1) -> np.ndarray:
    """Rows of label and two features; label = 5 + 3·first - 2·second + noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 2))
    label = features @ [3.0, -2.0] + 5 + rng.normal(scale=0.01, size=rows)
    return np.column_stack([label, features])


class Job:
    """The folder of a training job, with SageMaker's layout."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.config = base / "input" / "config"
        self.config.mkdir(parents=True)
        self.channels = {}
        self.hyperparameters(REGRESSION)
        self.channel("train", table())

    def hyperparameters(self, wire: object) -> None:
        (self.config / "hyperparameters.json").write_text(json.dumps(wire))

    def channel(self, name: str, rows: np.ndarray | str, content_type: str | None = CSV) -> None:
        text = rows if isinstance(rows, str) else "".join(",".join(map(str, row)) + "\n" for row in rows.tolist())
        self.folder(name).joinpath("part-0.csv").write_text(text)
        self.describe(name, {"ContentType": content_type} if content_type else {})

    def folder(self, name: str) -> Path:
        folder = self.base / "input" / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def describe(self, name: str, description: object) -> None:
        self.channels[name] = description
        self.write_channels(self.channels)

    def write_channels(self, channels: object) -> None:
        (self.config / "inputdataconfig.json").write_text(json.dumps(channels))

    def run(self) -> tuple[int, LogReport, str]:
        stdout = io.StringIO()
        code = run(self.base, stdout)
        return code, LogReader.read(stdout.getvalue().splitlines()), stdout.getvalue()

    @property
    def failure(self) -> str:
        return (self.base / "output" / "failure").read_text()

    @property
    def model(self) -> Path:
        return self.base / "model" / "model_algo-1"


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


def test_a_job_writes_a_model_that_predicts(job):
    code, report, _ = job.run()
    assert code == 0
    assert report.scores["train"]["mse"] < 0.1
    model = read_model(job.model)
    assert model.weights[:, 0] == pytest.approx([3, -2], abs=0.2)
    assert model.bias[0] == pytest.approx(5, abs=0.2)
    assert not (job.base / "output" / "failure").exists()


def test_the_same_input_gives_the_same_model_file(job):
    job.run()
    first = job.model.read_bytes()
    job.run()
    assert job.model.read_bytes() == first


def test_a_job_writes_only_the_model(job):
    before = {path.relative_to(job.base) for path in job.base.rglob("*")}
    job.run()
    after = {path.relative_to(job.base) for path in job.base.rglob("*")}
    assert after - before == {Path("model"), Path("model/model_algo-1")}


def test_with_a_validation_channel_only_validation_and_test_are_scored(job):
    job.channel("validation", table(seed=2))
    job.channel("test", table(seed=3))
    _, report, log = job.run()
    assert set(report.scores) == {"validation", "test"}
    assert all(epoch.validation for epoch in report.epochs)
    found = {name for name, pattern in METRIC_DEFINITIONS.items() if re.search(pattern, log)}
    assert {"train:progress", "validation:objective_loss", "validation:mse", "test:mse"} <= found


def test_a_channel_without_content_type_is_recordio(job):
    rows = table().astype(np.float32)
    (job.folder("train") / "part-0.csv").unlink()
    (job.folder("train") / "part-0.pbr").write_bytes(records(rows[:, 1:], rows[:, 0]))
    job.describe("train", {})
    assert job.run()[0] == 0


@pytest.mark.parametrize("weight", ["1.0", "3", "balanced"])
def test_the_log_contains_the_name_of_the_objective(job, weight):
    rows = table()
    rows[:, 0] = rows[:, 0] > 7
    job.channel("train", rows)
    job.channel("validation", rows)
    job.hyperparameters(
        {"predictor_type": "binary_classifier", "positive_example_weight_mult": weight}
        | {"mini_batch_size": "20", "epochs": "2", "num_models": "2"}
    )
    code, report, _ = job.run()
    assert code == 0
    weighted = "" if weight == "1.0" else "weighted_"
    assert report.objective == f"binary_classification_{weighted}cross_entropy"
    assert f"{report.objective}_objective" in report.scores["validation"]


def test_a_multiclass_job_is_trained(job):
    rows = table()
    rows[:, 0] = np.digitize(rows[:, 0], [4, 6])
    job.channel("train", rows)
    job.hyperparameters(REGRESSION | {"predictor_type": "multiclass_classifier", "num_classes": "3"})
    code, report, _ = job.run()
    assert code == 0
    assert report.scores["train"]["multiclass_accuracy"] > 0.8
    assert read_model(job.model).weights.shape == (2, 3)


def test_the_log_warns_of_hyperparameters_without_effect(job):
    job.hyperparameters(REGRESSION | {"target_recall": "0.9"})
    code, _, log = job.run()
    assert code == 0
    assert re.search(r"WARNING \d+\] target_recall has no effect", log)


def invalid_inputs():
    yield "unknown name", lambda job: job.hyperparameters(REGRESSION | {"epoch": "3"}), "did you mean epochs"
    yield "bad value", lambda job: job.hyperparameters(REGRESSION | {"epochs": "0"}), "epochs is '0'"
    yield "no type", lambda job: job.hyperparameters({}), "predictor_type is missing"
    yield "not an object", lambda job: job.hyperparameters(["regressor"]), "give a JSON object"
    yield "no config", lambda job: shutil.rmtree(job.config), "hyperparameters.json cannot be read"
    yield "bad JSON", lambda job: (job.config / "inputdataconfig.json").write_text("{"), "cannot be read as JSON"
    yield "no train", lambda job: job.write_channels({"validation": {"ContentType": CSV}}), "there is no train channel"
    yield "unknown channel", lambda job: job.describe("holdout", {}), "channel 'holdout' is unknown"
    yield "content type", lambda job: job.describe("train", {"ContentType": "csv"}), "text/csv"
    yield "not a description", lambda job: job.describe("train", 3), "part-0.csv"
    yield "empty channel", lambda job: shutil.rmtree(job.folder("train")), "'train' is empty"
    yield "too few rows", lambda job: job.channel("train", table(5)), "mini_batch_size is 20"
    yield "missing value", lambda job: job.channel("train", "1,2\n3,\n" * 20), "Row 2, column 2"
    yield "header", lambda job: job.channel("train", "price,size\n" + "1,2\n" * 30), "price"
    yield "other columns", lambda job: job.channel("validation", "1,2\n" * 30), "validation"
    yield "labels", lambda job: job.hyperparameters(REGRESSION | {"predictor_type": "binary_classifier"}), "label"


@pytest.mark.parametrize(
    ("change", "words"), [pytest.param(change, words, id=name) for name, change, words in invalid_inputs()]
)
def test_invalid_input_gives_exit_code_2_and_the_reason_in_failure_file_and_log(job, change, words):
    change(job)
    code, report, log = job.run()
    assert code == 2
    assert words in job.failure
    assert "Traceback" not in log
    assert re.search(r"ERROR \d+\] Customer Error: ", log)
    assert report.failure == job.failure.strip()
    assert not job.model.exists()


def test_an_internal_error_gives_exit_code_1_and_the_traceback_in_the_log(job):
    (job.base / "model").write_text("a file where the folder should be")
    code, report, log = job.run()
    assert code == 1
    assert "Internal error" in job.failure
    assert "Traceback (most recent call last)" in log
    assert report.failure


@pytest.fixture
def attrition(tmp_path, corpus):
    job = Job(tmp_path)
    source = corpus / "jobs" / "attrition"
    job.channel("train", (source / "train.csv").read_text())
    job.hyperparameters({"mini_batch_size": "100", "predictor_type": "binary_classifier"})
    return job, LogReader.read((source / "job.log").read_text().splitlines())


def test_a_real_job_has_the_same_result_as_on_sagemaker(attrition):
    job, real = attrition
    code, report, _ = job.run()
    assert code == 0
    assert report.configuration == real.configuration
    assert (report.objective, report.stopped_early) == (real.objective, real.stopped_early)
    assert (report.saved_epoch, report.saved_model) == (real.saved_epoch, real.saved_model)
    assert [epoch.improved for epoch in report.epochs] == [epoch.improved for epoch in real.epochs]
    assert report.epochs[-1].train == pytest.approx(real.epochs[-1].train, abs=1e-4)
    assert list(report.scores["train"]) == list(real.scores["train"])
    assert report.scores["train"] == pytest.approx(real.scores["train"], abs=2e-3)
    winner = {name: value for name, value in real.best_hyperparameters.items() if name != "lr_scheduler_minimum_lr"}
    assert winner.items() <= report.best_hyperparameters.items()
