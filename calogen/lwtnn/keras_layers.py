"""Conversion of Keras layers and operations to nodes of an LWTNN graph.

There is one small function for each class of layers, which must match exactly: a subclass may compute something else.
An error says whose limit it is: lwtnn's, or this converter's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calogen.backend import keras
from calogen.lwtnn.keras_activations import OPERATIONS, Function, applied, conversion_error
from calogen.lwtnn.layers import Activation, Affine, Dense, Maxout, NetworkLayer, Normalization
from calogen.training.layers import ShowerHeads, Swish

_NONE = np.empty(0)


@dataclass(frozen=True, eq=False)
class Vertex:
    """A graph's node before nodes and layers have numbers; `index` is an input's position."""

    type: str
    size: int
    sources: tuple["Vertex", ...] = ()
    layer: NetworkLayer | None = None
    index: int = 0


Operand = Vertex | np.ndarray | float


def vertex_of(operation: keras.Operation, operands: Sequence[Operand]) -> Vertex:
    """The vertex of the result of a layer or an operation.

    Args:
        operation: a layer of Keras or of calogen, or an operation of keras.ops.
        operands: the vertices of its inputs; an operation may have a number or an array among them.

    Raises:
        ExportError: the operation is unknown, or lwtnn cannot express it.
    """
    kind = _kind(operation)
    if kind not in _HANDLERS and kind not in _ARITHMETIC:
        supported = ", ".join(item.__name__ for item in _HANDLERS if isinstance(item, type))
        unknown = "this converter does not know it", f"build the model from {supported}"
        raise conversion_error(operation, *_LIMITS.get(type(operation).__name__, unknown))
    vertices, numbers = _sorted(operands)
    if numbers and (kind not in _ARITHMETIC or len(operands) > 2):
        reason = "this converter does not know these operands"
        raise conversion_error(operation, reason, "give it tensors, or one array")
    return _ARITHMETIC[kind](operation, operands) if kind in _ARITHMETIC else _HANDLERS[kind](operation, vertices)


def _kind(operation: keras.Operation) -> type | str:
    """The class of a layer, or the name of an operation's class, which is not public."""
    kind = type(operation)
    own = kind.__module__.startswith("keras.") and not isinstance(operation, keras.Layer)
    return kind.__name__ if own else kind


def _array(variable: keras.Variable | np.ndarray | float) -> np.ndarray:
    # through a tensor, because NumPy 2 warns about Keras variables
    return np.asarray(keras.ops.convert_to_tensor(variable), np.float64)


def _feed(source: Vertex, layer: NetworkLayer) -> Vertex:
    return Vertex("feed_forward", layer.output_size(source.size), (source,), layer)


def _linear(vertex: Vertex) -> Dense | None:
    """The dense layer of a vertex, if it has one with weights and without an activation."""
    layer = vertex.layer
    return layer if isinstance(layer, Dense) and layer.weights.size and layer.activation == Activation() else None


def _scaled(vertex: Vertex, scale: np.ndarray, shift: np.ndarray) -> Vertex:
    """The vertex `scale * x + shift`: folded into the dense layer of `x`, or a new layer."""
    if dense := _linear(vertex):
        bias = dense.bias * scale + shift if dense.bias.size else shift
        return replace(vertex, layer=replace(dense, weights=dense.weights * scale[:, None], bias=bias))
    if (scale != 0.0).all():
        return _feed(vertex, Normalization(scale, shift / scale))
    return _feed(_feed(vertex, Normalization(scale, np.zeros_like(scale))), Normalization(np.ones_like(scale), shift))


def _activated(vertex: Vertex, function: Function, owner: keras.Operation) -> Vertex:
    """A vertex with an activation, in its own linear dense layer or in a new layer."""
    found = applied(function, owner)
    if (found.scale, found.shift) != (1.0, 0.0):
        vertex = _scaled(vertex, np.full(vertex.size, found.scale), np.full(vertex.size, found.shift))
    vertex = _with(vertex, found.activation)
    return vertex if found.after == 1.0 else _scaled(vertex, np.full(vertex.size, found.after), np.zeros(vertex.size))


def _with(vertex: Vertex, activation: Activation) -> Vertex:
    if activation == Activation():
        return vertex
    if dense := _linear(vertex):
        return replace(vertex, layer=replace(dense, activation=activation))
    return _feed(vertex, Dense(_NONE, _NONE, activation))


