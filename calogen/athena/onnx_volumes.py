"""Keras networks of volumes as ONNX models in float32.

A volume is `[b, layer, x, z, channels]` in Keras. Here it is `[b, channels, layer, x, z]` from the first layer to the
last, as ONNX's convolutions take it: only a reshape between a vector and several channels transposes. A dense layer of
cells is a convolution of single cells, normalisation over all cells is ONNX's over the last three axes, without what it
removes, and batch normalisation is folded into the product before it. Layers that this converter does not know are
refused by name.

Source: operators: ONNX's operator set 17.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from calogen.athena.onnx import Attribute, Operators, assemble, package
from calogen.backend import keras
from calogen.errors import ExportError
from calogen.features.transforms import AbsoluteEnergies, Step
from calogen.lwtnn.keras_activations import conversion_error
from calogen.lwtnn.keras_trace import key_of, trace
from calogen.training.post_processing import Total
from calogen.training.volume_layers import (
    FirstConvolution,
    SingleChannelConvolution,
    VolumeBatchNormalization,
    VolumeNormalization,
    ZeroPadding,
)

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""Version of the operators: the first with layer normalisation."""
OUTPUT = "energies"
"""Name of the output."""
_CELLS = (1, 2, 3)  # axes of a volume's cells in Keras
_OUTPUT_AXIS = {"Gemm": 1, "Conv": 0, "ConvTranspose": 1}  # the kernel's axis of the result's elements or channels


