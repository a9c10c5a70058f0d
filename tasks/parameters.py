"""The parameters of a run; this module imports nothing slow, as `--help` needs it."""

from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, Field, PositiveInt, field_validator, model_validator

from aws.parameters import Parameters
from aws.training.compute import Compute
from linear_learner.errors import HyperparameterError
from linear_learner.hyperparameters import LOSSES, Hyperparameters, LossCriteria, ThresholdCriteria
from linear_learner.model import PredictorType
from linear_learner.schedule import choose_batch_size, choose_epochs, choose_num_models, choose_patience

Share = Annotated[float, Field(gt=0, lt=1)]
ColumnName = Annotated[str, Field(min_length=1)]
CHANNELS = ("train", "validation", "test")
ChannelFormat = Literal["csv", "recordio"]
Format = Literal["auto", ChannelFormat]
Encoding = Literal["utf-8", "latin-1"]
RequestedType = Literal["auto", PredictorType]
MULTICLASS_PENALTY = 0.001
"""Default l1 and wd of multiclass models, around which the algorithm searches; its own 0.02 shrinks the weights of
small tables too much: docs/decisions/0011-mini-batch-size.md."""
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


class Reading(BaseModel, frozen=True):
    """How the files of a table are read: the options of `Dataset` with these names."""

    columns: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    encoding: Encoding = "utf-8"


MAX_CATEGORIES = 50
"""Number of categories with a feature each, unless another is chosen."""


class PlanOptions(BaseModel, frozen=True):
    """The options of a dataset that decide about its columns."""

    categorical: tuple[str, ...] = ()
    """Columns that are categories whatever their cells are, such as numeric codes."""
    max_categories: int = MAX_CATEGORIES
    features: Literal["auto", "numeric"] = "auto"
    """numeric: refuse each feature that is not a complete column of numbers."""


class Dataset(Parameters):
    """The table to train on."""

    source: Annotated[str, Field(min_length=1)] = "output/transformed_data.csv"
    """Table as CSV with a header (also .gz, .zst) or Parquet: s3://bucket/key, or a key in the workspace's bucket.
    A prefix ending with a slash: all files under it are one table. Also file:///path on the flow's machine."""
    target: ColumnName = "bonus"
    """Name of the column to predict; all others are features."""
    ignore: tuple[ColumnName, ...] = ()
    """Columns that are not features, such as ids."""
    categorical: tuple[ColumnName, ...] = ()
    """Columns of numbers that are categories, such as codes. Columns of text are categories without being named."""
    features: Literal["auto", "numeric"] = "auto"
    """auto: text, dates and missing cells are encoded. numeric: a column that is not all numbers is refused."""
    max_categories: Annotated[int, Field(ge=1, le=10_000)] = MAX_CATEGORIES
    """Number of categories of a column, the most frequent ones, with a feature each; others share one. Default 50."""
    positive: Annotated[str, Field(min_length=1)] | None = None
    """The class of two that is predicted as 1, such as yes. None: the larger number, or the last in the alphabet."""
    drop_unlabelled: bool = False
    """Leave out rows without a value in the target column, which are refused otherwise. Default false."""
    holdout: Annotated[str, Field(min_length=1)] | None = Field(None, title="Test Table")
    """A second table that is the test set of every run. None: the test set is a part of the first table."""
    columns: tuple[ColumnName, ...] = ()
    """Names of all columns, for CSV files whose first line is data. Empty: the first line has the names."""
    missing: tuple[ColumnName, ...] = ()
    """Texts or numbers that mean a missing value, such as - or -999; empty cells, NA, NaN, NULL and ? always do."""
    encoding: Encoding = "utf-8"
    """Encoding of CSV files without a byte order mark; UTF-16 has one. Default utf-8."""
    format: Format = "auto"
    """File format of the channels. auto: csv, or recordio (RecordIO-protobuf, 32-bit floats) if columns are encoded and
    the files are smaller. recordio is faster to write and to train on."""

    @property
    def plan_options(self) -> PlanOptions:
        """The options that decide what becomes of the columns."""
        return PlanOptions(categorical=self.categorical, max_categories=self.max_categories, features=self.features)

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.target in self.ignore:
            raise ValueError(f"{self.target!r} is the target and cannot be ignored")
        if self.target in self.categorical:
            raise ValueError(
                f"{self.target!r} is the target, not a feature: set predictor_type for a target of classes"
            )
        return self

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        repeated = [column for column in columns if columns.count(column) > 1]
        if repeated:
            raise ValueError(f"dataset.columns has the name {repeated[0]!r} more than once; give different names")
        return columns

    @property
    def reading(self) -> Reading:
        return Reading(columns=self.columns, missing=self.missing, encoding=self.encoding)


