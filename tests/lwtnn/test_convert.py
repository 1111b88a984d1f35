import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from golden.make_lwtnn_graph import build_model
from keras import KerasTensor, layers, ops
from toy_conversions import largest_difference

from calogen.errors import ExportError
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import Graph, format_graph, parse_graph
from calogen.lwtnn.layers import Activation, Dense
from calogen.lwtnn.runtime import evaluate_graph
from calogen.training.layers import ShowerHeads, Swish

GOLDEN = Path(__file__).parents[1] / "golden" / "lwtnn_graph.json"


def _model(function: Callable[[KerasTensor], KerasTensor]) -> keras.Model:
    """A model of four numbers with random weights, batch normalisation included."""
    keras.utils.set_random_seed(3)
    x = keras.Input((4,), name="x")
    model = keras.Model(x, function(x))
    rng = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 2.0, weight.shape) * (1 if "variance" in weight.path else rng.choice([-1, 1])))
    return model


def _converted(model: keras.Model) -> Graph:
    """The graph as it comes back from the file."""
    return parse_graph(format_graph(convert(model)))


def _decoder() -> keras.Model:
    keras.utils.set_random_seed(1)
    latent, condition = keras.Input((5,), name="latent"), keras.Input((1,), name="condition")
    x = layers.Concatenate()([latent, condition])
    for units in (50, 100, 500):
        x = layers.Dense(units, activation="tanh")(x)
    return keras.Model([latent, condition], layers.Dense(281, activation="sigmoid")(x))


def test_decoder() -> None:
    model = _decoder()
    graph = _converted(model)
    assert [(given.name, len(given.variables)) for given in graph.inputs] == [("latent", 5), ("condition", 1)]
    assert graph.inputs[0].variables[4].name == "variable_4"
    assert list(graph.outputs) == ["out"]
    assert graph.output().labels[::280] == ("out_0", "out_280")
    assert [node.type for node in graph.nodes] == ["input", "input", "concatenate", *["feed_forward"] * 4]
    assert largest_difference(model, graph) < 1e-6


def test_input_names() -> None:
    model = _decoder()
    names = {"latent": "node_0", "condition": "node_1"}
    graph = convert(model, names)
    assert [given.name for given in graph.inputs] == ["node_0", "node_1"]
    assert largest_difference(model, graph, num_inputs=10, input_names=names) < 1e-6
    for bad in (["latent"], ["latent"] * 2, ["latent", "energy"], {"latent": "node_0", "condition": "node_0"}):
        with pytest.raises(ExportError, match=r"must name the inputs \['latent', 'condition'\], each once"):
            convert(model, bad)


def test_inputs_given_as_a_dictionary_keep_their_names_in_any_order() -> None:
    latent, condition = keras.Input((5,), name="latent"), keras.Input((1,), name="condition")
    output = layers.Dense(3)(layers.Concatenate()([latent, condition]))
    model = keras.Model({"latent": latent, "condition": condition}, {"shower": output})  # Keras sorts these
    for names in (None, ["latent", "condition"], ["condition", "latent"]):
        graph = convert(model, names)
        assert [given.name for given in graph.inputs] == names or names is None
        assert {given.name: len(given.variables) for given in graph.inputs} == {"latent": 5, "condition": 1}
        assert largest_difference(model, graph, num_inputs=10) < 1e-6


def test_order_comes_from_the_tensors() -> None:
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    second = layers.Dense(3, name="second", activation="tanh")
    first = layers.Dense(3, name="first", activation="tanh")
    joined = layers.Concatenate()([second(first(b)), a, first(second(b))])  # b before a, both layers used twice
    model = keras.Model([a, b], layers.Dense(2)(joined))
    graph = _converted(model)
    assert [given.name for given in graph.inputs] == ["a", "b"]
    assert largest_difference(model, graph) < 1e-6


def _residual(x: KerasTensor) -> KerasTensor:
    h = layers.Dense(4, activation="relu")(x)
    return layers.Maximum()([layers.Add()([x, h, x]), layers.Dense(4)(h), h])


