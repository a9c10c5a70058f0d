"""What Linear Learner lets its user decide, in the two groups of a form: what most people choose, and the rest."""

from collections.abc import Mapping
from math import inf
from types import MappingProxyType, NoneType
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from linear_learner import wire
from linear_learner.errors import HyperparameterError
from linear_learner.model import PredictorType

RegressionLoss = Literal[
    "squared_loss",
    "absolute_loss",
    "eps_insensitive_squared_loss",
    "eps_insensitive_absolute_loss",
    "quantile_loss",
    "huber_loss",
]
BinaryLoss = Literal["logistic", "hinge_loss"]
MulticlassLoss = Literal["softmax_loss"]
Loss = Literal["auto", RegressionLoss, BinaryLoss, MulticlassLoss]
Criteria = Literal["accuracy", "f_beta", "f1", "precision_at_target_recall", "recall_at_target_precision"]
LossCriteria = Literal["loss_function", "cross_entropy_loss"]
Fraction = Annotated[float, Field(ge=0, le=1)]
InnerFraction = Annotated[float, Field(gt=0, lt=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]

LOSSES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "regressor": get_args(RegressionLoss),
        "binary_classifier": get_args(BinaryLoss),
        "multiclass_classifier": get_args(MulticlassLoss),
    }
)
"""The losses of each predictor type; the first is what `auto` means."""


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _read_auto(cls, value: object, info: ValidationInfo) -> object:
        name = info.field_name or ""
        auto = name != "num_classes" and NoneType in get_args(cls.model_fields[name].annotation)
        return None if auto and value == "auto" else value


