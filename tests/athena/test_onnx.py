import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from calogen.athena.onnx import evaluate_onnx, to_onnx
from calogen.errors import DataFormatError, ExportError
from calogen.features.transforms import Chain, KineticFractions, LayerFractions
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import (
    ACTIVATIONS,
    Activation,
    Affine,
    Dense,
    Graph,
    Highway,
    Input,
    Maxout,
    Node,
    Normalization,
    Output,
    Variable,
)
from calogen.lwtnn.runtime import evaluate
from calogen.models import atlas_vae, caloshowergan, fastcalogan
from calogen.training.layers import ShowerHeads

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'calogen[export]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'calogen[export]'")

NONE = np.empty(0)


def _every_kind(activation: Activation) -> Graph:
    """Every kind of node and layer; a layer and several nodes are used twice, the last element has no label."""
    normal = np.random.default_rng(11).standard_normal
    a = Input("a", (Variable("variable_0", 0.5, -2.0), Variable("variable_1", -1.0, 1.0), Variable("variable_2")))
    layers = (
        Dense(normal((3, 4)), normal(3), activation),
        Dense(normal((4, 3)), NONE),
        Highway(Affine(normal((4, 4)), normal(4)), Affine(normal((4, 4)), normal(4)), Activation("elu", 0.6)),
        Maxout(tuple(Affine(normal((5, 4)), normal(5)) for _ in range(3))),
        Normalization(normal(8), normal(8)),
        Dense(NONE, normal(8), activation),
    )
    nodes = (
        Node("feed_forward", (6,), layer_index=5),  # the output; its sources follow
        Node("input", (0,), size=3),
        Node("input", (1,), size=1),
        Node("concatenate", (1, 2)),
        Node("feed_forward", (3,), layer_index=0),
        Node("feed_forward", (4,), layer_index=1),
        Node("feed_forward", (10,), layer_index=4),
        Node("add", (5, 3, 5)),
        Node("feed_forward", (7,), layer_index=2),
        Node("feed_forward", (8,), layer_index=3),
        Node("concatenate", (9, 11)),
        Node("feed_forward", (8,), layer_index=0),
    )
    inputs = (a, Input("b", (Variable("variable_0", 3.0, 0.25),)))
    return Graph(inputs, nodes, layers, {"out": Output(0, tuple(f"out_{i}" for i in range(7)))})


def _passing(size: int) -> Graph:
    """Its output is its input, `x`."""
    given = Input("x", tuple(Variable(f"variable_{i}") for i in range(size)))
    output = Output(0, tuple(f"out_{i}" for i in range(size)))
    return Graph((given,), (Node("input", (0,), size=size),), (), {"out": output})


def _generator(model: Any, name: str) -> keras.Model:
    """At its full size, batch normalisation as after training."""
    network = next(net for net in model.build(*model.CONFIGS[name]).values() if net.inputs[-1].name == "latent")
    rng = np.random.default_rng(2)
    for variable in network.weights:
        if any(word in variable.path for word in ("gamma", "beta", "moving", "bias")):
            positive = "gamma" in variable.path or "variance" in variable.path
            variable.assign(rng.uniform(0.5 if positive else -1.0, 2.0 if positive else 1.0, variable.shape))
    return network


def _layer_sizes(network: keras.Model, inputs: dict[str, np.ndarray]) -> tuple[int, ...] | None:
    """Of its heads, if it has them; half the inputs get a total above 0."""
    heads = network.layers[-1]
    if not isinstance(heads, ShowerHeads):
        return None
    logits = keras.Model(network.inputs, heads.input)(inputs).numpy()
    last = network.layers[-2]
    shift = last.beta if isinstance(last, keras.layers.BatchNormalization) else last.bias
    shift.assign(np.append(shift.numpy()[:-1], shift.numpy()[-1] - np.median(logits[:, -1])))
    return heads.layer_sizes


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("function", ACTIVATIONS)
def test_every_kind_of_node_layer_and_activation(function: str) -> None:
    graph = _every_kind(Activation(function, 0.7))
    model = to_onnx(graph, inputs={"a": ("first", 3), "b": ("second", 1)})
    onnx.checker.check_model(model, full_check=True)
    rng = np.random.default_rng(3)
    a, b = 2.0 * rng.standard_normal((50, 3)), rng.standard_normal((50, 1))
    found = evaluate_onnx(model, {"first": a, "second": b})
    assert _relative(found, evaluate(graph, {"a": a, "b": b})) < 2e-6


