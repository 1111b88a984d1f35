import math

import numpy as np
import pytest
from reference.lwtnn_forward import forward
from toy_graphs import EMPTY, chain, every_kind, of_one_number

from calogen.errors import DataFormatError
from calogen.lwtnn.graph import Variable, format_graph, parse_graph
from calogen.lwtnn.layers import ACTIVATIONS, Activation, Affine, Dense, Highway, Maxout, NetworkLayer, Normalization
from calogen.lwtnn.runtime import Forward, evaluate_graph


def _value(x: float | list[float], *layers: NetworkLayer) -> list[float]:
    vector = np.atleast_1d(x)
    return evaluate_graph(chain(len(vector), *layers), {"x": vector}).tolist()


def _activated(function: str, x: float) -> float:
    return _value(x, Dense(EMPTY, EMPTY, Activation(function)))[0]


def test_inputs_are_shifted_then_scaled() -> None:
    graph = of_one_number(variable=Variable("a", offset=1, scale=2))
    assert evaluate_graph(graph, {"x": [3.0]}) == [8.0]  # as the real lwtnn
    assert Forward(graph)(np.array([3.0])) == [8.0]


def test_rows_of_weights_are_outputs() -> None:
    assert _value([1.0, 10.0], Dense(np.array([1.0, 2, 3, 4, 5, 6]), np.array([0.0, 0, 100]))) == [21, 43, 165]


def test_normalization_adds_before_it_multiplies() -> None:
    assert _value(3.0, Normalization(np.array([2.0]), np.array([1.0]))) == [8]


def test_sigmoid_is_cut_at_30() -> None:
    assert [_activated("sigmoid", x) for x in (-30.001, 0.0, 30.001)] == [0.0, 0.5, 1.0]
    assert _activated("sigmoid", -30.0) == 1.0 / (1.0 + math.exp(30.0)) > 0.0


def test_hard_sigmoid_is_the_old_one() -> None:
    assert [round(_activated("hard_sigmoid", x), 12) for x in (-2.6, 1.0, 2.4, 2.6)] == [0.0, 0.7, 0.98, 1.0]


def test_functions_of_one_number() -> None:
    assert [_activated("rectified", x) for x in (-1.0, 2.0)] == [0.0, 2.0]
    assert [_activated("abs", x) for x in (-1.0, 2.0)] == [1.0, 2.0]
    assert _value(-2.0, Dense(EMPTY, EMPTY, Activation("leakyrelu", 0.25))) == [-0.5]
    assert _value(-1.0, Dense(EMPTY, EMPTY, Activation("elu", 2.0))) == pytest.approx([2.0 * math.expm1(-1.0)])
    assert _value(3.0, Dense(EMPTY, EMPTY, Activation("swish", 0.5))) == pytest.approx([3.0 / (1.0 + math.exp(-1.5))])


def test_softmax_survives_large_numbers() -> None:
    assert _value([1000.0, 1000.0, -1000.0], Dense(EMPTY, EMPTY, Activation("softmax"))) == [0.5, 0.5, 0.0]


def test_highway_gates_what_it_carries() -> None:
    # sigmoid(0.3) * relu(2), the figure that the real lwtnn gives
    gate = Affine(np.zeros(1), np.array([0.3]))
    transform = Affine(np.zeros(1), np.array([2.0]))
    (value,) = _value(0.0, Highway(transform, gate, Activation("rectified")))
    assert value == pytest.approx(1.14888503362332, abs=1e-14)


def test_maxout_takes_the_largest() -> None:
    parts = (Affine(np.array([1.0, 0, 0, 1]), np.zeros(2)), Affine(np.array([0.0, 1, 1, 0]), np.array([0.5, -9])))
    assert _value([1.0, 2.0], Maxout(parts)) == [2.5, 2.0]


@pytest.mark.parametrize("function", ACTIVATIONS)
def test_twin_and_compiled_network_agree(function: str) -> None:
    text = format_graph(every_kind(Activation(function, 0.7)))
    graph = parse_graph(text)
    rng = np.random.default_rng(3)
    latent, condition = 3.0 * rng.standard_normal((8, 3)), rng.standard_normal((8, 1))
    batch = evaluate_graph(graph, {"latent": latent, "condition": condition})
    exact, fast = Forward(graph, dtype=np.float64), Forward(graph)
    for row, z, c in zip(batch, latent, condition, strict=True):
        named = {"latent": {f"variable_{i}": x for i, x in enumerate(z)}, "condition": {"variable_0": c[0]}}
        np.testing.assert_allclose(evaluate_graph(graph, named), row, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(exact(np.concatenate([z, c])), row, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(fast({"latent": z, "condition": c}), row, atol=2e-6 * np.abs(batch).max())
        np.testing.assert_allclose(list(forward(text, named).values()), row, rtol=1e-12, atol=1e-12)


def test_surplus_inputs_are_ignored() -> None:
    graph = chain(1, Dense(np.array([2.0]), EMPTY))
    assert evaluate_graph(graph, {"x": {"variable_0": 1.0, "variable_1": 5.0}, "y": [1.0]}).tolist() == [2.0]


def test_extreme_numbers_raise_no_warning() -> None:
    for function in ("sigmoid", "swish"):
        graph = chain(2, Dense(np.eye(2), EMPTY, Activation(function, 1.0)))
        big = np.array([-1e4, 1e4])
        expected = [0.0, 1.0] if function == "sigmoid" else [0.0, 1e4]
        np.testing.assert_allclose(Forward(graph)(big), expected, atol=1e-20)
        np.testing.assert_array_equal(evaluate_graph(graph, {"x": big}), expected)


def test_results_of_the_compiled_network_are_kept() -> None:
    network = Forward(chain(1, Dense(np.array([2.0]), EMPTY)))
    first = network(np.array([1.0]))
    network(np.array([5.0]))
    assert first == [2.0]


def test_wrong_inputs_are_refused() -> None:
    graph = every_kind(Activation("tanh"))
    good = {"latent": np.zeros(3), "condition": np.zeros(1)}
    for bad, message in (
        ({"latent": np.zeros(3)}, "'condition'"),
        (good | {"latent": np.zeros(4)}, "'latent'"),
        (good | {"latent": np.zeros(())}, "'latent'"),
    ):
        with pytest.raises(DataFormatError, match=message):
            evaluate_graph(graph, bad)
        with pytest.raises(DataFormatError, match=message):
            Forward(graph)(bad)
    with pytest.raises(DataFormatError, match="variables variable_0, variable_2"):
        evaluate_graph(graph, good | {"latent": {"variable_1": 1.0}})
    with pytest.raises(DataFormatError, match=r"shape \(4,\). Received: \(1, 4\)"):
        Forward(graph)(np.zeros((1, 4)))
