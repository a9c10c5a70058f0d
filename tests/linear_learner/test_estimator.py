"""The scikit-learn estimator of a model predicts the same as the model."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import calibration_curve
from sklearn.inspection import permutation_importance
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.model_selection import cross_val_score

from linear_learner.errors import DataError
from linear_learner.estimator import to_estimator
from linear_learner.model import LinearModel

RANDOM = np.random.default_rng(7)
ROWS = RANDOM.normal(size=(400, 5)).astype(np.float32)
NAMES = ("age", "pay", "score", "rooms", "area")


def model(predictor_type: Any, loss: str, outputs: int = 1, threshold: float = 0.5) -> LinearModel:
    weights = RANDOM.normal(size=(5, outputs)).astype(np.float32)
    return LinearModel(predictor_type, loss, weights, RANDOM.normal(size=outputs).astype(np.float32), threshold)


REGRESSOR = model("regressor", "squared_loss")
BINARY = model("binary_classifier", "logistic", threshold=0.83)
HINGE = model("binary_classifier", "hinge_loss", threshold=-0.4)
MULTICLASS = model("multiclass_classifier", "softmax_loss", outputs=4)
TWO_CLASSES = model("multiclass_classifier", "softmax_loss", outputs=2)
MODELS = [REGRESSOR, BINARY, HINGE, MULTICLASS, TWO_CLASSES]
each_model = pytest.mark.parametrize(
    "model", MODELS, ids=["regressor", "logistic", "hinge", "multiclass", "two classes"]
)


def scores(fitted: Any, predictor_type: str, loss: str) -> Any:
    """The estimator's values that correspond to the endpoint's scores."""
    if predictor_type == "regressor":
        return fitted.predict(ROWS)
    if loss == "hinge_loss":
        return fitted.decision_function(ROWS)
    found = fitted.predict_proba(ROWS)
    return found[:, 1] if predictor_type == "binary_classifier" else found


@each_model
def test_scores_and_labels_equal_the_models(model: LinearModel) -> None:
    fitted, expected = to_estimator(model), model.predict(ROWS)
    np.testing.assert_allclose(scores(fitted, model.predictor_type, model.loss), expected.scores, rtol=2e-5, atol=2e-6)
    if expected.labels is not None:
        assert fitted.predict(ROWS).tolist() == expected.labels.tolist()
        assert len(set(expected.labels)) == len(fitted.classes_), "every class is predicted for some row"


@each_model
def test_attributes_equal_those_of_a_fitted_estimator(model: LinearModel) -> None:
    fitted = to_estimator(model)
    fresh = clone(fitted).fit(
        ROWS.astype(np.float64), ROWS[:, 0] if is_regressor(fitted) else np.arange(400) % len(fitted.classes_)
    )
    assert fitted.n_features_in_ == 5
    for name in ("coef_", "intercept_", *(("classes_",) if is_classifier(fitted) else ())):
        found, expected = np.asarray(getattr(fitted, name)), np.asarray(getattr(fresh, name))
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
    assert not hasattr(fitted, "feature_names_in_")


@each_model
def test_a_pickled_estimator_predicts_the_same(model: LinearModel) -> None:
    fitted = to_estimator(model)
    unpickled = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - pickled above
    assert unpickled.predict(ROWS).tolist() == fitted.predict(ROWS).tolist()


@pytest.mark.parametrize(("model", "threshold"), [(BINARY, 0.83), (HINGE, -0.4)], ids=["logistic", "hinge"])
def test_a_score_equal_to_the_models_threshold_is_labelled_one(model: LinearModel, threshold: float) -> None:
    fitted = to_estimator(model)
    found = scores(fitted, model.predictor_type, model.loss)
    assert (fitted.predict(ROWS) == (found >= threshold)).all()
    default = 0.5 if model is BINARY else 0.0
    assert (fitted.predict(ROWS) != (found >= default)).any()
    zero_model = replace(model, weights=np.zeros((5, 1), np.float32), bias=np.zeros(1, np.float32), threshold=default)
    assert to_estimator(zero_model).predict(ROWS[:1]).tolist() == [1]


@each_model
def test_feature_names_are_set_and_the_order_of_columns_is_checked(model: LinearModel) -> None:
    fitted = to_estimator(replace(model, feature_names=NAMES))
    assert fitted.feature_names_in_.tolist() == list(NAMES)
    frame = pd.DataFrame(ROWS, columns=NAMES)
    assert fitted.predict(frame).tolist() == to_estimator(model).predict(ROWS).tolist()
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame[list(reversed(NAMES))])


@each_model
def test_rows_with_a_wrong_number_of_features_are_refused(model: LinearModel) -> None:
    with pytest.raises(ValueError, match="4 features"):
        to_estimator(model).predict(ROWS[:, :4])
    with pytest.raises(DataError):
        model.predict(ROWS[:, :4])


def test_scikit_learns_metrics_and_inspection_accept_the_estimator() -> None:
    labels = BINARY.predict(ROWS).labels
    assert labels is not None
    fitted = to_estimator(BINARY)
    assert accuracy_score(labels, fitted.predict(ROWS)) == 1
    assert roc_auc_score(labels, fitted.predict_proba(ROWS)[:, 1]) == 1
    assert fitted.score(ROWS, labels) == 1
    assert len(calibration_curve(labels, fitted.predict_proba(ROWS)[:, 1], n_bins=5)[0]) > 1
    values = REGRESSOR.predict(ROWS).scores
    assert r2_score(values, to_estimator(REGRESSOR).predict(ROWS)) == pytest.approx(1)
    importances = permutation_importance(to_estimator(REGRESSOR), ROWS, values, n_repeats=3, random_state=0)
    assert importances.importances_mean.argmax() == np.abs(REGRESSOR.weights[:, 0]).argmax()


# Now and then OpenBLAS reports a product of finite numbers as invalid, although its result is right.
@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul")
@pytest.mark.parametrize("model", [BINARY, HINGE], ids=["logistic", "hinge"])
def test_a_clone_keeps_the_threshold_and_can_be_fitted(model: LinearModel) -> None:
    copy = clone(to_estimator(model))
    assert not hasattr(copy, "coef_")
    assert copy.threshold == model.threshold
    labels = model.predict(ROWS).labels
    assert cross_val_score(copy, ROWS, labels, cv=3).mean() > 0.7
