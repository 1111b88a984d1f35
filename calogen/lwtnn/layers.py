"""Layers of an LWTNN graph: the parameters of its feed_forward nodes, with their JSON.

Source: src/parse_json.cxx and include/lwtnn/generic/Stack.tcc of lwtnn 2.14.1.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from calogen.errors import ExportError
from calogen.lwtnn import property_tree

ACTIVATIONS = ("linear", "rectified", "sigmoid", "hard_sigmoid", "softmax", "tanh", "abs", "elu", "leakyrelu", "swish")
_NEEDS_ALPHA = ("elu", "leakyrelu", "swish")


@dataclass(frozen=True)
class Activation:
    """An activation function: of each number on its own, or softmax over the whole vector.

    Args:
        function: lwtnn's name of the function, one of `ACTIVATIONS`.
        alpha: parameter of elu, leakyrelu and swish (`x * sigmoid(alpha * x)`). lwtnn computes NaN where leakyrelu or
            swish lacks it.

    Raises:
        ExportError: the function is unknown, or its alpha is missing or not finite.
    """

    function: str = "linear"
    alpha: float | None = None

    def __post_init__(self) -> None:
        if self.function not in ACTIVATIONS:
            received = property_tree.shown(self.function)
            raise ExportError(f"activation must be one of {', '.join(ACTIVATIONS)}. Received: {received}")
        if self.function in _NEEDS_ALPHA if self.alpha is None else not math.isfinite(self.alpha):
            raise ExportError(f"activation {self.function} needs a finite alpha. Received: {self.alpha}")


@dataclass(frozen=True, eq=False)
class Affine:
    """The map `W x + b`.

    Args:
        weights: `W`, `[outputs, inputs]`, or a flat array in this order; an empty array stands for the identity.
        bias: `b`, `[outputs]`; an empty array stands for zero.

    Raises:
        ExportError: a number is not finite.
    """

    weights: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias).all()):
            raise ExportError("weights must be finite. Received: NaN or infinity (did training diverge?)")

    def matrix(self, num_inputs: int) -> np.ndarray:
        """The matrix `W`, `[outputs, num_inputs]`.

        Raises:
            ExportError: the weights do not divide into rows of that length.
        """
        if self.weights.size == 0 or self.weights.size % num_inputs:
            raise ExportError(f"weights must come in rows of {num_inputs}. Received: {self.weights.size} numbers")
        if self.weights.ndim > 1 and self.weights.shape[1:] != (num_inputs,):
            received = f"shape {self.weights.shape} (rows are outputs, unlike in Keras)"
            raise ExportError(f"weights must come in rows of {num_inputs}. Received: {received}")
        return self.weights.reshape(-1, num_inputs)

    def output_size(self, num_inputs: int) -> int:
        """Number of outputs for a number of inputs.

        Raises:
            ExportError: weights or bias do not fit this number of inputs.
        """
        size = len(self.matrix(num_inputs)) if self.weights.size else num_inputs
        if self.bias.size not in (0, size):
            raise ExportError(f"bias must have {size} numbers. Received: {self.bias.size}")
        return size


@dataclass(frozen=True, eq=False)
class Dense(Affine):
    """`activation(W x + b)`."""

    activation: Activation = field(default_factory=Activation)


@dataclass(frozen=True, eq=False)
class Normalization(Affine):
    """`weights * (x + bias)`, element by element: the bias comes first."""

    def output_size(self, num_inputs: int) -> int:
        """Number of outputs, equal to that of inputs, which lwtnn does not check."""
        if not self.weights.size == self.bias.size == num_inputs:
            sizes = f"{self.weights.size} and {self.bias.size}"
            raise ExportError(f"normalization needs {num_inputs} weights and biases. Received: {sizes}")
        return num_inputs


@dataclass(frozen=True, eq=False)
class Highway:
    """`c * activation(W_t x + b_t) + (1 - c) * x` with the gate `c = sigmoid(W_c x + b_c)`."""

    transform: Affine
    carry: Affine
    activation: Activation

    def output_size(self, num_inputs: int) -> int:
        """Number of outputs, which equals the number of inputs."""
        sizes = [size for part in (self.transform, self.carry) for size in (part.weights.size, part.bias.size)]
        if sizes != [num_inputs**2, num_inputs] * 2 or self.activation.function == "softmax":
            raise ExportError(
                f"highway needs two {num_inputs} x {num_inputs} matrices with biases, and no softmax. "
                f"Received: sizes {sizes}, activation {self.activation.function}"
            )
        return num_inputs


@dataclass(frozen=True, eq=False)
class Maxout:
    """The largest of several `W x + b`, element by element."""

    sublayers: tuple[Affine, ...]

    def output_size(self, num_inputs: int) -> int:
        """Number of outputs of each sublayer."""
        sizes = {(len(part.matrix(num_inputs)), part.bias.size) for part in self.sublayers}
        if len(sizes) != 1 or len(set(next(iter(sizes)))) != 1:
            raise ExportError(
                f"maxout needs sublayers of one size, each with a bias. Received: {property_tree.shown(sorted(sizes))}"
            )
        return sizes.pop()[0]


NetworkLayer = Dense | Normalization | Highway | Maxout


def layer_document(layer: NetworkLayer) -> dict[str, object]:
    """The JSON object of a layer; its weights are still arrays."""
    match layer:
        case Normalization():
            return {"architecture": "normalization", "weights": layer.weights, "bias": layer.bias}
        case Highway(transform, carry, activation):
            components = {"t": vars(transform), "carry": vars(carry)}
            return {"architecture": "highway", "components": components, "activation": _activation_document(activation)}
        case Maxout(sublayers):
            return {"architecture": "maxout", "sublayers": [vars(sublayer) for sublayer in sublayers]}
        case Dense(weights, bias, activation):
            document = _activation_document(activation)
            return {"architecture": "dense", "weights": weights, "bias": bias, "activation": document}


def read_layer(document: object) -> NetworkLayer:
    """The layer that a JSON object describes.

    Raises:
        ExportError: a key is missing, a type is wrong, or the layer or its activation is unknown.
    """
    match property_tree.name(property_tree.field(document, "architecture")):
        case "dense":
            return Dense(*_weights(document), _activation(document))
        case "normalization":
            return Normalization(*_weights(document))
        case "highway":
            parts = property_tree.field(document, "components")
            transform, carry = (Affine(*_weights(property_tree.field(parts, key))) for key in ("t", "carry"))
            return Highway(transform, carry, _activation(document))
        case "maxout":
            return Maxout(property_tree.each(document, "sublayers", lambda part: Affine(*_weights(part))))
        case other:
            received = property_tree.shown(other)
            raise ExportError(f"layers must be dense, normalization, highway or maxout. Received: {received}")


def _activation_document(activation: Activation) -> str | dict[str, object]:
    return activation.function if activation.alpha is None else vars(activation)


def _weights(document: object) -> tuple[np.ndarray, np.ndarray]:
    return property_tree.numbers(document, "weights"), property_tree.numbers(document, "bias")


def _activation(document: object) -> Activation:
    value = property_tree.field(document, "activation")
    if isinstance(value, str):
        return Activation(value, 1.0 if value == "elu" else None)
    function, alpha = (property_tree.field(value, key) for key in ("function", "alpha"))
    return Activation(property_tree.name(function), property_tree.number(alpha))
