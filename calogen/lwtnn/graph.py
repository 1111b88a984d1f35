"""The JSON schema of lwtnn's LightweightGraph as dataclasses, which check themselves.

Only nodes that work on vectors are supported, which generators and decoders need; sequences are refused. The classes
follow the file one to one: a node refers to its sources by position and to its parameters by `layer_index`.

Source: `lwt::parse_json_graph` of lwtnn 2.14.1 (src/parse_json.cxx) and include/lwtnn/generic/{Graph,Stack}.tcc.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeGuard, TypeVar

import numpy as np

from calogen.errors import ExportError
from calogen.lwtnn import property_tree
from calogen.lwtnn.layers import NetworkLayer, layer_document, read_layer

NODES = ("input", "feed_forward", "concatenate", "add")
MAX_DEPTH = 1000
"""Largest number of nodes one after another: lwtnn visits them by recursion, which the stack limits."""
MAX_EVALUATIONS = 10**6
"""Largest number of nodes that lwtnn may evaluate for one shower; real networks need tens or hundreds."""
MAX_NUMBERS = 10**7
"""Largest number of elements in the vectors of all nodes together: 80 MB."""

_Checked = TypeVar("_Checked")


@dataclass(frozen=True)
class Variable:
    """One number of an input; the network sees `(x + offset) * scale`.

    Raises:
        ExportError: offset or scale is not finite.
    """

    name: str
    offset: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.offset) and math.isfinite(self.scale)):
            raise ExportError(f"offset and scale must be finite. Received: {self.offset} and {self.scale}")


@dataclass(frozen=True)
class GraphInput:
    """A named input vector; its variables in the order of its elements.

    Raises:
        ExportError: no variables, or two of one name.
    """

    name: str
    variables: tuple[Variable, ...]

    def __post_init__(self) -> None:
        _require_names("an input's variables", (variable.name for variable in self.variables))


@dataclass(frozen=True)
class Node:
    """A vector of the graph: an input, or the result of a layer, a concatenation or a sum.

    Args:
        type: one of `NODES`.
        sources: positions of the source nodes in the list of nodes; for an input node its position among the inputs.
        size: length of an input's vector; None: the node is no input.
        layer_index: position of a feed_forward node's parameters in the list of layers; None: the node has none.
    """

    type: str
    sources: tuple[int, ...]
    size: int | None = None
    layer_index: int | None = None


@dataclass(frozen=True)
class GraphOutput:
    """The node that holds an output, and the labels of the output's elements.

    Raises:
        ExportError: there is no label, or one stands twice: lwtnn would keep only one of the two numbers.
    """

    node_index: int
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        _require_names("an output's labels", self.labels)


@dataclass(frozen=True, eq=False)
class Graph:
    """An LWTNN network of vectors, whose consistency is checked when it is made.

    Athena takes exactly one output; the `add` node needs lwtnn 2.14, all else runs in 2.13.

    Raises:
        ExportError: indices, sizes or names do not fit together, the nodes form a cycle, or the network is beyond
            `MAX_DEPTH`, `MAX_EVALUATIONS` or `MAX_NUMBERS`, where nodes that no output needs count, as lwtnn builds
            them, too.
    """

    inputs: tuple[GraphInput, ...]
    nodes: tuple[Node, ...]
    layers: tuple[NetworkLayer, ...]
    outputs: Mapping[str, GraphOutput]

    def __post_init__(self) -> None:
        _require_names("a graph's inputs", (given.name for given in self.inputs))
        _require_names("a graph's outputs", self.outputs)
        for index in range(len(self.nodes)):
            self._at(index, self._check)
        for name, output in self.outputs.items():
            if not _is_position(output.node_index, self.nodes):
                received = f"node {output.node_index}"
                raise ExportError(
                    f"output {property_tree.shown(name)}: there are {len(self.nodes)} nodes. Received: {received}"
                )
            size = self._all_sizes[output.node_index]
            if len(output.labels) > size:
                received = f"{len(output.labels)} labels"
                raise ExportError(f"output {property_tree.shown(name)} has {size} numbers. Received: {received}")
        _ = self.evaluations  # refuses a graph whose evaluation by lwtnn would take too long

    @cached_property
    def sizes(self) -> dict[int, int]:
        """Length of the vector of each node that an output needs, by the node's position.

        Sources come before their consumers: the order of the keys is one in which the nodes can be computed.
        """
        return {index: self._all_sizes[index] for index in self._order(o.node_index for o in self.outputs.values())}

    @cached_property
    def depths(self) -> dict[int, int]:
        """Length of the longest path from an input to each node, sources first."""
        depths: dict[int, int] = {}
        for index in self._order(range(len(self.nodes))):
            depths[index] = 1 + max((depths[source] for source in self.sources(index)), default=-1)
            if depths[index] >= MAX_DEPTH:
                raise ExportError(f"calogen's limit: at most {MAX_DEPTH} nodes may follow one another. Received: more")
        return depths

    @cached_property
    def evaluations(self) -> dict[int, int]:
        """Number of times that lwtnn computes each node in order to give every output once.

        lwtnn keeps no results: a node computes its sources anew each time. A node therefore runs once for each path
        from it to an output; a trunk with seven heads runs seven times.

        Source: `FeedForwardNode::compute`, `ConcatenateNode::compute`, `AddNode::compute` in
        include/lwtnn/generic/Graph.tcc of lwtnn 2.14.1.
        """
        counts = dict.fromkeys(self.sizes, 0)
        for output in self.outputs.values():
            counts[output.node_index] += 1
        total = 0
        for index in reversed(self.sizes):
            total += counts[index]
            if total > MAX_EVALUATIONS:
                raise ExportError(
                    f"calogen's limit: lwtnn may evaluate at most {MAX_EVALUATIONS} nodes for one shower. Received: "
                    "more, since it evaluates a node again for each of its consumers"
                )
            for source in self.sources(index):
                counts[source] += counts[index]
        return counts

    def order(self, output: str | None = None) -> list[int]:
        """Positions of the nodes that one output needs, sources before their consumers.

        Raises:
            ExportError: there is no such output, or there are several and none is named.
        """
        return self._order([self.output(output).node_index])

    def sources(self, index: int) -> tuple[int, ...]:
        """Positions of the nodes from which a node computes its vector; an input has none."""
        return () if self.nodes[index].type == "input" else self.nodes[index].sources

    def layer(self, node: Node) -> NetworkLayer:
        """The parameters of a feed_forward node.

        Raises:
            ExportError: the node refers to no layer of the graph.
        """
        if not _is_position(node.layer_index, self.layers):
            raise ExportError(f"there are {len(self.layers)} layers. Received: layer_index {node.layer_index}")
        return self.layers[node.layer_index]

    def output(self, name: str | None = None) -> GraphOutput:
        """An output by its name, or the only one.

        Raises:
            ExportError: there is no such output, or there are several and none is named.
        """
        if name is None and len(self.outputs) == 1:
            return next(iter(self.outputs.values()))
        if name is None or name not in self.outputs:
            raise ExportError(f"name one of the outputs {', '.join(self.outputs)}. Received: {name}")
        return self.outputs[name]

    def _order(self, targets: Iterable[int]) -> list[int]:
        """The targets and the nodes they need, sources first; without recursion."""
        order: dict[int, None] = {}
        started: set[int] = set()
        stack = list(targets)[::-1]
        while stack:
            index = stack[-1]
            missing = [] if index in order else [source for source in self.sources(index) if source not in order]
            if not missing:
                order[stack.pop()] = None
            elif index in started:
                raise ExportError(f"node {index} is its own source")
            else:
                started.add(index)
                stack += missing[::-1]
        return list(order)

    @cached_property
    def _all_sizes(self) -> dict[int, int]:
        sizes: dict[int, int] = {}
        widths: dict[int | None, int] = {}  # input length of each layer: lwtnn builds it once, for its first node
        total = 0
        for index in self.depths:
            lengths = [sizes[source] for source in self.sources(index)]
            layer = self.nodes[index].layer_index
            if self.nodes[index].type == "feed_forward" and widths.setdefault(layer, lengths[0]) != lengths[0]:
                received = f"{widths[layer]} and, at node {index}, {lengths[0]} numbers"
                raise ExportError(f"layer {layer} must get vectors of one length from all nodes. Received: {received}")
            sizes[index] = self._at(index, partial(self._size, lengths=lengths))
            total += sizes[index]
            if total > MAX_NUMBERS:
                raise ExportError(
                    f"calogen's limit: all vectors may hold at most {MAX_NUMBERS} numbers. Received: more"
                )
        return sizes

    def _at(self, index: int, check: Callable[[Node], _Checked]) -> _Checked:
        """The result of `check` for a node; an error names the node."""
        try:
            return check(self.nodes[index])
        except ExportError as error:
            raise ExportError(f"node {index}: {error}") from None

    def _check(self, node: Node) -> None:
        """Refuse a node of unknown type, or one whose sources or position cannot exist."""
        if node.type not in NODES:
            received = f"{property_tree.shown(node.type)} (sequences are not supported)"
            raise ExportError(f"its type must be one of {', '.join(NODES)}. Received: {received}")
        if not node.sources or (node.type in ("input", "feed_forward") and len(node.sources) > 1):
            raise ExportError(
                f"{node.type} has the wrong number of sources. Received: {property_tree.shown(node.sources)}"
            )
        among: Sized = self.inputs if node.type == "input" else self.nodes
        if not all(_is_position(source, among) for source in node.sources):
            kind = "inputs" if node.type == "input" else "nodes"
            raise ExportError(f"there are {len(among)} {kind}. Received: sources {property_tree.shown(node.sources)}")
        if node.type == "input":
            size = len(self.inputs[node.sources[0]].variables)
            if type(node.size) is not int or node.size != size:
                raise ExportError(f"size must be that of its input, {size}. Received: {node.size}")
        elif node.type == "feed_forward":
            self.layer(node)

    def _size(self, node: Node, lengths: list[int]) -> int:
        """Length of a node's vector, given the lengths of its sources' vectors."""
        if node.type == "input":
            return len(self.inputs[node.sources[0]].variables)
        if node.type == "feed_forward":
            return self.layer(node).output_size(lengths[0])
        if node.type == "add" and len(set(lengths)) != 1:
            raise ExportError(f"the sources of add must have one size. Received: {property_tree.shown(lengths)}")
        return sum(lengths) if node.type == "concatenate" else lengths[0]


def read_graph(path: str | Path) -> Graph:
    """Read a graph from a file of LWTNN JSON.

    Raises:
        ExportError: the file cannot be read, or lwtnn would not evaluate the graph.
    """
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
        "layers": [layer_document(layer) for layer in graph.layers],
        "outputs": {name: vars(output) for name, output in graph.outputs.items()},
    }
    return "{\n" + ",\n".join(f"{json.dumps(key)}:{_text(value)}" for key, value in document.items()) + "\n}\n"


def parse_graph(text: str) -> Graph:
    """The graph that LWTNN JSON describes; unknown keys are ignored, as lwtnn does.

    Raises:
        ExportError: the text is not JSON, a key is missing, a type is wrong, or the graph is inconsistent.
    """
    try:
        parts = _parts(property_tree.parse(text))
    except ExportError as error:
        raise ExportError(f"not an LWTNN graph: {error}") from error
    return Graph(*parts)


def _parts(
    document: object,
) -> tuple[tuple[GraphInput, ...], tuple[Node, ...], tuple[NetworkLayer, ...], dict[str, GraphOutput]]:
    if property_tree.items(document, "input_sequences"):
        raise ExportError("calogen, unlike lwtnn, reads no sequences: input_sequences must be []")
    outputs = property_tree.field(document, "outputs")
    if not isinstance(outputs, dict):
        raise ExportError(f"outputs must be an object. Received: {property_tree.shown(outputs)}")
    return (
        property_tree.each(document, "inputs", _input),
        property_tree.each(document, "nodes", _node),
        property_tree.each(document, "layers", read_layer),
        {property_tree.name(name): _output(output) for name, output in outputs.items()},
    )


def _input(document: object) -> GraphInput:
    name = property_tree.name(property_tree.field(document, "name"))
    return GraphInput(name, property_tree.each(document, "variables", _variable))


def _variable(document: object) -> Variable:
    name, offset, scale = (property_tree.field(document, key) for key in ("name", "offset", "scale"))
    return Variable(property_tree.name(name), property_tree.number(offset), property_tree.number(scale))


def _node(document: object) -> Node:
    kind = property_tree.name(property_tree.field(document, "type"))
    sources = property_tree.each(document, "sources", property_tree.integer)
    size = property_tree.integer(property_tree.field(document, "size")) if kind == "input" else None
    layer = property_tree.integer(property_tree.field(document, "layer_index")) if kind == "feed_forward" else None
    return Node(kind, sources, size, layer)


def _output(document: object) -> GraphOutput:
    node = property_tree.integer(property_tree.field(document, "node_index"))
    return GraphOutput(node, property_tree.each(document, "labels", property_tree.name))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, np.ndarray):
        return "[" + ",".join([f"{number:.9g}" for number in value.ravel().tolist()]) + "]"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)


def _is_position(value: object, among: Sized) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < len(among)


def _require_names(what: str, names: Iterable[str]) -> None:
    """Refuse an empty list of names, or one in which a name stands twice."""
    ((name, count),) = Counter(iter(names)).most_common(1) or [("", 0)]
    if count != 1:
        received = f"{property_tree.shown(name)} {count} times" if count else "none"
        raise ExportError(f"{what} must have names, each once. Received: {received}")
