"""Requests to an endpoint with a Linear Learner model, and its responses.

Formats as in Amazon's "Common data formats for inference" and "Linear learner response formats"; a real endpoint was
observed to respond in `application/json` and `application/jsonlines`. CSV is accepted in requests only.
"""

import io
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import DataError
from linear_learner.formats.channels import CSV, RECORDIO
from linear_learner.formats.csv import BlockPosition, parse_block
from linear_learner.formats.recordio import read_records, write_tensors
from linear_learner.formats.recordio_sparse import scatter
from linear_learner.formats.recordio_wire import LABEL
from linear_learner.model import Predictions

JSON = "application/json"
JSONLINES = "application/jsonlines"
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def parse_request(body: bytes, content_type: str) -> NDArray[np.float32]:
    """The rows of a request's body as (rows, features), float32.

    `text/csv` has features only; a JSON instance is `{"features": [...]}` or `{"data": {"features": {"values":
    [...]}}}`, sparse with `keys` and `shape` beside the values; JSON lines has one instance per line. Raises DataError
    with the row, and ArtifactError for damaged records.
    """
    media_type = _media_type(content_type)
    if media_type == CSV:
        return parse_block(body.rstrip(b"\r\n"), 0, BlockPosition("the request"))
    if media_type == RECORDIO:
        return read_records(body, labelled=False).features
    if media_type == JSON:
        request = _parse_json(body, "the request")
        instances = request.get("instances") if isinstance(request, dict) else None
        if not isinstance(instances, list):
            raise DataError('the request is not {"instances": [{"features": [...]}, ...]}')
        return _stack_instances(instances)
    if media_type == JSONLINES:
        lines = enumerate(body.rstrip().split(b"\n"), start=1)
        return _stack_instances([_parse_json(line, f"row {row}") for row, line in lines])
    raise DataError(f"content type {content_type!r} is unknown; use {CSV}, {JSON}, {JSONLINES} or {RECORDIO}")


def render_response(predictions: Predictions, accept: str = JSON) -> bytes:
    """The response body of `predictions` in the media type `accept`: JSON, JSON lines or RecordIO-protobuf."""
    media_type = _media_type(accept)
    scores, labels = predictions.scores, predictions.labels
    if media_type == RECORDIO:
        tensors = [(LABEL, "score", list(scores.reshape(len(scores), -1).T))]
        stream = io.BytesIO()
        write_tensors(stream, tensors if labels is None else [*tensors, (LABEL, "predicted_label", [labels])])
        return stream.getvalue()
    if media_type not in (JSON, JSONLINES):
        raise DataError(f"Linear Learner does not respond in {accept!r}; use {JSON}, {JSONLINES} or {RECORDIO}")
    rows: list[dict[str, Any]] = [{"score": score} for score in scores.tolist()]
    if labels is not None:
        rows = [row | {"predicted_label": int(label)} for row, label in zip(rows, labels, strict=True)]
    if media_type == JSON:
        return json.dumps({"predictions": rows}).encode()
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _parse_json(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}") from error


def _stack_instances(instances: list[Any]) -> NDArray[np.float32]:
    rows: list[NDArray[np.float32]] = []
    for number, instance in enumerate(instances, start=1):
        try:
            row = _instance_features(instance)
        except ValueError as error:
            raise DataError(f"row {number}: {error}") from error
        if rows and len(row) != len(rows[0]):
            raise DataError(f"row {number} has {len(row)} features, but row 1 has {len(rows[0])}")
        rows.append(row)
    if not rows:
        raise DataError("the request has no rows")
    return np.stack(rows)


def _instance_features(instance: Any) -> NDArray[np.float32]:
    holder = instance.get("data", instance) if isinstance(instance, dict) else {}
    features = holder.get("features") if isinstance(holder, dict) else None
    tensor = features if isinstance(features, dict) else {"values": features}
    values = tensor.get("values")
    if not isinstance(values, list) or not values:
        raise ValueError('"features": [...] is missing or empty')
    for column, value in enumerate(values, start=1):
        if type(value) not in (int, float) or not abs(value) <= _FLOAT32_MAX:
            raise ValueError(f"feature {column} is {json.dumps(value)[:40]}, not a finite float32 number")
    row = np.array(values, np.float32)
    return scatter(row, tensor["keys"], tensor.get("shape")) if tensor.get("keys") else row
