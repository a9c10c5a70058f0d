"""Requests with which models are compared and checked: captured ones, or rows of the test set."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aws.endpoints.captures import read_captures
from aws.errors import AwsError
from aws.storage import list_objects, read_start
from aws.workspace import Workspace
from linear_learner.decoding import decode
from linear_learner.formats.channels import read_sample
from linear_learner.formats.inference import JSON
from linear_learner.schema import Schema
from tasks.record import RunRecord
from tasks.serving.served_model import LocalContainer

MAX_SAMPLE_BYTES = 4 << 20
"""The part of the test channel's first file that is read: its rows were shuffled before they were split."""


class Request(NamedTuple):
    """The body of a request and its content type."""

    body: bytes
    content_type: str


class Row(NamedTuple):
    """One row of a request: features by position, and by column name if the model has a schema."""

    features: list[float]
    cells: dict[str, Any] | None


def read_test_rows(workspace: Workspace, record: RunRecord, schema: Schema | None, limit: int) -> list[Row]:
    """Return the first rows of the test channel of a run; none when it has no test channel, or it was removed."""
    channel = next((one for one in record.channels if one.name == "test"), None)
    first = next(iter(list_objects(workspace, f"{channel.uri.rstrip('/')}/")), None) if channel else None
    if channel is None or first is None or not first.size:
        return []
    content = read_start(workspace, first.uri, MAX_SAMPLE_BYTES)
    features = read_sample(content, channel.content_type).features[:limit]
    return make_rows(np.asarray(features, np.float32), schema)


def make_rows(features: NDArray[np.float32], schema: Schema | None) -> list[Row]:
    """Return rows of features (rows, features), which a schema encodes to these features."""
    cells: Sequence[dict[str, Any] | None] = decode(schema, features) if schema else [None] * len(features)
    return [Row(values, named) for values, named in zip(features.tolist(), cells, strict=True)]


def make_request(rows: Sequence[Row], local: LocalContainer) -> Request:
    """Return one JSON request of rows, in the form that the container takes.

    Raises DataError when the container has other columns than the rows.
    """
    named = [row.cells for row in rows if row.cells is not None]
    instances: list[Any]
    if local.by_name:
        instances = list(named) or [{"features": row.features} for row in rows]
    elif local.table_schema is not None and named:
        instances = [{"features": values} for values in local.table_schema.encode(named).tolist()]
    else:
        instances = [{"features": row.features} for row in rows]
    return Request(json.dumps({"instances": instances}).encode(), JSON)


def read_captured_requests(workspace: Workspace, endpoint: str, limit: int) -> list[Request]:
    """Return the last requests that the endpoint has recorded; none when they cannot be read."""
    try:
        return [Request(one.body, one.content_type) for one in read_captures(workspace, endpoint, limit)]
    except AwsError:
        return []
