"""Descriptions of an LWTNN graph: plain data, a text, and boxes to draw."""

import io
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from calogen import files
from calogen.lwtnn.graph import Graph
from calogen.lwtnn.layers import Affine, Dense, Highway, Maxout, NetworkLayer
from calogen.lwtnn.property_tree import shown

if TYPE_CHECKING:
    from calogen.plots.networks import Box, BoxKind

_MOST_SOURCES = 6  # number of sources that the text names
_LONGEST_NAME = 24  # characters
_KINDS: dict[str, "BoxKind"] = {"input": "input", "feed_forward": "layer"}


def describe(path: Path, graph: Graph) -> dict[str, Any]:
    """Inputs, nodes, outputs, costs and origin of a graph that was read from a file.

    `multiplications` counts the multiplications by weights, not those of preprocessing and activations, with every
    needed node computed once; `multiplications_lwtnn` counts each node as often as lwtnn computes it, `evaluations`.
    `parameters` counts the weights and biases of all layers in the file.
    """
    nodes = [_node(graph, index) for index in graph.sizes]
    layers = {graph.nodes[index].layer_index for index in graph.sizes if graph.nodes[index].type == "feed_forward"}
    once = sum(row["multiplications"] for row in nodes)
    as_lwtnn = sum(row["multiplications"] * row["evaluations"] for row in nodes)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": files.sha256(path),
        "lwtnn": ">=2.14" if any(node.type == "add" for node in graph.nodes) else ">=2.13",
        "inputs": [
            {"name": given.name, "variables": [dict(vars(variable)) for variable in given.variables]}
            for given in graph.inputs
        ],
        "nodes": nodes,
        "outputs": [
            {
                "name": name,
                "node": output.node_index,
                "labels": len(output.labels),
                "first": output.labels[0],
                "last": output.labels[-1],
            }
            for name, output in graph.outputs.items()
        ],
        "unused": {
            "nodes": [index for index in range(len(graph.nodes)) if index not in graph.sizes],
            "layers": [index for index in range(len(graph.layers)) if index not in layers],
        },
        "parameters": sum(_parameters(layer) for layer in graph.layers),
        "evaluations": sum(graph.evaluations.values()),
        "multiplications": once,
        "multiplications_lwtnn": as_lwtnn,
        "ratio": as_lwtnn / once if once else None,
    }


def format_description(described: dict[str, Any]) -> str:
    """The result of `describe` as text in columns."""
    console = Console(file=io.StringIO(), width=10_000, color_system=None, markup=False, emoji=False, highlight=False)
    console.print(f"{described['file']}: {described['bytes']:,} bytes, needs lwtnn {described['lwtnn']}")
    console.print(f"sha256 {described['sha256']}")
    _print(console, ("input", "variables", "number", "offset", "scale"), _input_rows(described["inputs"]))
    columns = ("node", "type", "sources", "layer", "activation", "in", "out", "parameters", "evaluations")
    _print(console, columns, map(_node_row, described["nodes"]))
    _print(
        console,
        ("output", "node", "labels", "first", "last"),
        (
            [_short(row["name"]), row["node"], row["labels"], _short(row["first"]), _short(row["last"])]
            for row in described["outputs"]
        ),
    )
    ratio = "" if described["ratio"] is None else f" ({described['ratio']:.2f} times as many)"
    console.print(f"\nparameters       {described['parameters']:,}")
    console.print(f"multiplications  {described['multiplications']:,} per shower if every node is computed once;")
    console.print(f"                 {described['multiplications_lwtnn']:,} as lwtnn evaluates the graph{ratio}")
    for kind, numbers in described["unused"].items():
        if numbers:
            console.print(f"no output needs {kind} {_some(numbers)}")
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def boxes(graph: Graph) -> list["Box"]:
    """The outputs and the nodes that they need, as boxes for `plots.networks.draw_graph`."""
    from calogen.plots.networks import Box  # matplotlib takes a while

    numbers = {index: number for number, index in enumerate(graph.sizes)}
    found = []
    for row in (_node(graph, index) for index in numbers):
        index, kind = row["node"], row["type"]
        if kind == "input":
            name, detail = _short(row["input"]), f"{row['outputs']}"
        else:
            name = row["layer"] or kind
            detail = f"{row['inputs']} → {row['outputs']}"
            name += f", {row['activation']}" if row["activation"] not in (None, "linear") else ""
        times = f", {row['evaluations']} times" if row["evaluations"] > 1 else ""
        colour = _KINDS.get(kind, "join")
        sources = tuple(numbers[source] for source in row["sources"])
        found.append(Box(f"{index} {name}", detail + times, graph.depths[index], sources, colour))
    for name, output in graph.outputs.items():
        depth = graph.depths[output.node_index] + 1
        found.append(Box(_short(name), f"{len(output.labels)}", depth, (numbers[output.node_index],), "output"))
    return found


