import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import lwtnn_forward
from toy_graphs import NUMBER, of_one_number

from calogen.errors import ExportError
from calogen.files import write_text
from calogen.lwtnn.graph import Graph, GraphInput, GraphOutput, Node, Variable, format_graph, parse_graph, read_graph
from calogen.lwtnn.layers import Activation, Dense

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
        (GraphInput("x", (Variable("a", offset=1 / 3, scale=0.1),)),),
        (Node("input", (0,), size=1), Node("feed_forward", (0,), layer_index=0)),
        (Dense(weights.astype(np.float64), np.empty(0)),),
        {"out": GraphOutput(1, tuple(f"out_{i}" for i in range(len(numbers))))},
    )
    back = parse_graph(format_graph(graph))
    layer = back.layers[0]
    assert isinstance(layer, Dense)
    np.testing.assert_array_equal(layer.weights.astype(np.float32), weights)
    assert back.inputs == graph.inputs


def _affine() -> dict[str, list[float]]:
    return {"weights": [1, 2], "bias": [1]}


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
    "inputs.1.: the key 'variables' is missing": lambda document: document["inputs"][1].pop("variables"),
    "layers.0.: the key 'alpha' is missing": _set("layers", 0, "activation", {"function": "swish"}),
    "the key 'activation' is missing": lambda document: document["layers"][0].pop("activation"),
    "the key 'layer_index' is missing": lambda document: document["nodes"][3].pop("layer_index"),
    "the key 'size' is missing": lambda document: document["nodes"][0].pop("size"),
    "the key 'labels' is missing": _set("outputs", "out", {"node_index": 3}),
    "an object with the key 'type'. Received: 5": _set("nodes", 1, 5),
    "an object with the key 'function'. Received: None": _set("layers", 0, "activation", None),
    "nodes must be a list. Received: {}": _set("nodes", {}),
    "sources must be a list. Received: 0": _set("nodes", 0, "sources", 0),
    "outputs must be an object": _set("outputs", [{"node_index": 3, "labels": ["a"]}]),
    "names must be text. Received: True": _set("inputs", 0, "name", True),
    "names must be text in Unicode": _set("outputs", "out", "labels", ["\ud800"]),
    "swish needs a finite alpha": _set("layers", 0, "activation", "swish"),
    "leakyrelu needs a finite alpha": _set("layers", 0, "activation", "leakyrelu"),
    "Received: 'relu'": _set("layers", 0, "activation", "relu"),
    "Received: 'lstm'": _set("layers", 0, "architecture", "lstm"),
    "calogen, unlike lwtnn, reads no sequences: input_sequences": _set("input_sequences", [{"name": "s"}]),
    "node 3: its type .*Received: 'multiply'": _set("nodes", 3, "type", "multiply"),
    "there are 1 layers. Received: layer_index 1": _set("nodes", 3, "layer_index", 1),
    "there are 1 layers. Received: layer_index -1": _set("nodes", 3, "layer_index", -1),
    "must be integers. Received: 0.0": _set("nodes", 3, "layer_index", 0.0),
    "sources.0.: indices and sizes must be integers. Received: 1.5": _set("nodes", 2, "sources", [1.5, 0]),
    "must be integers. Received: True": _set("nodes", 2, "sources", [True, 0]),
    "must be integers. Received: False": _set("outputs", "out", "node_index", False),
    "must be integers. Received: '1.5'": _set("nodes", 0, "size", "1.5"),
    "must be integers. Received: '1_0'": _set("nodes", 0, "size", "1_0"),
    "must be integers. Received: 2147483648": _set("outputs", "out", "node_index", 2**31),
    "node 2 is its own source": _set("nodes", 2, "sources", [0, 3]),
    "node 1 is its own source": _set("nodes", 1, {"type": "add", "sources": [1]}),
    "node 2: there are 4 nodes. Received: sources .0, 4.": _set("nodes", 2, "sources", [0, 4]),
    "there are 4 nodes. Received: sources .-1,.": _set("nodes", 2, "sources", [-1]),
    "feed_forward has the wrong number of sources": _set("nodes", 3, "sources", [0, 1]),
    "concatenate has the wrong number of sources": _set("nodes", 2, "sources", []),
    "size must be that of its input, 1. Received: 2": _set("nodes", 0, "size", 2),
    "there are 2 inputs. Received: sources .7,.": _set("nodes", 0, "sources", [7]),
    "sources of add must have one size": lambda document: (
        document["nodes"].append({"type": "add", "sources": [0, 3]})
        or _set("outputs", "out", "node_index", 4)(document)
    ),
    "node 4: there are 1 layers": lambda document: document["nodes"].append(
        {"type": "feed_forward", "sources": [0], "layer_index": 3}  # no output needs it, but lwtnn builds it
    ),
    "vectors of one length from all nodes. Received: 2 and, at node 4, 1": lambda document: document["nodes"].append(
        {"type": "feed_forward", "sources": [0], "layer_index": 0}
    ),
    "output 'out' has 2 numbers. Received: 3 labels": _set("outputs", "out", "labels", ["a", "b", "c"]),
    "output's labels must have names, each once. Received: 'a' 2 times": _set("outputs", "out", "labels", ["a", "a"]),
    "output's labels must have names, each once. Received: none": _set("outputs", "out", "labels", []),
    "there are 4 nodes. Received: node 9": _set("outputs", "out", "node_index", 9),
    "there are 4 nodes. Received: node -1": _set("outputs", "out", "node_index", -1),
    "outputs must have names, each once. Received: none": _set("outputs", {}),
    "inputs must have names, each once. Received: 'node_0' 2 times": _set("inputs", 1, "name", "node_0"),
    "inputs must have names, each once. Received: none": _set("inputs", []),
    "variables must have names, each once. Received: none": _set("inputs", 0, "variables", []),
    "variables must have names, each once. Received: 'a' 2 times": _set(
        "inputs", 0, "variables", [{"name": "a", "offset": 0, "scale": 1}] * 2
    ),
    "expected a number. Received: None": _set("inputs", 0, "variables", 0, "offset", None),
    "expected a number. Received: '1_0'": _set("inputs", 0, "variables", 0, "scale", "1_0"),
    "expected a number. Received: '٣'": _set("inputs", 0, "variables", 0, "scale", "٣"),
    "expected a number. Received: 'nan'": _set("layers", 0, "weights", [1, 2, 3, "nan"]),
    "expected a number. Received: False": _set("layers", 0, "weights", [1, 2, 3, False]),
    "numbers must be finite. Received: '1e400'": _set("inputs", 0, "variables", 0, "scale", "1e400"),
    "numbers must be finite. Received: 1000": _set("layers", 0, "bias", [0, 10**400]),
    "numbers must be finite. Received: NaN": _set("layers", 0, "weights", [1, 2, 3, float("nan")]),
    "numbers must be finite. Received: -Infinity": _set("inputs", 0, "variables", 0, "offset", -float("inf")),
    "rows of 2. Received: 3 numbers": _set("layers", 0, "weights", [1, 2, 3]),
    "flat list": _set("layers", 0, "weights", [[1, 2], [3, 4]]),
    "bias must have 2 numbers": _set("layers", 0, "bias", [1]),
    "normalization needs 2 weights": _set("layers", 0, "architecture", "normalization"),
    "sublayers.0.: the key 'bias' is missing": _set(
        "layers", 0, {"architecture": "maxout", "sublayers": [{"weights": [1, 2]}]}
    ),
    "maxout needs sublayers of one size": _set(
        "layers", 0, {"architecture": "maxout", "sublayers": [{"weights": [1, 2], "bias": []}]}
    ),
    "maxout needs sublayers of one size, each with a bias. Received: ..$": _set(
        "layers", 0, {"architecture": "maxout", "sublayers": []}
    ),
    "layers.0.: the key 'components' is missing": _set("layers", 0, "architecture", "highway"),
    "the key 'carry' is missing": _set("layers", 0, {"architecture": "highway", "components": {"t": _affine()}}),
    "highway needs two 2 x 2 matrices": _set(
        "layers",
        0,
        {
            "architecture": "highway",
            "components": {part: _affine() for part in ("t", "carry")},
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


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ("", "no JSON that lwtnn reads"),
        (MINIMAL[:-3], "no JSON that lwtnn reads"),
        (MINIMAL + "]", "no JSON that lwtnn reads"),
        ("3", "an object with the key 'input_sequences'. Received: 3"),
        ("[" * 100_000, "no JSON that lwtnn reads"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "no JSON that lwtnn reads"),
        ("9" * 10_000, "no JSON that lwtnn reads"),
        (MINIMAL.replace('"bias":[0,0]', '"bias":[0,0],"bias":[1,1]'), "once in an object. Received: 'bias' twice"),
        (MINIMAL.replace("[1,2,3,4]", "[1,2,3,1e400]"), "weights must be finite"),
        (MINIMAL.replace("[1,2,3,4]", "[" * 300 + "]" * 300), "flat list of numbers"),
        (MINIMAL.replace('"node_0"', "[" * 300 + "]" * 300), "names must be text"),
        (
            MINIMAL.replace('"out_0"', '"out' + "0" * 10**6 + '"').replace('"out_1"', "1.5"),
            "must be text. Received: 1.5",
        ),
        (MINIMAL.replace('"offset":0', '"offset":"' + "1" * 10**6 + 'x"'), "expected a number"),
    ],
    ids=range(13),
)
def test_broken_text_is_refused(damaged: str, message: str) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        parse_graph(damaged)
    assert len(str(caught.value)) < 300, "one line that can be read"


