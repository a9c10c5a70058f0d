"""Predictions by column name: a model together with the schema of its table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linear_learner.columns import Table
from linear_learner.errors import ArtifactError, DataError
from linear_learner.formats.artifact import MODEL_FILE, read_model
from linear_learner.model import LinearModel, Predictions
from linear_learner.schema import Schema

PREDICTION, SCORE, PROBABILITY = "prediction", "score", "probability"
ARCHIVE = "model.tar.gz"

Outputs = dict[str, NDArray[Any]]
"""The predictions as columns (rows,) by name.

A regressor has `prediction`, the predicted number. A classifier has `prediction`, the name of the class, and
`probability.NAME` for each class, in the order of the classes; a binary classifier with hinge loss has `score` instead.
"""


@dataclass(frozen=True)
class Predictor:
    """A model with the schema that turns a table's columns into its features; raises ArtifactError if they differ.

    Without a schema, predictions are possible from features only, and the classes are named 0, 1, 2, ….
    """

    model: LinearModel
    schema: Schema | None

    def __post_init__(self) -> None:
        if self.schema and (difference := find_difference(self.model, self.schema)):
            raise ArtifactError(
                f"the schema {difference}: it belongs to another model. Give the schema.json that was written next to "
                "this one's model.tar.gz."
            )

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """The model in `path`, a `model.tar.gz` or the folder with it, and the `schema.json` beside it.

        Raises ArtifactError if there is no schema.json or if it does not belong to the model.
        """
        file = find_model_file(Path(path))
        model, schema_file = read_model(file), file.with_name(Schema.FILE_NAME)
        if not schema_file.is_file():
            raise ArtifactError(
                f"there is no {Schema.FILE_NAME} beside {file}, so columns cannot be matched by name. Copy it from the "
                "folder of the model in S3; without one, predict from features by position, in the order of training."
            )
        schema = Schema.parse(schema_file.read_bytes(), str(schema_file))
        try:
            return cls(model, schema)
        except ArtifactError as error:
            raise ArtifactError(f"{schema_file}: {error}") from error

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes in the model's order; empty for a regressor."""
        return name_classes(self.model, self.schema)

    def predict(self, rows: Sequence[Mapping[str, Any]], first_row: int = 1) -> Outputs:
        """The predictions for rows by column name; see `Schema.encode` for the cells and the errors."""
        return self.predict_features(self._known_schema.encode(rows, first_row))

    def predict_columns(self, columns: Table, first_row: int = 1) -> Outputs:
        """The predictions for columns by name, such as those of a frame; see `Schema.encode_columns`."""
        return self.predict_features(self._known_schema.encode_columns(columns, first_row))

    def predict_features(self, features: ArrayLike) -> Outputs:
        """The predictions for features (rows, features), in the order in which the model was trained with them."""
        predictions, names = self.model.predict(features), self.class_names
        labels = predictions.labels
        values = predictions.scores if labels is None else np.array(names, object)[labels.astype(np.intp)]
        columns = [values, *split_scores(self.model, predictions)]
        return dict(zip(name_outputs(self.model, names), columns, strict=True))

    @property
    def _known_schema(self) -> Schema:
        if self.schema is None:
            raise DataError("the model has no schema, so columns cannot be matched by name; use predict_features")
        return self.schema


def find_model_file(path: Path) -> Path:
    """The model file at `path`, which may be its folder; raises ArtifactError for a folder without one."""
    if not path.is_dir():
        return path
    for name in (ARCHIVE, MODEL_FILE):
        if (path / name).is_file():
            return path / name
    raise ArtifactError(f"the folder {path} contains no {ARCHIVE}: give the one that a training run wrote")


def find_difference(model: LinearModel, schema: Schema) -> str | None:
    """What shows that a schema is not the model's; None if it may be."""
    if len(schema.features) != len(model.weights):
        return f"has {len(schema.features)} features, and the model {len(model.weights)}"
    found, expected = len(schema.label.classes), count_classes(model)
    if found and found != expected:
        return f"has {found} classes, and the model, a {model.predictor_type}, {expected}"
    return None


def count_classes(model: LinearModel) -> int:
    """The number of classes; 0 for a regressor."""
    return 0 if model.predictor_type == "regressor" else max(2, model.weights.shape[1])


def name_classes(model: LinearModel, schema: Schema | None) -> tuple[str, ...]:
    """The names of the classes in the model's order, 0, 1, 2, … without others; empty for a regressor."""
    classes = schema.label.classes if schema else ()
    return classes or tuple(map(str, range(count_classes(model))))


def name_outputs(model: LinearModel, classes: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns of `Outputs`, for these names of the classes."""
    if model.predictor_type == "binary_classifier" and not model.has_sigmoid:
        return (PREDICTION, SCORE)
    return (PREDICTION, *(f"{PROBABILITY}.{name}" for name in classes))


def split_scores(model: LinearModel, predictions: Predictions) -> list[NDArray[np.float32]]:
    """The columns of `Outputs` after the first one."""
    scores = predictions.scores
    if predictions.labels is None:
        return []
    if scores.ndim == 2:
        return list(np.ascontiguousarray(scores.T))
    return [1 - scores, scores] if model.has_sigmoid else [scores]
