"""The MXNet graph of a linear model: data → dot(weight) → broadcast_add(bias) → an output that knows the loss.

Real artifacts show `LinearRegressionOutput` for squared loss and `LogisticRegressionOutput` for logistic. Inferred, as
no artifact shows them: the other regression losses and hinge loss leave the value as it is, multiclass ends in
`SoftmaxOutput`.
"""

import json
from typing import Any

from linear_learner.errors import ArtifactError
from linear_learner.model import LinearModel

_SIGMOID = "LogisticRegressionOutput"


def symbol_json(model: LinearModel) -> str:
    """The graph in MXNet 1.3's JSON, which 1.9 loads too; shapes are weight (features, outputs), bias (1, outputs)."""
    features, outputs = model.weights.shape
    output = _output(model)
    bias = {"__lr_mult__": "10.0", "__shape__": f"(1, {outputs})"}
    nodes = [
        _node("null", "data"),
        _node("null", "fc0_weight", attrs={"__shape__": f"({features}, {outputs})"}),
        _node("dot", "dot0", 0, 1),
        _node("null", "fc0_bias", attrs=bias),
        _node("broadcast_add", "broadcast_plus0", 2, 3),
        _node("null", "out_label"),
        _node(output, f"{output.lower()}0", 4, 5),
    ]
    graph = {
        "nodes": nodes,
        "arg_nodes": [index for index, node in enumerate(nodes) if node["op"] == "null"],
        "node_row_ptr": list(range(len(nodes) + 1)),
        "heads": [[len(nodes) - 1, 0, 0]],
        "attrs": {"mxnet_version": ["int", 10301]},
    }
    return json.dumps(graph, indent=2)


def has_sigmoid(symbol: bytes) -> bool:
    """Whether the graph turns the value into a probability; ArtifactError when it is not a linear model's graph."""
    graph = json.loads(symbol)
    nodes = graph.get("nodes") if isinstance(graph, dict) else None
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise ArtifactError("the model's graph is not an MXNet symbol")
    if not {"data", "fc0_weight", "fc0_bias"} <= {str(node.get("name")) for node in nodes}:
        raise ArtifactError("the model's graph has other inputs than data, fc0_weight and fc0_bias")
    return any(node.get("op") == _SIGMOID for node in nodes)


def _output(model: LinearModel) -> str:
    if model.predictor_type == "multiclass_classifier":
        return "SoftmaxOutput"
    return _SIGMOID if model.has_sigmoid else "LinearRegressionOutput"


def _node(op: str, name: str, *inputs: int, attrs: dict[str, str] | None = None) -> dict[str, Any]:
    node: dict[str, Any] = {"op": op, "name": name, "inputs": [[source, 0, 0] for source in inputs]}
    return node | {"attrs": attrs} if attrs else node
