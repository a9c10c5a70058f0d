"""What people choose for a run, in a form or on the command line. Imports nothing heavy: `--help` reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from aws.training.compute import Compute
from linear_learner.errors import HyperparameterError
from linear_learner.hyperparameters import Hyperparameters

Share = Annotated[float, Field(gt=0, lt=1)]
ColumnName = Annotated[str, Field(min_length=1)]
CHANNELS = ("train", "validation", "test")
MIN_BATCHES_PER_EPOCH = 16
"""When the container's default batch is larger than the training data."""
Format = Literal["csv", "recordio"]
GateMetric = Literal[
    "auto",
    "rmse",
    "mae",
    "pinball",
    "r2",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "roc_auc",
    "pr_auc",
    "log_loss",
]


class Dataset(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """The table to train on."""

    source: Annotated[str, Field(min_length=1)] = "output/transformed_data.csv"
    """Table of numbers, CSV with a header (also .gz, .zst) or Parquet: s3://bucket/key, or a key in the workspace's
    bucket. With a slash at the end all files under it, as one table. Also file:///path on the machine that runs it."""
    target: ColumnName = "bonus"
    """Name of the column to predict; all others are features."""
    ignore: tuple[ColumnName, ...] = ()
    """Columns to leave out, such as ids."""
    holdout: Annotated[str, Field(min_length=1)] | None = None
    """A second table that is the test set, the same one in every run. Empty: the test set is split off the table."""
    format: Format = "csv"
    """How the channels are written; recordio (RecordIO-protobuf, 32-bit floats) is quicker to write and to train on."""

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.target in self.ignore:
            raise ValueError(f"{self.target!r} is the target and cannot be ignored")
        return self


class Split(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Which rows train, which decide, which judge; by default 70 %, 20 % and 10 %."""

    holdout_size: Share = 0.3
    """Share of all rows kept out of training, between 0 and 1; default 0.3."""
    test_size: Share = 0.33
    """Share of the holdout that becomes the test set, between 0 and 1; the rest validates. Default 0.33."""
    random_state: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of the shuffle: the same seed and table give the same rows in the same order. Default 42."""
    method: Literal["random", "stratified", "time", "group"] = "random"
    """random; stratified: the same shares of every class in each set; time: the earliest rows train, the latest test;
    group: all rows of a group, such as a customer, stay together."""
    column: ColumnName | None = None
    """time and group: the column that says when, or whose; it is no feature then. stratified: empty for the target."""

    @model_validator(mode="after")
    def _check_column(self) -> Self:
        if self.method in {"time", "group"} and self.column is None:
            raise ValueError(f"a split by {self.method} needs column, the name of the column to split by")
        if self.method == "random" and self.column is not None:
            raise ValueError("column is for the methods stratified, time and group; leave it empty, or choose one")
        return self

    @property
    def left_out(self) -> tuple[str, ...]:
        """The column that divides the rows and says nothing about new ones."""
        return (self.column,) if self.column and self.method in {"time", "group"} else ()


class Reuse(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """What may be reused of earlier runs; training jobs are not touched by it: see if_exists."""

    refresh: bool = False
    """Do every step again, whatever was kept. Default false."""
    max_age_days: Annotated[float, Field(gt=0, le=36_500)] | None = None
    """Do a step again when its result is older than this many days, above 0 and at most 36500. Empty: however old."""


class Gate(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """What a model must show on the test set before it may be used."""

    metric: GateMetric = "auto"
    """What decides. auto: for numbers RMSE, MAE or pinball loss, as the loss is; ROC-AUC for two classes; for more
    log loss, or balanced accuracy when classes are weighted."""
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share of the error of the best constant prediction that must be gone, from 0 to below 1. Default 0.01."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """How much more error than the champion's cannot be ruled out and is still accepted, as a share, from 0 to below 1;
    on the test rows themselves the model must have less error in any case. Default 0.01."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Of the bootstrap intervals that decide and are shown, from 0.5 to below 1. Default 0.95."""
    slice_by: ColumnName | None = None
    """A column, also one that is ignored, for whose values the metrics are shown one by one; it decides nothing."""


class Registry(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """What becomes of the model in SageMaker's Model Registry."""

    register_model: bool = True
    """Register the model, with its verdict; a rejected one as Rejected. Default true."""
    group: Annotated[str, Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$")] | None = Field(
        None, title="Model Package Group"
    )
    """Where it is registered; letters, digits and hyphens. Its newest approved model is the champion. Empty:
    linear-learner- with the names of target and table."""
    approve: bool = Field(default=False, title="Approve at Once")
    """Approve a model that passes the gate at once; else it waits for a person. Default false."""


class RunParameters(BaseModel, frozen=True):
    """Everything that decides about a run, as one value; `run.json` records it."""

    dataset: Dataset = Dataset()
    split: Split = Split()
    hyperparameters: Hyperparameters = Hyperparameters()
    compute: Compute = Compute()
    gate: Gate = Gate()
    registry: Registry = Registry()


def fit_batch_size(hyperparameters: Hyperparameters, rows: int) -> Hyperparameters:
    """The same hyperparameters with a mini_batch_size of at most `rows`, the number of training rows.

    A default that is too large becomes a power of two; a chosen one raises HyperparameterError. The container fails a
    job whose mini_batch_size exceeds its rows only after the instance has been paid for.
    """
    if hyperparameters.mini_batch_size <= rows:
        return hyperparameters
    if hyperparameters.mini_batch_size != Hyperparameters().mini_batch_size:
        raise HyperparameterError(
            f"mini_batch_size is {hyperparameters.mini_batch_size}, but there are only {rows} training rows. "
            f"Choose at most {rows}."
        )
    batch = 1 << max(0, (rows // MIN_BATCHES_PER_EPOCH).bit_length() - 1)
    return hyperparameters.model_copy(update={"mini_batch_size": batch})


COMMON_HYPERPARAMETERS = (
    "predictor_type",
    "num_classes",
    "loss",
    "epochs",
    "mini_batch_size",
    "early_stopping_patience",
    "num_models",
    "optimizer",
    "learning_rate",
    "l1",
    "wd",
    "quantile",
    "huber_delta",
    "positive_example_weight_mult",
    "balance_multiclass_weights",
    "binary_classifier_model_selection_criteria",
    "target_recall",
    "target_precision",
)
"""Those that the form shows at once, in this order; it shows all others in a group of their own."""
RARE_GROUP = "rarely_changed"
"""Name of that group in what the form submits; nothing else ever writes it."""


def _grouped(values: Mapping[str, Any]) -> dict[str, Any]:
    """The common ones of `values`, by hyperparameter, and the others one level down, under RARE_GROUP."""
    common = {name: values[name] for name in COMMON_HYPERPARAMETERS}
    return common | {RARE_GROUP: {name: value for name, value in values.items() if name not in common}}


def _flattened(submitted: Any) -> Any:
    """Undo `_grouped` for what a form submits.

    The form shows only the defaults of the group, not what a deployment gives by a hyperparameter's own name. So a
    default in the group changes nothing; any other value there was typed by a person, and applies.
    """
    if not isinstance(submitted, Mapping) or not isinstance(submitted.get(RARE_GROUP), Mapping):
        return submitted
    flat = {name: value for name, value in submitted.items() if name != RARE_GROUP}
    for name, value in submitted[RARE_GROUP].items():
        field = Hyperparameters.model_fields.get(name)
        if name not in flat or field is None or value != field.default:
            flat[name] = value
    return flat


@dataclass(frozen=True)
class _GroupedSchema:
    """The JSON schema of the hyperparameters, from which Prefect makes a form, with the rare ones in a group.

    Prefect's server validates parameters against the same schema. Names that are not in the group are valid in it too:
    `patternProperties` says so to the server, and the form does not read that keyword.
    """

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(schema)
        form = handler.resolve_ref_schema(reference)
        properties = _grouped(form["properties"])
        form["patternProperties"] = {f"^{name}$": rare for name, rare in properties[RARE_GROUP].items()}
        properties[RARE_GROUP] = {
            "type": "object",
            "title": "Rarely changed",
            "description": "Their defaults suit most tables. What a deployment sets applies unless it is changed here.",
            "properties": properties[RARE_GROUP],
            "additionalProperties": False,
        }
        form["properties"] = properties
        return reference


HyperparametersForm = Annotated[
    Hyperparameters,
    BeforeValidator(_flattened),
    _GroupedSchema(),
    Field(json_schema_extra={"title": "Hyperparameters", "default": _grouped(Hyperparameters().model_dump())}),
]
"""Hyperparameters as a flow's parameter; grouped only in the form, and in what the form submits."""
