"""Blocks of 3-D networks, whose showers are volumes `[b, layer, x, z, channels]`.

A kernel that is larger than its input is cut to it, so that small grids fit into every network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calogen.backend import keras
from calogen.training.layers import Initializers
from calogen.training.volume_layers import (
    FirstConvolution,
    Shape,
    SingleChannelConvolution,
    VolumeBatchNormalization,
    VolumeNormalization,
    ZeroPadding,
)

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
        layer = keras.layers.Conv3D
        if filters == 1 and strides == (1, 1, 1):
            layer = SingleChannelConvolution
        elif volume.shape[-1] == 1 and not same:
            layer = FirstConvolution
        convolution = layer(
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


def to_volume(shower: keras.KerasTensor, shape: Shape) -> keras.KerasTensor:
    """Gives showers `[b, v]` as volumes with one channel."""
    return keras.layers.Reshape((*shape, 1))(shower)


def normalise(volume: keras.KerasTensor) -> keras.KerasTensor:
    """Gives the layer normalisation over all cells, of each channel for itself.

    Every cell has a scale and an offset, which the channels share.

    Source: arXiv:1607.06450, as PyTorch computes it for three spatial axes.
    """
    return VolumeNormalization(axis=(1, 2, 3), epsilon=_EPSILON)(volume)


def batch_normalise(volume: keras.KerasTensor) -> keras.KerasTensor:
    """Gives the batch normalisation of each channel, with PyTorch's momentum."""
    return VolumeBatchNormalization(momentum=0.9, epsilon=_EPSILON)(volume)


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


def _three(size: Sizes) -> Shape:
    return (size, size, size) if isinstance(size, int) else size
