"""The hyperparameters of Linear Learner, and their wire format, in which every value is a string."""

import re
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from math import inf
from types import NoneType
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    BaseModel,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

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
ThresholdCriteria = Literal["accuracy", "f_beta", "f1", "precision_at_target_recall", "recall_at_target_precision"]
LossCriteria = Literal["loss_function", "cross_entropy_loss"]
Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]

LOSSES: Final[Mapping[str, tuple[str, ...]]] = {
    "regressor": get_args(RegressionLoss),
    "binary_classifier": get_args(BinaryLoss),
    "multiclass_classifier": get_args(MulticlassLoss),
}
"""The losses of each predictor type; `auto` means the first."""

_MULTICLASS = ("predictor_type", ("multiclass_classifier",))
_BINARY = ("predictor_type", ("binary_classifier",))
_SCHEDULED = ("use_lr_scheduler", (True,))
CONDITIONS_OF_USE: Final[Mapping[str, tuple[str, tuple[object, ...]]]] = {
    "num_classes": _MULTICLASS,
    "accuracy_top_k": _MULTICLASS,
    "balance_multiclass_weights": _MULTICLASS,
    "f_beta": ("predictor_type", ("binary_classifier", "multiclass_classifier")),
    "binary_classifier_model_selection_criteria": _BINARY,
    "positive_example_weight_mult": _BINARY,
    "num_calibration_samples": _BINARY,
    "target_recall": ("binary_classifier_model_selection_criteria", ("precision_at_target_recall",)),
    "target_precision": ("binary_classifier_model_selection_criteria", ("recall_at_target_precision",)),
    "normalize_label": ("predictor_type", ("regressor",)),
    "unbias_label": ("predictor_type", ("regressor",)),
    "quantile": ("loss", ("quantile_loss",)),
    "huber_delta": ("loss", ("huber_loss",)),
    "loss_insensitivity": ("loss", ("eps_insensitive_squared_loss", "eps_insensitive_absolute_loss")),
    "margin": ("loss", ("hinge_loss",)),
    "momentum": ("optimizer", ("sgd",)),
    "beta_1": ("optimizer", ("auto", "adam")),
    "beta_2": ("optimizer", ("auto", "adam")),
    "lr_scheduler_step": _SCHEDULED,
    "lr_scheduler_factor": _SCHEDULED,
    "lr_scheduler_minimum_lr": _SCHEDULED,
    "bias_lr_mult": ("use_bias", (True,)),
    "bias_wd_mult": ("use_bias", (True,)),
    "init_scale": ("init_method", ("uniform",)),
    "init_sigma": ("init_method", ("normal",)),
}
"""Name to (other name, values): the container ignores a hyperparameter unless the other has one of these values."""

MODEL_GRID: Final[Mapping[str, tuple[float, ...]]] = {
    "lr_scheduler_step": (10, 100),
    "lr_scheduler_minimum_lr": (1e-5, 1e-4),
    "learning_rate": (0.005, 0.1),
    "wd": (1e-4, 1e-2, 1.0, 100.0),
}
"""The values of the 32 models for regression and binary classification; the first changes fastest."""

