"""The hyperparameters of Amazon SageMaker's Linear Learner as one: what has no effect, to and from the wire."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Self

from pydantic import ValidationError

from linear_learner import wire
from linear_learner.errors import HyperparameterError
from linear_learner.hyperparameter_groups import LOSSES, CommonHyperparameters, RareHyperparameters

_MULTICLASS = ("predictor_type", ("multiclass_classifier",))
_BINARY = ("predictor_type", ("binary_classifier",))
_SCHEDULED = ("use_lr_scheduler", (True,))
_USED_ONLY_WITH: Final[Mapping[str, tuple[str, tuple[object, ...]]]] = MappingProxyType(
    {
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
)
"""A field, and the field with the values without which the container reads it and does nothing with it."""


class Hyperparameters(CommonHyperparameters, RareHyperparameters):
    """What Linear Learner lets its user decide; `None` leaves the choice to the container (its `auto`).

    Names, values and defaults are the container's. A combination the container refuses raises ValidationError here.
    """

    @classmethod
    def of(cls, common: CommonHyperparameters, rare: RareHyperparameters) -> Self:
        """Both groups of a form as one; where the first is the whole already, it stands."""
        return cls(**{**dict(rare), **dict(common)})

    @property
    def groups(self) -> tuple[CommonHyperparameters, RareHyperparameters]:
        """The same as the two groups of a form."""
        common, rare = CommonHyperparameters.model_fields, RareHyperparameters.model_fields
        return (
            CommonHyperparameters(**{name: getattr(self, name) for name in common}),
            RareHyperparameters(**{name: getattr(self, name) for name in rare}),
        )

    @property
    def positive_weight(self) -> float | None:
        """The weight of a positive example; None where it is to balance the classes (`balanced`, `auto`)."""
        weight = self.positive_example_weight_mult
        return None if weight in {"balanced", "auto"} else float(weight)

    def warnings(self) -> list[str]:
        """One sentence for each value that was set and that the container will read and silently not use."""
        found = []
        for name, (condition, values) in _USED_ONLY_WITH.items():
            if getattr(self, name) != type(self).model_fields[name].default and getattr(self, condition) not in values:
                needed = " or ".join(wire.text(value) for value in values)
                actual = wire.text(getattr(self, condition))
                found.append(f"{name} has no effect: it needs {condition} {needed}, and {condition} is {actual}.")
        return found

    def to_wire(self) -> dict[str, str]:
        """predictor_type and whatever differs from the container's default, as the strings CreateTrainingJob takes."""
        return {
            name: wire.text(getattr(self, name))
            for name, field in type(self).model_fields.items()
            if name == "predictor_type" or getattr(self, name) != field.default
        }

    @classmethod
    def from_wire(cls, mapping: Mapping[str, str]) -> Self:
        """Read a training job's hyperparameters; raise HyperparameterError for names and values the container refuses.

        `auto` is read as None. The container's own settings (names with a leading underscore) are passed over.
        """
        given = {name: value for name, value in mapping.items() if not name.startswith("_")}
        if "predictor_type" not in given:
            raise HyperparameterError(f"predictor_type is missing: give one of {', '.join(LOSSES)}")
        schemas = cls.model_json_schema()["properties"]
        for name, value in given.items():
            wire.check(name, value, schemas)
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise HyperparameterError(wire.sentences(error)) from None