def test_numbers_may_stand_in_quotes_as_property_tree_has_it() -> None:
    document = json.loads(MINIMAL)
    document["nodes"][2]["sources"] = ["0", " +1 "]
    document["nodes"][0]["size"] = document["nodes"][1]["size"] = "1"
    document["nodes"][3]["layer_index"] = "0"
    document["outputs"]["out"]["node_index"] = "3"
    document["inputs"][0]["variables"][0] |= {"offset": " -0.0 ", "scale": "1.e0"}
    document["layers"][0] |= {"weights": ["1", 2, "3.0", ".4e+1"], "activation": {"function": "swish", "alpha": "1"}}
    assert json.loads(format_graph(parse_graph(json.dumps(document)))) == json.loads(MINIMAL)


def test_integers_may_be_names() -> None:
    """As in the networks of the first FastCaloGAN."""
    document = json.loads(MINIMAL)
    document["outputs"]["out"]["labels"] = [0, 1]
    assert parse_graph(json.dumps(document)).output().labels == ("0", "1")


def _adds(*sources: tuple[int, ...], kind: str = "add") -> Graph:
    """One number as input, node 0, then nodes of these sources; the last one is the output."""
    return of_one_number((NUMBER, *(Node(kind, source) for source in sources)), len(sources))


def test_lwtnn_computes_a_node_once_for_each_path() -> None:
    graph = _adds((0,), (1, 1, 0), (2, 1), (3, 2))
    assert graph.evaluations == {0: 7, 1: 5, 2: 2, 3: 1, 4: 1}
    document = json.loads(format_graph(graph))
    document["outputs"]["more"] = {"node_index": 2, "labels": ["b"]}
    assert parse_graph(json.dumps(document)).evaluations == {0: 10, 1: 7, 2: 3, 3: 1, 4: 1}
    document["outputs"]["more"]["node_index"] = 4
    assert parse_graph(json.dumps(document)).evaluations == {0: 14, 1: 10, 2: 4, 3: 2, 4: 2}


