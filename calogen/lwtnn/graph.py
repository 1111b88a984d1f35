"""The JSON schema of lwtnn's LightweightGraph as dataclasses: compact, checked when read.

Only what works on vectors is here (what a generator or decoder needs); sequences are refused by name. The classes
follow the file one to one: nodes refer to their sources by position and to their parameters by `layer_index`.

Source: `lwt::parse_json_graph` of lwtnn 2.14.1 (src/parse_json.cxx) and include/lwtnn/generic/{Graph,Stack}.tcc.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from calogen import files
from calogen.errors import ExportError

ACTIVATIONS = ("linear", "rectified", "sigmoid", "hard_sigmoid", "softmax", "tanh", "abs", "elu", "leakyrelu", "swish")
NODES = ("input", "feed_forward", "concatenate", "add")
_NEEDS_ALPHA = ("elu", "leakyrelu", "swish")


@dataclass(frozen=True)
class Variable:
    """One number of an input; the network sees `(x + offset) * scale`."""

    name: str
    offset: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Input:
    """A named input vector; its variables in the order of its elements."""

    name: str
    variables: tuple[Variable, ...]


@dataclass(frozen=True)
class Activation:
    """A function of one number, or softmax over the whole vector.

    Args:
        function: lwtnn's name of it, one of `ACTIVATIONS`.
        alpha: parameter of elu, leakyrelu and swish (`x * sigmoid(alpha * x)`). lwtnn answers NaN where the last two
            lack it.

    Raises:
        ExportError: an unknown function, or a missing alpha.
    """

    function: str = "linear"
    alpha: float | None = None

    def __post_init__(self) -> None:
        if self.function not in ACTIVATIONS:
            raise ExportError(f"activation must be one of {', '.join(ACTIVATIONS)}. Received: {self.function!r}")
        if self.function in _NEEDS_ALPHA and (self.alpha is None or not np.isfinite(self.alpha)):
            raise ExportError(f"activation {self.function} needs a finite alpha. Received: {self.alpha}")


@dataclass(frozen=True, eq=False)
class Affine:
    """The map `W x + b`.

    Args:
        weights: `W`, rows are outputs: `[outputs, inputs]`, or flat in that order; empty stands for the identity.
        bias: `b`, `[outputs]`; empty stands for zero.

    Raises:
        ExportError: a number is not finite.
    """

    weights: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias).all()):
            raise ExportError("weights must be finite. Received: NaN or infinity (did training diverge?)")

    def matrix(self, num_inputs: int) -> np.ndarray:
        """The matrix `W`, `[outputs, num_inputs]`.

        Raises:
            ExportError: the weights do not divide into rows of that length.
        """
        if self.weights.size == 0 or self.weights.size % num_inputs:
            raise ExportError(f"weights must come in rows of {num_inputs}. Received: {self.weights.size} numbers")
        return self.weights.reshape(-1, num_inputs)

    def output_size(self, num_inputs: int) -> int:
        """Number of outputs for that many inputs.

        Raises:
            ExportError: weights or bias do not fit.
        """
        size = len(self.matrix(num_inputs)) if self.weights.size else num_inputs
        if self.bias.size not in (0, size):
            raise ExportError(f"bias must have {size} numbers. Received: {self.bias.size}")
        return size


@dataclass(frozen=True, eq=False)
class Dense(Affine):
    """`activation(W x + b)`."""

    activation: Activation = field(default_factory=Activation)


@dataclass(frozen=True, eq=False)
class Normalization(Affine):
    """`weights * (x + bias)`, element by element: the bias comes first."""

    def output_size(self, num_inputs: int) -> int:
        """Number of outputs, that of inputs (lwtnn does not check it and reads beyond the end)."""
        if not self.weights.size == self.bias.size == num_inputs:
            sizes = f"{self.weights.size} and {self.bias.size}"
            raise ExportError(f"normalization needs {num_inputs} weights and biases. Received: {sizes}")
        return num_inputs


@dataclass(frozen=True, eq=False)
class Highway:
    """`c * activation(W_t x + b_t) + (1 - c) * x` with the gate `c = sigmoid(W_c x + b_c)`."""

    transform: Affine
    carry: Affine
    activation: Activation

    def output_size(self, num_inputs: int) -> int:
        """Number of outputs, the number of inputs."""
        sizes = [size for part in (self.transform, self.carry) for size in (part.weights.size, part.bias.size)]
        if sizes != [num_inputs**2, num_inputs] * 2 or self.activation.function == "softmax":
            raise ExportError(
                f"highway needs two {num_inputs} x {num_inputs} matrices with biases, and no softmax. "
                f"Received: sizes {sizes}, activation {self.activation.function}"
            )
        return num_inputs


@dataclass(frozen=True, eq=False)
class Maxout:
    """The largest of several `W x + b`, element by element."""

    sublayers: tuple[Affine, ...]

    def output_size(self, num_inputs: int) -> int:
        """Number of outputs of each sublayer."""
        sizes = {(len(part.matrix(num_inputs)), part.bias.size) for part in self.sublayers}
        if len(sizes) != 1 or len(set(next(iter(sizes)))) != 1:
            raise ExportError(f"maxout needs sublayers of one size, each with a bias. Received: {sorted(sizes)}")
        return sizes.pop()[0]


Layer = Dense | Normalization | Highway | Maxout


@dataclass(frozen=True)
class Node:
    """A vector of the graph: an input, or the result of a layer, a concatenation or a sum.

    Args:
        type: one of `NODES`.
        sources: positions of the sources in the list of nodes; for an input its position in the list of inputs.
        size: length of an input's vector.
        layer_index: position of a feed_forward's parameters in the list of layers.
    """

    type: str
    sources: tuple[int, ...]
    size: int | None = None
    layer_index: int | None = None


@dataclass(frozen=True)
class Output:
    """The node that holds an output, and its elements' labels (fewer hide the last elements)."""

    node_index: int
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """An LWTNN network of vectors; consistent once it exists.

    Athena takes exactly one output; the `add` node needs lwtnn 2.14, all else runs in 2.13.

    Raises:
        ExportError: indices, sizes or names do not fit together, or the nodes form a cycle.
    """

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    layers: tuple[Layer, ...]
    outputs: Mapping[str, Output]

    def __post_init__(self) -> None:
        names = [given.name for given in self.inputs]
        if len(set(names)) != len(names) or not self.outputs:
            raise ExportError(f"a graph needs inputs of different names and an output. Received: inputs {names}")
        for name, output in self.outputs.items():
            if not 0 <= output.node_index < len(self.nodes):
                raise ExportError(f"output {name} refers to node {output.node_index} of {len(self.nodes)} nodes")
            if len(output.labels) > self.sizes[output.node_index]:
                size = self.sizes[output.node_index]
                raise ExportError(f"output {name} has {len(output.labels)} labels for {size} numbers")

    @cached_property
    def sizes(self) -> dict[int, int]:
        """Length of the vector of each node that an output needs, sources before their consumers.

        Its keys are therefore an order in which the nodes can be computed.
        """
        sizes: dict[int, int] = {}
        open_nodes: set[int] = set()

        def visit(index: int) -> None:
            if index in sizes:
                return
            if not 0 <= index < len(self.nodes) or index in open_nodes:
                raise ExportError(f"node {index} is its own source, or beyond the {len(self.nodes)} nodes")
            open_nodes.add(index)
            if self.nodes[index].type != "input":
                for source in self.nodes[index].sources:
                    visit(source)
            try:
                sizes[index] = self._size(self.nodes[index], sizes)
            except ExportError as error:
                raise ExportError(f"node {index} ({self.nodes[index].type}): {error}") from None

        for output in self.outputs.values():
            visit(output.node_index)
        return sizes

    def _size(self, node: Node, sizes: Mapping[int, int]) -> int:
        if node.type not in NODES:
            raise ExportError(f"nodes must be one of {', '.join(NODES)}; sequences are not supported")
        if not node.sources or (node.type in ("input", "feed_forward") and len(node.sources) > 1):
            raise ExportError(f"the wrong number of sources. Received: {node.sources}")
        if node.type == "input":
            if not 0 <= node.sources[0] < len(self.inputs):
                raise ExportError(f"there are {len(self.inputs)} inputs. Received: input {node.sources[0]}")
            size = len(self.inputs[node.sources[0]].variables)
            if node.size != size:
                raise ExportError(f"size must be that of its input, {size}. Received: {node.size}")
            return size
        lengths = [sizes[source] for source in node.sources]
        if node.type == "feed_forward":
            return self.layer(node).output_size(lengths[0])
        if node.type == "add" and len(set(lengths)) != 1:
            raise ExportError(f"sources must have one size. Received: {lengths}")
        return sum(lengths) if node.type == "concatenate" else lengths[0]

    def layer(self, node: Node) -> Layer:
        """The parameters of a feed_forward node.

        Raises:
            ExportError: the node refers to no layer of the graph.
        """
        if node.layer_index is None or not 0 <= node.layer_index < len(self.layers):
            raise ExportError(f"there are {len(self.layers)} layers. Received: layer_index {node.layer_index}")
        return self.layers[node.layer_index]

    def output(self, name: str | None = None) -> Output:
        """An output by its name, or the only one.

        Raises:
            ExportError: no such output, or several and none named.
        """
        if name is None and len(self.outputs) == 1:
            return next(iter(self.outputs.values()))
        if name is None or name not in self.outputs:
            raise ExportError(f"name one of the outputs {', '.join(self.outputs)}. Received: {name}")
        return self.outputs[name]