def _dense(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    weights, bias = _array(layer.kernel).T, _NONE if layer.bias is None else _array(layer.bias)
    (source,) = sources
    if isinstance(source.layer, Normalization):  # s (x + t), folded: W s x + (b + W s t)
        weights, shift = weights * source.layer.weights, source.layer.bias
        bias = weights @ shift + (bias if bias.size else 0.0)
        (source,) = source.sources
    return _activated(_feed(source, Dense(weights, bias)), layer.activation, layer)


def _batch_normalization(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    scale = 1.0 / np.sqrt(_array(layer.moving_variance) + layer.epsilon)
    if layer.gamma is not None:
        scale = scale * _array(layer.gamma)
    shift = -_array(layer.moving_mean) * scale
    return _scaled(sources[0], scale, shift if layer.beta is None else shift + _array(layer.beta))


def _rescaling(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    size = sources[0].size
    return _scaled(sources[0], np.broadcast_to(layer.scale, size) * 1.0, np.broadcast_to(layer.offset, size) * 1.0)


def _normalization(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    """Standardise a vertex with the layer's mean and spread, or invert that."""
    size = sources[0].size
    mean, variance = (np.broadcast_to(_array(item).ravel(), size) for item in (layer.mean, layer.variance))
    spread = np.maximum(np.sqrt(variance), keras.config.epsilon())
    return _scaled(sources[0], spread, mean) if layer.invert else _scaled(sources[0], 1.0 / spread, -mean / spread)


def _joined(sources: list[Vertex]) -> Vertex:
    return Vertex("concatenate", sum(source.size for source in sources), tuple(sources))


def _concatenate(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    if layer.axis not in (-1, 1):
        raise conversion_error(layer, f"it joins along axis {layer.axis}", "join vectors along axis -1")
    return _joined(sources)


def _require_one_size(layer: keras.Layer, sources: list[Vertex]) -> None:
    if len({source.size for source in sources}) != 1:
        raise conversion_error(layer, "its tensors differ in size", "give it tensors of one size")


def _add(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    _require_one_size(layer, sources)
    return Vertex("add", sources[0].size, tuple(sources))


def _subtract(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    return _minus(layer, sources)


def _average(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    vertex = _add(layer, sources)
    return _scaled(vertex, np.full(vertex.size, 1.0 / len(sources)), np.zeros(vertex.size))


def _plus(operation: keras.Operation, operands: Sequence[Operand]) -> Vertex:
    vertices, numbers = _sorted(operands)
    if not numbers:
        return _add(operation, vertices)
    (vertex,) = vertices
    return _scaled(vertex, np.ones(vertex.size), _constant(operation, numbers[0], vertex.size))


def _minus(operation: keras.Operation, operands: Sequence[Operand]) -> Vertex:
    first, second = operands
    return _plus(operation, [first, _negative(operation, [second]) if isinstance(second, Vertex) else -_array(second)])


def _times(operation: keras.Operation, operands: Sequence[Operand]) -> Vertex:
    """A vertex times a number, or times one number for each element."""
    vertices, numbers = _sorted(operands)
    if not numbers:
        raise conversion_error(operation, *_LIMITS["Multiply"])
    (vertex,) = vertices
    return _scaled(vertex, _constant(operation, numbers[0], vertex.size), np.zeros(vertex.size))


def _divided(operation: keras.Operation, operands: Sequence[Operand]) -> Vertex:
    first, second = operands
    if isinstance(second, Vertex):
        raise conversion_error(operation, "lwtnn has no quotient of tensors", "divide after the network")
    with np.errstate(divide="ignore"):  # infinity is refused as a weight
        return _times(operation, [first, 1.0 / _array(second)])


def _negative(operation: keras.Operation, operands: Sequence[Operand]) -> Vertex:
    return _times(operation, [operands[0], -1.0])


def _sorted(operands: Sequence[Operand]) -> tuple[list[Vertex], list[np.ndarray | float]]:
    """The operands that are vertices, and those that are numbers or arrays."""
    vertices = [item for item in operands if isinstance(item, Vertex)]
    return vertices, [item for item in operands if not isinstance(item, Vertex)]


def _constant(operation: keras.Operation, value: np.ndarray | float, size: int) -> np.ndarray:
    """A number or an array as one number for each element of a vector."""
    array = _array(value)
    try:
        return np.broadcast_to(array, (1, size))[0] * 1.0
    except ValueError:
        reason = f"an operand has the shape {array.shape}, the tensor {size} elements"
        raise conversion_error(operation, reason, "give a number, or one for each element") from None


def _maximum(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    """Maxout over a concatenation: each sublayer picks one of the tensors."""
    _require_one_size(layer, sources)
    picks = np.split(np.eye(len(sources) * sources[0].size), len(sources))
    maxout = Maxout(tuple(Affine(pick, np.zeros(len(pick))) for pick in picks))
    return _feed(_joined(sources), maxout)


def _activation_layer(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    return _activated(sources[0], layer, layer)


def _swish(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    """Swish, x sigmoid(b x); as lwtnn has one b for all, several become swish(b x) / b."""
    (vertex,), beta = sources, _array(layer.beta)
    if beta.size == 1:
        return _with(vertex, Activation("swish", float(beta.item())))
    if (beta == 0.0).any():
        reason = "one of its betas is 0, by which this converter divides: lwtnn has one for all"
        raise conversion_error(layer, reason, "train one beta for all channels")
    zero = np.zeros_like(beta)
    return _scaled(_with(_scaled(vertex, beta, zero), Activation("swish", 1.0)), 1.0 / beta, zero)


def _shower_heads(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    """One dense layer for each head, since lwtnn cannot slice a vector."""
    (vertex,), sizes = sources, (*layer.layer_sizes, len(layer.layer_sizes), 1)
    dense, source = _linear(vertex), vertex.sources
    if dense is None:
        dense, source = Dense(np.eye(vertex.size), _NONE), (vertex,)
    weights = np.split(dense.matrix(source[0].size), np.cumsum(sizes)[:-1])
    biases = np.split(dense.bias, np.cumsum(sizes)[:-1]) if dense.bias.size else [_NONE] * len(sizes)
    activations = [Activation("softmax")] * (len(sizes) - 1) + [Activation("rectified")]
    parts = zip(weights, biases, activations, strict=True)
    return _joined([_feed(source[0], Dense(*part)) for part in parts])


def _identity(layer: keras.Layer, sources: list[Vertex]) -> Vertex:
    return sources[0]


_ACTIVATION_LAYERS = [getattr(keras.layers, name) for name in ("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax")]
_REGULARISERS = ("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization")
_UNCHANGED = [getattr(keras.layers, name) for name in (*_REGULARISERS, "Flatten", "Identity")]
_HANDLERS: dict[type | str, Callable[[keras.Operation, list[Vertex]], Vertex]] = {
    keras.layers.Dense: _dense,
    keras.layers.BatchNormalization: _batch_normalization,
    keras.layers.Normalization: _normalization,
    keras.layers.Rescaling: _rescaling,
    keras.layers.Concatenate: _concatenate,
    keras.layers.Add: _add,
    keras.layers.Subtract: _subtract,
    keras.layers.Average: _average,
    keras.layers.Maximum: _maximum,
    **dict.fromkeys(_ACTIVATION_LAYERS, _activation_layer),
    Swish: _swish,
    ShowerHeads: _shower_heads,
    **dict.fromkeys(_UNCHANGED, _identity),
    "Negative": _negative,
    "Maximum": _maximum,
    "Concatenate": _concatenate,
    **dict.fromkeys(("ReLU", "LeakyRelu", "Elu", "Softmax", *OPERATIONS), _activation_layer),
}
"""Converters of layers, by class, and of operations, by the names of their classes."""

_ARITHMETIC: dict[type | str, Callable[[keras.Operation, Sequence[Operand]], Vertex]] = {
    "Add": _plus,  # a + b and keras.ops.add(a, b)
    "Subtract": _minus,
    "Multiply": _times,
    "Divide": _divided,
    "TrueDivide": _divided,
}
"""Converters of the operations that may have a number or an array beside a tensor."""

_ANOTHER = "train with an activation that it has, e.g. sigmoid"
_LIMITS = {
    "Multiply": (
        "lwtnn has no product of tensors",
        "multiply after the network, or train one softmax head over all voxels instead of products of heads",
    ),
    "Lambda": ("this converter cannot read a function of Python", "move its computation out of the network"),
    "Embedding": ("lwtnn has it for sequences only", "use a one-hot vector and a Dense layer"),
    "LayerNormalization": (
        "lwtnn computes no moments of a vector",
        "use BatchNormalization, which is folded into the weights",
    ),
    "PReLU": ("lwtnn has one slope for a whole layer", "use LeakyReLU"),
    "Reshape": ("this converter works on vectors", "leave it out"),
    "Square": ("lwtnn has no square of a tensor, so that no exp(-x^2) either", _ANOTHER),
    "Exp": ("lwtnn has no exponential of a tensor", _ANOTHER),
    "GetItem": ("lwtnn takes no part of a vector", "train a Dense layer for each part"),
}
"""Why a class of layers or operations cannot be converted, and the remedy, by the class's name."""