@pytest.mark.parametrize("graph", [parse_graph(MINIMAL), _adds((0,), (0, 1), (1, 0, 2), (2, 2), (3, 4, 1))])
def test_evaluations_are_those_of_the_twin(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[int] = Counter()
    compute = lwtnn_forward._node

    def count(document: dict[str, Any], index: int, inputs: Any) -> list[float]:
        counted[index] += 1
        return compute(document, index, inputs)

    monkeypatch.setattr(lwtnn_forward, "_node", count)
    inputs = {given.name: {variable.name: 0.5 for variable in given.variables} for given in graph.inputs}
    lwtnn_forward.forward(format_graph(graph), inputs)
    assert counted == graph.evaluations


def test_more_evaluations_than_lwtnn_can_do_are_refused() -> None:
    doubled = [(i, i) for i in range(18)]
    assert sum(_adds(*doubled).evaluations.values()) == 2**19 - 1
    for num_nodes in (19, 64, 999):
        with pytest.raises(ExportError, match="may evaluate at most 1000000 nodes for one shower"):
            _adds(*((i, i) for i in range(num_nodes)))


def test_more_nodes_in_a_row_than_lwtnn_can_do_are_refused() -> None:
    assert _adds(*((i,) for i in range(999))).depths[999] == 999
    for num_nodes in (1000, 100_000):
        with pytest.raises(ExportError, match="at most 1000 nodes may follow one another"):
            _adds(*((i,) for i in range(num_nodes)))
    consumers_first = [*(Node("add", (i + 1,)) for i in range(100_000)), NUMBER]
    with pytest.raises(ExportError, match="at most 1000 nodes may follow one another"):
        of_one_number(consumers_first)
    with pytest.raises(ExportError, match="node 50000 is its own source"):
        _adds(*((i - 1 if i != 50_000 else 100_000,) for i in range(1, 100_001)))


def test_vectors_of_gigabytes_are_refused() -> None:
    with pytest.raises(ExportError, match="at most 10000000 numbers"):
        _adds(*((i,) * 100 for i in range(900)), kind="concatenate")
    big = "[" + "1," * (10**5 - 1) + "1]"
    text = MINIMAL.replace('"weights":[1,2,3,4],"bias":[0,0]', f'"weights":{big},"bias":[]')
    assert parse_graph(text).sizes[3] == 50_000
    with pytest.raises(ExportError, match="at most 10000000 numbers"):
        parse_graph(
            text.replace('"layer_index":0}', '"layer_index":0},{"type":"concatenate","sources":[' + "3," * 199 + "3]}")
        )


def test_graphs_made_by_hand_are_checked_too() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ExportError, match="offset and scale must be finite"):
            Variable("a", offset=value)
        with pytest.raises(ExportError, match="offset and scale must be finite"):
            Variable("a", scale=value)
        with pytest.raises(ExportError, match="elu needs a finite alpha"):
            Activation("elu", value)
    for node in (Node("input", (0,), size=True), Node("input", (0.0,), size=1), Node("input", (0,))):  # type: ignore[arg-type]
        with pytest.raises(ExportError, match="node 0: "):
            of_one_number((node,))
    nodes = (Node("input", (0,), size=2), Node("feed_forward", (0,), layer_index=0))
    inputs = (GraphInput("x", (Variable("a"), Variable("b"))),)
    Graph(inputs, nodes, (Dense(np.ones((3, 2)), np.empty(0)),), {"out": GraphOutput(1, ("a",))})
    with pytest.raises(ExportError, match="rows of 2. Received: shape .2, 3. .rows are outputs, unlike in Keras."):
        Graph(inputs, nodes, (Dense(np.ones((2, 3)), np.empty(0)),), {"out": GraphOutput(1, ("a",))})


def test_order_and_depth() -> None:
    graph = _adds((0,), (1,), (0, 2), (0,), (1, 4))
    assert graph.order() == [0, 1, 4, 5]
    assert list(graph.sizes) == [0, 1, 4, 5]
    assert graph.depths == {0: 0, 1: 1, 2: 2, 3: 3, 4: 1, 5: 2}
    assert [graph.sources(index) for index in (0, 3)] == [(), (0, 2)]


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
    write_text(path, format_graph(parse_graph(MINIMAL)))
    assert format_graph(read_graph(path)) == path.read_text()
    path.write_text("{", encoding="utf-8")
    for bad in (path, tmp_path / "none.json", tmp_path):
        with pytest.raises(ExportError, match=str(bad)):
            read_graph(bad)
