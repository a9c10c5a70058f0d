"""A trained model as a fitted scikit-learn estimator, for scoring, plotting, calibration and explanation.

This is the only module of the package that needs scikit-learn.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from linear_learner.errors import DataError
from linear_learner.model import LinearModel
from linear_learner.predictor import Predictor
from linear_learner.schema import Schema


class _Threshold:
    """A binary classifier that predicts the positive class if its score is at least `threshold`, compared in float32.

    `positive` is the index in `classes_` of the class that the threshold applies to.
    """

    def __init__(self, threshold: float = 0.5, positive: int = 1) -> None:
        super().__init__()
        self.threshold, self.positive = threshold, positive

    def predict(self: Any, X: ArrayLike) -> NDArray[Any]:  # noqa: N803 - scikit-learn's name
        """The classes (rows,) of the rows (rows, features)."""
        if hasattr(self, "predict_proba"):
            scores = self.predict_proba(X)[:, self.positive]
        else:
            scores = self.decision_function(X) * (1 if self.positive else -1)
        is_positive = scores.astype(np.float32) >= np.float32(self.threshold)
        return np.asarray(self.classes_[np.where(is_positive, self.positive, 1 - self.positive)])


class ThresholdLogisticRegression(_Threshold, LogisticRegression):  # type: ignore[misc] # scikit-learn ships no types
    """Logistic regression; the score is the probability of the class."""


class ThresholdSVC(_Threshold, LinearSVC):  # type: ignore[misc] # the same
    """A linear support vector classifier; the score is w·x + b, or its negative for the first class."""


def to_estimator(model: LinearModel) -> LinearRegression | LogisticRegression | LinearSVC:
    """A fitted estimator that predicts as `model` does, to the precision of float32, and can be pickled.

    A regressor becomes a LinearRegression with `coef_` (features,); classifiers have `coef_` (1 or classes, features)
    and `classes_` 0, 1, 2, …. Logistic and multiclass models become a LogisticRegression whose `predict_proba` returns
    the endpoint's scores, hinge loss a LinearSVC whose `decision_function` returns them. Binary classifiers, and their
    clones, use the model's threshold. The model's `feature_names` become `feature_names_in_`.
    """
    weights, bias = model.weights.astype(np.float64), model.bias.astype(np.float64)
    if model.predictor_type == "regressor":
        return _set_fitted(LinearRegression(), model, coef_=weights[:, 0], intercept_=float(bias[0]))
    if weights.shape[1] == 2:  # scikit-learn has no softmax of two classes; the sigmoid of the difference is equal
        weights, bias = weights[:, 1:] - weights[:, :1], bias[1:] - bias[:1]
    estimator = LogisticRegression()
    if model.predictor_type == "binary_classifier":
        estimator = (ThresholdLogisticRegression if model.has_sigmoid else ThresholdSVC)(model.threshold)
    classes = np.arange(max(2, weights.shape[1]))
    return _set_fitted(estimator, model, coef_=np.ascontiguousarray(weights.T), intercept_=bias, classes_=classes)


class SchemaEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc] # the same
    """The features of a frame's columns, which are matched by name: their order, and other columns, do not matter.

    It is fitted by its `schema` alone.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        return np.array(self.schema.feature_columns, object)

    @property
    def n_features_in_(self) -> int:
        return len(self.schema.feature_columns)

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        del X, y
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803 - the same
        """The features (rows, features) of a frame, or of a mapping from names to columns."""
        if not hasattr(X, "columns") and not hasattr(X, "keys"):
            raise DataError(f"a {type(X).__name__} has no names of columns; give a frame, such as a pandas DataFrame")
        return self.schema.encode_columns(X)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """The names of the features."""
        del input_features
        return np.array(self.schema.features, object)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def to_pipeline(model: LinearModel, schema: Schema) -> Pipeline:
    """A fitted Pipeline that predicts from frames of the table's original columns, which it matches by name.

    `feature_names_in_` are these columns. Classifiers predict the labels as they are in a table that pandas reads: the
    classes' names or, if all of them are whole numbers or true and false, these values. `classes_` has them in
    ascending order, as scikit-learn's metrics require, and `predict_proba` a column for each in that order. Clones keep
    the encoding and can be fitted. Raises ArtifactError if the schema is not the model's.
    """
    names = Predictor(model, schema).class_names
    classes = _to_labels(names)
    order = np.argsort(classes)
    if model.weights.shape[1] > 1:
        model = replace(model, weights=model.weights[:, order], bias=model.bias[order])
    estimator = to_estimator(replace(model, feature_names=None))
    if len(names):
        estimator.classes_ = classes[order]
    if model.predictor_type == "binary_classifier" and order[0] == 1:  # the positive class is the first one there
        estimator.positive = 0
        estimator.coef_, estimator.intercept_ = -estimator.coef_, -estimator.intercept_
    return Pipeline([("encode", SchemaEncoder(schema)), ("model", estimator)])


def _to_labels(names: Sequence[str]) -> NDArray[Any]:
    """The classes as pandas reads them from a CSV file, if they are text, whole numbers, or true and false."""
    if set(names) == {"false", "true"}:
        return np.array([name == "true" for name in names])
    try:
        return np.array([int(name) for name in names], np.int64)
    except (ValueError, OverflowError):  # scikit-learn refuses fractions as classes, too
        return np.array(names, object)


def _set_fitted(estimator: Any, model: LinearModel, **attributes: object) -> Any:
    """`estimator` with the attributes that `fit` sets."""
    if model.feature_names is not None:
        attributes["feature_names_in_"] = np.array(model.feature_names, dtype=object)
    vars(estimator).update(attributes, n_features_in_=len(model.weights))
    return estimator