class Split(Parameters):
    """How the rows are divided into training, validation and test set; by default 70 %, 20 % and 10 %."""

    holdout_size: Share = 0.3
    """Share of all rows that are not used for training, between 0 and 1; default 0.3."""
    test_size: Share = 0.33
    """Share of the holdout that is the test set, between 0 and 1; the rest is the validation set. Default 0.33."""
    random_state: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of the shuffle: the same seed and table give the same rows in the same order. Default 42."""
    method: Literal["random", "stratified", "time", "group"] = "random"
    """random; stratified: each set has the same shares of all classes; time: the earliest rows are the training set,
    the latest the test set; group: all rows of a group, such as a customer, are in one set."""
    column: ColumnName | None = None
    """time and group: the column of the time or group, which is no feature then. stratified: empty for the target."""

    @model_validator(mode="after")
    def _check_column(self) -> Self:
        if self.method in {"time", "group"} and self.column is None:
            raise ValueError(f"a split by {self.method} needs column: the name of the column to split by")
        if self.method == "random" and self.column is not None:
            raise ValueError("column is for the methods stratified, time and group: leave it empty, or change method")
        return self

    @property
    def left_out(self) -> tuple[str, ...]:
        """The column by which time and group split the rows; it is not a feature."""
        return (self.column,) if self.column and self.method in {"time", "group"} else ()


class Reuse(Parameters):
    """Which results of earlier runs are reused; if_exists decides about training jobs."""

    refresh: bool = False
    """Run every step again, without stored results. Default false."""
    max_age_days: Annotated[float, Field(gt=0, le=36_500)] | None = None
    """Run a step again if its result is older than this number of days, above 0 and at most 36500. None: no limit."""


class Gate(Parameters):
    """Conditions on the test set that a model must meet before it may be used."""

    metric: GateMetric = "auto"
    """The metric that decides. auto: for regression RMSE, MAE or pinball loss, depending on the loss; ROC-AUC for two
    classes; for more classes log loss, or balanced accuracy if classes are weighted."""
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share by which the error must certainly be below that of the best constant, from 0 to below 1. Default 0.01."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share by which the error may exceed the champion's at the upper end of the interval, from 0 to below 1; the error
    on the test set itself must be below the champion's in any case. Default 0.01."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Confidence level of the bootstrap intervals, from 0.5 to below 1. Default 0.95."""
    slice_by: ColumnName | None = None
    """A column, which may be ignored in training: the report has the metrics for each of its values. Not decisive."""


class Registry(Parameters):
    """Whether and where the model is registered in SageMaker's Model Registry."""

    register_model: bool = True
    """Register the model with its verdict; a rejected model has the status Rejected. Default true."""
    group: Annotated[str, Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$")] | None = Field(
        None, title="Model Package Group"
    )
    """Group to register the model in; letters, digits and hyphens. Its newest approved model is the champion. None:
    linear-learner- with the names of target and table."""
    approve: bool = Field(default=False, title="Approve at Once")
    """Approve a model that passes the gate at once; otherwise it waits for manual approval. Default false."""


