"""Layers of 3-D networks that compute what Keras' own do, but faster on processors.

Volumes are `[b, layer, x, z, channels]`. Each layer is a Keras layer with the same weights and the same configuration;
only how it computes is ours.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

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

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Gives the normalised volume."""
        if tuple(self.axis) != (1, 2, 3) or not (self.center and self.scale):
            return super().call(inputs)
        dtype = keras.backend.result_type(inputs.dtype, "float32")  # moments of bfloat16 would be too coarse
        values = (tf.cast(value, dtype) for value in (inputs, self.gamma, self.beta))
        return tf.cast(_compiled(tuple(inputs.shape[1:]))(*values, self.epsilon), self.compute_dtype)


@keras.saving.register_keras_serializable("calogen")
class VolumeBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation of volumes.

    In a training one operation of TensorFlow's computes it, where Keras takes ten.

    Input shape:
        `[b, layer, x, z, channels]`.

    Output shape:
        the same.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Gives the normalised volume; in a training the moving moments take a step."""
        plain = self.axis in (-1, 4) and self.center and self.scale and not self.synchronized and mask is None
        if not (training and self.trainable and plain) or getattr(self, "renorm", False):
            return super().call(inputs, training=training, mask=mask)
        shape, none = tf.shape(inputs), tf.zeros(0)
        rows = tf.reshape(inputs, (-1, *inputs.shape[2:]))
        weights = {"scale": tf.cast(self.gamma, tf.float32), "offset": tf.cast(self.beta, tf.float32)}
        normalised, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=rows, **weights, mean=none, variance=none, epsilon=self.epsilon, is_training=True
        )
        number = tf.cast(tf.reduce_prod(shape[:-1]), tf.float32)
        variance *= (number - 1) / number  # that of the operation is divided by number - 1
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(self.momentum * moving + (1 - self.momentum) * tf.cast(value, moving.dtype))
        return tf.reshape(normalised, shape)


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

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Gives the volume with one channel."""
        if self.filters != 1 or set(self.strides) != {1} or not _is_plain(self):
            return super().convolution_op(inputs, kernel)
        padding = self.padding.upper()

        @tf.custom_gradient
        def convolve(volume: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., tuple[tf.Tensor, ...]]]:
            return _to_one_channel(volume, kernel, padding), lambda gradient: _derivatives(
                volume, kernel, gradient, padding
            )

        return convolve(inputs, tf.cast(kernel, inputs.dtype))


