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
    """A binary classifier that says 1 where its score is at least `threshold`, compared in float32."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def predict(self: Any, X: ArrayLike) -> NDArray[np.int64]:  # noqa: N803 - scikit-learn's name
        """The classes (rows,) of the rows (rows, features)."""
        scores = self.predict_proba(X)[:, 1] if hasattr(self, "predict_proba") else self.decision_function(X)
        return np.asarray(self.classes_[(scores.astype(np.float32) >= np.float32(self.threshold)).astype(np.intp)])


class ThresholdLogisticRegression(_Threshold, LogisticRegression):  # type: ignore[misc] # scikit-learn ships no types
    """Logistic regression whose score is the probability of 1."""


class ThresholdSVC(_Threshold, LinearSVC):  # type: ignore[misc] # the same
    """Linear support vectors whose score is the distance from the plane."""


def to_estimator(model: LinearModel) -> LinearRegression | LogisticRegression | LinearSVC:
    """A fitted estimator that predicts as `model` does, to the precision of float32, and can be pickled.

    A regressor becomes a LinearRegression with `coef_` (features,); the others have `coef_` (1 or classes, features)
    and `classes_` 0, 1, 2, …. Logistic loss: a LogisticRegression whose `predict_proba` are the endpoint's scores and
    whose `predict` keeps the model's threshold. Hinge loss: a LinearSVC whose `decision_function` is the endpoint's
    score, with the model's threshold. Multiclass: a LogisticRegression. Column names go with it where the model has
    `feature_names`. As with all of scikit-learn `clone` gives one that is not fitted; it keeps the threshold.
    """
    weights, bias = model.weights.astype(np.float64), model.bias.astype(np.float64)
    if model.predictor_type == "regressor":
        return _set_fitted(LinearRegression(), model, coef_=weights[:, 0], intercept_=float(bias[0]))
    if weights.shape[1] == 2:  # which scikit-learn has no softmax for; the sigmoid of the difference is the same
        weights, bias = weights[:, 1:] - weights[:, :1], bias[1:] - bias[:1]
    estimator = LogisticRegression()
    if model.predictor_type == "binary_classifier":
        estimator = (ThresholdLogisticRegression if model.has_sigmoid else ThresholdSVC)(model.threshold)
    classes = np.arange(max(2, weights.shape[1]))
    return _set_fitted(estimator, model, coef_=np.ascontiguousarray(weights.T), intercept_=bias, classes_=classes)


def _set_fitted(estimator: Any, model: LinearModel, **attributes: object) -> Any:
    """`estimator` with the attributes that fitting would have set."""
    if model.feature_names is not None:
        attributes["feature_names_in_"] = np.array(model.feature_names, dtype=object)
    vars(estimator).update(attributes, n_features_in_=len(model.weights))
    return estimator
