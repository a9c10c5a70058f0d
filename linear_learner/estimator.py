"""A trained model as a fitted scikit-learn estimator, for scoring, plotting, calibration and explanation.

This is the only module of the package that needs scikit-learn.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from linear_learner.model import LinearModel


class _Threshold:
    """A binary classifier that predicts 1 if the score is at least `threshold`, compared in float32."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def predict(self: Any, X: ArrayLike) -> NDArray[np.int64]:  # noqa: N803 - scikit-learn's name
        """The classes (rows,) of the rows (rows, features)."""
        scores = self.predict_proba(X)[:, 1] if hasattr(self, "predict_proba") else self.decision_function(X)
        return np.asarray(self.classes_[(scores.astype(np.float32) >= np.float32(self.threshold)).astype(np.intp)])


class ThresholdLogisticRegression(_Threshold, LogisticRegression):  # type: ignore[misc] # scikit-learn ships no types
    """Logistic regression; the score is the probability of class 1."""


class ThresholdSVC(_Threshold, LinearSVC):  # type: ignore[misc] # the same
    """A linear support vector classifier; the score is w·x + b."""


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


def _set_fitted(estimator: Any, model: LinearModel, **attributes: object) -> Any:
    """`estimator` with the attributes that `fit` sets."""
    if model.feature_names is not None:
        attributes["feature_names_in_"] = np.array(model.feature_names, dtype=object)
    vars(estimator).update(attributes, n_features_in_=len(model.weights))
    return estimator
