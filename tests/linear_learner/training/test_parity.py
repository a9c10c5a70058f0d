"""Training of real jobs' data reproduces their losses, saved model and epoch, scores and threshold."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from linear_learner.formats.artifact import read_model
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.logs.reader import LogReader, LogReport
from linear_learner.model import Examples
from linear_learner.training.engine import TrainingResult, train
from linear_learner.training.models import make_model_grid

LOSS_TOLERANCE, RMSPROP_TOLERANCE, SCORE_TOLERANCE = 1e-5, 1e-3, 1e-4
JOBS = ("attrition", "ufo", "salary", "plagiarism-2021", "salary-absolute-2021", "houses-price-2024")


def read_csv(path: Path) -> Examples:
    table = np.loadtxt(path, delimiter=",", dtype=np.float32)
    return Examples(np.ascontiguousarray(table[:, 1:]), table[:, 0].copy())


def channels(job: Path) -> list[Examples]:
    """The training channel, and the validation channel if the job had one."""
    if job.name == "salary":  # the job's notebook trained on this split
        table = [line.split(",") for line in (job / "salary.csv").read_text().split()[1:]]
        months, salary = np.array([row[1:] for row in table], dtype=np.float32).T
        months, _, salary, _ = train_test_split(months[:, None], salary, test_size=0.3, random_state=0)
        return [Examples(months, salary)]
    return [read_csv(job / f"{name}.csv") for name in ("train", "validation") if (job / f"{name}.csv").exists()]


@pytest.fixture(scope="module", params=JOBS)
def job(request: pytest.FixtureRequest, corpus: Path) -> Path:
    return corpus / "jobs" / str(request.param)


@pytest.fixture(scope="module")
def report(job: Path) -> LogReport:
    return LogReader.read((job / "job.log").read_text(encoding="utf-8").splitlines())


def settings_of(report: LogReport) -> Hyperparameters:
    given = dict(report.configuration)
    if given["predictor_type"] != "multiclass_classifier":
        del given["num_classes"]
    return Hyperparameters.from_wire(given)


@pytest.fixture(scope="module")
def training(job: Path, report: LogReport) -> TrainingResult:
    return train(settings_of(report), *channels(job))


def test_losses_of_all_models_and_epochs_equal_the_logged_ones(training: TrainingResult, report: LogReport) -> None:
    optimizers = make_model_grid(settings_of(report)).optimizers
    differences: dict[str, list[float]] = {}
    for logged, trained in zip(report.epochs, training.epochs, strict=True):
        assert set(logged.train) == set(range(len(trained.train)))
        for channel in ("train", "validation"):
            for model, loss in getattr(logged, channel).items():
                difference = abs(getattr(trained, channel)[model] - loss) / abs(loss)
                differences.setdefault(optimizers[model], []).append(float(difference))
    assert np.median(differences["adam"]) < LOSS_TOLERANCE
    assert np.median(differences.get("rmsprop", [0.0])) < RMSPROP_TOLERANCE


def test_the_saved_model_and_the_last_epoch_equal_the_logged_ones(training: TrainingResult, report: LogReport) -> None:
    assert (training.best_model, training.best_epoch) == (report.saved_model, report.saved_epoch)
    assert len(training.epochs) == len(report.epochs)
    assert training.epochs[-1].stop == report.stopped_early
    assert training.hyperparameters == report.best_hyperparameters


def test_scores_equal_the_logged_ones(training: TrainingResult, report: LogReport) -> None:
    for channel, logged in report.scores.items():
        trained = {score.name: score.value for score in training.scores[channel]}
        for name, value in logged.items():
            assert trained[name] == pytest.approx(value, rel=SCORE_TOLERANCE), name


def test_the_threshold_and_the_weights_of_a_real_artifact_are_reproduced(corpus: Path) -> None:
    job = corpus / "jobs" / "attrition"
    expected = read_model(job / "model_algo-1")
    settings = Hyperparameters(predictor_type="binary_classifier", mini_batch_size=100)
    model = train(settings, *channels(job)).model
    assert model.threshold == pytest.approx(expected.threshold, abs=1e-6)
    np.testing.assert_allclose(model.weights, expected.weights, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(model.bias, expected.bias, rtol=1e-4, atol=1e-7)
