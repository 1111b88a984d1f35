"""Keras layers that several papers share."""

from typing import Any

import keras
import tensorflow as tf

from calogen.config import require


@keras.saving.register_keras_serializable("calogen")
class SpectralDense(keras.layers.Dense):
    """Dense layer whose kernel is divided by its largest singular value in the forward pass.

    The kernel itself is trained, so the gradient goes through the singular value; `keras.layers.SpectralNormalization`
    overwrites the kernel instead. One power iteration per training call follows the singular value. The layer's vector
    is not trainable.

    Input shape:
        `[b, f]`.

    Output shape:
        `[b, units]`.

    Source: arXiv:1802.05957, Algorithm 1 and equation (12).
    """

    def build(self, input_shape: Any) -> None:
        """Makes kernel, bias and the right singular vector."""
        super().build(input_shape)
        seed = getattr(self.kernel_initializer, "seed", None)
        self.singular_vector = self.add_weight(
            name="singular_vector",
            shape=(self.units,),
            initializer=keras.initializers.RandomNormal(stddev=1.0, seed=seed),
            trainable=False,
            aggregation="only_first_replica",
        )
        self.singular_vector.assign(_unit(self.singular_vector.value))

    def normalised_kernel(self) -> tf.Tensor:
        """Gives kernel / singular value, `[f, units]`; the vectors count as constants."""
        kernel, right = self._in_variable_dtype()
        left = tf.stop_gradient(_unit(tf.linalg.matvec(kernel, right)))
        return kernel / tf.tensordot(left, tf.linalg.matvec(kernel, right), 1)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Gives activation(inputs x normalised kernel + bias)."""
        if training:
            kernel, right = self._in_variable_dtype()
            left = _unit(tf.linalg.matvec(kernel, right))
            self.singular_vector.assign(tf.stop_gradient(_unit(tf.linalg.matvec(kernel, left, transpose_a=True))))
        outputs = tf.matmul(inputs, tf.cast(self.normalised_kernel(), inputs.dtype))
        if self.use_bias:
            outputs = outputs + self.bias.value
        return outputs if self.activation is None else self.activation(outputs)

    def save_own_variables(self, store: Any) -> None:
        """Saves all variables; `Dense` would leave out the singular vector."""
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved."""
        keras.layers.Layer.load_own_variables(self, store)

    def _in_variable_dtype(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Gives kernel and constant right vector: half precision would be too coarse."""
        kernel, right = (tf.cast(item.value, self.variable_dtype) for item in (self.kernel, self.singular_vector))
        return kernel, tf.stop_gradient(right)


@keras.saving.register_keras_serializable("calogen")
class ShowerHeads(keras.layers.Layer):
    """Softmax inside each layer's voxels and over the layers' fractions, ReLU on the total.

    Args:
        layer_sizes: number of voxels of each detector layer, `l` of them, `v` in all.

    Input shape:
        `[b, v + l + 1]`.

    Output shape:
        the same: what `preprocessing.LayerFractions` makes of showers.

    Source: arXiv:2309.06515, section 4.2.
    """

    def __init__(self, layer_sizes: tuple[int, ...], **options: Any) -> None:
        super().__init__(**options)
        require(min(layer_sizes, default=0) >= 1, f"layer_sizes must be 1 or more. Received: {layer_sizes}")
        self.layer_sizes = tuple(layer_sizes)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Gives the fractions and the total."""
        *groups, total = tf.split(inputs, (*self.layer_sizes, len(self.layer_sizes), 1), axis=-1)
        return tf.concat([*(tf.nn.softmax(group) for group in groups), tf.nn.relu(total)], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Is the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Gives the arguments."""
        return {**super().get_config(), "layer_sizes": list(self.layer_sizes)}


def _unit(vector: tf.Tensor) -> tf.Tensor:
    return vector / tf.maximum(tf.norm(vector), 1e-12)
