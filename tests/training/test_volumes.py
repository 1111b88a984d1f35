from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import volumes as slow

from calogen.training.layers import Initializers
from calogen.training.volume_layers import (
    FirstConvolution,
    SingleChannelConvolution,
    VolumeBatchNormalization,
    VolumeNormalization,
    ZeroPadding,
)
from calogen.training.volumes import Convolutions, crop, normalise, start_shape, to_volume

RANDOM = np.random.default_rng(1)
VOLUME = RANDOM.normal(size=(2, 5, 6, 7, 3)).astype(np.float32)


def convolutions(*, use_bias: bool = False) -> Convolutions:
    return Convolutions(Initializers(1, "network", "random_normal", stddev=0.5), use_bias)


def network_of(build: object, volume: np.ndarray = VOLUME) -> keras.Model:
    inputs = keras.Input(volume.shape[1:])
    return keras.Model(inputs, build(inputs))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("kernel", "strides", "padding"), [(3, 1, 1), (4, 2, 2), (3, 2, 3), (2, 2, 0), ((4, 2, 2), (1, 2, 2), 1)]
)
def test_a_convolution_equals_its_slow_twin(kernel: object, strides: object, padding: int) -> None:
    network = network_of(lambda volume: convolutions()(volume, 2, kernel, strides, padding))  # type: ignore[arg-type]
    (weights,) = network.get_weights()
    steps = (strides,) * 3 if isinstance(strides, int) else strides
    for ours, volume in zip(network(VOLUME).numpy(), VOLUME, strict=True):
        expected = slow.convolve(volume.astype(np.float64), weights, steps, padding)  # type: ignore[arg-type]
        np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize(("kernel", "strides", "before"), [(4, 2, 1), (3, 3, 0), (3, 2, 0)])
def test_a_transposed_convolution_equals_its_slow_twin(kernel: int, strides: int, before: int) -> None:
    network = network_of(lambda volume: convolutions().transposed(volume, 2, kernel, strides))
    (weights,) = network.get_weights()
    for ours, volume in zip(network(VOLUME).numpy(), VOLUME, strict=True):
        expected = slow.spread_out(volume.astype(np.float64), weights, strides, before)
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_the_transposed_convolution_of_a_point_is_a_product() -> None:
    points = RANDOM.normal(size=(2, 5)).astype(np.float32)
    network = network_of(lambda point: convolutions().from_point(point, 2, (3, 2, 4)), points)
    (weights,) = network.get_weights()
    assert weights.shape == (5, 3 * 2 * 4 * 2)
    kernel = weights.reshape(5, 3, 2, 4, 2)
    np.testing.assert_allclose(network(points), np.einsum("bz,zijkd->bijkd", points, kernel), atol=1e-5)


def test_a_kernel_is_cut_to_its_input() -> None:
    network = network_of(lambda volume: convolutions()(volume, 2, (10, 2, 2)))
    assert network.output_shape == (None, 1, 5, 6, 2)
    assert network.get_weights()[0].shape == (5, 2, 2, 3, 2)


def test_normalisation_equals_its_slow_twin() -> None:
    network = network_of(normalise)
    scale, offset = (RANDOM.normal(size=(5, 6, 7)).astype(np.float32) for _ in range(2))
    assert [values.shape for values in network.get_weights()] == [(5, 6, 7)] * 2, "the channels share them"
    network.set_weights([scale, offset])
    volume = 3 * VOLUME + np.array([1.0, -5.0, 20.0], np.float32)
    for ours, one in zip(network(volume).numpy(), volume, strict=True):
        np.testing.assert_allclose(ours, slow.normalised(one.astype(np.float64), scale, offset, 1e-5), atol=1e-4)


def test_the_bias_is_one_for_each_filter() -> None:
    network = network_of(lambda volume: convolutions(use_bias=True)(volume, 2, 1))
    assert [values.shape for values in network.get_weights()] == [(1, 1, 1, 3, 2), (2,)]


def test_the_middle_is_cut_out() -> None:
    np.testing.assert_array_equal(network_of(lambda volume: crop(volume, (5, 4, 4)))(VOLUME), VOLUME[:, :, 1:5, 1:5])
    np.testing.assert_array_equal(network_of(lambda volume: crop(volume, (4, 6, 7)))(VOLUME), VOLUME[:, :4])
    inputs = keras.Input((5, 6, 7, 3))
    assert crop(inputs, (5, 6, 7)) is inputs


def test_a_start_holds_every_shape() -> None:
    for shape in ((30, 30, 30), (48, 25, 25), (1, 2, 3)):
        for factor in (2, 3, 8):
            start = np.array(start_shape(shape, factor))
            assert (start * factor >= shape).all()
            assert ((start - 1) * factor < shape).all()


def test_a_shower_becomes_a_volume_in_the_order_of_the_grid() -> None:
    shower = np.arange(24.0, dtype=np.float32)[None]
    volume = network_of(lambda tensor: to_volume(tensor, (2, 3, 4)), shower)(shower).numpy()
    assert volume.shape == (1, 2, 3, 4, 1)
    np.testing.assert_array_equal(volume[..., 0], shower.reshape(1, 2, 3, 4))


