"""Gradient of a critic with respect to its shower, without back-propagation.

A dense network with (leaky) ReLU is piecewise linear, so that its input gradient is a product of masked kernels; the
gradient penalty then needs no second back-propagation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from calogen.backend import keras, tf
from calogen.training.layers import SpectralDense
from calogen.training.losses import interpolate

_SLOPES = {keras.activations.relu: 0.0, keras.activations.leaky_relu: 0.2}


@dataclass(frozen=True)
class DenseChain:
    """A critic of dense layers with (leaky) ReLU behind concatenate(shower, condition).

    Args:
        kernels: for each dense layer a function that gives its kernel as the forward pass uses it.
        biases: bias of each dense layer; None: it has none.
        slopes: slope of each hidden layer's activation below zero.
        shower_dim: number of features of the shower `f`.
        dtype: type of the numbers in matrix products.
        first: input of the first activation, if that is a layer of its own; None: it is part of the dense layer.
    """

    kernels: tuple[Callable[[], tf.Tensor], ...]
    biases: tuple[keras.Variable | None, ...]
    slopes: tuple[float, ...]
    shower_dim: int
    dtype: str
    first: keras.KerasTensor | None

    def input_gradient(self, inputs: tf.Tensor) -> tf.Tensor:
        """Gives d score / d shower, `[b, f]`, at showers beside conditions `[b, f + c]`."""
        kernel = tf.stop_gradient(tf.cast(self.kernels[0](), self.dtype))
        first = tf.matmul(tf.stop_gradient(tf.cast(inputs, self.dtype)), kernel)
        return tf.cast(self.gradient_behind(first + self._bias(0)), inputs.dtype)

    def gradient_behind(self, first: tf.Tensor) -> tf.Tensor:
        """Gives d score / d shower, `[b, f]`, where the input of the first activation is `first`.

        As the first layer is linear, `first` of an interpolated shower is the interpolation of the values of `first` of
        two showers, without a product with its kernel.
        """
        kernels = [tf.cast(kernel(), self.dtype) for kernel in self.kernels]
        hidden, masks = tf.stop_gradient(tf.cast(first, self.dtype)), []
        for position, slope in enumerate(self.slopes):
            if position:
                hidden = tf.matmul(hidden, tf.stop_gradient(kernels[position])) + self._bias(position)
            positive = hidden > 0
            masks.append(tf.where(positive, tf.ones_like(hidden), slope * tf.ones_like(hidden)))
            hidden = hidden * masks[-1]
        gradient = kernels[-1][:, 0] * tf.ones_like(hidden[:, :1])
        for kernel, mask in zip(
            reversed([kernels[0][: self.shower_dim], *kernels[1:-1]]), reversed(masks), strict=True
        ):
            gradient = tf.matmul(gradient * mask, kernel, transpose_b=True)
        return gradient

    def _bias(self, position: int) -> tf.Tensor:
        bias = self.biases[position]
        return tf.zeros((), self.dtype) if bias is None else tf.stop_gradient(tf.cast(bias.value, self.dtype))


def dense_chain(network: keras.Model) -> DenseChain | None:
    """Gives the chain of dense layers of which a critic consists; None: it is no such chain."""
    shower, condition = (_input(network, name) for name in ("shower", "condition"))
    layers = [layer for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)]
    if shower is None or condition is None or not layers or not isinstance(layers[0], keras.layers.Concatenate):
        return None
    if len(layers[0].input) != 2 or layers[0].input[0] is not shower or layers[0].input[1] is not condition:
        return None
    kernels: list[Callable[[], tf.Tensor]] = []
    biases: list[keras.Variable | None] = []
    slopes: list[float] = []
    first: keras.KerasTensor | None = None
    tensor = layers[0].output
    for layer in layers[1:]:
        if layer.input is not tensor:
            return None
        tensor = layer.output
        kernel, slope = _kernel(layer), _slope(layer)
        if kernel is not None and len(slopes) == len(kernels):
            dense = getattr(layer, "layer", layer)
            kernels.append(kernel)
            biases.append(dense.bias if dense.use_bias else None)
            if slope is not None:
                slopes.append(slope)
            elif len(kernels) == 1:
                first = tensor
        elif kernel is None and slope is not None and len(slopes) == len(kernels) - 1:
            slopes.append(slope)
        else:
            return None
    whole = len(kernels) > 1 and len(slopes) == len(kernels) - 1 and tensor is network.outputs[0]
    if not whole or network.output_shape[-1] != 1:
        return None
    dtype = layers[-1].compute_dtype
    return DenseChain(tuple(kernels), tuple(biases), tuple(slopes), int(shower.shape[-1]), dtype, first)


class PenaltyGradient:
    """Scores of Geant4's and generated showers, and the input gradient between them.

    Args:
        network: the critic.
        by_hand: whether the gradient of a chain of dense layers is computed without back-propagation.
    """

    def __init__(self, network: keras.Model, *, by_hand: bool) -> None:
        self._network, self._chain = network, dense_chain(network) if by_hand else None
        first = None if self._chain is None else self._chain.first
        self._both = None if first is None else keras.Model(network.input, [network.output, first])

    def __call__(
        self, real: tf.Tensor, fake: tf.Tensor, given: Mapping[str, tf.Tensor], fraction: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Gives scores `[2 b, 1]`, Geant4's first, and gradients `[b, f]`, float32.

        Args:
            real, fake: Geant4's and generated showers, `[b, f]`.
            given: the critic's further inputs by name, equal for both, e.g. the condition `[b, c]`.
            fraction: `[b, 1]`, place between the two showers at which the gradient is computed.
        """
        twice = {name: tf.concat([values, values], 0) for name, values in given.items()}
        seen = {"shower": tf.concat([real, fake], 0), **twice}
        if self._chain is not None and self._both is not None:
            scores, first = self._both(seen, training=True)
            one, other = tf.split(tf.stop_gradient(first), 2)
            gradient = self._chain.gradient_behind(interpolate(one, other, tf.cast(fraction, first.dtype)))
        else:
            scores = self._network(seen, training=True)
            between = interpolate(real, fake, fraction)
            if self._chain is None:
                gradient = taped_gradient(self._network, between, **given)
            else:
                gradient = self._chain.input_gradient(tf.concat([between, given["condition"]], axis=-1))
        return tf.cast(scores, tf.float32), tf.cast(gradient, tf.float32)


