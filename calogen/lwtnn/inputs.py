"""Inputs of a graph that another program gives by other names and in another order."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from calogen.errors import ExportError
from calogen.lwtnn.graph import Graph, GraphInput, Node, Variable
from calogen.lwtnn.layers import Dense


def rebuilt_input(graph: Graph, name: str, parts: Sequence[tuple[str, Variable]]) -> Graph:
    """Gives a graph one of whose inputs is put together from variables of other inputs.

    The new inputs take the place of the old one, in the order in which `parts` names them. Where the variables of one
    of them do not follow one another in the old input, a layer of ones and zeros brings them into its order.

    Args:
        graph: a graph that has the input.
        name: name of the old input.
        parts: for each variable of the old input the new input, and the variable there, with offset and scale.

    Raises:
        ExportError: there is no such input, it has another number of variables, a variable is used twice, or a new
            input has the name of one that stays.
    """
    position = next((place for place, item in enumerate(graph.inputs) if item.name == name), None)
    if position is None or len(graph.inputs[position].variables) != len(parts):
        known = {item.name: len(item.variables) for item in graph.inputs}
        raise ExportError(
            f"an input must be replaced as a whole. Received: {len(parts)} variables of {name} in {known}"
        )
    order = list(dict.fromkeys(new for new, _ in parts))
    places = [place for new in order for place, (other, _) in enumerate(parts) if other == new]
    inputs = [GraphInput(new, tuple(variable for other, variable in parts if other == new)) for new in order]
    shift = len(inputs) - 1
    nodes = [
        replace(node, sources=(node.sources[0] + (shift if node.sources[0] > position else 0),))
        if node.type == "input"
        else node
        for node in graph.nodes
    ]
    old = [index for index, node in enumerate(graph.nodes) if node.type == "input" and node.sources == (position,)]
    given = [Node("input", (position + place,), size=len(item.variables)) for place, item in enumerate(inputs)]
    joined, layers = given[0], graph.layers
    if len(given) > 1:
        joined = Node("concatenate", tuple(range(len(nodes), len(nodes) + len(given))))
        nodes += given
    if places != list(range(len(parts))):
        nodes.append(joined)
        joined = Node("feed_forward", (len(nodes) - 1,), layer_index=len(layers))
        layers = (*layers, Dense(np.eye(len(parts))[np.argsort(places)], np.empty(0)))
    for index in old:
        nodes[index] = joined
    return Graph(
        (*graph.inputs[:position], *inputs, *graph.inputs[position + 1 :]), tuple(nodes), layers, graph.outputs
    )
