"""Slow twin of calogen.lwtnn.runtime: lwtnn's semantics number by number, straight from the JSON, nothing shared."""

import json
import math
from collections.abc import Mapping
from typing import Any


def forward(text: str, inputs: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Compute the only output of a graph for one set of named variables; nodes are recomputed for every consumer."""
    graph = json.loads(text)
    (output,) = graph["outputs"].values()
    vector = _node(graph, output["node_index"], inputs)
    return {label: vector[i] for i, label in enumerate(output["labels"])}


def _node(graph: dict[str, Any], index: int, inputs: Mapping[str, Mapping[str, float]]) -> list[float]:
    node = graph["nodes"][index]
    if node["type"] == "input":
        given = graph["inputs"][node["sources"][0]]
        return [(inputs[given["name"]][v["name"]] + v["offset"]) * v["scale"] for v in given["variables"]]
    sources = [_node(graph, source, inputs) for source in node["sources"]]
    if node["type"] == "concatenate":
        return [x for source in sources for x in source]
    if node["type"] == "add":
        return [sum(column) for column in zip(*sources, strict=True)]
    return _layer(graph["layers"][node["layer_index"]], sources[0])


def _layer(layer: dict[str, Any], x: list[float]) -> list[float]:
    if layer["architecture"] == "normalization":
        return [w * (v + b) for w, v, b in zip(layer["weights"], x, layer["bias"], strict=True)]
    if layer["architecture"] == "maxout":
        return [max(column) for column in zip(*[_affine(part, x) for part in layer["sublayers"]], strict=True)]
    if layer["architecture"] == "highway":
        carry = [_sigmoid(v) for v in _affine(layer["components"]["carry"], x)]
        transform = _activation(layer["activation"], _affine(layer["components"]["t"], x))
        return [c * t + (1 - c) * v for c, t, v in zip(carry, transform, x, strict=True)]
    return _activation(layer["activation"], _affine(layer, x))


def _affine(layer: dict[str, Any], x: list[float]) -> list[float]:
    weights, bias = layer["weights"], layer["bias"]
    if weights:
        x = [sum(weights[row + col] * x[col] for col in range(len(x))) for row in range(0, len(weights), len(x))]
    return [v + b for v, b in zip(x, bias, strict=True)] if bias else x


def _activation(activation: Any, x: list[float]) -> list[float]:
    name, alpha = (activation, 1.0) if isinstance(activation, str) else (activation["function"], activation["alpha"])
    if name == "softmax":
        exponentials = [math.exp(v - max(x)) for v in x]
        return [v / sum(exponentials) for v in exponentials]
    functions = {
        "linear": lambda v: v,
        "rectified": lambda v: 0.0 if v < 0 else v,
        "sigmoid": _sigmoid,
        "hard_sigmoid": lambda v: min(max(0.2 * v + 0.5, 0.0), 1.0),
        "tanh": math.tanh,
        "abs": abs,
        "elu": lambda v: v if v >= 0 else alpha * (math.exp(v) - 1),
        "leakyrelu": lambda v: v if v > 0 else alpha * v,
        "swish": lambda v: v * _sigmoid(alpha * v),
    }
    return [functions[name](v) for v in x]


def _sigmoid(x: float) -> float:
    if x < -30.0:
        return 0.0
    return 1.0 if x > 30.0 else 1.0 / (1.0 + math.exp(-x))
