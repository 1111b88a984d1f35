"""Activations of Keras 3 as those of lwtnn.

Those that lwtnn lacks are expressed by one that it has, between two scales, where that is exact: a ReLU with an upper
limit by its hard sigmoid, SELU by its ELU. An error says whose limit it is: lwtnn's, or this converter's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from calogen.backend import keras
from calogen.errors import ExportError
from calogen.lwtnn.layers import Activation

Function: TypeAlias = keras.Operation
"""An activation: a layer, an operation, or a function of keras.activations."""
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # arXiv:1706.02515, section 2


@dataclass(frozen=True)
class Applied:
    """An activation of lwtnn between two scales: `after * f(scale * x + shift)`."""

    activation: Activation
    scale: float = 1.0
    shift: float = 0.0
    after: float = 1.0


def named(operation: keras.Operation) -> str:
    """Class and name of a layer or an operation."""
    return f"{type(operation).__name__} {operation.name!r}"


def conversion_error(operation: keras.Operation, reason: str, remedy: str) -> ExportError:
    """The error for a layer or operation that cannot be converted, with reason and remedy."""
    return ExportError(f"{named(operation)} cannot be converted: {reason}; {remedy}")


def applied(function: Function, owner: keras.Operation) -> Applied:
    """The lwtnn activation for a function of keras.activations, a layer or an operation.

    Args:
        function: the activation.
        owner: layer or operation that an error names.

    Raises:
        ExportError: lwtnn cannot express the activation.
    """
    if type(function) is keras.layers.Activation:
        return applied(function.activation, owner)
    kind = type(function).__name__ if type(function).__module__.startswith("keras.") else ""
    if kind in _PARAMETRISED:
        return _PARAMETRISED[kind](function, owner)
    function = OPERATIONS.get(kind, function)
    if function in _FUNCTIONS:
        found = _FUNCTIONS[function]
        return found if isinstance(found, Applied) else Applied(found)
    known = ", ".join(item.__name__ for item in _FUNCTIONS)
    name = getattr(function, "__name__", function)
    raise conversion_error(owner, f"its activation is {name}, which lwtnn lacks", f"train with one of {known}")


def _clipped(highest: float) -> Applied:
    """min(max(x, 0), highest): lwtnn's hard sigmoid is min(max(0.2 x + 0.5, 0), 1)."""
    return Applied(Activation("hard_sigmoid"), 5.0 / highest, -2.5, highest)


def _rectified(function: Function, owner: keras.Operation) -> Applied:
    _require(owner, function, "threshold", (0.0, None), "lwtnn's rectified begins at 0")
    slope = float(function.negative_slope or 0.0)
    if function.max_value is None:
        return Applied(Activation("leakyrelu", slope) if slope else Activation("rectified"))
    if slope:
        raise conversion_error(owner, "lwtnn has no leaky ReLU with an upper limit", "train without one of the two")
    if not function.max_value > 0:
        raise conversion_error(owner, f"with max_value={function.max_value} it is 0", "train with a limit above 0")
    return _clipped(float(function.max_value))


def _leaky(function: Function, owner: keras.Operation) -> Applied:
    return Applied(Activation("leakyrelu", float(function.negative_slope)))


def _elu(function: Function, owner: keras.Operation) -> Applied:
    return Applied(Activation("elu", float(function.alpha)))


def _softmax(function: Function, owner: keras.Operation) -> Applied:
    _require(owner, function, "axis", (-1, 1), "lwtnn's softmax is that of one shower's vector")
    return Applied(Activation("softmax"))


def _require(
    owner: keras.Operation, function: Function, parameter: str, allowed: tuple[float | None, ...], reason: str
) -> None:
    """Refuse an activation whose parameter has none of the allowed values."""
    value = getattr(function, parameter)
    if value not in allowed:
        raise conversion_error(
            owner,
            f"{parameter}={value} of its activation {type(function).__name__}: {reason}",
            f"train with {parameter}={allowed[0]}",
        )


_FUNCTIONS: dict[Function, Activation | Applied] = {
    keras.activations.linear: Activation(),
    keras.activations.relu: Activation("rectified"),
    keras.activations.sigmoid: Activation("sigmoid"),
    # Keras 3 has x / 6 + 0.5, lwtnn 0.2 x + 0.5
    keras.activations.hard_sigmoid: Applied(Activation("hard_sigmoid"), scale=5.0 / 6.0),
    keras.activations.softmax: Activation("softmax"),
    keras.activations.tanh: Activation("tanh"),
    keras.activations.elu: Activation("elu", 1.0),
    keras.activations.leaky_relu: Activation("leakyrelu", 0.2),
    keras.activations.silu: Activation("swish", 1.0),
    keras.activations.selu: Applied(Activation("elu", _SELU_ALPHA), after=_SELU_SCALE),
    keras.activations.relu6: _clipped(6.0),
}
OPERATIONS: dict[str, Function] = {
    "Relu": keras.activations.relu,
    "Sigmoid": keras.activations.sigmoid,
    "HardSigmoid": keras.activations.hard_sigmoid,
    "Tanh": keras.activations.tanh,
    "Silu": keras.activations.silu,
    "Selu": keras.activations.selu,
    "Relu6": keras.activations.relu6,
}
"""Functions of the activations that are operations without parameters, by the names of their classes."""
_PARAMETRISED: dict[str, Callable[[Function, keras.Operation], Applied]] = {
    "ReLU": _rectified,  # the layer, and the operation of keras.activations.relu
    "LeakyReLU": _leaky,
    "LeakyRelu": _leaky,
    "ELU": _elu,
    "Elu": _elu,
    "Softmax": _softmax,
}
"""Converters of the activations with parameters, by the names of their layers' and operations' classes."""
