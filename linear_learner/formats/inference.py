"""Requests to an endpoint with a Linear Learner model, and its responses.

Formats as in Amazon's "Common data formats for inference" and "Linear learner response formats"; a real endpoint was
observed to respond in `application/json` and `application/jsonlines`. CSV is accepted in requests only.
"""

import io
import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from linear_learner.errors import DataError
from linear_learner.formats.channels import CSV, RECORDIO
from linear_learner.formats.csv import BlockPosition, parse_block
from linear_learner.formats.recordio import iter_records, write_tensors
from linear_learner.formats.recordio_sparse import scatter
from linear_learner.formats.recordio_wire import LABEL
from linear_learner.model import Predictions

JSON = "application/json"
JSONLINES = "application/jsonlines"
_PLAIN_CHARACTERS = b"0123456789+-.eE,"
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def parse_request(body: bytes, content_type: str, features: int | None = None) -> NDArray[np.float32]:
    """The rows of a request's body as (rows, features), float32.

    `text/csv` has features only; a JSON instance is `{"features": [...]}` or `{"data": {"features": {"values":
    [...]}}}`, sparse with `keys` and `shape` beside the values; JSON lines has one instance per line. Sparse rows of
    another number of features than `features` are refused before they are expanded: a few bytes can declare a wide row.
    Raises DataError with the row, and ArtifactError for damaged records.
    """
    kind = media_type(content_type)
    if kind == CSV:
        return _parse_csv(body.rstrip(b"\r\n"))
    if kind == RECORDIO:
        return _read_records(body, features)
    if kind in (JSON, JSONLINES):
        return stack_instances(parse_instances(body, kind), features)
    raise DataError(f"content type {content_type!r} is unknown; use {CSV}, {JSON}, {JSONLINES} or {RECORDIO}")


def parse_instances(body: bytes, kind: str) -> list[Any]:
    """The instances of a body in JSON or JSON lines, as they are; raises DataError if it is not JSON."""
    if kind == JSONLINES:
        lines = enumerate(body.rstrip().split(b"\n"), start=1)
        return [_parse_json(line, "row", row) for row, line in lines]
    request = _parse_json(body, "the request")
    instances = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(instances, list):
        raise DataError('the request is not {"instances": [{"features": [...]}, ...]}')
    return instances


def stack_instances(instances: Sequence[Any], features: int | None = None) -> NDArray[np.float32]:
    """The encoded features of instances as (rows, features), float32; raises the errors of `parse_request`."""
    stacked = _stack_dense(instances)
    return _stack_one_by_one(instances, features) if stacked is None else stacked