@keras.saving.register_keras_serializable("calogen")
class FirstConvolution(keras.layers.Conv3D):
    """Convolution of a volume with one channel, the first one of a critic.

    Only its derivative with respect to the volume is ours, which a processor computes with a sixteenth of its width.
    It is computed for blocks of sixteen cells or more, which are the channels of a convolution. All further derivatives
    are those of the plain convolution.

    Input shape:
        `[b, layer, x, z, 1]`.

    Output shape:
        that of `Conv3D`.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Gives the convolution, without offset and activation."""
        if self.padding != "valid" or inputs.shape[-1] != 1 or not _is_plain(self):
            return super().convolution_op(inputs, kernel)
        strides, kernel = tuple(self.strides), tf.cast(kernel, inputs.dtype)

        @tf.custom_gradient
        def convolve(volume: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., tuple[tf.Tensor, ...]]]:
            def derivatives(gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                towards_volume = _backwards(gradient, kernel, strides, volume.shape[1:4])
                return towards_volume, _of_kernel(volume, kernel, gradient, strides)

            return tf.nn.conv3d(volume, kernel, (1, *strides, 1), "VALID"), derivatives

        return convolve(inputs, kernel)


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


@cache
def _compiled(_shape: tuple[int, ...]) -> Callable[..., tf.Tensor]:
    """The compiled normalisation of volumes of a shape, which layers share: it takes seconds."""
    return tf.function(_normalised, jit_compile=True, autograph=False)


def _normalised(volume: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> tf.Tensor:
    """The volume with mean 0 and variance 1 in each channel, times scales, plus offsets."""
    centred = volume - tf.reduce_mean(volume, (1, 2, 3), keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), (1, 2, 3), keepdims=True)
    return centred * tf.math.rsqrt(variance + epsilon) * scale[..., None] + offset[..., None]


def _is_plain(layer: keras.layers.Conv3D) -> bool:
    """Whether a convolution has neither gaps nor groups, and the channels last."""
    return set(layer.dilation_rate) == {1} and layer.groups == 1 and layer.data_format == "channels_last"


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


def _of_kernel(volume: tf.Tensor, kernel: tf.Tensor, gradient: tf.Tensor, strides: Shape) -> tf.Tensor:
    """Derivative of a convolution without padding with respect to its kernel."""
    return tf.raw_ops.Conv3DBackpropFilterV2(
        input=volume,
        filter_sizes=tf.shape(kernel),
        out_backprop=gradient,
        strides=(1, *strides, 1),
        padding="VALID",
    )


def _backwards(gradient: tf.Tensor, kernel: tf.Tensor, strides: Shape, shape: Shape) -> tf.Tensor:
    """Derivative of a convolution with respect to its volume, `[b, *shape, 1]`.

    The derivatives of this are the convolution itself, and that with respect to the kernel.
    """

    @tf.custom_gradient
    def compute(
        gradient: tf.Tensor, kernel: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
        def derivatives(volume: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            forward = tf.nn.conv3d(volume, kernel, (1, *strides, 1), "VALID")
            return forward, _of_kernel(volume, kernel, gradient, strides)

        return _block_by_block(gradient, kernel, strides, shape), derivatives

    return compute(gradient, kernel)


def _block_by_block(gradient: tf.Tensor, kernel: tf.Tensor, strides: Shape, shape: Shape) -> tf.Tensor:
    """The derivative towards the volume: a convolution whose channels are a block's cells.

    A block is a multiple of the strides. Cell `r` of it gets its parts from `back` values in front of the block's own
    and from these: the value `w` of this window times the weight `r - stride (w - back)` of the kernel.
    """
    along_first = -(-_WIDTH // (strides[0] * strides[1] * strides[2])) * strides[0]
    blocks, windows, ends = (along_first, *strides[1:]), [], []
    weights = _padded(kernel[..., 0, :], [*[(0, 1)] * 3, (0, 0)])  # the last weight is 0
    numbers = [-(-size // block) for size, block in zip(shape, blocks, strict=True)]
    for axis, (block, stride) in enumerate(zip(blocks, strides, strict=True)):
        length, values = kernel.shape[axis], gradient.shape[1 + axis]
        back = (length - 1) // stride
        windows.append(block // stride + back)
        offset = np.arange(block) - stride * (np.arange(windows[-1])[:, None] - back)
        chosen = np.where((offset >= 0) & (offset < length), offset, length)
        weights = tf.gather(weights, chosen.reshape(-1), axis=axis)
        ends.append((back, max(0, numbers[axis] * block // stride - values)))
    pairs = [number for pair in zip(windows, blocks, strict=True) for number in pair]
    weights = tf.transpose(tf.reshape(weights, (*pairs, kernel.shape[-1])), (0, 2, 4, 6, 1, 3, 5))
    weights = tf.reshape(weights, (*windows, kernel.shape[-1], blocks[0] * blocks[1] * blocks[2]))
    steps = [block // stride for block, stride in zip(blocks, strides, strict=True)]
    cells = tf.nn.conv3d(_padded(gradient, [(0, 0), *ends, (0, 0)]), weights, (1, *steps, 1), "VALID")
    cells = tf.transpose(tf.reshape(cells, (-1, *numbers, *blocks)), (0, 1, 4, 2, 5, 3, 6))
    whole = tf.reshape(cells, (-1, *(number * block for number, block in zip(numbers, blocks, strict=True)), 1))
    return whole[:, : shape[0], : shape[1], : shape[2]]


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