_WIRE_PATTERNS: Final = {
    "integer": (re.compile(r"[+-]?[0-9]{1,18}"), "a whole number"),
    "number": (re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"), "a number"),
    # The container was observed to accept `True` as well as `true`.
    "boolean": (re.compile(r"[Tt]rue|[Ff]alse"), "true or false"),
}
"""JSON schema type to (spelling on the wire, name). pydantic would also accept `1_000`, ` 10 ` and `yes`."""


class Hyperparameters(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True):
    """The hyperparameters of Linear Learner, with the container's names and defaults; `None` is its `auto`.

    A combination that the container refuses raises ValidationError.
    """

    predictor_type: PredictorType = "regressor"
    """What is predicted: a number (regressor), yes or no (binary_classifier), or one of several classes."""
    num_classes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Number of classes; labels are 0, 1, 2, …. Required for multiclass_classifier, 3 to 1 000 000; otherwise empty."""
    loss: Loss = "auto"
    """Loss to minimise. auto: squared_loss for a regressor, logistic for binary, softmax_loss for multiclass."""
    epochs: PositiveInt = 15
    """Maximum number of passes over the training data; early stopping may end sooner. At least 1; default 15."""
    mini_batch_size: PositiveInt = 1000
    """Rows per update of the weights. At least 1 and at most the number of training rows; default 1000."""
    early_stopping_patience: PositiveInt = 3
    """Number of epochs without sufficient improvement after which training stops. At least 1; default 3."""
    num_models: PositiveInt | None = None
    """Number of models trained in parallel; the best is saved. At least 1; None: 32, or about 28 for multiclass."""
    optimizer: Literal["auto", "adam", "sgd", "rmsprop"] = "auto"
    """Optimisation algorithm. auto: adam."""
    learning_rate: PositiveFloat | None = None
    """Step size of the optimizer. Above 0; None: several values are tried."""
    l1: NonNegativeFloat | None = Field(None, title="L1 Regularisation")
    """Strength of L1 regularisation. 0 or more; None: 0, or several values for multiclass."""
    wd: NonNegativeFloat | None = Field(None, title="Weight Decay (L2)")
    """Strength of L2 regularisation. 0 or more; None: several values are tried."""
    quantile: OpenFraction = 0.5
    """The quantile that quantile_loss predicts. Between 0 and 1; default 0.5, the median."""
    huber_delta: NonNegativeFloat = 1.0
    """Error above which huber_loss is absolute instead of squared. 0 or more, in label units; default 1.0."""
    positive_example_weight_mult: str = "1.0"
    """Weight of positive examples; negative ones have weight 1. A number above 0, balanced or auto; default 1.0."""
    balance_multiclass_weights: bool = False
    """Whether all classes get the same total weight. Default false."""
    binary_classifier_model_selection_criteria: Literal[ThresholdCriteria, LossCriteria] = "accuracy"
    """Criterion that selects the best binary model and its threshold. f1 is f_beta with beta 1. Default accuracy."""
    target_recall: Fraction = 0.8
    """Minimum recall with precision_at_target_recall. 0 to 1; default 0.8."""
    target_precision: Fraction = 0.8
    """Minimum precision with recall_at_target_precision. 0 to 1; default 0.8."""
    feature_dim: PositiveInt | None = None
    """Expected number of feature columns. At least 1; None: taken from the data."""
    use_bias: bool = True
    """Whether the model has an intercept. Default true."""
    loss_insensitivity: PositiveFloat = 0.01
    """Error below which the eps_insensitive losses are 0. Above 0; default 0.01."""
    margin: NonNegativeFloat = Field(1.0, title="Hinge Margin")
    """Distance from the boundary below which hinge_loss is above 0. 0 or more; default 1.0."""
    beta_1: Decay | None = Field(None, title="Adam Beta 1")
    """Decay rate of adam's mean of gradients. At least 0 and below 1; None: 0.9."""
    beta_2: Decay | None = Field(None, title="Adam Beta 2")
    """Decay rate of adam's mean of squared gradients. At least 0 and below 1; None: 0.999."""
    momentum: Decay | None = Field(None, title="SGD Momentum")
    """Fraction of the last step that sgd adds to the next. At least 0 and below 1; None: 0."""
    bias_lr_mult: PositiveFloat | None = Field(None, title="Bias Learning Rate Multiplier")
    """Learning rate of the intercept as a multiple of that of the weights. Above 0; None: 10."""
    bias_wd_mult: NonNegativeFloat | None = Field(None, title="Bias Weight Decay Multiplier")
    """Weight decay of the intercept as a multiple of that of the weights. 0 or more; None: 0."""
    use_lr_scheduler: bool = Field(default=True, title="Use Learning Rate Scheduler")
    """Whether the learning rate is reduced during training. Default true."""
    lr_scheduler_step: PositiveInt | None = Field(None, title="Learning Rate Scheduler Step")
    """Mini-batches between two reductions of the learning rate. At least 1; None: several values are tried."""
    lr_scheduler_factor: OpenFraction | None = Field(None, title="Learning Rate Scheduler Factor")
    """Factor by which each reduction multiplies the learning rate. Between 0 and 1; None: 0.99."""
    lr_scheduler_minimum_lr: PositiveFloat | None = Field(None, title="Minimum Learning Rate")
    """Minimum of the reduced learning rate. Above 0; None: several values are tried."""
    init_method: Literal["uniform", "normal"] = "uniform"
    """Distribution of the initial weights. Default uniform."""
    init_scale: PositiveFloat = 0.07
    """With init_method uniform, initial weights are between -init_scale and init_scale. Above 0; default 0.07."""
    init_sigma: PositiveFloat = 0.01
    """With init_method normal, standard deviation of the initial weights. Above 0; default 0.01."""
    init_bias: float = 0.0
    """Initial value of the intercept. Any number; default 0."""
    normalize_data: bool | None = True
    """Whether features are scaled to unit standard deviation during training. Default true; None: auto."""
    normalize_label: bool | None = None
    """Whether a regressor's label is scaled to unit standard deviation during training. None: true."""
    unbias_data: bool | None = None
    """Whether features are shifted to mean 0 during training. None: auto."""
    unbias_label: bool | None = None
    """Whether a regressor's label is shifted to mean 0 during training. None: auto."""
    num_point_for_scaler: PositiveInt = Field(10_000, title="Rows for the Scaler")
    """Number of rows from which means and standard deviations are computed. At least 1; default 10 000."""
    early_stopping_tolerance: PositiveFloat = 0.001
    """Relative improvement that an epoch must exceed for its model to be saved. Above 0; default 0.001."""
    num_calibration_samples: PositiveInt | None = None
    """Number of rows used to search the binary threshold. At least 1; None: 10 000 000."""
    f_beta: PositiveFloat = Field(1.0, title="F-Score Beta")
    """Weight of recall against precision in the F-score. Above 0; default 1.0."""
    accuracy_top_k: PositiveInt = 3
    """A multiclass prediction is correct if the label is among its k most likely classes. At least 1; default 3."""

    @field_validator("*", mode="before")
    @classmethod
    def _read_auto(cls, value: object, info: ValidationInfo) -> object:
        name = info.field_name or ""
        auto = name != "num_classes" and NoneType in get_args(cls.model_fields[name].annotation)
        return None if auto and value == "auto" else value

    @field_validator("positive_example_weight_mult", mode="before")
    @classmethod
    def _check_weight(cls, value: object) -> object:
        text = value if isinstance(value, str) else to_wire_text(value)
        is_number = _WIRE_PATTERNS["number"][0].fullmatch(text)
        if text not in {"balanced", "auto"} and not (is_number and 0 < float(text) < inf):
            raise HyperparameterError("give a number above 0, balanced, or auto")
        return text

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        self._check_loss()
        if self.predictor_type == "multiclass_classifier" and (self.num_classes or 0) < 3:
            raise HyperparameterError("num_classes must be given, and at least 3, with multiclass_classifier")
        return self

    def _check_loss(self) -> None:
        if self.loss != "auto" and self.loss not in LOSSES[self.predictor_type]:
            allowed = ", ".join(LOSSES[self.predictor_type])
            raise HyperparameterError(f"loss {self.loss} is invalid for {self.predictor_type}: use {allowed}, or auto")

    @property
    def positive_weight(self) -> float | None:
        """The weight of a positive example; None for `balanced` and `auto`, which derive it from the labels."""
        weight = self.positive_example_weight_mult
        return None if weight in {"balanced", "auto"} else float(weight)

    def uses(self, name: str) -> bool:
        """Whether the container uses `name`, which may depend on another hyperparameter."""
        condition, values = CONDITIONS_OF_USE.get(name, (name, (getattr(self, name),)))
        return getattr(self, condition) in values

    def warnings(self) -> list[str]:
        """One sentence for each given value that the container ignores, or does not use as its name suggests."""
        found = []
        for name, (condition, values) in CONDITIONS_OF_USE.items():
            if getattr(self, name) != type(self).model_fields[name].default and not self.uses(name):
                needed = " or ".join(to_wire_text(value) for value in values)
                actual = to_wire_text(getattr(self, condition))
                found.append(f"{name} has no effect: it needs {condition} {needed}, and {condition} is {actual}.")
        if self.predictor_type != "multiclass_classifier":
            for name, values in MODEL_GRID.items():
                if (value := getattr(self, name)) in values and self.uses(name):
                    given, tried = to_wire_text(value), ", ".join(map(to_wire_text, values))
                    found.append(f"{name} {given} does not exclude other values: the container always tries {tried}.")
        return found

    def to_wire(self) -> dict[str, str]:
        """predictor_type and all values that differ from the container's defaults, as strings for CreateTrainingJob."""
        return {
            name: to_wire_text(getattr(self, name))
            for name, field in type(self).model_fields.items()
            if name == "predictor_type" or getattr(self, name) != field.default
        }

    @classmethod
    def from_wire(cls, mapping: Mapping[str, str]) -> Self:
        """Read a training job's hyperparameters; raise HyperparameterError for names and values the container refuses.

        `auto` is read as None. The container's internal settings (names with a leading underscore) are ignored.
        """
        given = {name: value for name, value in mapping.items() if not name.startswith("_")}
        if "predictor_type" not in given:
            raise HyperparameterError(f"predictor_type is missing: give one of {', '.join(LOSSES)}")
        schemas = cls.model_json_schema()["properties"]
        for name, value in given.items():
            _check_spelling(name, value, schemas)
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise HyperparameterError("; ".join(_describe_error(**detail) for detail in error.errors())) from None


def _check_spelling(name: str, value: str, schemas: Mapping[str, Any]) -> None:
    """Raise HyperparameterError for an unknown name, and for a value that is not spelled as its JSON type requires."""
    if name not in schemas:
        close = get_close_matches(name, schemas, n=1)
        remedy = f"did you mean {close[0]}?" if close else "remove it"
        raise HyperparameterError(f"{name} is not a hyperparameter of Linear Learner: {remedy}")
    options = schemas[name].get("anyOf", [schemas[name]])
    may_be_auto = len(options) > 1
    pattern, allowed = _WIRE_PATTERNS.get(options[0]["type"], (None, ""))
    if pattern and not pattern.fullmatch(value) and not (may_be_auto and value == "auto"):
        auto = ", or auto" if may_be_auto else ""
        raise HyperparameterError(f"{name} is {value[:80]!r}: give {allowed}{auto}")


def to_wire_text(value: object) -> str:
    """The spelling of a value on the wire; None is `auto`."""
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return str(value).lower()
    # Without an exponent: not every reader is known to accept `1e-07` as a number.
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


def _describe_error(loc: tuple[int | str, ...], msg: str, input: object, **_: object) -> str:  # noqa: A002  # pydantic's name
    message = msg.removeprefix("Value error, ")
    return f"{loc[0]} is {str(input)[:80]!r}: {message[0].lower()}{message[1:]}" if loc else message