def test_padding_survives_saving(tmp_path: Path) -> None:
    network = network_of(ZeroPadding((2, 0, 1)))
    network.save(tmp_path / "padding.keras")
    loaded = keras.saving.load_model(tmp_path / "padding.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(VOLUME), np.pad(VOLUME, ((0, 0), (2, 2), (0, 0), (1, 1), (0, 0))))
    assert network.output_shape == (None, 9, 6, 9, 3)


def test_padding_has_gradients_of_every_order() -> None:
    volume = tf.Variable(VOLUME)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(ZeroPadding((1, 2, 0))(volume) ** 3)
        first = tape.gradient(total, volume)
        again = tf.reduce_sum(first**2)
    np.testing.assert_allclose(first, 3 * VOLUME**2, rtol=1e-5)
    np.testing.assert_allclose(outer.gradient(again, volume), 36 * VOLUME**3, rtol=1e-4)


LONG = RANDOM.normal(size=(2, 4, 5, 37, 3)).astype(np.float32)
FLAT = RANDOM.normal(size=(2, 6, 9, 19, 1)).astype(np.float32)
PLAIN = {
    "one channel with a bias": (SingleChannelConvolution, keras.layers.Conv3D, {"filters": 1, "kernel_size": 3}),
    "one channel, same size": (
        SingleChannelConvolution,
        keras.layers.Conv3D,
        {"filters": 1, "kernel_size": (3, 2, 4), "padding": "same", "use_bias": False},
    ),
    "one channel, rectified": (
        SingleChannelConvolution,
        keras.layers.Conv3D,
        {"filters": 1, "kernel_size": 2, "use_bias": False, "activation": "relu"},
    ),
    "one channel, smaller": (
        SingleChannelConvolution,
        keras.layers.Conv3D,
        {"filters": 1, "kernel_size": (1, 2, 5), "use_bias": False},
    ),
    "of one channel, as the WGAN's critic": (
        FirstConvolution,
        keras.layers.Conv3D,
        {"filters": 5, "kernel_size": (3, 2, 2), "strides": (1, 2, 2), "use_bias": False},
    ),
    "of one channel, as the GAN's": (
        FirstConvolution,
        keras.layers.Conv3D,
        {"filters": 4, "kernel_size": 3, "strides": 2, "activation": "tanh"},
    ),
    "of one channel, strides larger than the kernel": (
        FirstConvolution,
        keras.layers.Conv3D,
        {"filters": 2, "kernel_size": (2, 1, 9), "strides": (1, 2, 5)},
    ),
    "of one channel, same size": (
        FirstConvolution,
        keras.layers.Conv3D,
        {"filters": 2, "kernel_size": 3, "padding": "same"},
    ),
    "normalisation": (VolumeNormalization, keras.layers.LayerNormalization, {"axis": (1, 2, 3), "epsilon": 1e-5}),
    "batch normalisation": (VolumeBatchNormalization, keras.layers.BatchNormalization, {"momentum": 0.9}),
    "batch normalisation without an offset": (
        VolumeBatchNormalization,
        keras.layers.BatchNormalization,
        {"center": False},
    ),
    "normalisation without weights": (VolumeNormalization, keras.layers.LayerNormalization, {"center": False}),
}


def volume_for(layer: type) -> np.ndarray:
    return FLAT if layer is FirstConvolution else LONG


def derivatives(network: keras.Model, volume: np.ndarray, inside: bool) -> list[np.ndarray]:
    """The outputs, the derivatives of a loss, and those of their squares, as a gradient penalty needs them."""

    def compute(volume: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as outer:
            outer.watch(volume)
            with tf.GradientTape() as tape:
                tape.watch(volume)
                result = network(volume, training=True)
                loss = tf.reduce_sum(tf.sin(result))
            first = tape.gradient(loss, [volume, *network.trainable_variables])
            squares = tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in first])
        return [result, *first, *outer.gradient(squares, [volume, *network.trainable_variables])]

    if inside:
        signature = [tf.TensorSpec((None, *volume.shape[1:]))]
        compute = tf.function(compute, input_signature=signature, autograph=False)
    return [item.numpy() for item in compute(tf.constant(volume))]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", PLAIN)
def test_fast_layers_equal_those_of_keras_with_all_derivatives(name: str, inside: bool) -> None:
    fast, plain, options = PLAIN[name]
    one, other = (network_of(layer(**options), volume_for(fast)) for layer in (fast, plain))
    weights = [RANDOM.uniform(0.5, 1.5, values.shape) for values in one.get_weights()]
    one.set_weights(weights)
    other.set_weights(weights)
    for ours, theirs in zip(*(derivatives(network, volume_for(fast), inside) for network in (one, other)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max() + 1e-6)
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):  # moving moments have taken a step
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_fast_layers_survive_saving(tmp_path: Path, name: str) -> None:
    fast, _, options = PLAIN[name]
    volume = volume_for(fast)
    network = network_of(fast(**options), volume)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    assert type(loaded.layers[-1]) is fast
    np.testing.assert_array_equal(loaded(volume), network(volume))


def test_fast_layers_compute_in_bfloat16() -> None:
    for fast, plain, options in PLAIN.values():
        volume = volume_for(fast)
        one, other = (network_of(layer(**options, dtype="mixed_bfloat16"), volume) for layer in (fast, plain))
        other.set_weights(one.get_weights())
        ours, theirs = one(volume, training=True), other(volume, training=True)
        assert ours.dtype == theirs.dtype == "bfloat16"
        np.testing.assert_allclose(tf.cast(ours, tf.float32), tf.cast(theirs, tf.float32), atol=0.1)
