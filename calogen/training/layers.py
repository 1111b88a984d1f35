"""Keras layers that several papers share."""

from collections.abc import Callable
from itertools import count

import numpy as np

from calogen.backend import keras, tf
from calogen.config import require
from calogen.provenance import named_seed

_Shape = tuple[int | None, ...]


class Initializers:
    """Initializers of a network's kernels, each with a seed of its own.

    Args:
        seed: seed of the configuration.
        network: name of the network, which gives each network other seeds.
        name: name of the initializer, e.g. `glorot_normal`.
        settings: its further arguments, e.g. `stddev`.
    """

    def __init__(self, seed: int, network: str, name: str, **settings: float | str) -> None:
        self._seeds = count(named_seed(seed, network))
        self._name, self._settings = name, settings

    def __call__(self) -> keras.initializers.Initializer:
        """Gives the next kernel's initializer; zeros and ones, e.g., have no seed."""
        seed = {"seed": next(self._seeds)} if hasattr(keras.initializers.get(self._name), "seed") else {}
        return keras.initializers.get({"class_name": self._name, "config": {**self._settings, **seed}})


@keras.saving.register_keras_serializable("calogen")
class SpectralDense(keras.layers.Layer):
    """Dense layer whose kernel is divided by its largest singular value in the forward pass.

    The kernel itself is trained, and the gradient includes that of the singular value, whereas
    `keras.layers.SpectralNormalization` overwrites the kernel. One power iteration per training call updates the
    singular vector, which is not trainable.

    Input shape:
        `[b, f]`.

    Output shape:
        `[b, units]`.

    Source: arXiv:1802.05957, Algorithm 1 and equation (12).
    """

    def __init__(
        self,
        units: int,
        activation: str | Callable[[tf.Tensor], tf.Tensor] | None = None,
        use_bias: bool = True,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.units, self.use_bias = units, use_bias
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: _Shape) -> None:
        """Creates kernel, bias and the right singular vector."""
        # without autocast, because the power iteration would be too coarse in half precision
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), initializer=self.kernel_initializer, autocast=False
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros") if self.use_bias else None
        seed = getattr(self.kernel_initializer, "seed", None)
        self.singular_vector = self.add_weight(
            name="singular_vector",
            shape=(self.units,),
            initializer=keras.initializers.RandomNormal(stddev=1.0, seed=seed),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
        )
        self.singular_vector.assign(_unit(self.singular_vector.value))

    def normalised_kernel(self) -> tf.Tensor:
        """Gives kernel / singular value, `[f, units]`; the singular vectors are constants."""
        kernel, right = self.kernel.value, tf.stop_gradient(self.singular_vector.value)
        left = tf.stop_gradient(_unit(tf.linalg.matvec(kernel, right)))
        return kernel / tf.tensordot(left, tf.linalg.matvec(kernel, right), 1)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Gives activation(inputs x normalised kernel + bias)."""
        if training:
            kernel, right = self.kernel.value, self.singular_vector.value
            left = _unit(tf.linalg.matvec(kernel, right))
            self.singular_vector.assign(tf.stop_gradient(_unit(tf.linalg.matvec(kernel, left, transpose_a=True))))
        outputs = tf.matmul(inputs, tf.cast(self.normalised_kernel(), inputs.dtype))
        if self.bias is not None:
            outputs = outputs + self.bias.value
        return self.activation(outputs)

    def compute_output_shape(self, input_shape: _Shape) -> _Shape:
        """Gives the input's shape with `units` as the last size."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, object]:
        """Gives the layer's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def start_output(network: keras.Model, mean: np.ndarray, spread: np.ndarray) -> None:
    """Scales a network's last layers so that its output begins with a mean and a spread.

    The layers from the last batch normalisation on share the factor that makes the output small. If the last kernel
    alone were as small as voxels over kinetic energies, a step of Adam would be as large as its weights, and outputs
    behind a ReLU would soon be zero for ever.

    Args:
        network: a chain that ends in a dense layer, or batch normalisation behind it, and an activation.
        mean, spread: mean and spread of the activation's inputs, `[f]`.
    """
    normalisation = keras.layers.BatchNormalization
    chain = [layer for layer in network.layers if isinstance(layer, normalisation | keras.layers.Dense)]
    start = max((place for place, layer in enumerate(chain) if isinstance(layer, normalisation)), default=0)
    *hidden, last = chain[start:]
    share = float(np.median(spread)) ** (1 / (1 + len(hidden))) or 1.0
    for layer in hidden:
        scale = layer.gamma if isinstance(layer, normalisation) else layer.kernel
        scale.assign(scale * share)
    if isinstance(last, normalisation):
        last.gamma.assign(spread)
        last.beta.assign(mean)
    else:
        last.kernel.assign(last.kernel.numpy() * spread / share ** len(hidden))
        last.bias.assign(mean)


@keras.saving.register_keras_serializable("calogen")
class ShowerHeads(keras.layers.Layer):
    """Softmax over each layer's voxels and over the layers' fractions, ReLU of the total.

    Args:
        layer_sizes: number of voxels of each detector layer, `l` of them, `v` in all.

    Input shape:
        `[b, v + l + 1]`.

    Output shape:
        `[b, v + l + 1]`, features as those of `transforms.LayerFractions`.

    Source: arXiv:2309.06515, section 4.2.
    """

    def __init__(self, layer_sizes: tuple[int, ...], **options: object) -> None:
        super().__init__(**options)
        require(min(layer_sizes, default=0) >= 1, f"layer_sizes must be 1 or more. Received: {layer_sizes}")
        self.layer_sizes = tuple(layer_sizes)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Gives the fractions and the total."""
        *groups, total = tf.split(inputs, (*self.layer_sizes, len(self.layer_sizes), 1), axis=-1)
        return tf.concat([*(tf.nn.softmax(group) for group in groups), tf.nn.relu(total)], axis=-1)

    def compute_output_shape(self, input_shape: _Shape) -> _Shape:
        """Gives the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, object]:
        """Gives the layer's arguments."""
        return {**super().get_config(), "layer_sizes": list(self.layer_sizes)}


@keras.saving.register_keras_serializable("calogen")
class Swish(keras.layers.Layer):
    """x sigmoid(beta x) with a trainable beta.

    Args:
        per_channel: whether each channel has a beta of its own.

    Input shape:
        `[b, f]`.

    Output shape:
        `[b, f]`.

    Source: arXiv:1710.05941, section 2.
    """

    def __init__(self, per_channel: bool = False, **options: object) -> None:
        super().__init__(**options)
        self.per_channel = per_channel

    def build(self, input_shape: _Shape) -> None:
        """Creates beta, with the value 1."""
        shape = (input_shape[-1],) if self.per_channel else ()
        self.beta = self.add_weight(name="beta", shape=shape, initializer="ones")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Gives x sigmoid(beta x)."""
        return inputs * tf.sigmoid(self.beta.value * inputs)

    def compute_output_shape(self, input_shape: _Shape) -> _Shape:
        """Gives the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, object]:
        """Gives the layer's arguments."""
        return {**super().get_config(), "per_channel": self.per_channel}


def _unit(vector: tf.Tensor) -> tf.Tensor:
    return vector / tf.maximum(tf.norm(vector), 1e-12)
