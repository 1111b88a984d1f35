import keras
import numpy as np
import pytest
from toy_conversions import largest_difference

from calogen.errors import ExportError
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import Graph, Variable, format_graph, parse_graph
from calogen.lwtnn.inputs import rebuilt_input
from calogen.lwtnn.layers import Dense
from calogen.lwtnn.runtime import Forward, evaluate_graph


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(1)
    first, second = keras.Input((2,), name="first"), keras.Input((3,), name="second")
    hidden = keras.layers.Dense(4, "tanh")(keras.layers.Concatenate()([first, second]))
    joined = keras.layers.Concatenate()([second, hidden])  # the input is used twice
    return keras.Model([first, second], keras.layers.Dense(2)(joined))


def _variables(*places: tuple[str, str]) -> list[tuple[str, Variable]]:
    return [(node, Variable(name, offset=0.5 * k, scale=2.0 + k)) for k, (node, name) in enumerate(places)]


def _evaluated(graph: Graph, first: np.ndarray, second: np.ndarray, parts: list[tuple[str, Variable]]) -> np.ndarray:
    """The graph's output where each part is given what its offset and scale turn into its column of `second`."""
    given: dict[str, dict[str, np.ndarray]] = {"first": dict(zip(("variable_0", "variable_1"), first.T, strict=True))}
    for (node, variable), column in zip(parts, second.T, strict=True):
        given.setdefault(node, {"surplus": column})[variable.name] = column / variable.scale - variable.offset
    return evaluate_graph(graph, given)


@pytest.mark.parametrize(
    "places",
    [
        (("a", "0"), ("a", "1"), ("b", "0")),
        (("a", "1"), ("a", "0"), ("b", "x")),  # names in another order than the columns
        (("b", "0"), ("a", "0"), ("b", "1")),  # columns of b lie apart
        (("c", "0"), ("b", "0"), ("a", "0")),
        (("second", "0"), ("second", "1"), ("second", "2")),
    ],
)
def test_another_program_gives_the_same(model: keras.Model, places: tuple[tuple[str, str], ...]) -> None:
    plain, parts = convert(model, ["first", "second"]), _variables(*places)
    graph = parse_graph(format_graph(rebuilt_input(plain, "second", parts)))
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((50, 2)), rng.standard_normal((50, 3))
    expected = evaluate_graph(plain, {"first": first, "second": second})
    np.testing.assert_allclose(_evaluated(graph, first, second, parts), expected, atol=1e-8)
    order = list(dict.fromkeys(node for node, _ in places))
    assert [item.name for item in graph.inputs] == ["first", *order]
    apart = places[0][0] == places[2][0] != places[1][0]
    assert len(graph.layers) == len(plain.layers) + apart
    assert isinstance(graph.layers[-1], Dense)


def test_inputs_before_and_behind_keep_their_places(model: keras.Model) -> None:
    plain = convert(model, ["first", "second"])
    graph = rebuilt_input(plain, "first", [("b", Variable("0")), ("a", Variable("0"))])
    assert [item.name for item in graph.inputs] == ["b", "a", "second"]
    x = np.random.default_rng(3).standard_normal(5)
    expected = evaluate_graph(plain, {"first": x[:2], "second": x[2:]})
    np.testing.assert_allclose(evaluate_graph(graph, {"b": x[:1], "a": x[1:2], "second": x[2:]}), expected, atol=1e-12)
    np.testing.assert_allclose(Forward(graph, np.float64)(x), expected, atol=1e-12)
    assert largest_difference(model, plain) < 1e-6


def test_what_is_no_whole_input_is_refused(model: keras.Model) -> None:
    plain = convert(model, ["first", "second"])
    for name, places in (("third", (("a", "0"),)), ("second", (("a", "0"), ("a", "1")))):
        with pytest.raises(ExportError, match="an input must be replaced as a whole. Received: . variables of"):
            rebuilt_input(plain, name, _variables(*places))
    with pytest.raises(ExportError, match="variables must have names, each once"):
        rebuilt_input(plain, "second", _variables(("a", "0"), ("a", "0"), ("a", "1")))
    with pytest.raises(ExportError, match="a graph's inputs must have names, each once"):
        rebuilt_input(plain, "second", _variables(("first", "0"), ("first", "1"), ("first", "2")))