@dataclass(frozen=True, eq=False)
class Value:
    """The result of an operator that is not yet written, or an input.

    Args:
        operator: the operator; of an input its name.
        shape: sizes without the batch, `(size,)` or `(channels, layer, x, z)`.
        sources: what the operator takes, in order; empty: it is an input.
        attributes: attributes of the operator.
    """

    operator: str
    shape: tuple[int, ...]
    sources: tuple["Value | np.ndarray", ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def then(self, operator: str, *more: np.ndarray, shape: Sequence[int] = (), **attributes: Attribute) -> "Value":
        """Gives the result of an operator on this value, by default of the same shape."""
        return Value(operator, tuple(shape) or self.shape, (self, *more), attributes)


def volumes_to_onnx(model: keras.Model, steps: Sequence[Step] = ()) -> "onnx.ModelProto":
    """Converts a network, also one of several behind one another, that generates volumes.

    Args:
        model: a functional model from vectors to one vector, whose inputs keep their names.
        steps: steps of the transform, which are undone behind the network.

    Returns:
        a model with a symbolic size of the batch and the output `OUTPUT`, `[batch, v]`, MeV.

    Raises:
        ExportError: a layer or a step is unknown, the network does not compute in float32, or ONNX is not installed.
    """
    operators = Operators(package("onnx"))
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs or len(outputs) != 1:
        raise ExportError(f"only functional models with one output can be exported. Received: {model.name!r}")
    given = {key_of(tensor): Value(tensor.name, tuple(tensor.shape[1:])) for tensor in inputs}
    for tensor in inputs:
        _require_sizes(tensor._keras_history.operation, tensor)
    names = {id(value): value.operator for value in given.values()}
    widths = {value.operator: value.shape[0] for value in given.values()}
    result = trace(outputs[0], dict(given), _require_sizes, _value)
    for step in reversed(steps):
        result = _undone(step, result)
    if len(result.shape) != 1:
        raise ExportError(f"{model.name!r} must end in a vector [b, v]. Received: {outputs[0].shape}")
    operators("Identity", _written(result, operators, names), name=OUTPUT)
    return assemble(operators, widths, (OUTPUT, result.shape[0]), OPSET)


def _written(value: Value, operators: Operators, names: dict[int, str]) -> str:
    """The name of a value, which is written once, after what it needs."""
    if id(value) not in names:
        sources = [item if isinstance(item, np.ndarray) else _written(item, operators, names) for item in value.sources]
        names[id(value)] = operators(value.operator, *sources, name="", **value.attributes)
    return names[id(value)]


def _undone(step: Step, features: Value) -> Value:
    """Energies, MeV, as the step's `inverse` gives them."""
    if not isinstance(step, AbsoluteEnergies):
        raise ExportError(
            f"{type(step).__name__} cannot be undone in ONNX: this converter knows AbsoluteEnergies. "
            "Train with a transform that has no other step"
        )
    energies = features.then("Relu")
    return energies if step.constant == 1.0 else energies.then("Mul", np.array([step.constant]))


def _require_sizes(operation: keras.Operation, tensor: keras.KerasTensor) -> None:
    """Refuse a result that is neither a vector nor a volume of known size in float32."""
    if tensor.dtype != "float32":
        raise conversion_error(
            operation, f"its result is {tensor.dtype}", "build the model anew under the dtype policy float32"
        )
    if len(tensor.shape) not in (2, 5) or None in tensor.shape[1:]:
        reason = f"its result has the shape {tensor.shape}"
        raise conversion_error(operation, reason, "build the model from vectors [b, n] and volumes [b, l, x, z, n]")


def _value(operation: keras.Operation, operands: list[Value], tensor: keras.KerasTensor) -> Value:
    """The value of a layer's result; a subclass may compute something else: it is unknown."""
    if type(operation) not in _HANDLERS:
        supported = ", ".join(kind.__name__ for kind in _HANDLERS)
        raise conversion_error(
            operation,
            "this converter does not know it",
            f"build the model from {supported}, or add it to the converter",
        )
    return _HANDLERS[type(operation)](operation, operands, (tensor.shape[-1], *tensor.shape[1:-1]))


def _require(layer: keras.Layer, **wanted: object) -> None:
    """Refuse a layer with other arguments than these."""
    for name, value in wanted.items():
        received = getattr(layer, name)
        if received != value:
            raise conversion_error(layer, f"it has {name}={received!r}", f"build it with {name}={value!r}")


def _array(variable: keras.Variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable)


def _dense(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    """A product of vectors with a matrix; of every cell a convolution."""
    (source,), kernel = sources, _array(layer.kernel)
    if len(shape) > 1:
        kernel = kernel.T.reshape(*kernel.T.shape, 1, 1, 1)
    product = source.then("Gemm" if len(shape) == 1 else "Conv", kernel, *_bias(layer), shape=shape)
    return _activated(product, layer)


def _convolution(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    _require(layer, data_format="channels_last", dilation_rate=(1, 1, 1), groups=1)
    (source,), pads = sources, [0] * 6
    if layer.padding == "same":
        sizes = zip(source.shape[1:], shape[1:], layer.kernel_size, layer.strides, strict=True)
        missing = [max((there - 1) * stride + kernel - here, 0) for here, there, kernel, stride in sizes]
        pads = _around(missing)
    kernel = np.transpose(_array(layer.kernel), (4, 3, 0, 1, 2))
    attributes = {"kernel_shape": layer.kernel_size, "strides": layer.strides, "pads": pads}
    return _activated(source.then("Conv", kernel, *_bias(layer), shape=shape, **attributes), layer)


def _transposed(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    """A transposed convolution, whose ends are cut, or empty if strides exceed kernels."""
    _require(layer, data_format="channels_last", dilation_rate=(1, 1, 1), output_padding=None)
    (source,) = sources
    sizes = zip(source.shape[1:], shape[1:], layer.kernel_size, layer.strides, strict=True)
    spare = [(here - 1) * stride + kernel - there for here, there, kernel, stride in sizes]
    kernel = np.transpose(_array(layer.kernel), (4, 3, 0, 1, 2))
    attributes = {
        "kernel_shape": layer.kernel_size,
        "strides": layer.strides,
        "pads": _around([max(cells, 0) for cells in spare]),
        "output_padding": [max(-cells, 0) for cells in spare],
    }
    return _activated(source.then("ConvTranspose", kernel, *_bias(layer), shape=shape, **attributes), layer)


def _around(cells: Sequence[int]) -> list[int]:
    """Numbers of cells in front of and behind each axis, the smaller half in front."""
    return [count // 2 for count in cells] + [count - count // 2 for count in cells]


def _bias(layer: keras.Layer) -> list[np.ndarray]:
    return [] if layer.bias is None else [_array(layer.bias)]


def _activation(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    return _activated(sources[0], layer)


def _activated(value: Value, layer: keras.Layer) -> Value:
    """A value with a layer's activation."""
    name = getattr(layer.activation, "__name__", type(layer.activation).__name__)
    if name not in _ACTIVATIONS:
        reason = f"its activation is {name}, which this converter does not know"
        raise conversion_error(layer, reason, f"train with one of {', '.join(_ACTIVATIONS)}")
    return value.then(_ACTIVATIONS[name]) if _ACTIVATIONS[name] else value


def _leaky(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    return sources[0].then("LeakyRelu", alpha=float(layer.negative_slope))


def _rectified(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    _require(layer, max_value=None, negative_slope=0.0, threshold=0.0)
    return sources[0].then("Relu")


def _layer_normalisation(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    """Standardised cells of each channel, with scales and offsets that channels share.

    What all cells of a channel got before is left out: their mean takes it with it, and where it is much larger than
    the cells differ, the sum would only round them.
    """
    axes = layer.axis if isinstance(layer.axis, Sequence) else (layer.axis,)
    if len(shape) != 4 or tuple(axis % 5 for axis in axes) != _CELLS:
        raise conversion_error(layer, f"it has axis={layer.axis}", f"build it with axis={_CELLS} for volumes")
    _require(layer, rms_scaling=False)
    scale = np.ones(shape[1:], np.float32) if layer.gamma is None else _array(layer.gamma)
    offset = [] if layer.beta is None else [_array(layer.beta)]
    return _without_constants(sources[0]).then(
        "LayerNormalization", scale, *offset, axis=2, epsilon=float(layer.epsilon)
    )


def _without_constants(volume: Value) -> Value:
    """A volume without summands that are the same in all cells of a channel."""
    if volume.operator != "Add":
        return volume
    varying = [item for item in volume.sources if math.prod(item.shape[1:]) > 1]
    match varying:
        case [Value() as term] if term.shape == volume.shape:
            return _without_constants(term)
    return volume


def _batch_normalisation(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    """A scale and an offset of each element or channel, within a product before it."""
    if layer.axis % (len(shape) + 1) != len(shape):
        raise conversion_error(layer, f"it has axis={layer.axis}", "build it with axis=-1")
    scale = 1.0 / np.sqrt(_array(layer.moving_variance).astype(np.float64) + layer.epsilon)
    scale = scale if layer.gamma is None else scale * _array(layer.gamma)
    offset = -_array(layer.moving_mean) * scale
    offset = offset if layer.beta is None else offset + _array(layer.beta)
    (value,) = sources
    if value.operator not in _OUTPUT_AXIS:
        each = (-1, *(1,) * (len(shape) - 1))
        return value.then("Mul", scale.reshape(each)).then("Add", offset.reshape(each))
    kernel, *bias = (item for item in value.sources if isinstance(item, np.ndarray))
    along = [1] * kernel.ndim
    along[_OUTPUT_AXIS[value.operator]] = -1
    shifted = bias[0] * scale + offset if bias else offset
    return replace(value, sources=(value.sources[0], kernel * scale.reshape(along), shifted))


def _concatenated(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    rank = len(shape) + 1
    axis = layer.axis % rank
    return Value("Concat", shape, tuple(sources), {"axis": 1 if axis == rank - 1 else axis + 1})


def _together(operator: str) -> "Handler":
    """The handler of a layer that joins values number by number, with broadcasting."""

    def handle(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
        if {len(source.shape) for source in sources} != {len(shape)}:
            raise conversion_error(layer, "it joins vectors and volumes", "reshape them first")
        result = sources[0]
        for source in sources[1:]:
            result = Value(operator, shape, (result, source))
        return result

    return handle


def _reshaped(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    (source,) = sources
    return _as_volume(_as_vector(source), shape) if len(shape) > 1 else _as_vector(source)


def _as_vector(value: Value) -> Value:
    """A volume as a vector in Keras' order, in which the channels run fastest."""
    if len(value.shape) == 1:
        return value
    channels, *cells = value.shape
    if min(channels, math.prod(cells)) > 1:
        value = value.then("Transpose", shape=(*cells, channels), perm=(0, 2, 3, 4, 1))
    size = math.prod(value.shape)
    return value.then("Reshape", np.array([0, size]), shape=(size,))  # 0: the batch


def _as_volume(vector: Value, shape: tuple[int, ...]) -> Value:
    channels, *cells = shape
    if min(channels, math.prod(cells)) == 1:
        return vector.then("Reshape", np.array([0, *shape]), shape=shape)
    volume = vector.then("Reshape", np.array([0, *cells, channels]), shape=(*cells, channels))
    return volume.then("Transpose", shape=shape, perm=(0, 4, 1, 2, 3))


def _cropped(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    _require(layer, data_format="channels_last")
    starts = [front for front, _ in layer.cropping]
    ends = [start + size for start, size in zip(starts, shape[1:], strict=True)]
    return sources[0].then("Slice", np.array(starts), np.array(ends), np.array([2, 3, 4]), shape=shape)


def _padded(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    ends = [0, 0, *layer.padding]
    return sources[0].then("Pad", np.array([*ends, *ends]), shape=shape)


def _total(layer: keras.Layer, sources: list[Value], shape: tuple[int, ...]) -> Value:
    return sources[0].then("ReduceSum", np.array([1]), shape=shape, keepdims=1)


Handler = Callable[[keras.Layer, list[Value], tuple[int, ...]], Value]
"""A function of a layer, the values that it takes, and the shape of its result in ONNX's order, without the batch."""
_ACTIVATIONS = {"linear": "", "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}
_HANDLERS: dict[type, Handler] = {
    keras.layers.Dense: _dense,
    keras.layers.Conv3D: _convolution,
    SingleChannelConvolution: _convolution,
    FirstConvolution: _convolution,
    keras.layers.Conv3DTranspose: _transposed,
    keras.layers.LayerNormalization: _layer_normalisation,
    VolumeNormalization: _layer_normalisation,
    keras.layers.BatchNormalization: _batch_normalisation,
    VolumeBatchNormalization: _batch_normalisation,
    keras.layers.LeakyReLU: _leaky,
    keras.layers.ReLU: _rectified,
    keras.layers.Activation: _activation,
    keras.layers.Concatenate: _concatenated,
    keras.layers.Add: _together("Add"),
    keras.layers.Multiply: _together("Mul"),
    keras.layers.Reshape: _reshaped,
    keras.layers.Flatten: _reshaped,
    keras.layers.Cropping3D: _cropped,
    ZeroPadding: _padded,
    Total: _total,
}