class RequestedHyperparameters(Parameters, Hyperparameters):
    """The hyperparameters of a run: those of the algorithm, of which some are chosen for the data if they are empty."""

    predictor_type: RequestedType = "auto"  # type: ignore[assignment] # resolved before training
    """What is predicted: a number (regressor), one of two classes (binary_classifier), or one of several classes.
    auto: two values are two classes, more texts are several classes, and more numbers are numbers."""
    num_classes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Number of classes of a multiclass_classifier, 3 to 1 000 000. None: counted in the table."""
    epochs: PositiveInt | None = None  # type: ignore[assignment] # the same
    """Maximum number of passes over the training data; early stopping may end sooner. At least 1; None: 60 for small
    tables, 15 from 1600 training rows on."""
    mini_batch_size: PositiveInt | None = None  # type: ignore[assignment] # the same
    """Rows per update of the weights. At least 1 and at most the number of training rows; None: suits the rows."""
    early_stopping_patience: PositiveInt | None = None  # type: ignore[assignment] # the same
    """Number of epochs without sufficient improvement after which training stops. At least 1; None: 12 for small
    tables, 3 from 1600 training rows on."""
    num_models: PositiveInt | None = None
    """Number of models trained in parallel; the best is saved. At least 1; None: 32, or about 28 for multiclass; 4 for
    a regressor with less than 400 training rows."""
    binary_classifier_model_selection_criteria: Literal[ThresholdCriteria, LossCriteria] = "cross_entropy_loss"
    """Criterion that selects the best binary model and its threshold; f1 is f_beta with beta 1. Default
    cross_entropy_loss, with threshold 0.5; the algorithm's own default, accuracy, selects worse probabilities."""

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.predictor_type != "auto":
            self._check_loss()
        elif self.loss != "auto" and self.num_classes and self.implied_type != "multiclass_classifier":
            raise HyperparameterError(f"loss {self.loss} is invalid with num_classes: leave num_classes empty")
        if self.predictor_type == "multiclass_classifier" and self.num_classes in {1, 2}:
            raise HyperparameterError("num_classes must be at least 3 with multiclass_classifier; None: it is counted")
        return self

    @property
    def implied_type(self) -> PredictorType | None:
        """The given predictor type, or the only one to which the loss or num_classes apply; None if any is possible."""
        if self.predictor_type != "auto":
            return self.predictor_type
        types = {loss: kind for kind, losses in LOSSES.items() for loss in losses}
        multiclass = "multiclass_classifier" if (self.num_classes or 0) > 2 else None
        return cast("PredictorType | None", types.get(self.loss) or multiclass)

    def resolve(self, predictor_type: PredictorType, num_classes: int, rows: int) -> Hyperparameters:
        """Return the algorithm's hyperparameters for `rows` training rows; `num_classes` matters for more than two.

        Raises HyperparameterError if mini_batch_size is above `rows`: the container would fail the job only after its
        instance has been paid for.
        """
        algorithm = Hyperparameters.model_fields
        given = {name: getattr(self, name) for name in algorithm if getattr(self, name) != algorithm[name].default}
        batch_size = self.mini_batch_size or choose_batch_size(rows)
        if batch_size > rows:
            raise HyperparameterError(
                f"mini_batch_size is {batch_size}, but there are only {rows} training rows. Choose at most {rows}, or "
                "auto."
            )
        chosen: dict[str, Any] = {
            "predictor_type": predictor_type,
            "mini_batch_size": batch_size,
            "epochs": self.epochs or choose_epochs(rows),
            "early_stopping_patience": self.early_stopping_patience or choose_patience(rows),
            "num_models": self.num_models or choose_num_models(predictor_type, rows),
        }
        if predictor_type == "multiclass_classifier":
            chosen["num_classes"] = num_classes
            chosen |= {name: MULTICLASS_PENALTY for name in ("l1", "wd") if given.get(name) is None}
        criterion = "binary_classifier_model_selection_criteria"
        if predictor_type != "binary_classifier" and given.get(criterion) == type(self).model_fields[criterion].default:
            del given[criterion]
        return Hyperparameters(**{**given, **chosen})


class RunParameters(BaseModel, frozen=True):
    """The parameters that determine the model and its verdict; `run.json` records them."""

    dataset: Dataset = Dataset()
    split: Split = Split()
    hyperparameters: RequestedHyperparameters = RequestedHyperparameters()
    compute: Compute = Compute()
    gate: Gate = Gate()
    registry: Registry = Registry()


class Prediction(Parameters):
    """New rows, the model that predicts for them, and the place of the predictions."""

    data: Annotated[str, Field(min_length=1, title="New Rows")] = "output/transformed_data.csv"
    """New rows as CSV with a header (also .gz, .zst) or Parquet: s3://bucket/key, or a key in the workspace's bucket.
    A prefix ending with a slash: all files under it. Also file:///path on the flow's machine."""
    output: Annotated[str, Field(min_length=1, title="Predictions")] = "predictions/predictions.csv"
    """File of the predictions, s3:// or a key under the workspace's prefix. Its ending gives the format: .csv, .csv.gz,
    .csv.zst or .parquet. Ending with a slash: a file below it for each file of the rows, which several files need."""
    model: Annotated[str, Field(min_length=1)] = "linear-learner-bonus-transformed-data"
    """A model package group, of which the newest Approved model is used; GROUP/VERSION or the ARN of a package; or the
    run.json of a run, or a folder with model.tar.gz: s3://, or a path on the flow's machine."""
    keep: tuple[ColumnName, ...] = ()
    """Columns of the rows, such as an id, that are copied to the predictions."""
    evaluate: bool = False
    """Compare the predictions with the target column of the rows. Default false."""
    allow_unapproved: bool = False
    """Also use a model package that is not Approved. Default false."""
    by_position: bool = False
    """For a model without schema.json, such as one of another program: its features are the columns by position.
    Default false."""
    columns: tuple[ColumnName, ...] = ()
    """Names of all columns, for CSV files whose first line is data. Empty: the first line has the names."""
    encoding: Encoding = "utf-8"
    """Encoding of CSV files without a byte order mark; UTF-16 has one. Default utf-8."""
    refresh: bool = False
    """Predict again, although model and rows have not changed. Default false."""

    @property
    def reading(self) -> Reading:
        return Reading(columns=self.columns, encoding=self.encoding)
