"""LWTNN graphs made by hand, for the tests of what reads, runs and describes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from calogen.lwtnn.graph import Graph, GraphInput, GraphOutput, Node, Variable
from calogen.lwtnn.layers import Activation, Affine, Dense, Highway, Maxout, NetworkLayer, Normalization

EMPTY = np.empty(0)
NUMBER = Node("input", (0,), size=1)
"""The first input, of one number."""
VARIABLE = Variable("a")


def chain(size: int, *layers: NetworkLayer) -> Graph:
    """The layers one after another on one input, `x`; without layers the output is the input."""
    nodes = [Node("input", (0,), size=size)]
    nodes += [Node("feed_forward", (i,), layer_index=i) for i in range(len(layers))]
    given, output_size = GraphInput("x", tuple(Variable(f"variable_{i}") for i in range(size))), size
    for layer in layers:
        output_size = layer.output_size(output_size)
    labels = tuple(f"out_{i}" for i in range(output_size))
    return Graph((given,), tuple(nodes), layers, {"out": GraphOutput(len(layers), labels)})


def of_one_number(nodes: Sequence[Node] = (NUMBER,), output: int = 0, variable: Variable = VARIABLE) -> Graph:
    """These nodes, without layers, on one number, `x`; the output is a number, too."""
    return Graph((GraphInput("x", (variable,)),), tuple(nodes), (), {"out": GraphOutput(output, ("a",))})


def every_kind(activation: Activation) -> Graph:
    """Every kind of node and layer on the inputs `latent`, of 3 numbers, and `condition`, of 1.

    There are maps to fold before and after matrices. A layer and several nodes are used twice, consumers come before
    their sources, and the last element of the output has no label.
    """
    normal = np.random.default_rng(7).standard_normal
    latent = GraphInput("latent", tuple(Variable(f"variable_{i}", offset=0.5 * i, scale=1.5 - i) for i in range(3)))
    condition = GraphInput("condition", (Variable("variable_0", offset=-3.0, scale=0.25),))
    layers = (
        Normalization(normal(4), normal(4)),
        Dense(normal((5, 4)), normal(5), activation),
        Normalization(normal(5), normal(5)),
        Dense(normal((5, 5)), EMPTY),
        Highway(Affine(normal((5, 5)), normal(5)), Affine(normal((5, 5)), normal(5)), Activation("elu", 0.6)),
        Maxout(tuple(Affine(normal((6, 5)), normal(6)) for _ in range(3))),
        Dense(EMPTY, normal(6), activation),
        Normalization(normal(22), normal(22)),
    )
    nodes = (
        Node("feed_forward", (12,), layer_index=7),  # the output; its sources follow
        Node("input", (0,), size=3),
        Node("input", (1,), size=1),
        Node("concatenate", (1, 2)),
        Node("feed_forward", (3,), layer_index=0),
        Node("feed_forward", (4,), layer_index=1),
        Node("feed_forward", (5,), layer_index=2),
        Node("feed_forward", (6,), layer_index=3),
        Node("add", (6, 7, 5, 6)),
        Node("feed_forward", (8,), layer_index=4),
        Node("feed_forward", (9,), layer_index=5),
        Node("feed_forward", (10,), layer_index=6),
        Node("concatenate", (11, 10, 6, 13)),
        Node("feed_forward", (3,), layer_index=1),
    )
    return Graph((latent, condition), nodes, layers, {"out": GraphOutput(0, tuple(f"out_{i}" for i in range(21)))})


def input_nodes(*sizes: int) -> list[dict[str, Any]]:
    """Nodes of a document: its inputs, in order."""
    return [{"type": "input", "sources": [index], "size": size} for index, size in enumerate(sizes)]


def layer_nodes(*sources: int, first: int = 0) -> list[dict[str, Any]]:
    """Nodes of a document: its layers in order, from the first one given, each on its source."""
    return [
        {"type": "feed_forward", "sources": [source], "layer_index": index}
        for index, source in enumerate(sources, start=first)
    ]
