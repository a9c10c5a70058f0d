"""Predictions equal those of a real endpoint, and invalid input is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linear_learner import model as model_module
from linear_learner.errors import DataError
from linear_learner.formats.artifact import read_model
from linear_learner.formats.inference import parse_request
from linear_learner.model import LinearModel, sigmoid


def model(
    predictor_type: Any = "regressor", loss: str = "squared_loss", outputs: int = 1, **fields: Any
) -> LinearModel:
    weights = np.arange(1, 1 + 2 * outputs, dtype=np.float32).reshape(2, outputs)
    return LinearModel(predictor_type, loss, weights, np.full(outputs, 0.5, np.float32), **fields)


def test_the_predictions_of_a_real_endpoint_are_reproduced(corpus: Path) -> None:
    real = read_model(corpus / "artifacts" / "binary_adult_aws.model.tar.gz")
    count = 0
    for _, kind, request, _, response, _ in json.loads((corpus / "adult" / "captured_predictions.json").read_text()):
        lines = response.splitlines() if kind.endswith("lines") else [response]
        expected = [json.loads(line) for line in lines]
        if not kind.endswith("lines"):
            expected = expected[0]["predictions"]
        predictions = real.predict(parse_request(request.encode(), kind))
        np.testing.assert_allclose(predictions.scores, [row["score"] for row in expected], rtol=0, atol=1e-6)
        assert predictions.labels is not None
        assert predictions.labels.tolist() == [row["predicted_label"] for row in expected]
        count += len(expected)
    assert count == 344


def test_the_accuracy_of_a_real_job_is_reproduced(corpus: Path) -> None:
    rows = np.loadtxt(corpus / "jobs" / "attrition" / "train.csv", delimiter=",", dtype=np.float32)
    labels = read_model(corpus / "jobs" / "attrition" / "model_algo-1").predict(rows[:, 1:]).labels
    assert labels is not None
    assert np.mean(labels == rows[:, 0]) == pytest.approx(0.7112095, abs=1e-7)


def test_a_regressor_predicts_a_value_and_no_label() -> None:
    predictions = model().predict([[1, 2], [0, -1]])
    assert predictions.scores.tolist() == [5.5, -1.5]
    assert predictions.scores.dtype == np.float32
    assert predictions.labels is None


def test_a_logistic_score_is_a_probability_and_a_hinge_score_is_not() -> None:
    rows = [[0.0, -0.25], [0.0, 0.0]]
    logistic = model("binary_classifier", "logistic").predict(rows)
    assert logistic.scores.tolist() == pytest.approx([0.5, 1 / (1 + np.exp(-0.5))])
    assert model("binary_classifier", "hinge_loss").predict(rows).scores.tolist() == [0.0, 0.5]


def test_a_score_equal_to_the_threshold_in_float32_is_labelled_one() -> None:
    score = float(model("binary_classifier", "logistic").predict([[0.1, 0.2]]).scores[0])
    for threshold, label in [
        (score, 1),
        (np.nextafter(score, 1), 1),
        (np.nextafter(np.float32(score), np.float32(1)), 0),
    ]:
        labels = model("binary_classifier", "logistic", threshold=float(threshold)).predict([[0.1, 0.2]]).labels
        assert labels is not None
        assert labels.tolist() == [label]


def test_multiclass_scores_are_a_softmax_and_the_label_is_the_first_highest_class() -> None:
    multiclass = model("multiclass_classifier", "softmax_loss", outputs=3)
    predictions = multiclass.predict([[0.1, 0.2], [0.0, 0.0], [1000.0, 1000.0]])
    np.testing.assert_allclose(predictions.scores.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(predictions.scores[0, 1] / predictions.scores[0, 0], np.exp(0.3), rtol=1e-5)
    assert predictions.labels is not None
    assert predictions.labels.tolist() == [2, 0, 2]


def test_the_sigmoid_of_extreme_values_is_0_or_1_without_a_warning() -> None:
    assert sigmoid(np.array([-1e30, 0, 1e30], np.float32)).tolist() == [0, 0.5, 1]


def test_a_memory_map_is_scored_in_slices_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    rows.tofile(tmp_path / "rows")
    whole = model().predict(rows).scores
    monkeypatch.setattr(model_module, "CHUNK_SIZE", 128)
    mapped = np.memmap(tmp_path / "rows", np.float32, "r", shape=rows.shape)
    np.testing.assert_allclose(model().predict(mapped).scores, whole, rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((1, 5)), "the rows have 5 features, but the model was trained on 2$"),
        (np.zeros((1, 3)), "the rows have 3 features, but the model was trained on 2: leave the label out"),
        (np.zeros(2), r"2 dimensions \(rows, columns\), but have 1"),
    ],
)
def test_rows_of_a_wrong_shape_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        model().predict(rows)


def test_coefficients_have_the_names_of_features_and_classes() -> None:
    assert model().coefficients() == {"feature_0": 1, "feature_1": 2}
    assert model(feature_names=("age", "rooms")).coefficients() == {"age": 1, "rooms": 2}
    many = model("multiclass_classifier", "softmax_loss", outputs=3, feature_names=("age", "rooms")).coefficients()
    assert many["age[0]"] == 1
    assert many["rooms[2]"] == 6


@pytest.mark.parametrize(
    ("weights", "bias", "names", "message"),
    [
        (np.zeros(2), np.zeros(1), None, "weights"),
        (np.zeros((2, 1)), np.zeros(2), None, "weights"),
        (np.zeros((2, 3)), np.zeros(3), None, "3 outputs"),
        (np.zeros((2, 1)), np.zeros(1), ("a",), "1 feature names for 2 weights"),
    ],
)
def test_inconsistent_arrays_are_refused(weights: Any, bias: Any, names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearModel("regressor", "squared_loss", weights, bias, feature_names=names)