GENERATORS = [
    (fastcalogan, "photon"),
    (fastcalogan, "photon-low-v2"),
    (fastcalogan, "photon-high-v2"),
    (fastcalogan, "pion-v2"),
    (caloshowergan, "photon"),
    (caloshowergan, "photon-kinetic"),
    (caloshowergan, "photon-normalised-heads"),
    (caloshowergan, "pion"),
    (atlas_vae, "paper"),
]


@pytest.mark.parametrize(("model", "name"), GENERATORS, ids=[f"{m.__name__[15:]}-{name}" for m, name in GENERATORS])
def test_generators_at_full_size(model: Any, name: str) -> None:
    config, geometry = model.CONFIGS[name]
    network = _generator(model, name)
    rng = np.random.default_rng(4)
    width = next(tensor.shape[1] for tensor in network.inputs if tensor.name == "condition")
    noise, condition = rng.normal(0.5, 0.5, (100, config.latent_dim)), rng.random((100, width))
    layer_sizes = _layer_sizes(network, {"latent": noise, "condition": condition})
    order = rng.permutation(geometry.size) if layer_sizes else None
    graph = convert(network, {"latent": "node_0", "condition": "node_1"})
    inputs = {"node_0": ("Noise", config.latent_dim), "node_1": ("mycond", 2)}
    exported = to_onnx(graph, inputs=inputs, layer_sizes=layer_sizes, order=order, clip=True)
    onnx.checker.check_model(exported, full_check=True)
    padded = np.concatenate([condition, np.full((100, 2 - width), 1e6)], axis=1)
    found = evaluate_onnx(exported, {"Noise": noise, "mycond": padded})

    features = evaluate(graph, {"node_0": noise, "node_1": condition})
    expected = np.maximum(features, 0.0)
    if layer_sizes:
        expected = LayerFractions(layer_sizes).inverse(features, np.ones(100))[:, order]
        assert 30 < (expected.sum(axis=1) > 0).sum() < 70
    assert _relative(found, expected) < 1e-5  # logits of a few tens, rounded to float32


def test_surplus_of_inputs_is_not_used() -> None:
    graph = _every_kind(Activation("tanh"))
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((6, 3)), rng.standard_normal((6, 1))
    exact = evaluate_onnx(to_onnx(graph, inputs={"a": ("a", 3), "b": ("b", 1)}), {"a": a, "b": b})
    wide = to_onnx(graph, inputs={"b": ("mycond", 2), "a": ("Noise", 5)})
    given = {"Noise": np.hstack([a, np.full((6, 2), np.nan)]), "mycond": np.hstack([b, np.full((6, 1), np.nan)])}
    np.testing.assert_array_equal(evaluate_onnx(wide, given), exact)


def test_products_order_and_clipping_are_those_of_the_transform() -> None:
    layer_sizes, num_features = (2, 3, 1), 10
    features = np.random.default_rng(6).normal(0.3, 1.0, (40, num_features)).astype(np.float32)
    order = [5, 3, 0, 4, 1, 2]
    chain = Chain((LayerFractions(layer_sizes),))
    expected = chain.energies(features, np.ones(40))  # kinetic energy 1
    assert (expected > 0).any(axis=0).all()
    inputs = {"x": ("x", num_features)}
    clipped = to_onnx(_passing(num_features), inputs=inputs, layer_sizes=layer_sizes, clip=True)
    np.testing.assert_allclose(evaluate_onnx(clipped, {"x": features}), expected, rtol=3e-7)
    ordered = to_onnx(_passing(num_features), inputs=inputs, layer_sizes=layer_sizes, clip=True, order=np.array(order))
    np.testing.assert_allclose(evaluate_onnx(ordered, {"x": features}), expected[:, order], rtol=3e-7)
    signed = evaluate_onnx(to_onnx(_passing(num_features), inputs=inputs, layer_sizes=layer_sizes), {"x": features})
    by_hand = features[:, [0, 4]] * features[:, [6, 7]] * features[:, [9]]
    np.testing.assert_allclose(signed[:, [0, 4]], by_hand, rtol=3e-7)


def test_order_and_clipping_without_layers() -> None:
    features = np.array([[0.5, -1.0, 2.0]], np.float32)
    model = to_onnx(_passing(3), inputs={"x": ("x", 3)}, order=[2, 0, 1], clip=True)
    expected = KineticFractions().inverse(np.maximum(features, 0), np.ones(1))
    np.testing.assert_array_equal(evaluate_onnx(model, {"x": features}), expected[:, [2, 0, 1]])
    np.testing.assert_array_equal(
        evaluate_onnx(to_onnx(_passing(3), inputs={"x": ("x", 3)}), {"x": features}), features
    )


