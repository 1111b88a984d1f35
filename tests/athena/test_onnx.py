import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from toy_generators import full_size_generator
from toy_graphs import chain, every_kind, of_one_number

from calogen.athena.onnx import evaluate_onnx, to_onnx
from calogen.errors import DataFormatError, ExportError
from calogen.features.transforms import Chain, KineticFractions, LayerFractions
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import Variable
from calogen.lwtnn.layers import ACTIVATIONS, Activation
from calogen.lwtnn.runtime import evaluate_graph
from calogen.models import atlas_vae, caloshowergan, fastcalogan
from calogen.training.layers import ShowerHeads

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'calogen[export]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'calogen[export]'")

NAMES = {"latent": ("latent", 3), "condition": ("condition", 1)}


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
    graph = every_kind(Activation(function, 0.7))
    model = to_onnx(graph, inputs={"latent": ("first", 3), "condition": ("second", 1)})
    onnx.checker.check_model(model, full_check=True)
    rng = np.random.default_rng(3)
    a, b = 2.0 * rng.standard_normal((50, 3)), rng.standard_normal((50, 1))
    found = evaluate_onnx(model, {"first": a, "second": b})
    assert _relative(found, evaluate_graph(graph, {"latent": a, "condition": b})) < 2e-6


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
    network = full_size_generator(model, name)
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

    features = evaluate_graph(graph, {"node_0": noise, "node_1": condition})
    expected = np.maximum(features, 0.0)
    if layer_sizes:
        expected = LayerFractions(layer_sizes).inverse(features, np.ones(100))[:, order]
        assert 30 < (expected.sum(axis=1) > 0).sum() < 70
    assert _relative(found, expected) < 1e-5  # logits of a few tens, rounded to float32


def test_surplus_of_inputs_is_not_used() -> None:
    graph = every_kind(Activation("tanh"))
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((6, 3)), rng.standard_normal((6, 1))
    exact = evaluate_onnx(to_onnx(graph, inputs=NAMES), {"latent": a, "condition": b})
    wide = to_onnx(graph, inputs={"condition": ("mycond", 2), "latent": ("Noise", 5)})
    given = {"Noise": np.hstack([a, np.full((6, 2), np.nan)]), "mycond": np.hstack([b, np.full((6, 1), np.nan)])}
    np.testing.assert_array_equal(evaluate_onnx(wide, given), exact)


def test_products_order_and_clipping_are_those_of_the_transform() -> None:
    layer_sizes, num_features = (2, 3, 1), 10
    features = np.random.default_rng(6).normal(0.3, 1.0, (40, num_features)).astype(np.float32)
    order = [5, 3, 0, 4, 1, 2]
    transform = Chain((LayerFractions(layer_sizes),))
    expected = transform.energies(features, np.ones(40))  # kinetic energy 1
    assert (expected > 0).any(axis=0).all()
    inputs = {"x": ("x", num_features)}
    clipped = to_onnx(chain(num_features), inputs=inputs, layer_sizes=layer_sizes, clip=True)
    np.testing.assert_allclose(evaluate_onnx(clipped, {"x": features}), expected, rtol=3e-7)
    ordered = to_onnx(chain(num_features), inputs=inputs, layer_sizes=layer_sizes, clip=True, order=np.array(order))
    np.testing.assert_allclose(evaluate_onnx(ordered, {"x": features}), expected[:, order], rtol=3e-7)
    signed = evaluate_onnx(to_onnx(chain(num_features), inputs=inputs, layer_sizes=layer_sizes), {"x": features})
    by_hand = features[:, [0, 4]] * features[:, [6, 7]] * features[:, [9]]
    np.testing.assert_allclose(signed[:, [0, 4]], by_hand, rtol=3e-7)


def test_order_and_clipping_without_layers() -> None:
    features = np.array([[0.5, -1.0, 2.0]], np.float32)
    model = to_onnx(chain(3), inputs={"x": ("x", 3)}, order=[2, 0, 1], clip=True)
    expected = KineticFractions().inverse(np.maximum(features, 0), np.ones(1))
    np.testing.assert_array_equal(evaluate_onnx(model, {"x": features}), expected[:, [2, 0, 1]])
    np.testing.assert_array_equal(evaluate_onnx(to_onnx(chain(3), inputs={"x": ("x", 3)}), {"x": features}), features)


def test_nodes_and_weights_are_shared() -> None:
    graph = every_kind(Activation("swish", 0.7))
    model = to_onnx(graph, inputs=NAMES)
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Gemm") == 2 + 1 + 2 + 3  # each node once, however many consumers
    weights = [tensor for tensor in model.graph.initializer if tuple(tensor.dims) == (5, 4)]
    assert len(weights) == 1
    assert len({tensor.name for tensor in model.graph.initializer}) == len(model.graph.initializer)


def test_what_readers_of_the_model_see() -> None:
    model = to_onnx(chain(3), inputs={"x": ("Noise", 4)}, output="shower")
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
    graph = every_kind(Activation("sigmoid"))
    model = to_onnx(graph, inputs=NAMES)
    assert to_onnx(graph, inputs=NAMES).SerializeToString() == model.SerializeToString()
    path = tmp_path / "generator.onnx"
    path.write_bytes(model.SerializeToString())
    assert onnx.load(path) == model
    given = {"latent": np.ones((2, 3)), "condition": np.ones((2, 1))}
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
        to_onnx(chain(10), **{"inputs": {"x": ("x", 10)}} | options)


def test_two_inputs_need_two_names() -> None:
    with pytest.raises(ExportError, match="all different"):
        to_onnx(every_kind(Activation()), inputs={"latent": ("x", 3), "condition": ("x", 3)})


def test_numbers_beyond_float32_are_refused() -> None:
    graph = of_one_number(variable=Variable("a", offset=1e39))
    with pytest.raises(ExportError, match="beyond 3.4e38"):
        to_onnx(graph, inputs={"x": ("x", 1)})


def test_wrong_inputs_and_files_are_refused(tmp_path: Path) -> None:
    model = to_onnx(chain(3), inputs={"x": ("x", 3)})
    for wrong in ({}, {"y": np.zeros((1, 3))}, {"x": np.zeros((1, 4))}, {"x": np.zeros(3)}):
        with pytest.raises(DataFormatError, match=r"inputs must be \{'x': \['batch', 3\]\}. Received: \{"):
            evaluate_onnx(model, wrong)
    (tmp_path / "text.onnx").write_text("no model")
    for path in (tmp_path / "text.onnx", tmp_path / "missing.onnx"):
        with pytest.raises(ExportError, match="onnxruntime cannot load"):
            evaluate_onnx(path, {"x": np.zeros((1, 3))})


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_missing_packages_are_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = to_onnx(chain(1), inputs={"x": ("x", 1)})
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=rf"{package} is needed: pip install 'calogen\[export\]'"):
        if package == "onnx":
            to_onnx(chain(1), inputs={"x": ("x", 1)})
        else:
            evaluate_onnx(model, {"x": np.zeros((1, 1))})
