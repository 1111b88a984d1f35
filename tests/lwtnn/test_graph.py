import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calogen.errors import CalogenError, ExportError
from calogen.lwtnn.graph import (
    Dense,
    Graph,
    Input,
    Node,
    Output,
    Variable,
    format_graph,
    parse_graph,
    read_graph,
    write_graph,
)

# 2 voxels, latent 1 + 1 condition, ready for Athena; read by the real lwtnn 2.14.1
MINIMAL = """
{"inputs":[{"name":"node_0","variables":[{"name":"variable_0","offset":0,"scale":1}]},
           {"name":"node_1","variables":[{"name":"variable_0","offset":0,"scale":1}]}],
 "input_sequences":[],
 "nodes":[{"type":"input","sources":[0],"size":1},{"type":"input","sources":[1],"size":1},
          {"type":"concatenate","sources":[0,1]},
          {"type":"feed_forward","sources":[2],"layer_index":0}],
 "layers":[{"architecture":"dense","weights":[1,2,3,4],"bias":[0,0],"activation":{"function":"swish","alpha":1}}],
 "outputs":{"out":{"node_index":3,"labels":["out_0","out_1"]}}}
"""


def test_minimal_example_is_read_and_written_unchanged() -> None:
    graph = parse_graph(MINIMAL)
    assert list(graph.sizes.values()) == [1, 1, 2, 2]
    assert graph.output().labels == ("out_0", "out_1")
    assert json.loads(format_graph(graph)) == json.loads(MINIMAL)
    assert format_graph(parse_graph(format_graph(graph))) == format_graph(graph)


def test_consumers_may_come_before_sources_and_unknown_keys_are_ignored() -> None:
    document = json.loads(MINIMAL)
    document["nodes"] = document["nodes"][::-1]
    for node, sources in zip(document["nodes"], ([1], [3, 2], [1], [0]), strict=True):
        node["sources"] = sources
    document["outputs"]["out"]["node_index"] = 0
    document["comment"] = "ours"
    assert list(parse_graph(json.dumps(document)).sizes) == [3, 2, 1, 0]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_float32_survives(numbers: list[float]) -> None:
    weights = np.array(numbers, np.float32)
    graph = Graph(
        (Input("x", (Variable("a", offset=1 / 3, scale=0.1),)),),
        (Node("input", (0,), size=1), Node("feed_forward", (0,), layer_index=0)),
        (Dense(weights.astype(np.float64), np.empty(0)),),
        {"out": Output(1, tuple(f"out_{i}" for i in range(len(numbers))))},
    )
    back = parse_graph(format_graph(graph))
    layer = back.layers[0]
    assert isinstance(layer, Dense)
    np.testing.assert_array_equal(layer.weights.astype(np.float32), weights)
    assert back.inputs == graph.inputs


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *keys, last, value = path

    def change(document: dict[str, Any]) -> None:
        for key in keys:
            document = document[key]
        document[last] = value

    return change


BAD = {
    "the key 'nodes' is missing": lambda document: document.pop("nodes"),
    "the key 'input_sequences' is missing": lambda document: document.pop("input_sequences"),
    "the key 'alpha' is missing": _set("layers", 0, "activation", {"function": "swish"}),
    "the key 'activation' is missing": lambda document: document["layers"][0].pop("activation"),
    "swish needs a finite alpha": _set("layers", 0, "activation", "swish"),
    "leakyrelu needs a finite alpha": _set("layers", 0, "activation", "leakyrelu"),
    "Received: 'relu'": _set("layers", 0, "activation", "relu"),
    "Received: lstm": _set("layers", 0, "architecture", "lstm"),
    "sequences are not supported; input_sequences": _set("input_sequences", [{"name": "s"}]),
    "node 3 .multiply.": _set("nodes", 3, "type", "multiply"),
    "there are 1 layers. Received: layer_index 1": _set("nodes", 3, "layer_index", 1),
    "there are 1 layers. Received: layer_index None": lambda document: document["nodes"][3].pop("layer_index"),
    "node 3 is its own source": _set("nodes", 2, "sources", [0, 3]),
    "node 4 is its own source, or beyond": _set("nodes", 2, "sources", [0, 4]),
    "wrong number of sources": _set("nodes", 3, "sources", [0, 1]),
    "size must be that of its input, 1. Received: 2": _set("nodes", 0, "size", 2),
    "there are 2 inputs. Received: input 7": _set("nodes", 0, "sources", [7]),
    "sources must have one size": lambda document: (
        document["nodes"].append({"type": "add", "sources": [0, 3]})
        or _set("outputs", "out", "node_index", 4)(document)
    ),
    "has 3 labels for 2 numbers": _set("outputs", "out", "labels", ["a", "b", "c"]),
    "refers to node 9": _set("outputs", "out", "node_index", 9),
    "and an output": _set("outputs", {}),
    "different names": _set("inputs", 1, "name", "node_0"),
    "rows of 2. Received: 3 numbers": _set("layers", 0, "weights", [1, 2, 3]),
    "flat lists": _set("layers", 0, "weights", [[1, 2], [3, 4]]),
    "must be finite": _set("layers", 0, "weights", [1, 2, 3, float("nan")]),
    "bias must have 2 numbers": _set("layers", 0, "bias", [1]),
    "normalization needs 2 weights": _set("layers", 0, "architecture", "normalization"),
    "maxout needs sublayers of one size": _set(
        "layers", 0, {"architecture": "maxout", "sublayers": [{"weights": [1, 2], "bias": []}]}
    ),
    "highway needs two 2 x 2 matrices": _set(
        "layers",
        0,
        {
            "architecture": "highway",
            "components": {part: {"weights": [1, 2], "bias": [1]} for part in ("t", "carry")},
            "activation": "linear",
        },
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_what_lwtnn_would_not_evaluate_is_refused(message: str) -> None:
    document = json.loads(MINIMAL)
    BAD[message](document)
    with pytest.raises(ExportError, match=message):
        parse_graph(json.dumps(document))


def test_an_output_must_be_named_where_there_are_several() -> None:
    document = json.loads(MINIMAL)
    document["outputs"]["more"] = {"node_index": 2, "labels": ["a"]}
    graph = parse_graph(json.dumps(document))
    assert graph.output("more").labels == ("a",)
    for name in (None, "other"):
        with pytest.raises(ExportError, match="name one of the outputs out, more"):
            graph.output(name)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    write_graph(path, parse_graph(MINIMAL))
    assert format_graph(read_graph(path)) == path.read_text()
    path.write_text("{", encoding="utf-8")
    for bad in (path, tmp_path / "none.json", tmp_path):
        with pytest.raises(ExportError, match=str(bad)):
            read_graph(bad)
    with pytest.raises(CalogenError, match="cannot write"):
        write_graph(tmp_path, parse_graph(MINIMAL))
