"""The scikit-learn Pipeline of a model predicts from frames of the original columns, whatever their order."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.metrics import accuracy_score, get_scorer, log_loss, roc_auc_score

from linear_learner.errors import ArtifactError, DataError
from linear_learner.estimator import to_pipeline
from linear_learner.model import LinearModel
from linear_learner.predictor import Predictor
from tests.linear_learner.tables import COLUMNS, model, random_frame, schema

FRAME = random_frame()
REGRESSOR, BINARY = model(), model("binary_classifier", "logistic")
HINGE = model("binary_classifier", "hinge_loss")
CASES: list[tuple[LinearModel, tuple[str, ...]]] = [
    (REGRESSOR, ()),
    (BINARY, ("no", "yes")),
    (BINARY, ("yes", "no")),
    (HINGE, ("no", "yes")),
    (HINGE, ("yes", "no")),
    (model("multiclass_classifier", "softmax_loss", 2), ("b", "a")),
    (model("multiclass_classifier", "softmax_loss", 4), ("d", "a", "c", "b")),
]
each_case = pytest.mark.parametrize(
    ("trained", "classes"), CASES, ids=[f"{one.loss}-{''.join(classes)}" for one, classes in CASES]
)
CLASSIFIERS = [case for case in CASES if case[1]]


def assert_same_predictions(found: Any, expected: Any) -> None:
    if expected.dtype == object:
        assert found.tolist() == expected.tolist()
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@each_case
def test_predictions_and_probabilities_equal_the_predictors(trained: LinearModel, classes: tuple[str, ...]) -> None:
    pipeline = to_pipeline(trained, schema(*classes))
    expected = Predictor(trained, schema(*classes)).predict_columns(FRAME)
    assert_same_predictions(pipeline.predict(FRAME), expected["prediction"])
    assert pipeline.feature_names_in_.tolist() == [column.name for column in COLUMNS]
    assert is_classifier(pipeline) == bool(classes)
    if not classes:
        return
    assert set(expected["prediction"]) == set(classes), "every class is predicted for some row"
    assert pipeline.classes_.tolist() == sorted(classes)
    if "score" in expected:
        sign = 1 if classes == ("no", "yes") else -1
        np.testing.assert_allclose(sign * pipeline.decision_function(FRAME), expected["score"], rtol=1e-4, atol=1e-5)
    else:
        columns = [expected[f"probability.{name}"] for name in sorted(classes)]
        np.testing.assert_allclose(pipeline.predict_proba(FRAME), np.transpose(columns), rtol=1e-4, atol=1e-6)


@each_case
def test_the_order_and_type_of_the_columns_and_other_columns_do_not_matter(
    trained: LinearModel, classes: tuple[str, ...]
) -> None:
    pipeline = to_pipeline(trained, schema(*classes))
    changed = FRAME[FRAME.columns[::-1]].assign(city=FRAME["city"].astype("category"), pay=1)
    changed["rooms"] = changed["rooms"].astype(int).astype(str)
    assert pipeline.predict(changed).tolist() == pipeline.predict(FRAME).tolist()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # the features are not scaled
@each_case
def test_pickled_and_cloned_pipelines_work(trained: LinearModel, classes: tuple[str, ...]) -> None:
    pipeline = to_pipeline(trained, schema(*classes))
    unpickled = pickle.loads(pickle.dumps(pipeline))  # noqa: S301 - pickled above
    expected = pipeline.predict(FRAME)
    assert unpickled.predict(FRAME).tolist() == expected.tolist()
    fitted = clone(pipeline).fit(FRAME[:80], expected[:80])
    assert fitted.feature_names_in_.tolist() == pipeline.feature_names_in_.tolist()
    if classes:
        assert fitted.classes_.tolist() == pipeline.classes_.tolist()
        assert set(fitted.predict(FRAME)) <= set(classes)


@pytest.mark.parametrize(("trained", "classes"), CLASSIFIERS, ids=[one.loss for one, _ in CLASSIFIERS])
def test_scikit_learns_metrics_agree_with_the_order_of_the_classes(
    trained: LinearModel, classes: tuple[str, ...]
) -> None:
    pipeline = to_pipeline(trained, schema(*classes))
    labels = pipeline.predict(FRAME)
    assert pipeline.score(FRAME, labels) == 1
    assert get_scorer("roc_auc" if len(classes) == 2 else "roc_auc_ovr")(pipeline, FRAME, labels) == pytest.approx(
        1, abs=0.1
    )
    if trained.loss == "hinge_loss":
        return
    probabilities = pipeline.predict_proba(FRAME)
    assert log_loss(labels, probabilities) < np.log(len(classes))
    scores = probabilities[:, 1] if len(classes) == 2 else probabilities
    assert roc_auc_score(labels, scores, multi_class="ovr") == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("trained", "classes"), CLASSIFIERS, ids=[one.loss for one, _ in CLASSIFIERS])
def test_a_frozen_pipeline_is_calibrated(trained: LinearModel, classes: tuple[str, ...]) -> None:
    pipeline = to_pipeline(trained, schema(*classes))
    labels = pipeline.predict(FRAME)
    calibrated = CalibratedClassifierCV(FrozenEstimator(pipeline), method="sigmoid").fit(FRAME, labels)
    assert calibrated.classes_.tolist() == sorted(classes)
    assert accuracy_score(labels, calibrated.predict(FRAME)) > 0.8


def test_columns_are_inspected() -> None:
    pipeline = to_pipeline(REGRESSOR, schema())
    values = pipeline.predict(FRAME)
    importances = permutation_importance(pipeline, FRAME, values, n_repeats=2, random_state=0)
    assert importances.importances_mean.shape == (4,)
    assert (importances.importances_mean > 0).all()
    effect = partial_dependence(pipeline, FRAME, ["rooms"], grid_resolution=5)
    slope = np.diff(effect["average"][0]) / np.diff(effect["grid_values"][0])
    np.testing.assert_allclose(slope, REGRESSOR.weights[6, 0], rtol=1e-3)
    classes = to_pipeline(BINARY, schema("yes", "no"))
    assert partial_dependence(classes, FRAME, ["age"], grid_resolution=5)["average"].shape == (1, 5)


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (("0", "1"), [0, 1]),
        (("10", "9"), [9, 10]),
        (("0.5", "1"), ["0.5", "1"]),
        (("true", "false"), [False, True]),
        (("1", "one"), ["1", "one"]),
        ((), [0, 1]),
    ],
)
def test_classes_are_the_labels_that_pandas_reads(classes: tuple[str, ...], labels: list[Any]) -> None:
    pipeline = to_pipeline(BINARY, schema(*classes))
    assert pipeline.classes_.tolist() == labels
    assert [type(label) for label in pipeline.classes_.tolist()] == [type(label) for label in labels]
    assert pipeline.score(FRAME, pd.Series(pipeline.predict(FRAME))) == 1


def test_features_have_the_names_of_the_schema() -> None:
    pipeline = to_pipeline(REGRESSOR, schema())
    assert pipeline[:-1].get_feature_names_out().tolist() == list(schema().features)
    assert pipeline[:-1].transform(FRAME).shape == (len(FRAME), len(schema().features))


def test_columns_without_names_and_missing_columns_are_refused() -> None:
    pipeline = to_pipeline(REGRESSOR, schema())
    with pytest.raises(DataError, match="a ndarray has no names of columns; give a frame"):
        pipeline.predict(FRAME.to_numpy())
    with pytest.raises(DataError, match=r"the table has no columns 'age' \(did you mean 'Age'\?\), 'rooms', which"):
        pipeline.predict(FRAME.rename(columns={"age": "Age"}).drop(columns="rooms"))
    with pytest.raises(ArtifactError, match="it belongs to another model"):
        to_pipeline(BINARY, schema("a", "b", "c"))