class CommonHyperparameters(_Group):
    """What most people choose; empty leaves the choice to the algorithm."""

    predictor_type: PredictorType = "regressor"
    """What is predicted: a number (regressor), yes or no (binary_classifier), or one of several classes."""
    num_classes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many classes the labels 0, 1, 2, … name. Required for multiclass_classifier, 3 to 1 000 000; else empty."""
    loss: Loss = "auto"
    """What training minimises. auto: squared_loss for a regressor, logistic for binary, softmax_loss for multiclass."""
    epochs: PositiveInt = 15
    """The most passes over the training data; early stopping may need fewer. At least 1; default 15."""
    mini_batch_size: PositiveInt = 1000
    """Rows per update of the weights. At least 1 and at most the number of training rows; default 1000."""
    early_stopping_patience: PositiveInt = 3
    """Epochs without enough improvement after which training stops. At least 1; default 3."""
    num_models: PositiveInt | None = None
    """Models trained side by side, of which the best is kept. At least 1; empty: 32, or about 28 for multiclass."""
    optimizer: Literal["auto", "adam", "sgd", "rmsprop"] = "auto"
    """How the weights are updated. auto: adam."""
    learning_rate: PositiveFloat | None = None
    """Size of a step. Above 0; empty: several are tried."""
    l1: NonNegativeFloat | None = Field(None, title="L1 Regularisation")
    """Strength of L1 regularisation. 0 or more; empty: 0, or several for multiclass."""
    wd: NonNegativeFloat | None = Field(None, title="Weight Decay (L2)")
    """Strength of L2 regularisation. 0 or more; empty: several are tried."""
    quantile: InnerFraction = 0.5
    """The quantile that quantile_loss predicts. Between 0 and 1; default 0.5, the median."""
    huber_delta: NonNegativeFloat = 1.0
    """Where huber_loss turns from squared to absolute. 0 or more, in label units; default 1.0."""
    positive_example_weight_mult: str = "1.0"
    """Weight of positive examples where negatives weigh 1: a number above 0, or balanced, or auto. Default 1.0."""
    balance_multiclass_weights: bool = False
    """Whether each class gets the same total weight. Default false."""
    binary_classifier_model_selection_criteria: Literal[Criteria, LossCriteria] = "accuracy"
    """What picks the best binary model and its threshold. f1 is f_beta with beta 1. Default accuracy."""
    target_recall: Fraction = 0.8
    """The recall to hold with precision_at_target_recall. 0 to 1; default 0.8."""
    target_precision: Fraction = 0.8
    """The precision to hold with recall_at_target_precision. 0 to 1; default 0.8."""

    @field_validator("positive_example_weight_mult", mode="before")
    @classmethod
    def _check_weight(cls, value: object) -> object:
        spelled = value if isinstance(value, (str, bool)) else wire.text(value)
        number = wire.is_spelled("number", spelled) and 0 < float(str(spelled)) < inf
        if not number and spelled not in {"balanced", "auto"}:
            raise HyperparameterError("give a number above 0, balanced, or auto")
        return spelled

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.loss != "auto" and self.loss not in LOSSES[self.predictor_type]:
            allowed = ", ".join(LOSSES[self.predictor_type])
            raise HyperparameterError(f"loss {self.loss} is not one of a {self.predictor_type}: {allowed}, or auto")
        if self.predictor_type == "multiclass_classifier" and (self.num_classes or 0) < 3:
            raise HyperparameterError("num_classes must be given, and at least 3, with multiclass_classifier")
        return self


class RareHyperparameters(_Group):
    """What few people ever change; empty leaves the choice to the algorithm."""

    feature_dim: PositiveInt | None = None
    """Number of feature columns, to have it checked. At least 1; empty: read off the data."""
    use_bias: bool = True
    """Whether the model has an intercept. Default true."""
    loss_insensitivity: PositiveFloat = 0.01
    """Errors below it cost nothing with the eps_insensitive losses. Above 0; default 0.01."""
    margin: NonNegativeFloat = Field(1.0, title="Hinge Margin")
    """How far from the boundary hinge_loss wants every example. 0 or more; default 1.0."""
    beta_1: Decay | None = Field(None, title="Adam Beta 1")
    """Decay of adam's mean of gradients. At least 0 and below 1; empty: 0.9."""
    beta_2: Decay | None = Field(None, title="Adam Beta 2")
    """Decay of adam's mean of squared gradients. At least 0 and below 1; empty: 0.999."""
    momentum: Decay | None = Field(None, title="SGD Momentum")
    """Share of the last step that sgd repeats. At least 0 and below 1; empty: 0."""
    bias_lr_mult: PositiveFloat | None = Field(None, title="Bias Learning Rate Multiplier")
    """The intercept's learning rate as a multiple of the weights'. Above 0; empty: 10."""
    bias_wd_mult: NonNegativeFloat | None = Field(None, title="Bias Weight Decay Multiplier")
    """The intercept's weight decay as a multiple of the weights'. 0 or more; empty: 0."""
    use_lr_scheduler: bool = Field(default=True, title="Use Learning Rate Scheduler")
    """Whether the learning rate falls during training. Default true."""
    lr_scheduler_step: PositiveInt | None = Field(None, title="Learning Rate Scheduler Step")
    """Mini-batches between two reductions of the learning rate. At least 1; empty: several are tried."""
    lr_scheduler_factor: InnerFraction | None = Field(None, title="Learning Rate Scheduler Factor")
    """What the learning rate is multiplied by at each reduction. Between 0 and 1; empty: 0.99."""
    lr_scheduler_minimum_lr: PositiveFloat | None = Field(None, title="Minimum Learning Rate")
    """The learning rate never falls below it. Above 0; empty: several are tried."""
    init_method: Literal["uniform", "normal"] = "uniform"
    """Distribution of the weights before training. Default uniform."""
    init_scale: PositiveFloat = 0.07
    """With init_method uniform, weights start between minus and plus this. Above 0; default 0.07."""
    init_sigma: PositiveFloat = 0.01
    """With init_method normal, standard deviation of the weights at the start. Above 0; default 0.01."""
    init_bias: float = 0.0
    """The intercept before training. Any number; default 0."""
    normalize_data: bool | None = True
    """Whether features are scaled to unit standard deviation during training. Default true; empty: auto."""
    normalize_label: bool | None = None
    """Whether a regressor's label is scaled likewise. Empty: yes for regression."""
    unbias_data: bool | None = None
    """Whether features are shifted to mean 0 during training. Empty: auto."""
    unbias_label: bool | None = None
    """Whether a regressor's label is shifted to mean 0 during training. Empty: auto."""
    num_point_for_scaler: PositiveInt = Field(10_000, title="Rows for the Scaler")
    """Rows from which means and standard deviations are computed. At least 1; default 10 000."""
    early_stopping_tolerance: PositiveFloat = 0.001
    """Relative improvement of the loss that counts; smaller ones are not kept. Above 0; default 0.001."""
    num_calibration_samples: PositiveInt | None = None
    """Rows used to search the binary threshold. At least 1; empty: 10 000 000."""
    f_beta: PositiveFloat = Field(1.0, title="F-Score Beta")
    """Weight of recall against precision in the F-score. Above 0; default 1.0."""
    accuracy_top_k: PositiveInt = 3
    """A multiclass prediction counts as right among its k likeliest classes. At least 1; default 3."""