def _nested(x: KerasTensor) -> KerasTensor:
    a, b = keras.Input((4,)), keras.Input((2,))
    inner = keras.Model([a, b], layers.Dense(3, activation="tanh")(layers.Concatenate()([b, a])))
    sequential = keras.Sequential([keras.Input((4,)), layers.Dense(2, activation="sigmoid"), layers.Dropout(0.5)])
    return layers.Concatenate()([inner([x, sequential(x)]), inner([x, layers.Dense(2)(x)])])


def _adapted(**options: Any) -> Callable[[KerasTensor], KerasTensor]:
    """A Normalization layer with the moments of data, one column of which is constant."""
    layer = layers.Normalization(**options)
    layer.adapt(np.random.default_rng(2).normal(3.0, [0.5, 2.0, 10.0, 0.0], (100, 4)).astype(np.float32))
    return layer


_FOUR = np.array([2.0, -1.0, 0.5, 3.0], np.float32)

GOOD: dict[str, Callable[[KerasTensor], KerasTensor]] = {
    **{
        name: lambda x, name=name: layers.Dense(5, activation=name)(x)  # type: ignore[misc]
        for name in ["linear", "relu", "sigmoid", "hard_sigmoid", "softmax", "tanh", "elu", "leaky_relu", "silu"]
    },
    **{
        f"{name} twice": lambda x, name=name: layers.Dense(3, name)(layers.Dense(5, activation=name)(x))  # type: ignore[misc]
        for name in ["selu", "relu6"]
    },
    "clipped": lambda x: layers.ReLU(max_value=1.0)(layers.Dense(5)(x)),
    "clipped in a dense layer": lambda x: layers.Dense(2)(layers.Dense(5, layers.ReLU(2.0))(x)),
    "clipped by a function": lambda x: keras.activations.relu(ops.selu(ops.relu6(2.0 * x)), max_value=3.0),
    "softmax, then a dense ReLU": lambda x: layers.Dense(4, "relu")(layers.Dense(4, "softmax")(x)),
    "no bias": layers.Dense(3, use_bias=False, activation="tanh"),
    "activation is a layer": layers.Dense(3, activation=layers.LeakyReLU(negative_slope=0.3)),
    "activation layers": lambda x: layers.Softmax()(layers.ELU(0.5)(layers.ReLU()(layers.Dense(3)(x)))),
    "activations without dense": lambda x: layers.Activation("hard_sigmoid")(layers.ReLU(negative_slope=0.1)(x)),
    "batch normalisation": lambda x: layers.Activation("silu")(layers.BatchNormalization()(layers.Dense(3)(x))),
    "after an activation": lambda x: layers.BatchNormalization()(layers.Dense(3, activation="relu")(x)),
    "no gamma, no beta": layers.BatchNormalization(scale=False, center=False),
    "on no bias": lambda x: layers.BatchNormalization(scale=False)(layers.Dense(3, use_bias=False)(x)),
    "rescaling": layers.Rescaling([0.0, 2.0, 3.0, -1.0], offset=0.5),
    "identities": lambda x: layers.GaussianNoise(0.1)(layers.Flatten()(layers.Dropout(0.5)(layers.Dense(3)(x)))),
    "trained swish": lambda x: Swish()(layers.BatchNormalization()(layers.Dense(3)(x))),
    "swish by channel": lambda x: layers.Dense(2)(Swish(per_channel=True)(layers.Dense(3)(x))),
    "swish by channel at the end": Swish(per_channel=True),
    "shower heads": lambda x: ShowerHeads((2, 3))(layers.Dense(8)(x)),
    "shower heads, normalised": lambda x: ShowerHeads((2, 1))(layers.BatchNormalization()(layers.Dense(6)(x))),
    "shower heads on an activation": lambda x: ShowerHeads((2, 1))(layers.Dense(6, "tanh", use_bias=False)(x)),
    "shower heads without bias": lambda x: ShowerHeads((2, 1))(layers.Dense(6, use_bias=False)(x)),
    "residual": _residual,
    "nested": _nested,
    "normalisation": lambda x: layers.Dense(3)(_adapted()(x)),
    "normalisation at the end": lambda x: _adapted(invert=True)(layers.Dense(4, "tanh")(x)),
    "normalisation of one spread": layers.Normalization(axis=None, mean=2.0, variance=4.0),
    "subtract, average": lambda x: layers.Average()([layers.Subtract()([x, layers.Dense(4, "tanh")(x)]), x]),
    "a + b": lambda x: x + layers.Dense(4, "tanh")(x),
    "a - b": lambda x: layers.Dense(4, "tanh")(x) - x,
    "a - b, both used elsewhere": lambda x: (x - (h := layers.Dense(4)(x))) + h,
    "numbers": lambda x: (1 - 2 * (x + 3.0) / 4) - 0.1,
    "arrays": lambda x: -(x * _FOUR - _FOUR) / _FOUR + _FOUR[None, :],
    "ops": lambda x: ops.subtract(ops.add(x1=x, x2=layers.Dense(4)(x)), ops.divide(ops.multiply(x, 3.0), 2)),
    "ops of several": lambda x: ops.maximum(ops.concatenate([x, -x], axis=-1), layers.Dense(8)(x)),
    "ops as activations": lambda x: ops.softmax(ops.elu(ops.leaky_relu(layers.Dense(3)(x), 0.3), alpha=0.4)),
    "more ops as activations": lambda x: layers.Concatenate()(
        [function(x) for function in (ops.relu, ops.silu, ops.tanh, ops.sigmoid, ops.hard_sigmoid)]
    ),
    "functions as activations": lambda x: keras.activations.relu(keras.activations.leaky_relu(x), negative_slope=0.1),
}