def write_graph(path: str | Path, graph: Graph) -> None:
    """Write a graph as LWTNN JSON, whole or not at all."""
    files.write_text(path, format_graph(graph))


def read_graph(path: str | Path) -> Graph:
    """Read a graph from LWTNN JSON; `ExportError` where lwtnn would not evaluate it."""
    try:
        return parse_graph(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"cannot read {path}: {error}") from error
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error


def format_graph(graph: Graph) -> str:
    """Compact JSON of the graph; weights have nine significant digits, exact for float32."""
    document = {
        "inputs": [{"name": given.name, "variables": [vars(v) for v in given.variables]} for given in graph.inputs],
        "input_sequences": [],  # lwtnn requires the key
        "nodes": [{key: value for key, value in vars(node).items() if value is not None} for node in graph.nodes],
        "layers": [_layer_document(layer) for layer in graph.layers],
        "outputs": {name: vars(output) for name, output in graph.outputs.items()},
    }
    return "{\n" + ",\n".join(f"{json.dumps(key)}:{_text(value)}" for key, value in document.items()) + "\n}\n"


def parse_graph(text: str) -> Graph:
    """The graph that LWTNN JSON describes; unknown keys are ignored, as lwtnn does.

    Raises:
        ExportError: not JSON, a missing key, a wrong type, or an inconsistent graph.
    """
    try:
        document = json.loads(text)
        if document["input_sequences"]:
            raise ExportError("sequences are not supported; input_sequences must be []")
        inputs = tuple(
            Input(str(given["name"]), tuple(_variable(variable) for variable in given["variables"]))
            for given in document["inputs"]
        )
        nodes = tuple(
            Node(str(node["type"]), tuple(map(int, node["sources"])), node.get("size"), node.get("layer_index"))
            for node in document["nodes"]
        )
        layers = tuple(_layer(layer) for layer in document["layers"])
        outputs = {
            str(name): Output(int(output["node_index"]), tuple(map(str, output["labels"])))
            for name, output in document["outputs"].items()
        }
    except KeyError as error:
        raise ExportError(f"not an LWTNN graph: the key {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ExportError(f"not an LWTNN graph: {error}") from error
    return Graph(inputs, nodes, layers, outputs)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, np.ndarray):
        return "[" + ",".join([f"{number:.9g}" for number in value.ravel().tolist()]) + "]"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)


