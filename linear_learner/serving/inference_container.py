"""A model's answers to an endpoint's requests: those of the built-in container, or by column name; without HTTP."""

import json
import logging
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import ArtifactError, DataError
from linear_learner.formats.artifact import read_model, read_packed_file
from linear_learner.formats.channels import CSV, RECORDIO
from linear_learner.formats.inference import (
    JSON,
    JSONLINES,
    media_type,
    parse_instances,
    parse_request,
    render_response,
    stack_instances,
)
from linear_learner.formats.named_rows import is_header, read_csv_rows, read_first_row, require_object
from linear_learner.model import LinearModel, Predictions
from linear_learner.predictor import ARCHIVE, Predictor, find_model_file, name_classes
from linear_learner.schema import NumberColumn, Schema

CONTENT_TYPES = (CSV, JSON, JSONLINES, RECORDIO)
ACCEPTED = {kind: kind for kind in (JSON, JSONLINES, RECORDIO)} | dict.fromkeys(("", "*/*", "application/*", CSV), JSON)
"""The media type of the answer for each one in `Accept`; the built-in container answers `text/csv` with JSON."""

_LOGGER = logging.getLogger(__name__)


class Answer(NamedTuple):
    """A response's status code, content type and body; the body of an error is `{"error": MESSAGE}`."""

    status: int
    content_type: str
    body: bytes

    @classmethod
    def error(cls, status: int, message: str) -> Self:
        """An error in JSON. The built-in container's own body and wording are unknown; this form is inferred."""
        return cls(status, JSON, json.dumps({"error": message}).encode())


class InferenceContainer:
    """Answers requests with a model; without a schema, encoded features only, as Amazon's built-in container.

    With a schema, rows by column name are answered, too, and a classifier's rows have a `predicted_class`. Raises
    ArtifactError if the schema belongs to another model.
    """

    def __init__(self, model: LinearModel, schema: Schema | None = None) -> None:
        Predictor(model, schema)  # compares the two
        self.model = model
        self.schema = schema
        self._classes = name_classes(model, schema) if schema else ()

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model in a folder, `model_algo-1` or `model.tar.gz`, with the `schema.json` in or beside it, if any.

        `folder` may also be one of these files. SageMaker unpacks the artifact of a model to `/opt/ml/model`. Raises
        ArtifactError if the folder has no model, or if a file is damaged.
        """
        if not folder.exists():
            raise ArtifactError(f"{folder} does not exist: give the folder that contains the model")
        file = find_model_file(folder)
        path = file.with_name(Schema.FILE_NAME)
        packed = read_packed_file(file, Schema.FILE_NAME) if file.name == ARCHIVE else None
        content = path.read_bytes() if packed is None and path.is_file() else packed
        return cls(read_model(file), Schema.parse(content, str(path)) if content else None)

    def invoke(self, body: bytes, content_type: str, accept: str = JSON) -> Answer:
        """The answer to a request: status 200, or an error.

        400: invalid rows, with row and column; 406: an unknown `accept`; 415: an unknown `content_type`; 500: a fault
        of this program, of which the details are logged. An empty `accept`, `*/*` and `text/csv` mean JSON.
        """
        kind, answer_kind = media_type(content_type), _choose_answer(accept)
        if kind not in CONTENT_TYPES:
            return Answer.error(415, f"content type {content_type!r:.100} is unknown; use {', '.join(CONTENT_TYPES)}")
        if answer_kind is None:
            return Answer.error(406, f"Accept {accept!r:.100} is not possible; use {JSON}, {JSONLINES} or {RECORDIO}")
        try:
            predictions = self.predict(body, kind)
            return Answer(200, answer_kind, render_response(predictions, answer_kind, self._classes))
        except (DataError, ArtifactError) as error:
            return Answer.error(400, str(error))
        except RecursionError:
            return Answer.error(400, "the request's JSON is nested too deeply")
        except Exception:
            _LOGGER.exception("a request could not be answered")
            return Answer.error(500, "internal error; the container's log has the details")

    def predict(self, body: bytes, kind: str) -> Predictions:
        """The predictions for the rows of a body of this media type; raises DataError and ArtifactError."""
        features = self._read_features(body, kind)
        with np.errstate(over="ignore", invalid="ignore"):
            predictions = self.model.predict(features)
        finite = np.isfinite(predictions.scores)
        if not finite.all():
            row = int(np.argwhere(~finite)[0, 0]) + 1
            raise DataError(f"row {row}: the prediction is not a finite float32 number; give smaller values")
        return predictions

    def _read_features(self, body: bytes, kind: str) -> NDArray[np.float32]:
        if self.schema is None or kind == RECORDIO:
            return parse_request(body, kind, len(self.model.weights))
        if kind == CSV:
            return self._read_csv(body, self.schema)
        instances = parse_instances(body, kind)
        if not instances or _is_encoded(instances[0]):
            return stack_instances(instances, len(self.model.weights))
        return self.schema.encode([require_object(row, number) for number, row in enumerate(instances, 1)])

    def _read_csv(self, body: bytes, schema: Schema) -> NDArray[np.float32]:
        first = read_first_row(body)
        if (
            not self._only_numbers
            and len(first) == len(schema.features)
            and not is_header(first, schema.feature_columns)
        ):
            return parse_request(body, CSV)
        rows = read_csv_rows(body, schema.feature_columns)
        if not rows:
            raise DataError("the request has no rows")
        return schema.encode(rows)

    @cached_property
    def _only_numbers(self) -> bool:
        """Whether rows and features have equal cells, apart from missing ones, which only rows may have."""
        columns = self.schema.columns if self.schema else ()
        return all(isinstance(column, NumberColumn) and not column.indicator for column in columns)


def _is_encoded(instance: Any) -> bool:
    """Whether an instance contains features, not the cells of columns, which may also be named `features` or `data`."""
    if not isinstance(instance, dict):
        return False
    return isinstance(instance.get("features"), list | dict) or isinstance(instance.get("data"), dict)


def _choose_answer(accept: str) -> str | None:
    """The media type of the answer: the first possible one of `accept`; None if there is none."""
    if accept in ACCEPTED:
        return ACCEPTED[accept]
    return next((ACCEPTED[kind] for kind in map(media_type, accept.split(",")) if kind in ACCEPTED), None)
