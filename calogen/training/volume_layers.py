"""Layers of 3-D networks that compute what Keras' own do, but faster on processors.

Volumes are `[b, layer, x, z, channels]`. Each layer is a Keras layer with the same weights and the same configuration;
only how it computes is ours.
"""

from collections.abc import Callable

from calogen.backend import keras, tf

Shape = tuple[int, int, int]
_WIDTH = 16  # channels that a convolution of a processor computes at once


@keras.saving.register_keras_serializable("calogen")
class VolumeNormalization(keras.layers.LayerNormalization):
    """Layer normalisation over the three axes of a volume, of each channel for itself.

    Keras computes it with ten operations, each of which reads and writes the whole volume; here XLA joins them.

    Input shape:
        `[b, layer, x, z, channels]`.

    Output shape:
        the same.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights, and a compiled function of this layer's own."""
        super().build(input_shape)
        self._compute = tf.function(_normalised, jit_compile=True, autograph=False)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Gives the normalised volume."""
        if tuple(self.axis) != (1, 2, 3) or not (self.center and self.scale):
            return super().call(inputs)
        dtype = keras.backend.result_type(inputs.dtype, "float32")  # moments of bfloat16 would be too coarse
        values = (tf.cast(value, dtype) for value in (inputs, self.gamma, self.beta))
        return tf.cast(self._compute(*values, self.epsilon), self.compute_dtype)


@keras.saving.register_keras_serializable("calogen")
class SingleChannelConvolution(keras.layers.Conv3D):
    """Convolution to one channel with stride 1, the last one of a generator.

    A processor computes sixteen channels at once, fifteen of which would be thrown away. Here these channels are cells
    that lie behind one another along the last axis: a convolution along the other two axes, whose kernel has the
    weights of each of the cells. The derivatives are those of the plain convolution.

    Input shape:
        `[b, layer, x, z, channels]`.

    Output shape:
        `[b, layer, x, z, 1]`, smaller by the kernel where the padding is "valid".
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Gives the volume with one channel."""
        plain = set(self.strides) | set(self.dilation_rate) == {1} and self.data_format == "channels_last"
        if self.filters != 1 or not plain or self.use_bias:
            return super().call(inputs)
        kernel, padding = tf.cast(self.kernel, self.compute_dtype), self.padding.upper()

        @tf.custom_gradient
        def convolve(volume: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., tuple[tf.Tensor, ...]]]:
            return _to_one_channel(volume, kernel, padding), lambda gradient: _derivatives(
                volume, kernel, gradient, padding
            )

        return self.activation(convolve(inputs, kernel))


@keras.saving.register_keras_serializable("calogen")
class ZeroPadding(keras.layers.Layer):
    """Zeros in front of and behind each axis of a volume.

    TensorFlow 2.21 joins the operation Pad, also that of a gradient, with the convolution behind it, and then fails,
    with a message, to optimise the graph of a training; here both have other operations.

    Args:
        padding: number of zeros at both ends of each axis.

    Input shape:
        `[b, layer, x, z, channels]`.

    Output shape:
        `[b, layer, x, z, channels]`, longer by twice the padding.
    """

    def __init__(self, padding: Shape, **options: object) -> None:
        super().__init__(**options)
        self.padding: Shape = (padding[0], padding[1], padding[2])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Gives the longer volume."""
        return _longer(inputs, self.padding)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Gives the longer shape."""
        first, *sizes, last = input_shape
        longer = (None if size is None else size + 2 * zeros for size, zeros in zip(sizes, self.padding, strict=True))
        return first, *longer, last

    def get_config(self) -> dict[str, object]:
        """Gives the layer's arguments."""
        return {**super().get_config(), "padding": list(self.padding)}


def _normalised(volume: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> tf.Tensor:
    """The volume with mean 0 and variance 1 in each channel, times scales, plus offsets."""
    centred = volume - tf.reduce_mean(volume, (1, 2, 3), keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), (1, 2, 3), keepdims=True)
    return centred * tf.math.rsqrt(variance + epsilon) * scale[..., None] + offset[..., None]


def _to_one_channel(volume: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """The convolution `[b, layer, x, z, 1]`, computed for many cells along z at once."""
    *_, depth, channels, _ = kernel.shape
    if padding == "SAME":
        ends = [((size - 1) // 2, size // 2) for size in kernel.shape[:3]]
        volume = _padded(volume, [(0, 0), *ends, (0, 0)])
    _, layers, width, length, _ = volume.shape
    cells = length - depth + 1
    parts = []
    for start in range(0, cells, _WIDTH):
        number = min(_WIDTH, cells - start)
        seen = volume[:, :, :, start : start + number + depth - 1]
        columns = tf.reshape(seen, (-1, layers, width, seen.shape[3] * channels))
        parts.append(tf.nn.conv2d(columns, _side_by_side(kernel, number), 1, "VALID"))
    return tf.concat(parts, axis=-1)[..., None]


def _side_by_side(kernel: tf.Tensor, number: int) -> tf.Tensor:
    """The kernels of cells behind one another, `[a, b, (c + number - 1) channels, number]`."""
    first, second, depth, channels, _ = kernel.shape
    each = [_padded(kernel[..., 0], [(0, 0), (0, 0), (cell, number - 1 - cell), (0, 0)]) for cell in range(number)]
    return tf.reshape(tf.stack(each, axis=-1), (first, second, (depth + number - 1) * channels, number))


def _derivatives(
    volume: tf.Tensor, kernel: tf.Tensor, gradient: tf.Tensor, padding: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Derivatives of a convolution with respect to its volume and its kernel."""
    options = {"strides": (1,) * 5, "padding": padding}
    along, sizes = {"out_backprop": gradient, **options}, (tf.shape(volume), tf.shape(kernel))
    return (
        tf.raw_ops.Conv3DBackpropInputV2(input_sizes=sizes[0], filter=kernel, **along),
        tf.raw_ops.Conv3DBackpropFilterV2(input=volume, filter_sizes=sizes[1], **along),
    )


def _longer(volume: tf.Tensor, padding: Shape) -> tf.Tensor:
    """Gives a volume with zeros at both ends of each axis; its gradient is `_shorter`."""

    @tf.custom_gradient
    def pad(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        longer = _padded(inputs, [(zeros, zeros) for zeros in (0, *padding, 0)])
        return longer, lambda gradient: _shorter(gradient, padding)

    return pad(volume)


def _shorter(volume: tf.Tensor, padding: Shape) -> tf.Tensor:
    """Gives a volume without both ends of each axis; its gradient is `_longer`."""

    @tf.custom_gradient
    def cut(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        inside = tuple(slice(zeros, size - zeros) for zeros, size in zip(padding, inputs.shape[1:4], strict=True))
        return inputs[(slice(None), *inside)], lambda gradient: _longer(gradient, padding)

    return cut(volume)


def _padded(tensor: tf.Tensor, ends: list[tuple[int, int]]) -> tf.Tensor:
    return tf.raw_ops.PadV2(input=tensor, paddings=ends, constant_values=tf.zeros((), tensor.dtype))
