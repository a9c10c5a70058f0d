"""The loss a job asks for, with the weights it gives the classes."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from linear_learner.hyperparameter_groups import LOSSES
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.losses import (
    AbsoluteLoss,
    EpsInsensitiveAbsoluteLoss,
    EpsInsensitiveSquaredLoss,
    HingeLoss,
    HuberLoss,
    LogisticLoss,
    Loss,
    QuantileLoss,
    SoftmaxLoss,
    SquaredLoss,
    WeightedLogisticLoss,
)


def loss_of(settings: Hyperparameters, train_labels: NDArray[np.float32]) -> Loss:
    """The loss the hyperparameters ask for, with the class weights they ask for."""
    makers: dict[str, Callable[..., Loss]] = {
        "squared_loss": SquaredLoss,
        "absolute_loss": AbsoluteLoss,
        "quantile_loss": partial(QuantileLoss, quantile=settings.quantile),
        "huber_loss": partial(HuberLoss, delta=settings.huber_delta),
        "eps_insensitive_squared_loss": partial(EpsInsensitiveSquaredLoss, epsilon=settings.loss_insensitivity),
        "eps_insensitive_absolute_loss": partial(EpsInsensitiveAbsoluteLoss, epsilon=settings.loss_insensitivity),
        "logistic": LogisticLoss,
        "hinge_loss": partial(HingeLoss, margin=settings.margin),
        "softmax_loss": SoftmaxLoss,
    }
    weights = class_weights_of(settings, train_labels)
    name = LOSSES[settings.predictor_type][0] if settings.loss == "auto" else settings.loss
    maker = WeightedLogisticLoss if name == "logistic" and weights is not None else makers[name]
    return maker(class_weights=weights)


def class_weights_of(settings: Hyperparameters, labels: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """(classes,) weights of the classes, or None when all weigh 1.

    `balanced` and `auto` weigh positive examples by negatives over positives, as logs show. Multiclass balancing weighs
    each class by rows over rows of the class: the documentation says one over the frequency, and no more.
    """
    if settings.predictor_type == "binary_classifier":
        positives = int(np.count_nonzero(labels))
        mult = settings.positive_example_weight_mult
        weight = (len(labels) - positives) / max(positives, 1) if mult in {"balanced", "auto"} else float(mult)
        return None if weight == 1 else np.array([1, weight], dtype=np.float32)
    if settings.predictor_type == "multiclass_classifier" and settings.balance_multiclass_weights:
        counts = np.bincount(labels.astype(np.intp), minlength=settings.num_classes or 0)
        return (len(labels) / np.maximum(counts, 1)).astype(np.float32)
    return None
