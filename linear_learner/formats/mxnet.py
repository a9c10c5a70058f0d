"""MXNet's files inside a model artifact: the parameters and the symbol graph."""

import io
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_learner.errors import ArtifactError
from linear_learner.model import LinearModel

_FILE_MAGIC, _ARRAY_MAGIC = 0x112, 0xF993FAC9
_FILE_HEADER, _ARRAY_HEADER, _CONTEXT, _COUNT = "<QQQ", "<IiI", "<iii", "<Q"
_DENSE, _CPU, _FLOAT32 = 0, 1, 0
_MAX_ARRAYS, _MAX_DIMENSIONS, _MAX_NAME = 64, 8, 256


def encode_params(arrays: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The `.params` file of `arrays`, each written as float32 in C order."""
    chunks = [struct.pack(_FILE_HEADER, _FILE_MAGIC, 0, len(arrays))]
    for array in arrays.values():
        chunks.append(struct.pack(_ARRAY_HEADER, _ARRAY_MAGIC, _DENSE, array.ndim))
        chunks.append(struct.pack(f"<{array.ndim}q", *array.shape))
        chunks.append(struct.pack(_CONTEXT, _CPU, 0, _FLOAT32))
        chunks.append(np.ascontiguousarray(array, "<f4").tobytes())
    chunks.append(struct.pack(_COUNT, len(arrays)))
    chunks += [struct.pack(_COUNT, len(name.encode())) + name.encode() for name in arrays]
    return b"".join(chunks)


def read_params(data: bytes) -> dict[str, NDArray[np.float32]]:
    """The arrays of a `.params` file by name, in the file's order; ArtifactError for any other content."""
    stream = io.BytesIO(data)
    magic, _, count = _unpack(stream, _FILE_HEADER)
    if magic != _FILE_MAGIC:
        raise ArtifactError(f"the .params file starts with {magic:#x} instead of MXNet's {_FILE_MAGIC:#x}")
    if count > _MAX_ARRAYS:
        raise ArtifactError(f"the .params file declares {count} arrays; a linear model has two")
    arrays = [_read_array(stream) for _ in range(count)]
    if _unpack(stream, _COUNT) != (count,):
        raise ArtifactError("the .params file has different numbers of names and arrays")
    names = [_read_name(stream) for _ in arrays]
    if stream.read() or len(set(names)) != count:
        raise ArtifactError("the .params file has a repeated name, or data after its last name")
    return dict(zip(names, arrays, strict=True))


def _take(stream: io.BytesIO, size: int) -> bytes:
    left = len(stream.getbuffer()) - stream.tell()
    if size > left:
        raise ArtifactError(f"the .params file is truncated: {size} bytes are needed, but {left} are left")
    return stream.read(size)


def _unpack(stream: io.BytesIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, _take(stream, struct.calcsize(form)))


def _read_array(stream: io.BytesIO) -> NDArray[np.float32]:
    magic, storage, dimensions = _unpack(stream, _ARRAY_HEADER)
    if magic != _ARRAY_MAGIC or storage != _DENSE or not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise ArtifactError(f"the .params file holds an array that is not dense: {magic:#x}, {storage}, {dimensions}")
    shape = _unpack(stream, f"<{dimensions}q")
    _, _, dtype = _unpack(stream, _CONTEXT)
    if dtype != _FLOAT32:
        raise ArtifactError(f"the .params file holds an array of MXNet dtype {dtype}; float32 (0) is expected")
    if min(shape) < 1:
        raise ArtifactError(f"the .params file holds an array of shape {shape}")
    return np.frombuffer(_take(stream, 4 * math.prod(shape)), "<f4").reshape(shape)


def _read_name(stream: io.BytesIO) -> str:
    (length,) = _unpack(stream, _COUNT)
    if length > _MAX_NAME:
        raise ArtifactError(f"the .params file has an array name of {length} bytes")
    return _take(stream, length).decode("utf-8", "backslashreplace")


_SIGMOID = "LogisticRegressionOutput"


def encode_symbol(model: LinearModel) -> str:
    """The graph in MXNet 1.3's JSON, which 1.9 also loads; shapes are weight (features, outputs), bias (1, outputs)."""
    features, outputs = model.weights.shape
    output = {"multiclass_classifier": "SoftmaxOutput"}.get(model.predictor_type, "LinearRegressionOutput")
    output = _SIGMOID if model.has_sigmoid else output
    nodes: list[dict[str, Any]] = [
        {"op": op, "name": name, "inputs": [[source, 0, 0] for source in inputs]}
        for op, name, *inputs in (
            ("null", "data"),
            ("null", "fc0_weight"),
            ("dot", "dot0", 0, 1),
            ("null", "fc0_bias"),
            ("broadcast_add", "broadcast_plus0", 2, 3),
            ("null", "out_label"),
            (output, f"{output.lower()}0", 4, 5),
        )
    ]
    nodes[1]["attrs"] = {"__shape__": f"({features}, {outputs})"}
    nodes[3]["attrs"] = {"__lr_mult__": "10.0", "__shape__": f"(1, {outputs})"}
    graph = {
        "nodes": nodes,
        "arg_nodes": [index for index, node in enumerate(nodes) if node["op"] == "null"],
        "node_row_ptr": list(range(len(nodes) + 1)),
        "heads": [[len(nodes) - 1, 0, 0]],
        "attrs": {"mxnet_version": ["int", 10301]},
    }
    return json.dumps(graph, indent=2)


def has_sigmoid(symbol: bytes) -> bool:
    """Whether the graph's output is a sigmoid; ArtifactError if it is not a linear model's graph."""
    graph = json.loads(symbol)
    nodes = graph.get("nodes") if isinstance(graph, dict) else None
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise ArtifactError("the model's graph is not an MXNet symbol")
    if not {"data", "fc0_weight", "fc0_bias"} <= {str(node.get("name")) for node in nodes}:
        raise ArtifactError("the model's graph does not have the inputs data, fc0_weight and fc0_bias")
    return any(node.get("op") == _SIGMOID for node in nodes)