def test_nodes_and_weights_are_shared() -> None:
    graph = _every_kind(Activation("swish", 0.7))
    model = to_onnx(graph, inputs={"a": ("a", 3), "b": ("b", 1)})
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Gemm") == 1 + 1 + 2 + 3 + 1  # each node once, however many consumers
    weights = [tensor for tensor in model.graph.initializer if tuple(tensor.dims) == (3, 4)]
    assert len(weights) == 1
    assert len({tensor.name for tensor in model.graph.initializer}) == len(model.graph.initializer)


def test_what_readers_of_the_model_see() -> None:
    model = to_onnx(_passing(3), inputs={"x": ("Noise", 4)}, output="shower")
    assert model.ir_version == 8
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 13)]
    for tensor, name, width in ((model.graph.input[0], "Noise", 4), (model.graph.output[0], "shower", 3)):
        assert tensor.name == name
        assert tensor.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        batch, size = tensor.type.tensor_type.shape.dim
        assert (batch.dim_param, size.dim_value) == ("batch", width)
    for n in (1, 7):
        assert evaluate_onnx(model, {"Noise": np.zeros((n, 4))}).shape == (n, 3)


def test_file(tmp_path: Path) -> None:
    graph = _every_kind(Activation("sigmoid"))
    model = to_onnx(graph, inputs={"a": ("a", 3), "b": ("b", 1)})
    assert to_onnx(graph, inputs={"a": ("a", 3), "b": ("b", 1)}).SerializeToString() == model.SerializeToString()
    path = tmp_path / "generator.onnx"
    path.write_bytes(model.SerializeToString())
    assert onnx.load(path) == model
    given = {"a": np.ones((2, 3)), "b": np.ones((2, 1))}
    np.testing.assert_array_equal(evaluate_onnx(path, given), evaluate_onnx(model, given))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"inputs": {}}, r"inputs must give \['x'\] an ONNX name.*Received: \{\}"),
    ({"inputs": {"x": ("x", 10), "y": ("y", 2)}}, "inputs must give"),
    ({"inputs": {"x": ("out", 10)}}, "not 'out'"),
    ({"inputs": {"x": ("Noise", 9)}}, "Noise must be at least as wide as x, 10. Received: 9"),
    ({"layer_sizes": (2, 3, 2)}, r"output of 10 = v voxels.*Received: \(2, 3, 2\): 7 \+ 3 \+ 1"),
    ({"layer_sizes": (2, 0, 4)}, "layer_sizes must be"),
    ({"order": np.arange(9)}, r"each of 0..9 once"),
    ({"order": np.arange(10) // 2}, r"each of 0..9 once"),
    ({"order": np.arange(10.0)}, r"each of 0..9 once"),
    ({"order": np.arange(10), "layer_sizes": (2, 3, 1)}, r"each of 0..5 once"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        to_onnx(_passing(10), **{"inputs": {"x": ("x", 10)}} | options)


def test_two_inputs_need_two_names() -> None:
    with pytest.raises(ExportError, match="all different"):
        to_onnx(_every_kind(Activation()), inputs={"a": ("x", 3), "b": ("x", 3)})


def test_numbers_beyond_float32_are_refused() -> None:
    given = Input("x", (Variable("variable_0", offset=1e39),))
    graph = Graph((given,), (Node("input", (0,), size=1),), (), {"out": Output(0, ("out_0",))})
    with pytest.raises(ExportError, match="beyond 3.4e38"):
        to_onnx(graph, inputs={"x": ("x", 1)})


def test_wrong_inputs_and_files_are_refused(tmp_path: Path) -> None:
    model = to_onnx(_passing(3), inputs={"x": ("x", 3)})
    for wrong in ({}, {"y": np.zeros((1, 3))}, {"x": np.zeros((1, 4))}, {"x": np.zeros(3)}):
        with pytest.raises(DataFormatError, match=r"inputs must be \{'x': \['batch', 3\]\}. Received: \{"):
            evaluate_onnx(model, wrong)
    (tmp_path / "text.onnx").write_text("no model")
    for path in (tmp_path / "text.onnx", tmp_path / "missing.onnx"):
        with pytest.raises(ExportError, match="onnxruntime cannot load"):
            evaluate_onnx(path, {"x": np.zeros((1, 3))})


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_missing_packages_are_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = to_onnx(_passing(1), inputs={"x": ("x", 1)})
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=rf"{package} is needed: pip install 'calogen\[export\]'"):
        if package == "onnx":
            to_onnx(_passing(1), inputs={"x": ("x", 1)})
        else:
            evaluate_onnx(model, {"x": np.zeros((1, 1))})