def _node(graph: Graph, index: int) -> dict[str, Any]:
    node = graph.nodes[index]
    layer = graph.layer(node) if node.type == "feed_forward" else None
    activation = layer.activation if isinstance(layer, Dense | Highway) else None
    alpha = "" if activation is None or activation.alpha is None else f"({activation.alpha:g})"
    return {
        "node": index,
        "type": node.type,
        "input": graph.inputs[node.sources[0]].name if node.type == "input" else None,
        "sources": list(graph.sources(index)),
        "layer_index": node.layer_index if layer is not None else None,
        "layer": None if layer is None else type(layer).__name__.lower(),
        "activation": None if activation is None else activation.function + alpha,
        "inputs": graph.sizes[index] if node.type == "add" else sum(map(graph.sizes.__getitem__, graph.sources(index))),
        "outputs": graph.sizes[index],
        "parameters": 0 if layer is None else _parameters(layer),
        "multiplications": 0 if layer is None else sum(part.weights.size for part in _maps(layer)),
        "evaluations": graph.evaluations[index],
    }


def _maps(layer: NetworkLayer) -> tuple[Affine, ...]:
    match layer:
        case Highway(transform, carry):
            return transform, carry
        case Maxout(sublayers):
            return sublayers
        case _:
            return (layer,)


def _parameters(layer: NetworkLayer) -> int:
    return sum(part.weights.size + part.bias.size for part in _maps(layer))


def _input_rows(inputs: list[dict[str, Any]]) -> Iterable[list[object]]:
    """Rows of a table, one for each run of variables with equal offset and scale."""
    for given in inputs:
        name = _short(given["name"])
        for (offset, scale), group in groupby(given["variables"], key=lambda v: (v["offset"], v["scale"])):
            variables = list(group)
            names = " .. ".join(_short(variables[i]["name"]) for i in sorted({0, len(variables) - 1}))
            preprocessing = ["", ""] if (offset, scale) == (0.0, 1.0) else [f"{offset:.6g}", f"{scale:.6g}"]
            yield [name, names, len(variables), *preprocessing]
            name = ""


def _node_row(row: dict[str, Any]) -> list[object]:
    sources = _short(row["input"]) if row["type"] == "input" else _some(row["sources"])
    layer = "" if row["layer"] is None else f"{row['layer_index']} {row['layer']}"
    parameters = f"{row['parameters']:,}" if layer else ""
    inputs = "" if row["type"] == "input" else row["inputs"]
    kind = [row["node"], row["type"], sources, layer, row["activation"] or ""]
    return [*kind, inputs, row["outputs"], parameters, row["evaluations"]]


def _print(console: Console, columns: tuple[str, ...], rows: Iterable[list[object]]) -> None:
    """Print a table with its numbers aligned on the right."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        numeric = column in ("number", "offset", "scale", "in", "out", "labels", "parameters", "evaluations")
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*map(str, row))
    console.print()
    console.print(table)


def _some(numbers: list[int]) -> str:
    text = ", ".join(map(str, numbers[:_MOST_SOURCES]))
    return text if len(numbers) <= _MOST_SOURCES else f"{text} .. {numbers[-1]} ({len(numbers)})"


def _short(text: str) -> str:
    """A name on one line, shortened, and in quotes where it has invisible characters."""
    text = text if text.isprintable() else shown(text)
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"
