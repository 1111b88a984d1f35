"""Live Keras 3 models as LWTNN graphs.

The graph is read from the tensors' history, from the output back to the inputs, never from files or from the order of
`model.layers`: both changed between versions of Keras, and the official converter fails on every Keras 3 model. Batch
normalisation and activations are folded into the dense layer before them. What LWTNN cannot express is refused by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from calogen.backend import keras
from calogen.errors import ExportError
from calogen.layers import ShowerHeads, Swish
from calogen.lwtnn.graph import Graph, Input, Node, Output, Variable
from calogen.lwtnn.layers import Activation, Affine, Dense, Layer, Maxout, Normalization
from calogen.lwtnn.runtime import evaluate

InputNames = Sequence[str] | Mapping[str, str]
_NONE = np.empty(0)


def convert(model: keras.Model, input_names: InputNames | None = None) -> Graph:
    """Convert a functional or sequential Keras model with one output.

    Variables are called `variable_0`, ..., labels `out_0`, ...: the names that Athena uses.

    Args:
        model: its inputs and output are vectors, `[b, size]`.
        input_names: names of the Keras inputs in the order that the graph shall have, or a mapping from them to the
            graph's names: Athena's generators need `{"latent": "node_0", "condition": "node_1"}`. By default the
            order of `model.inputs`, which is alphabetical for a model built from a dictionary.

    Returns:
        The network at inference; it needs lwtnn 2.13, or 2.14 where the model adds tensors.

    Raises:
        ExportError: the model has not exactly one output, something in it has no counterpart in LWTNN, or weights are
            not finite.
    """
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise ExportError(f"only functional models can be exported: build {model.name!r} from keras.Input tensors")
    if len(outputs) != 1:
        raise ExportError(
            f"Athena takes a network with exactly one output. Received: {len(outputs)} outputs of {model.name!r} "
            "(join them with keras.layers.Concatenate)"
        )
    names = _graph_names(model, input_names)
    by_name = {tensor.name: tensor for tensor in inputs}
    vertices = [_Vertex("input", _width(by_name[name], "an input"), index=i) for i, name in enumerate(names)]
    known = {_key(by_name[name]): vertex for name, vertex in zip(names, vertices, strict=True)}
    given = [_input(name, vertex.size) for name, vertex in zip(names.values(), vertices, strict=True)]
    return _graph(_walk(outputs[0], known), given)


def largest_difference(
    model: keras.Model, graph: Graph, num_inputs: int = 1000, seed: int = 0, input_names: InputNames | None = None
) -> float:
    """Largest difference between a Keras model and its graph, relative to the output's scale.

    Args:
        model: the Keras model; it is evaluated on the CPU, since GPUs may round products to ten bits.
        graph: its conversion.
        num_inputs: number of random inputs, each variable from a standard normal distribution.
        seed: of the random inputs.
        input_names: as for `convert`.

    Returns:
        max |Keras - LWTNN| / max |Keras|, over all inputs and outputs.
    """
    rng = np.random.default_rng(seed)
    names = _graph_names(model, input_names)
    arrays = {t.name: rng.standard_normal((num_inputs, t.shape[1]), np.float32) for t in model.inputs}
    with keras.device("cpu"):
        given = arrays if len(arrays) > 1 else next(iter(arrays.values()))
        (output,) = keras.tree.flatten(model(given, training=False))
        expected = keras.ops.convert_to_numpy(output)
    result = evaluate(graph, {names[name]: array for name, array in arrays.items()})
    return float(np.abs(result - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))


@dataclass(frozen=True, eq=False)
class _Vertex:
    """A graph's node before nodes and layers have numbers; `index` is an input's position."""

    type: str
    size: int
    sources: tuple["_Vertex", ...] = ()
    layer: Layer | None = None
    index: int = 0


_Handler = Callable[[Any, list[_Vertex]], _Vertex]


def _walk(tensor: keras.KerasTensor, known: dict[tuple, _Vertex]) -> _Vertex:
    """The vertex of a tensor, from those of the tensors it was made of."""
    key = _key(tensor)
    if key not in known:
        operation, node_index, tensor_index = tensor._keras_history
        _width(tensor, _name(operation))
        call = operation._inbound_nodes[node_index]
        sources = [_walk(source, known) for source in call.input_tensors]
        if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
            inner = {_key(source): vertex for source, vertex in zip(operation.inputs, sources, strict=True)}
            known[key] = _walk(operation.outputs[tensor_index], inner)
        else:
            if call.arguments.kwargs.get("training"):
                raise _refusal(operation, "it is called with training=True", "call it without")
            known[key] = _handler(operation)(operation, sources)
    return known[key]


def _handler(operation: Any) -> _Handler:
    # the exact class: a subclass may compute something else
    if type(operation) not in _HANDLERS:
        remedy = _REMEDIES.get(type(operation).__name__, f"build the model from {', '.join(_supported())}")
        raise _refusal(operation, "it has no counterpart", remedy)
    return _HANDLERS[type(operation)]


def _graph(result: _Vertex, inputs: list[Input]) -> Graph:
    """Number the vertices that the result needs, sources first."""
    numbers: dict[int, int] = {}
    nodes: list[Node] = []
    layers: list[Layer] = []

    def number(vertex: _Vertex) -> int:
        if id(vertex) not in numbers:
            sources = tuple(number(source) for source in vertex.sources)
            if vertex.type == "input":
                nodes.append(Node("input", (vertex.index,), size=vertex.size))
            elif vertex.layer is None:
                nodes.append(Node(vertex.type, sources))
            else:
                nodes.append(Node(vertex.type, sources, layer_index=len(layers)))
                layers.append(vertex.layer)
            numbers[id(vertex)] = len(nodes) - 1
        return numbers[id(vertex)]

    output = Output(number(result), tuple(f"out_{i}" for i in range(result.size)))
    return Graph(tuple(inputs), tuple(nodes), tuple(layers), {"out": output})


def _graph_names(model: keras.Model, input_names: InputNames | None) -> dict[str, str]:
    """The graph's name of every Keras input, in the graph's order."""
    keras_names = [tensor.name for tensor in model.inputs]
    wanted = keras_names if input_names is None else input_names
    names = dict(wanted) if isinstance(wanted, Mapping) else {name: name for name in wanted}
    if sorted(names) != sorted(keras_names) or len(set(names.values())) != len(wanted):
        raise ExportError(f"input_names must name the inputs {keras_names}, each once. Received: {wanted}")
    return names


def _input(name: str, size: int) -> Input:
    return Input(name, tuple(Variable(f"variable_{i}") for i in range(size)))


def _key(tensor: keras.KerasTensor) -> tuple:
    operation, node_index, tensor_index = tensor._keras_history
    return id(operation), node_index, tensor_index


def _width(tensor: keras.KerasTensor, where: str) -> int:
    if len(tensor.shape) != 2 or tensor.shape[1] is None:
        raise ExportError(f"LWTNN works on vectors of fixed length, [b, size]. Received: {tensor.shape} in {where}")
    return int(tensor.shape[1])


def _name(operation: Any) -> str:
    return f"{type(operation).__name__} {operation.name!r}"


def _refusal(operation: Any, reason: str, remedy: str) -> ExportError:
    return ExportError(f"LWTNN cannot express {_name(operation)}: {reason}; {remedy}")


def _array(variable: Any) -> np.ndarray:
    # a tensor first: NumPy 2 warns about Keras variables
    return np.asarray(keras.ops.convert_to_tensor(variable), np.float64)


def _feed(source: _Vertex, layer: Layer) -> _Vertex:
    return _Vertex("feed_forward", layer.output_size(source.size), (source,), layer)


def _linear(vertex: _Vertex) -> Dense | None:
    layer = vertex.layer
    return layer if isinstance(layer, Dense) and layer.weights.size and layer.activation == Activation() else None


def _scaled(vertex: _Vertex, scale: np.ndarray, shift: np.ndarray) -> _Vertex:
    """The vertex `scale * x + shift`: folded into a linear dense layer, else a normalization."""
    if dense := _linear(vertex):
        bias = dense.bias * scale + shift if dense.bias.size else shift
        return replace(vertex, layer=replace(dense, weights=dense.weights * scale[:, None], bias=bias))
    if (scale != 0.0).all():
        return _feed(vertex, Normalization(scale, shift / scale))
    return _feed(_feed(vertex, Normalization(scale, np.zeros_like(scale))), Normalization(np.ones_like(scale), shift))


def _activated(vertex: _Vertex, function: Any, owner: Any) -> _Vertex:
    """Vertex with an activation (function or layer) on its linear dense layer or a new one."""
    activation = _activation(function, owner)
    if activation.function == "hard_sigmoid":  # Keras 3 has x / 6 + 0.5, LWTNN 0.2 x + 0.5
        vertex = _scaled(vertex, np.full(vertex.size, 5.0 / 6.0), np.zeros(vertex.size))
    return _with(vertex, activation)


def _with(vertex: _Vertex, activation: Activation) -> _Vertex:
    if activation == Activation():
        return vertex
    if dense := _linear(vertex):
        return replace(vertex, layer=replace(dense, activation=activation))
    return _feed(vertex, Dense(_NONE, _NONE, activation))


def _activation(function: Any, owner: Any) -> Activation:
    match function:
        case keras.layers.Activation():
            return _activation(function.activation, owner)
        case keras.layers.ReLU(max_value=None, threshold=0.0 | None):
            slope = float(function.negative_slope or 0.0)
            return Activation("leakyrelu", slope) if slope else Activation("rectified")
        case keras.layers.LeakyReLU():
            return Activation("leakyrelu", float(function.negative_slope))
        case keras.layers.ELU():
            return Activation("elu", float(function.alpha))
        case keras.layers.Softmax(axis=-1 | 1):
            return Activation("softmax")
    if function in _FUNCTIONS:
        return _FUNCTIONS[function]
    known = ", ".join(f.__name__ for f in _FUNCTIONS)
    raise _refusal(owner, f"its activation is {getattr(function, '__name__', function)}", f"train with one of {known}")


_FUNCTIONS: dict[Any, Activation] = {
    keras.activations.linear: Activation(),
    keras.activations.relu: Activation("rectified"),
    keras.activations.sigmoid: Activation("sigmoid"),
    keras.activations.hard_sigmoid: Activation("hard_sigmoid"),
    keras.activations.softmax: Activation("softmax"),
    keras.activations.tanh: Activation("tanh"),
    keras.activations.elu: Activation("elu", 1.0),
    keras.activations.leaky_relu: Activation("leakyrelu", 0.2),
    keras.activations.silu: Activation("swish", 1.0),
}


def _dense(layer: Any, sources: list[_Vertex]) -> _Vertex:
    weights, bias = _array(layer.kernel).T, _NONE if layer.bias is None else _array(layer.bias)
    (source,) = sources
    if isinstance(source.layer, Normalization):  # s (x + t), folded: W s x + (b + W s t)
        weights, shift = weights * source.layer.weights, source.layer.bias
        bias = weights @ shift + (bias if bias.size else 0.0)
        (source,) = source.sources
    return _activated(_feed(source, Dense(weights, bias)), layer.activation, layer)


def _batch_normalization(layer: Any, sources: list[_Vertex]) -> _Vertex:
    scale = 1.0 / np.sqrt(_array(layer.moving_variance) + layer.epsilon)
    if layer.gamma is not None:
        scale = scale * _array(layer.gamma)
    shift = -_array(layer.moving_mean) * scale
    return _scaled(sources[0], scale, shift if layer.beta is None else shift + _array(layer.beta))


def _rescaling(layer: Any, sources: list[_Vertex]) -> _Vertex:
    size = sources[0].size
    return _scaled(sources[0], np.broadcast_to(layer.scale, size) * 1.0, np.broadcast_to(layer.offset, size) * 1.0)


def _joined(sources: list[_Vertex]) -> _Vertex:
    return _Vertex("concatenate", sum(source.size for source in sources), tuple(sources))


def _concatenate(layer: Any, sources: list[_Vertex]) -> _Vertex:
    if layer.axis not in (-1, 1):
        raise _refusal(layer, f"it joins along axis {layer.axis}", "join vectors along axis -1")
    return _joined(sources)


def _require_one_size(layer: Any, sources: list[_Vertex]) -> None:
    if len({source.size for source in sources}) != 1:
        raise _refusal(layer, "its tensors differ in size", "give it tensors of one size")


def _add(layer: Any, sources: list[_Vertex]) -> _Vertex:
    _require_one_size(layer, sources)
    return _Vertex("add", sources[0].size, tuple(sources))


def _maximum(layer: Any, sources: list[_Vertex]) -> _Vertex:
    """Maxout over a concatenation: each sublayer picks one of the tensors."""
    _require_one_size(layer, sources)
    picks = np.split(np.eye(len(sources) * sources[0].size), len(sources))
    maxout = Maxout(tuple(Affine(pick, np.zeros(len(pick))) for pick in picks))
    return _feed(_joined(sources), maxout)


def _activation_layer(layer: Any, sources: list[_Vertex]) -> _Vertex:
    return _activated(sources[0], layer, layer)


def _swish(layer: Any, sources: list[_Vertex]) -> _Vertex:
    """Trainable x sigmoid(b x); LWTNN has one b for all: with several it is swish(b x) / b."""
    (vertex,), beta = sources, _array(layer.beta)
    if beta.size == 1:
        return _with(vertex, Activation("swish", float(beta.item())))
    if (beta == 0.0).any():
        raise _refusal(layer, "one of its betas is 0", "train one beta for all channels")
    zero = np.zeros_like(beta)
    return _scaled(_with(_scaled(vertex, beta, zero), Activation("swish", 1.0)), 1.0 / beta, zero)


def _shower_heads(layer: Any, sources: list[_Vertex]) -> _Vertex:
    """One dense layer for each head: LWTNN cannot slice, and runs what is before anew."""
    (vertex,), sizes = sources, (*layer.layer_sizes, len(layer.layer_sizes), 1)
    dense, source = _linear(vertex), vertex.sources
    if dense is None:
        dense, source = Dense(np.eye(vertex.size), _NONE), (vertex,)
    weights = np.split(dense.matrix(source[0].size), np.cumsum(sizes)[:-1])
    biases = np.split(dense.bias, np.cumsum(sizes)[:-1]) if dense.bias.size else [_NONE] * len(sizes)
    activations = [Activation("softmax")] * (len(sizes) - 1) + [Activation("rectified")]
    parts = zip(weights, biases, activations, strict=True)
    return _joined([_feed(source[0], Dense(*part)) for part in parts])


def _identity(layer: Any, sources: list[_Vertex]) -> _Vertex:
    return sources[0]


_HANDLERS: dict[type, _Handler] = {
    keras.layers.Dense: _dense,
    keras.layers.BatchNormalization: _batch_normalization,
    keras.layers.Rescaling: _rescaling,
    keras.layers.Concatenate: _concatenate,
    keras.layers.Add: _add,
    keras.layers.Maximum: _maximum,
    keras.layers.Activation: _activation_layer,
    keras.layers.ReLU: _activation_layer,
    keras.layers.LeakyReLU: _activation_layer,
    keras.layers.ELU: _activation_layer,
    keras.layers.Softmax: _activation_layer,
    Swish: _swish,
    ShowerHeads: _shower_heads,
    keras.layers.Dropout: _identity,
    keras.layers.AlphaDropout: _identity,
    keras.layers.GaussianDropout: _identity,
    keras.layers.GaussianNoise: _identity,
    keras.layers.ActivityRegularization: _identity,
    keras.layers.Flatten: _identity,
    keras.layers.Identity: _identity,
}

_REMEDIES = {
    "Multiply": "multiply after the network, or train one softmax head over all voxels instead of products of heads",
    "Lambda": "move its computation out of the network",
    "Embedding": "use a one-hot vector and a Dense layer",
    "LayerNormalization": "use BatchNormalization, which is folded into the weights",
    "PReLU": "use LeakyReLU: LWTNN has one slope for a whole layer",
    "Reshape": "work on vectors",
}


def _supported() -> list[str]:
    return [kind.__name__ for kind in _HANDLERS]
