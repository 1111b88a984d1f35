from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference.gradient_penalty import finite_differences

from calogen.errors import ConfigError
from calogen.training.layers import Initializers, ShowerHeads, SpectralDense, Swish, start_output

SINGULAR_VALUES = np.array([3.0, 1.5, 0.5])


@pytest.fixture
def layer() -> SpectralDense:
    """A float64 layer 5 -> 3 whose kernel has the singular values 3, 1.5 and 0.5."""
    layer = SpectralDense(3, dtype="float64", kernel_initializer=keras.initializers.HeUniform(seed=1))
    layer.build((None, 5))
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(size, 3)))[0] for size in (5, 3))
    layer.kernel.assign(left @ np.diag(SINGULAR_VALUES) @ right.T)
    layer.bias.assign(rng.normal(size=3))
    return layer


def inputs_of(width: int, num_rows: int = 4, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(5).normal(size=(num_rows, width)).astype(dtype)


def converge(layer: SpectralDense, calls: int = 40) -> None:
    for _ in range(calls):  # the vector's error falls by (second / first singular value)^2 each time
        layer(inputs_of(layer.kernel.shape[0], dtype=layer.compute_dtype), training=True)


def test_the_singular_value_is_that_of_the_decomposition(layer: SpectralDense) -> None:
    converge(layer)
    normalised = layer.normalised_kernel().numpy()
    np.testing.assert_allclose(layer.kernel.numpy() / normalised, np.full((5, 3), 3.0), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.svd(normalised)[1], SINGULAR_VALUES / 3, rtol=1e-12)
    _, _, right = np.linalg.svd(layer.kernel.numpy())
    assert abs(layer.singular_vector.numpy() @ right[0]) == pytest.approx(1.0, rel=1e-12)


def test_each_training_call_takes_one_power_iteration(layer: SpectralDense) -> None:
    kernel, vector = layer.kernel.numpy(), layer.singular_vector.numpy()
    assert np.linalg.norm(vector) == pytest.approx(1.0)
    layer(inputs_of(5), training=True)
    following = kernel.T @ (kernel @ vector)
    np.testing.assert_allclose(layer.singular_vector.numpy(), following / np.linalg.norm(following), rtol=1e-12)


def test_the_singular_value_follows_a_kernel_that_changes(layer: SpectralDense) -> None:
    converge(layer)
    layer.kernel.assign(np.roll(layer.kernel.numpy(), 1, axis=1) + 0.1)
    assert np.linalg.svd(layer.normalised_kernel().numpy())[1][0] > 1.01
    converge(layer)
    assert np.linalg.svd(layer.normalised_kernel().numpy())[1][0] == pytest.approx(1.0, rel=1e-12)


def test_outputs_are_those_of_a_dense_layer_with_the_divided_kernel(layer: SpectralDense) -> None:
    converge(layer)
    inputs = inputs_of(5)
    expected = inputs @ (layer.kernel.numpy() / 3) + layer.bias.numpy()
    np.testing.assert_allclose(layer(inputs), expected, rtol=1e-11)
    layer.activation = keras.activations.relu
    np.testing.assert_allclose(layer(inputs), np.maximum(expected, 0), rtol=1e-11)
    without = SpectralDense(3, use_bias=False, dtype="float64")
    without.build((None, 5))
    without.kernel.assign(layer.kernel.numpy())
    converge(without)
    np.testing.assert_allclose(without(inputs), inputs @ (layer.kernel.numpy() / 3), rtol=1e-11)


def test_a_call_leaves_the_kernel_and_outside_training_the_vector(layer: SpectralDense) -> None:
    kernel, vector = layer.kernel.numpy(), layer.singular_vector.numpy()
    layer(inputs_of(5))
    layer(inputs_of(5), training=False)
    np.testing.assert_array_equal(layer.singular_vector.numpy(), vector)
    layer(inputs_of(5), training=True)
    assert (layer.singular_vector.numpy() != vector).any()
    np.testing.assert_array_equal(layer.kernel.numpy(), kernel)


def test_the_vector_is_not_trained(layer: SpectralDense) -> None:
    assert [variable.name for variable in layer.trainable_variables] == ["kernel", "bias"]
    assert [variable.name for variable in layer.non_trainable_variables] == ["singular_vector"]


def test_the_gradient_goes_through_the_singular_value(layer: SpectralDense) -> None:
    converge(layer)
    weights = np.random.default_rng(3).normal(size=(5, 3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weights * layer.normalised_kernel())
    gradient = tape.gradient(loss, layer.kernel.value)

    def exact(kernel: np.ndarray) -> float:
        return float(np.sum(weights * kernel) / np.linalg.svd(kernel)[1][0])

    expected = finite_differences(exact, layer.kernel.numpy(), 1e-5)
    np.testing.assert_allclose(gradient, expected, atol=1e-9)
    assert np.abs(expected - weights / 3).max() > 0.1, "more than the kernel over a constant"


def test_the_gradient_of_an_outdated_vector_is_that_with_constant_vectors(layer: SpectralDense) -> None:
    kernel, right = layer.kernel.numpy(), layer.singular_vector.numpy()
    left = kernel @ right / np.linalg.norm(kernel @ right)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer.normalised_kernel()))
    expected = finite_differences(lambda k: float(np.sum(k**2) / (left @ k @ right) ** 2), kernel, 1e-5)
    np.testing.assert_allclose(tape.gradient(loss, layer.kernel.value), expected, rtol=1e-8)