def render_response(predictions: Predictions, accept: str = JSON, classes: Sequence[str] = ()) -> bytes:
    """The response body of `predictions` in the media type `accept`: JSON, JSON lines or RecordIO-protobuf.

    With the names of the `classes`, each row of JSON also has its class as `predicted_class`, an extension of this
    project. Raises DataError for other media types.
    """
    kind = media_type(accept)
    scores, labels = predictions.scores, predictions.labels
    if kind == RECORDIO:
        tensors = [(LABEL, "score", list(scores.reshape(len(scores), -1).T))]
        stream = io.BytesIO()
        write_tensors(stream, tensors if labels is None else [*tensors, (LABEL, "predicted_label", [labels])])
        return stream.getvalue()
    if kind not in (JSON, JSONLINES):
        raise DataError(f"Linear Learner does not respond in {accept!r}; use {JSON}, {JSONLINES} or {RECORDIO}")
    rows = _name_values(predictions, classes)
    if kind == JSON:
        return to_json({"predictions": rows})
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def media_type(content_type: str) -> str:
    """A content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def _name_values(predictions: Predictions, classes: Sequence[str]) -> list[dict[str, Any]]:
    scores = predictions.scores.tolist()
    if predictions.labels is None:
        return [{"score": score} for score in scores]
    labels = predictions.labels.astype(np.intp).tolist()
    if not classes:
        return [{"score": score, "predicted_label": label} for score, label in zip(scores, labels, strict=True)]
    return [
        {"score": score, "predicted_label": label, "predicted_class": classes[label]}
        for score, label in zip(scores, labels, strict=True)
    ]


def _parse_csv(text: bytes) -> NDArray[np.float32]:
    """The rows of a CSV without line end; plain numbers are read by the parser of JSON, in a third of the time."""
    lines = text.replace(b"\r\n", b"\n").split(b"\n")
    commas = {line.count(b",") for line in lines}
    joined = b",".join(lines)
    if len(commas) == 1 and not joined.translate(None, _PLAIN_CHARACTERS):
        with suppress(ValueError, OverflowError):
            numbers = _to_float32(from_json(b"[" + joined + b"]"))
            if numbers is not None:
                return numbers.reshape(len(lines), commas.pop() + 1)
    return parse_block(text, 0, BlockPosition("the request"))


def _to_float32(values: list[float]) -> NDArray[np.float32] | None:
    """Numbers as float32; None if there are none, or if one of them is not finite in float32."""
    numbers = np.fromiter(values, np.float64, len(values))
    return numbers.astype(np.float32) if values and np.abs(numbers).max() <= _FLOAT32_MAX else None


def _read_records(body: bytes, features: int | None) -> NDArray[np.float32]:
    blocks: list[NDArray[np.float32]] = []
    for block in iter_records(io.BytesIO(body), labelled=False):
        width = block.features.shape[1]
        if features is not None and width != features:
            raise DataError(f"record 1 has {width} features, but the model was trained on {features}")
        blocks.append(block.features)
    if not blocks:
        raise DataError("there are no records")
    return np.concatenate(blocks)


def _parse_json(text: bytes, where: str, row: int | None = None) -> Any:
    try:
        return from_json(text)
    except ValueError:  # the standard library describes the error, and accepts what pydantic does not
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where if row is None else f'{where} {row}'} is not JSON: {error}") from error


def _stack_dense(instances: Sequence[Any]) -> NDArray[np.float32] | None:
    """The rows of instances that all are `{"features": [...]}` with as many valid numbers; None for any others."""
    try:
        rows = [instance["features"] for instance in instances if "data" not in instance]
        width = len(rows[0])
        if len(rows) != len(instances) or set(map(type, rows)) != {list} or set(map(len, rows)) != {width}:
            return None
        values = list(chain.from_iterable(rows))
        if not set(map(type, values)) <= {int, float}:
            return None
        numbers = _to_float32(values)
    except (ValueError, TypeError, LookupError, OverflowError):
        return None
    return None if numbers is None else numbers.reshape(len(rows), width)


def _stack_one_by_one(instances: Sequence[Any], features: int | None) -> NDArray[np.float32]:
    rows: list[NDArray[np.float32]] = []
    for number, instance in enumerate(instances, start=1):
        try:
            row = _instance_features(instance, features)
        except ValueError as error:
            raise DataError(f"row {number}: {error}") from error
        if rows and len(row) != len(rows[0]):
            raise DataError(f"row {number} has {len(row)} features, but row 1 has {len(rows[0])}")
        rows.append(row)
    if not rows:
        raise DataError("the request has no rows")
    return np.stack(rows)


def _instance_features(instance: Any, features: int | None) -> NDArray[np.float32]:
    holder = instance.get("data", instance) if isinstance(instance, dict) else {}
    given = holder.get("features") if isinstance(holder, dict) else None
    tensor = given if isinstance(given, dict) else {"values": given}
    values = tensor.get("values")
    if not isinstance(values, list) or not values:
        raise ValueError('"features": [...] is missing or empty')
    for column, value in enumerate(values, start=1):
        if type(value) not in (int, float) or not abs(value) <= _FLOAT32_MAX:
            raise ValueError(f"feature {column} is {json.dumps(value)[:40]}, not a finite float32 number")
    row = np.array(values, np.float32)
    if not tensor.get("keys"):
        return row
    shape = tensor.get("shape")
    if features is not None and isinstance(shape, list) and shape != [features]:
        raise ValueError(f"its sparse tensor has shape {shape!r:.60}, but the model was trained on {features} features")
    return scatter(row, tensor["keys"], shape)