@pytest.mark.parametrize("name", GOOD)
def test_conversion_agrees_with_keras(name: str) -> None:
    model = _model(GOOD[name])
    assert largest_difference(model, _converted(model), num_inputs=200) < 2e-6


def test_batch_normalisation_and_activation_are_folded() -> None:
    graph = convert(_model(GOOD["batch normalisation"]))
    (layer,) = graph.layers
    assert isinstance(layer, Dense)
    assert layer.activation.function == "swish"


def test_a_scale_is_folded_into_the_dense_layer_behind_it() -> None:
    graph = convert(_model(lambda x: layers.Dense(2)(layers.BatchNormalization()(layers.ReLU()(x)))))
    assert [type(layer) for layer in graph.layers] == [Dense, Dense]


@pytest.mark.parametrize("beta", [0.0, -0.7, 1.0, 12.5])
@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_trained_swish_may_have_any_beta(beta: float, at_the_end: bool) -> None:
    """With 0 it is half of its input, with less than 0 it is bent the other way: lwtnn's swish has this number, too."""

    def function(x: KerasTensor) -> KerasTensor:
        hidden = Swish(name="swish")(layers.Dense(3)(x))
        return hidden if at_the_end else layers.Dense(2, "sigmoid")(hidden)

    model = _model(function)
    model.get_layer("swish").beta.assign(beta)
    graph = _converted(model)
    assert len(graph.layers) == 1 + (not at_the_end)
    assert graph.layers[0].activation == Activation("swish", float(np.float32(beta)))  # type: ignore[union-attr]
    assert largest_difference(model, graph) < 1e-6


def test_activations_that_lwtnn_lacks_are_exact_in_double_precision() -> None:
    x = np.linspace(-3.0, 3.0, 1001)[:, None]
    for function in (keras.activations.selu, keras.activations.relu6, layers.ReLU(max_value=1.0, dtype="float64")):
        given = keras.Input((1,), dtype="float64")
        graph = convert(keras.Model(given, function(given)))
        expected = keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(2.5 * x, "float64")))
        np.testing.assert_allclose(evaluate_graph(graph, {graph.inputs[0].name: 2.5 * x}), expected, rtol=0, atol=1e-14)


