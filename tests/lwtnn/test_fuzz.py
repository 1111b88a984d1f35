"""Damaged graphs are refused or evaluated, never anything else; what is evaluated is what the slow twin computes."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from damage import damaged_json, places
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import lwtnn_forward
from toy_graphs import EMPTY, NUMBER, chain, input_nodes, layer_nodes, of_one_number

from calogen.errors import CalogenError, DataFormatError, ExportError
from calogen.files import write_text
from calogen.lwtnn.graph import Node, format_graph, parse_graph, read_graph
from calogen.lwtnn.layers import ACTIVATIONS, Activation, Dense
from calogen.lwtnn.runtime import evaluate_graph

GOLDEN = Path(__file__).parents[1] / "golden" / "lwtnn_graph.json"
NUMBERS = ("weights", "bias", "offset", "scale", "alpha", "sources", "size", "layer_index", "node_index")
LARGEST = 1e3
"""Beyond it a sum depends on the order of its terms so much that the twin may differ."""


def _affine(num_outputs: int, num_inputs: int) -> dict[str, Any]:
    weights = [((5 * i) % 7 - 3) / 4 for i in range(num_outputs * num_inputs)]
    return {"weights": weights, "bias": [0.25 * i - 0.5 for i in range(num_outputs)]}


def _four_kinds() -> dict[str, Any]:
    """Two inputs, every kind of node and layer, activations in both spellings."""
    layers = [
        {"architecture": "normalization", "weights": [0.5, 2, -1], "bias": [0, 0.5, 1]},
        {"architecture": "dense", **_affine(4, 3), "activation": {"function": "swish", "alpha": 0.75}},
        {"architecture": "dense", "weights": _affine(4, 4)["weights"], "bias": [], "activation": "tanh"},
        {
            "architecture": "highway",
            "components": {"t": _affine(4, 4), "carry": _affine(4, 4)},
            "activation": {"function": "leakyrelu", "alpha": 0.1},
        },
        {"architecture": "maxout", "sublayers": [_affine(2, 4), {**_affine(2, 4), "bias": [1, 1]}]},
        {"architecture": "dense", "weights": [], "bias": [], "activation": "softmax"},
    ]
    nodes = [
        *input_nodes(2, 1),
        {"type": "concatenate", "sources": [0, 1]},
        *layer_nodes(2, 3, 4),
        {"type": "add", "sources": [4, 5]},
        *layer_nodes(6, 7, 7, first=3),
        {"type": "concatenate", "sources": [8, 9]},
    ]
    variables = [{"name": "a", "offset": 0.5, "scale": 2}, {"name": "b", "offset": 0, "scale": 1}]
    return {
        "inputs": [{"name": "x", "variables": variables}, {"name": "y", "variables": variables[1:]}],
        "input_sequences": [],
        "nodes": nodes,
        "layers": layers,
        "outputs": {"out": {"node_index": 10, "labels": ["p", "q", "r", "s", "t"]}},
    }


VALID = [_four_kinds(), json.loads(GOLDEN.read_text())["graph"]]


def _damaged(seed: int) -> bytes:
    """A valid graph with one to three faults."""
    random = Random(seed)
    return damaged_json(random.choice(VALID), random)


def _plain(value: Any, key: str = "") -> Any:
    """The document with numbers out of quotes and integers that are names in them: the twin knows neither."""
    if isinstance(value, dict):
        return {name: _plain(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, key) for item in value]
    if key in NUMBERS and isinstance(value, str):
        return json.loads(value)
    return str(value) if key in ("name", "labels") else value


def _numbers(value: Any) -> Iterator[float]:
    for container, key in places(value):
        if isinstance(container[key], int | float):
            yield abs(container[key])


def _check(data: bytes, path: Path) -> str:
    """What became of a damaged file: refused, evaluated, or evaluated and compared with the twin."""
    path.write_bytes(data)
    try:
        graph = read_graph(path)
    except ExportError as error:
        message = str(error)
        graph = None
    if graph is None:
        assert str(path) in message
        assert len(message) < 400, "one line that can be read"
        return "refused"
    rng = np.random.default_rng(1)
    inputs = {given.name: {v.name: float(rng.normal()) for v in given.variables} for given in graph.inputs}
    for name, output in graph.outputs.items():
        values = evaluate_graph(graph, inputs, name)
        assert values.shape == (len(output.labels),)
        assert values.dtype == np.float64
    document = _plain(json.loads(data))
    assert set(graph.evaluations) == set(graph.sizes)
    assert parse_graph(format_graph(graph)).sizes == graph.sizes
    if len(graph.outputs) > 1 or max(_numbers(document)) > LARGEST or not np.isfinite(values).all():
        return "evaluated"
    expected = [*lwtnn_forward.forward(json.dumps(document), inputs).values()]
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(expected).max()))
    return "compared"


def _outcomes(seeds: range, path: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in seeds:
        try:
            found[_check(_damaged(seed), path)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {_damaged(seed)[:3000]!r}") from error
    return found


def test_damaged_graphs_are_refused_or_evaluated(tmp_path: Path) -> None:
    found = _outcomes(range(400), tmp_path / "graph.json")
    assert min(found[outcome] / 400 for outcome in ("refused", "compared")) > 0.15, found
    assert [entry.name for entry in tmp_path.iterdir()] == ["graph.json"]


@pytest.mark.slow
def test_many_damaged_graphs_are_refused_or_evaluated(tmp_path: Path) -> None:
    found = _outcomes(range(1000, 11_000), tmp_path / "graph.json")
    assert all(found[outcome] > 50 for outcome in ("refused", "evaluated", "compared")), found


@pytest.mark.parametrize("document", VALID)
def test_whole_graphs_are_compared(document: dict[str, Any], tmp_path: Path) -> None:
    assert _check(json.dumps(document).encode(), tmp_path / "graph.json") == "compared"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["0", "dense"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NUMBERS, "name", "variables", "type", "labels", "x"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.sampled_from(("inputs", "input_sequences", "nodes", "layers", "outputs")), JSON)
def test_any_json_is_refused_or_a_graph(key: str, value: Any) -> None:
    for document in (value, {**VALID[0], key: value}):
        try:
            assert parse_graph(json.dumps(document)).sizes
        except ExportError:
            continue


EDGES = [30.0, math.nextafter(30.0, 31.0), -30.0, math.nextafter(-30.0, -31.0), 2.5, -2.5, 0.0, -0.0, 1e308, -1e308]


@given(
    st.sampled_from(ACTIVATIONS),
    st.sampled_from((1.0, 0.3, -2.0, 0.0, 1e5)),
    st.lists(st.floats() | st.sampled_from(EDGES), min_size=1, max_size=4),
)
@example("softmax", 1.0, [math.inf, 0.0])
@example("softmax", 1.0, [1000.0, 999.0, -1000.0])
@example("swish", -2.0, [-math.inf])
@example("sigmoid", 1.0, EDGES)
@settings(max_examples=300)
def test_functions_agree_with_the_twin_on_all_numbers(function: str, alpha: float, numbers: list[float]) -> None:
    """No warning either: lwtnn answers infinity or NaN without a word."""
    graph = chain(len(numbers), Dense(EMPTY, EMPTY, Activation(function, alpha)))
    inputs = {"x": {f"variable_{i}": number for i, number in enumerate(numbers)}}
    expected = [*lwtnn_forward.forward(format_graph(graph), inputs).values()]
    found = evaluate_graph(graph, inputs)
    rounding = 2.3e-16 * abs(alpha) if function == "elu" else 0.0
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=max(rounding, 1e-307))
    exact = [value for value in expected if value in (0.0, 1.0)] if function == "sigmoid" else []
    assert [value for value in found if value in (0.0, 1.0)] == exact or function != "sigmoid"


def test_elu_is_an_exponential_minus_one_as_in_lwtnn() -> None:
    graph = chain(2, Dense(EMPTY, EMPTY, Activation("elu", 2.0)))
    assert evaluate_graph(graph, {"x": [-1e-20, -1e-15]}).tolist() == [0.0, 2.0 * (math.exp(-1e-15) - 1.0)]


def _sources(size: int) -> st.SearchStrategy[list[list[int]]]:
    return st.tuples(*(st.lists(st.integers(0, node - 1), min_size=1, max_size=3) for node in range(1, size + 1))).map(
        list
    )


@given(st.integers(1, 7).flatmap(_sources), st.randoms(use_true_random=False), st.sampled_from(("add", "concatenate")))
def test_evaluations_and_order_of_any_graph(sources: list[list[int]], random: Random, kind: str) -> None:
    """The twin, which keeps no results either, computes a node as often as the graph says; numbers are shuffled."""
    numbers = list(range(len(sources) + 1))
    random.shuffle(numbers)
    nodes = [NUMBER] * len(numbers)
    for own, given_sources in enumerate(sources, start=1):
        chosen = given_sources if kind == "concatenate" else given_sources[:1] * len(given_sources)
        nodes[numbers[own]] = Node(kind, tuple(numbers[source] for source in chosen))
    graph = of_one_number(nodes, numbers[-1])
    with pytest.MonkeyPatch.context() as patch:
        counted: Counter[int] = Counter()
        compute = lwtnn_forward._node
        patch.setattr(lwtnn_forward, "_node", lambda *arguments: counted.update([arguments[1]]) or compute(*arguments))
        (expected,) = lwtnn_forward.forward(format_graph(graph), {"x": {"a": 1.0}}).values()
    assert graph.evaluations == counted
    assert evaluate_graph(graph, {"x": [1.0]}) == [expected]
    place = {index: position for position, index in enumerate(graph.order())}
    assert set(place) == set(counted)
    assert all(place[source] < place[index] for index in place for source in graph.sources(index))
    assert all(graph.depths[s] < graph.depths[index] for index in graph.depths for s in graph.sources(index))


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (0,)])
def test_batches_of_any_shape(shape: tuple[int, ...]) -> None:
    graph = parse_graph(json.dumps(VALID[0]))
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(*shape, 2)), rng.normal(size=(*shape, 1)).astype(np.float32)
    found = evaluate_graph(graph, {"x": x, "y": y})
    assert (found.shape, found.dtype) == ((*shape, 5), np.float64)
    for index in np.ndindex(*shape):
        named = {"x": {"a": x[index][0], "b": x[index][1]}, "y": {"b": float(y[index][0])}}
        expected = [*lwtnn_forward.forward(json.dumps(VALID[0]), named).values()]
        np.testing.assert_allclose(found[index], expected, rtol=1e-13, atol=1e-15)
    columns = {"x": {"a": x[..., 0], "b": x[..., 1]}, "y": {"b": y[..., 0]}}
    np.testing.assert_array_equal(evaluate_graph(graph, columns), found)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": np.zeros((4, 2)), "y": np.zeros(1)}, r"one shape before the last axis.*'x': \(4,\), 'y': \(\)"),
        ({"x": np.zeros((4, 2)), "y": np.zeros((3, 1))}, "one shape before the last axis"),
        ({"x": {"a": np.zeros(3), "b": 0.0}, "y": np.zeros((3, 1))}, "'x' must hold numbers, variables of one shape"),
        ({"x": ["one", "two"], "y": [0.0]}, "'x' must hold numbers"),
        ({"x": [[1.0, 2.0], [3.0]], "y": [0.0]}, "'x' must hold numbers"),
        ({"x": {"a": 1.0}, "y": [0.0]}, "'x' must hold the variables b"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(DataFormatError, match=message):
        evaluate_graph(parse_graph(json.dumps(VALID[0])), inputs)


def test_only_the_inputs_of_the_wanted_output_are_needed() -> None:
    """lwtnn too looks an input up when a node asks for it."""
    document = {**VALID[0], "outputs": {**VALID[0]["outputs"], "x": {"node_index": 0, "labels": ["a", "b"]}}}
    graph = parse_graph(json.dumps(document))
    assert evaluate_graph(graph, {"x": [1.0, 2.0]}, "x").tolist() == [3.0, 2.0]
    with pytest.raises(DataFormatError, match="'y'"):
        evaluate_graph(graph, {"x": [1.0, 2.0]}, "out")


def test_weights_of_any_type_are_computed_in_float64() -> None:
    third = np.float32(1 / 3)
    for weights in (np.full((2, 2), third, np.float32), np.full((2, 2), third, np.float64)):
        found = evaluate_graph(chain(2, Dense(weights, np.empty(0, np.float32))), {"x": np.float32([1, 1e-9])})
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, float(third) * (1.0 + float(np.float32(1e-9))), rtol=1e-15)


Fail = Callable[[Path, pytest.MonkeyPatch], None]


def _full_disk(path: Path, patch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, text: str, encoding: str) -> None:
        self.write_bytes(text[: len(text) // 2].encode())
        raise OSError(28, "No space left on device", str(self))

    patch.setattr(Path, "write_text", fail)


def _interrupt(path: Path, patch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise KeyboardInterrupt

    patch.setattr("os.replace", fail)


@pytest.mark.parametrize("fail", [_full_disk, _interrupt])
def test_a_write_that_fails_leaves_the_file_as_it_was(fail: Fail, tmp_path: Path) -> None:
    path, graph = tmp_path / "graph.json", parse_graph(json.dumps(VALID[1]))
    for before in (None, "before"):
        if before:
            path.write_text(before)
        with pytest.MonkeyPatch.context() as patch:
            fail(path, patch)
            with pytest.raises((CalogenError, KeyboardInterrupt)):
                write_text(path, format_graph(graph))
        assert [entry.read_text() for entry in tmp_path.iterdir()] == ([before] if before else [])
