"""Blocks of 3-D networks, whose showers are volumes `[b, layer, x, z, channels]`.

A kernel that is larger than its input is cut to it, so that small grids fit into every network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calogen.backend import keras, tf
from calogen.training.layers import Initializers

Shape = tuple[int, int, int]
Sizes = int | Shape
Normalisation = Callable[[keras.KerasTensor], keras.KerasTensor]
_EPSILON = 1e-5


@dataclass(frozen=True)
class Convolutions:
    """Three-dimensional convolutions of one network.

    Args:
        initializers: initializers of the kernels.
        use_bias: whether the convolutions have a bias.
    """

    initializers: Initializers
    use_bias: bool = False

    def __call__(
        self, volume: keras.KerasTensor, filters: int, kernel: Sizes, strides: Sizes = 1, padding: Sizes = 0
    ) -> keras.KerasTensor:
        """Gives a convolution, with `padding` zeros in front of and behind each axis."""
        kernel, strides, padding = map(_three, (kernel, strides, padding))
        same = strides == (1, 1, 1) and kernel == tuple(2 * zeros + 1 for zeros in padding)
        if any(padding) and not same:
            volume = ZeroPadding(padding)(volume)
        if not same:
            sizes = zip(kernel, volume.shape[1:4], strict=True)
            kernel = tuple(min(size, available) for size, available in sizes)
        convolution = keras.layers.Conv3D(
            filters,
            kernel,
            strides,
            padding="same" if same else "valid",
            use_bias=self.use_bias,
            kernel_initializer=self.initializers(),
        )
        return convolution(volume)

    def normalised(
        self, volume: keras.KerasTensor, filters: Sequence[int], kernel: int, slope: float, **options: int
    ) -> keras.KerasTensor:
        """Gives convolutions with layer normalisation and leaky ReLU, one for each of `filters`."""
        for width in filters:
            volume = leaky(normalise(self(volume, width, kernel, **options)), slope)
        return volume

    def transposed(self, volume: keras.KerasTensor, filters: int, kernel: int, strides: int) -> keras.KerasTensor:
        """Gives a transposed convolution, `strides` times as long along every axis."""
        convolution = keras.layers.Conv3DTranspose(
            filters,
            kernel,
            strides,
            padding="same",
            use_bias=self.use_bias,
            kernel_initializer=self.initializers(),
        )
        return convolution(volume)

    def from_point(self, point: keras.KerasTensor, filters: int, shape: Shape) -> keras.KerasTensor:
        """Gives the transposed convolution of one point, `[b, z]`, to a volume of a shape.

        That of a single point, whose kernel has the volume's shape, is a product with a matrix.
        """
        size = filters * shape[0] * shape[1] * shape[2]
        kernel = keras.layers.Dense(size, use_bias=self.use_bias, kernel_initializer=self.initializers())
        return keras.layers.Reshape((*shape, filters))(kernel(point))


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


def to_volume(shower: keras.KerasTensor, shape: Shape) -> keras.KerasTensor:
    """Gives showers `[b, v]` as volumes with one channel."""
    return keras.layers.Reshape((*shape, 1))(shower)


def normalise(volume: keras.KerasTensor) -> keras.KerasTensor:
    """Gives the layer normalisation over all cells, of each channel for itself.

    Every cell has a scale and an offset, which the channels share.

    Source: arXiv:1607.06450, as PyTorch computes it for three spatial axes.
    """
    return keras.layers.LayerNormalization(axis=(1, 2, 3), epsilon=_EPSILON)(volume)


def crop(volume: keras.KerasTensor, shape: Sequence[int]) -> keras.KerasTensor:
    """Gives the middle of a volume, with another shape."""
    spare = [size - wanted for size, wanted in zip(volume.shape[1:4], shape, strict=True)]
    if not any(spare):
        return volume
    return keras.layers.Cropping3D([(cells // 2, cells - cells // 2) for cells in spare])(volume)


def double(
    convolutions: Convolutions, volume: keras.KerasTensor, filters: Sequence[int], normalisation: Normalisation
) -> keras.KerasTensor:
    """Gives a volume that was doubled for each number of filters, normalised and rectified."""
    for width in filters:
        volume = keras.layers.ReLU()(normalisation(convolutions.transposed(volume, width, kernel=4, strides=2)))
    return volume


def dense_layers(
    tensor: keras.KerasTensor, units: Sequence[int], slope: float, initializers: Initializers
) -> keras.KerasTensor:
    """Gives the output of dense layers, each with a leaky ReLU."""
    for width in units:
        tensor = leaky(keras.layers.Dense(width, kernel_initializer=initializers())(tensor), slope)
    return tensor


def leaky(tensor: keras.KerasTensor, slope: float) -> keras.KerasTensor:
    """Gives the leaky ReLU."""
    return keras.layers.LeakyReLU(negative_slope=slope)(tensor)


def start_shape(shape: Sequence[int], factor: int) -> Shape:
    """Gives the smallest shape that, `factor` times as long along every axis, holds a shape.

    >>> start_shape((30, 30, 30), 3), start_shape((48, 25, 25), 8)
    ((10, 10, 10), (6, 4, 4))
    """
    first, second, third = (-(-size // factor) for size in shape)
    return first, second, third


def _longer(volume: tf.Tensor, padding: Shape) -> tf.Tensor:
    """Gives a volume with zeros at both ends of each axis; its gradient is `_shorter`."""

    @tf.custom_gradient
    def pad(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        ends = [(zeros, zeros) for zeros in (0, *padding, 0)]
        longer = tf.raw_ops.PadV2(input=inputs, paddings=ends, constant_values=tf.zeros((), inputs.dtype))
        return longer, lambda gradient: _shorter(gradient, padding)

    return pad(volume)


def _shorter(volume: tf.Tensor, padding: Shape) -> tf.Tensor:
    """Gives a volume without both ends of each axis; its gradient is `_longer`."""

    @tf.custom_gradient
    def cut(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        inside = tuple(slice(zeros, size - zeros) for zeros, size in zip(padding, inputs.shape[1:4], strict=True))
        return inputs[(slice(None), *inside)], lambda gradient: _longer(gradient, padding)

    return cut(volume)


def _three(size: Sizes) -> Shape:
    return (size, size, size) if isinstance(size, int) else size