def test_a_swish_that_ignores_a_channel_is_refused() -> None:
    model = _model(Swish(per_channel=True, name="layer"))
    model.layers[-1].beta.assign([1.0, 0.0, 1.0, 1.0])
    with pytest.raises(
        ExportError,
        match="Swish 'layer'.*one of its betas is 0, by which this converter divides: lwtnn has one for all",
    ):
        convert(model)


def test_folding_leaves_other_consumers_alone() -> None:
    def function(x: KerasTensor) -> KerasTensor:
        dense = layers.Dense(3)(x)
        return layers.Concatenate()([layers.BatchNormalization()(dense), dense, layers.Activation("tanh")(dense)])

    model = _model(function)
    assert largest_difference(model, convert(model)) < 1e-6


class _Doubled(layers.Dense):
    def call(self, inputs: KerasTensor, training: bool | None = None) -> KerasTensor:
        return 2 * super().call(inputs)


class _Steeper(layers.ReLU):
    def call(self, inputs: KerasTensor) -> KerasTensor:
        return 2 * super().call(inputs)


BAD: dict[str, Callable[[KerasTensor], KerasTensor]] = {
    "Multiply 'layer'.*lwtnn has no product of tensors; multiply after": lambda x: layers.Multiply(name="layer")(
        [x, x]
    ),
    "Multiply 'multiply.*lwtnn has no product of tensors; multiply after": lambda x: x * x,
    "TrueDivide 'true_divide.*lwtnn has no quotient of tensors": lambda x: 1 / x,
    "Add 'add.*: its tensors differ in size": lambda x: x + layers.Dense(1)(x),
    r"Add 'add.*: an operand has the shape \(3,\), the tensor 1 elements": lambda x: layers.Dense(1)(x) + np.ones(3),
    "Maximum 'max.*: this converter does not know these operands": lambda x: ops.maximum(x, 1.0),
    "Power 'power.*this converter does not know it; build the model from Dense": lambda x: x**2,
    "GetItem 'get_item.*lwtnn takes no part of a vector": lambda x: x[:, :2],
    "Dense 'layer'.*its activation is gelu, which lwtnn lacks; train with one of linear, relu": layers.Dense(
        2, "gelu", name="layer"
    ),
    "Lambda 'layer'.*this converter cannot read": layers.Lambda(lambda y: y, name="layer"),
    "PReLU 'layer'.*lwtnn has one slope for a whole layer; use LeakyReLU": layers.PReLU(name="layer"),
    "LayerNormalization 'layer'.*use BatchNorm": layers.LayerNormalization(name="layer"),
    "_Doubled 'layer'.*this converter does not know it": _Doubled(2, name="layer"),
    "Dense 'layer'.*its activation is <_Steeper": layers.Dense(2, _Steeper(), name="layer"),
    "Dropout 'layer'.*it is called with training=True": lambda x: layers.Dropout(0.5, name="layer")(x, training=True),
    "ReLU 'layer'.*threshold=1.0 of its activation ReLU: .*train with threshold=0.0": layers.ReLU(
        threshold=1.0, name="layer"
    ),
    "ReLU 'layer'.*lwtnn has no leaky ReLU with an upper limit; train without one": layers.ReLU(
        max_value=1.0, negative_slope=0.1, name="layer"
    ),
    "ReLU 'layer'.*with max_value=0.0 it is 0; train with a limit above 0": layers.ReLU(max_value=0.0, name="layer"),
    r"Square 'square.*lwtnn has no square of a tensor, so that no exp\(-x\^2\) either; train with an activation": (
        lambda x: ops.exp(-ops.square(x))
    ),
    "Exp 'exp.*lwtnn has no exponential of a tensor; train with an activation that it has": ops.exp,
    "Softmax 'layer'.*axis=0 of its activation Softmax": layers.Softmax(axis=0, name="layer"),
    "Softmax 'softmax.*axis=0 of its": lambda x: ops.softmax(x, axis=0),
    "Concatenate 'layer'.*it joins along axis 0": lambda x: layers.Concatenate(axis=0, name="layer")([x, x]),
    "Add 'layer'.*its tensors differ in size": lambda x: layers.Add(name="layer")([x, layers.Dense(1)(x)]),
    r"vectors of fixed length.*\(None, 2, 2\) in Reshape 'layer'": lambda x: layers.Flatten()(
        layers.Reshape((2, 2), name="layer")(x)
    ),
    "Dense 'layer'.*its dtype policy mixed_bfloat16 rounds to bfloat16": layers.Dense(
        2, name="layer", dtype="mixed_bfloat16"
    ),
    "Cast 'cast.*its dtype rounds to float16": lambda x: ops.cast(x, "float16"),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_converted_is_refused_by_name_with_the_limits_owner(message: str) -> None:
    with pytest.raises(ExportError, match=message):
        convert(_model(BAD[message]))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16", "bfloat16"])
def test_half_precision_is_refused_and_the_remedy_helps(policy: str) -> None:
    """Keras itself is off by 1e-4 to 1e-2 there: the graph would be another network."""

    def build(dtype: str) -> keras.Model:
        hidden = layers.Dense(50, activation="tanh", name="hidden", dtype=dtype)
        return _model(lambda x: layers.Dense(3, dtype="float32")(hidden(x)))

    half = build(policy)
    with pytest.raises(ExportError, match=f"Dense 'hidden'.*dtype policy {policy} rounds to .*set_weights"):
        convert(half)
    single = build("float32")
    single.set_weights(half.get_weights())
    assert largest_difference(single, convert(single)) < 1e-6
    assert 1e-5 < largest_difference(half, convert(single)) < 0.1


def test_inputs_in_half_precision_and_nested_trainings_are_refused() -> None:
    half = keras.Input((2,), dtype="float16", name="half")
    with pytest.raises(ExportError, match="InputLayer 'half'.*rounds to float16"):
        convert(keras.Model(half, layers.Dense(1)(half)))
    inner = keras.Sequential([keras.Input((2,)), layers.BatchNormalization()], name="inner")
    x = keras.Input((2,))
    with pytest.raises(ExportError, match="Sequential 'inner'.*training=True"):
        convert(keras.Model(x, inner(x, training=True)))


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize`:UserWarning")
def test_quantised_weights_are_refused() -> None:
    """Their kernels are whole numbers beside a scale."""
    model = _model(layers.Dense(3, name="layer"))
    model.quantize("int8")
    with pytest.raises(ExportError, match="Dense 'layer'.*dtype policy int8_from_float32 has quantised weights"):
        convert(model)


def test_models_that_cannot_be_walked_are_refused() -> None:
    x = keras.Input((2,))
    with pytest.raises(ExportError, match=r"exactly one output. Received: 2 outputs.*Concatenate"):
        convert(keras.Model(x, [layers.Dense(1)(x), layers.Dense(1)(x)]))
    with pytest.raises(ExportError, match="only functional models"):
        convert(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(ExportError, match=r"\(None, 3, 2\) in an input"):
        convert(keras.Model(y := keras.Input((3, 2)), layers.Flatten()(y)))


def test_diverged_weights_are_refused() -> None:
    model = _model(layers.Dense(2))
    model.weights[0].assign(np.full((4, 2), np.nan))
    with pytest.raises(ExportError, match="finite"):
        convert(model)


def test_largest_difference_sees_a_wrong_weight() -> None:
    model = _model(layers.Dense(2))
    graph = convert(model)
    model.weights[0].assign(model.weights[0].numpy() * 1.001)
    assert 1e-4 < largest_difference(model, graph) < 1e-2


def test_golden_graph() -> None:
    golden = json.loads(GOLDEN.read_text())
    graph = convert(build_model())
    assert json.loads(format_graph(graph)) == golden["graph"]
    result = evaluate_graph(parse_graph(json.dumps(golden["graph"])), golden["inputs"])
    np.testing.assert_allclose(result, list(golden["outputs"].values()), rtol=1e-12)
    assert graph.output().labels == tuple(golden["outputs"])