def taped_gradient(network: keras.Model, shower: tf.Tensor, **given: tf.Tensor) -> tf.Tensor:
    """Gives d score / d shower, `[b, f]`, of any critic by automatic differentiation.

    Args:
        given: the critic's further inputs by name.
    """
    with tf.GradientTape() as tape:
        tape.watch(shower)
        score = network({"shower": shower, **given})
    return tape.gradient(score, shower)


def _input(network: keras.Model, name: str) -> keras.KerasTensor | None:
    tensors = getattr(network, "inputs", None) or ()  # a subclassed model has none
    return next((tensor for tensor in tensors if tensor.name == name), None)


def _kernel(layer: keras.layers.Layer) -> Callable[[], tf.Tensor] | None:
    dense = _wrapped(layer)
    if type(dense) not in (keras.layers.Dense, SpectralDense):
        return None
    if dense.activation is not keras.activations.linear and dense.activation not in _SLOPES:
        return None
    return dense.normalised_kernel if isinstance(dense, SpectralDense) else lambda: dense.kernel.value


def _slope(layer: keras.layers.Layer) -> float | None:
    """Slope of a layer's activation below zero; None: it has no (leaky) ReLU."""
    if type(layer) is keras.layers.ReLU and layer.max_value is None and not layer.threshold:
        return float(layer.negative_slope)
    if type(layer) is keras.layers.LeakyReLU:
        return float(layer.negative_slope)
    inner = _wrapped(layer)  # other layers with an activation do more than dense layers
    known = type(inner) in (keras.layers.Activation, keras.layers.Dense, SpectralDense)
    return _SLOPES.get(inner.activation) if known else None


def _wrapped(layer: keras.layers.Layer) -> keras.layers.Layer:
    return layer.layer if isinstance(layer, keras.layers.SpectralNormalization) else layer