def test_the_first_vector_is_a_function_of_the_seed() -> None:
    layers = [SpectralDense(7, kernel_initializer=keras.initializers.HeUniform(seed=seed)) for seed in (1, 1, 2)]
    for made in layers:
        made.build((None, 3))
    first, same, other = (made.singular_vector.numpy() for made in layers)
    np.testing.assert_array_equal(first, same)
    assert (first != other).all()
    assert np.linalg.norm(first) == pytest.approx(1.0, rel=1e-6)


def test_half_precision_finds_the_singular_value(layer: SpectralDense) -> None:
    half = SpectralDense(3, dtype="mixed_bfloat16")
    half.build((None, 5))
    half.kernel.assign(layer.kernel.numpy())
    converge(half)
    assert half(inputs_of(5)).dtype == tf.bfloat16
    assert half.normalised_kernel().dtype == tf.float32
    np.testing.assert_allclose(half.normalised_kernel(), layer.kernel.numpy() / 3, rtol=1e-3)


def test_a_network_with_both_layers_survives_saving(tmp_path: Path) -> None:
    inputs = keras.Input((6,))
    network = keras.Model(inputs, ShowerHeads((2, 3))(SpectralDense(8, "relu")(inputs)))
    features = inputs_of(6, dtype="float32")
    network(features, training=True)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    assert [variable.name for variable in loaded.variables] == ["kernel", "bias", "singular_vector"]
    for ours, theirs in zip(loaded.variables, network.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    np.testing.assert_array_equal(loaded(features), network(features))
    assert loaded.layers[-1].get_config() == network.layers[-1].get_config()
    again = keras.Model.from_config(network.get_config())
    again.set_weights(network.get_weights())
    np.testing.assert_array_equal(again(features), network(features))


def test_heads_are_softmax_by_layer_softmax_of_layers_and_relu() -> None:
    features = inputs_of(2 + 3 + 1 + 3 + 1, num_rows=20)
    outputs = ShowerHeads((2, 3, 1), dtype="float64")(features).numpy()
    groups = [slice(0, 2), slice(2, 5), slice(5, 6), slice(6, 9)]
    for group in groups:
        exponential = np.exp(features[:, group])
        np.testing.assert_allclose(outputs[:, group], exponential / exponential.sum(axis=1, keepdims=True), rtol=1e-12)
        np.testing.assert_allclose(outputs[:, group].sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(outputs[:, 9], np.maximum(features[:, 9], 0))
    assert 0 < (features[:, 9] < 0).sum() < 20


def test_heads_keep_the_shape_and_refuse_others() -> None:
    heads = ShowerHeads((2, 3))
    assert heads.compute_output_shape((None, 8)) == (None, 8)
    assert heads(keras.Input((8,))).shape == (None, 8)
    assert heads.get_config()["layer_sizes"] == [2, 3]
    assert ShowerHeads.from_config(heads.get_config()).layer_sizes == (2, 3)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        heads(np.ones((1, 9), np.float32))
    for sizes in ((), (2, 0)):
        with pytest.raises(ConfigError, match="layer_sizes must be 1 or more"):
            ShowerHeads(sizes)


@pytest.mark.parametrize("normalised", [False, True])
def test_an_output_starts_where_it_is_told(normalised: bool) -> None:
    inputs = keras.Input((50,))
    output = keras.layers.Dense(3, kernel_initializer=keras.initializers.HeNormal(seed=1))(inputs)
    if normalised:
        output = keras.layers.BatchNormalization()(output)
    network = keras.Model(inputs, keras.layers.Activation("linear")(output))
    mean, spread = np.array([1.0, -2.0, 0.5]), np.array([0.1, 1.0, 0.01])
    start_output(network, mean, spread)
    given = np.random.default_rng(1).normal(0.0, np.sqrt(0.5), (4000, 50)).astype(np.float32)
    found = network(given, training=True).numpy()
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(found.std(axis=0), spread, rtol=0.05 if normalised else 0.5)


@pytest.mark.parametrize("normalised", [False, True])
def test_a_small_output_is_shared_by_the_layers_from_the_last_normalisation_on(normalised: bool) -> None:
    """The product of their scales is the spread; no weight is as small as a step of Adam, 1e-4."""
    inputs = keras.Input((50,))
    first, last = (
        keras.layers.Dense(units, kernel_initializer=keras.initializers.HeNormal(seed=1)) for units in (80, 3)
    )
    scale = keras.layers.BatchNormalization() if normalised else keras.layers.Identity()
    network = keras.Model(inputs, last(keras.layers.ReLU()(scale(first(inputs)))))
    before = [layer.kernel.numpy() for layer in (first, last)]
    spread = np.array([1e-4, 1e-4, 1e-2])
    start_output(network, np.zeros(3), spread)
    np.testing.assert_allclose(first.kernel.numpy(), before[0] * (1.0 if normalised else 1e-2), rtol=1e-6)
    np.testing.assert_allclose(last.kernel.numpy(), before[1] * spread * 1e2, rtol=1e-6)
    if normalised:
        np.testing.assert_allclose(scale.gamma.numpy(), 1e-2, rtol=1e-6)
    assert np.abs(last.kernel.numpy()).mean() > 10 * 1e-4


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_swish_has_a_slope_that_is_trained(per_channel: bool) -> None:
    layer = Swish(per_channel, dtype="float64")
    given = inputs_of(3, num_rows=20)
    np.testing.assert_allclose(layer(given), given / (1 + np.exp(-given)), rtol=1e-12)
    beta = np.array([0.5, -1.0, 2.0]) if per_channel else np.array(0.5)
    layer.beta.assign(beta)
    with tf.GradientTape() as tape:
        output = layer(given)
        total = tf.reduce_sum(output)
    sigmoid = 1 / (1 + np.exp(-beta * given))
    np.testing.assert_allclose(output, given * sigmoid, rtol=1e-12)
    slopes = (given**2 * sigmoid * (1 - sigmoid)).sum(axis=0)
    expected = slopes if per_channel else slopes.sum()
    np.testing.assert_allclose(tape.gradient(total, layer.beta.value), expected, rtol=1e-9)
    assert Swish.from_config(layer.get_config()).per_channel is per_channel
    assert layer.compute_output_shape((None, 3)) == (None, 3)


def test_each_kernel_has_a_seed_of_its_own_where_its_initializer_takes_one() -> None:
    first, second = Initializers(1, "generator", "glorot_uniform"), Initializers(1, "generator", "glorot_uniform")
    kernels = [first()((3, 2)).numpy() for _ in range(2)]
    assert not np.allclose(*kernels)
    np.testing.assert_array_equal(second()((3, 2)), kernels[0])
    np.testing.assert_array_equal(Initializers(1, "generator", "zeros")()((3, 2)), np.zeros((3, 2)))