def _layer_document(layer: Layer) -> dict[str, Any]:
    match layer:
        case Normalization():
            return {"architecture": "normalization", "weights": layer.weights, "bias": layer.bias}
        case Highway(transform, carry, activation):
            components = {"t": vars(transform), "carry": vars(carry)}
            return {"architecture": "highway", "components": components, "activation": _activation_document(activation)}
        case Maxout(sublayers):
            return {"architecture": "maxout", "sublayers": [vars(sublayer) for sublayer in sublayers]}
        case Dense(weights, bias, activation):
            document = _activation_document(activation)
            return {"architecture": "dense", "weights": weights, "bias": bias, "activation": document}


def _activation_document(activation: Activation) -> str | dict[str, Any]:
    return activation.function if activation.alpha is None else vars(activation)


def _layer(document: dict[str, Any]) -> Layer:
    match document["architecture"]:
        case "dense":
            return Dense(*_weights(document), _activation(document["activation"]))
        case "normalization":
            return Normalization(*_weights(document))
        case "highway":
            parts = document["components"]
            transform, carry = Affine(*_weights(parts["t"])), Affine(*_weights(parts["carry"]))
            return Highway(transform, carry, _activation(document["activation"]))
        case "maxout":
            return Maxout(tuple(Affine(*_weights(sublayer)) for sublayer in document["sublayers"]))
        case other:
            raise ExportError(f"layers must be dense, normalization, highway or maxout. Received: {other}")


def _weights(document: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    weights, bias = (np.asarray(document[key], dtype=np.float64) for key in ("weights", "bias"))
    if weights.ndim != 1 or bias.ndim != 1:
        raise ExportError("weights and bias must be flat lists of numbers")
    return weights, bias


def _activation(document: str | dict[str, Any]) -> Activation:
    if isinstance(document, str):
        return Activation(document, 1.0 if document == "elu" else None)
    return Activation(str(document["function"]), float(document["alpha"]))


def _variable(document: dict[str, Any]) -> Variable:
    return Variable(str(document["name"]), float(document["offset"]), float(document["scale"]))
