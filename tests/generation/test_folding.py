"""Folded generators: what each kernel and bias holds, and what cannot be folded."""

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import TINY_VOXELS

from calogen.errors import ExportError
from calogen.features.transforms import Chain, KineticFractions, LayerFractions, Mask
from calogen.generation.folding import fold
from calogen.models import caloshowergan
from calogen.training.layers import ShowerHeads, Swish
from calogen.units import MASSES

KINETIC = Chain((KineticFractions(),))
FRACTIONS = Chain((Mask(1.0), LayerFractions((2, 8), response_scale=0.5, mass=MASSES["pion"])))
Part = Callable[[keras.KerasTensor], keras.KerasTensor]


def make_generator(*parts: Part, join: tuple[str, ...] = ("latent", "condition")) -> keras.Model:
    """The parts one after the other on a latent point of two numbers and a condition of one."""
    inputs = {"latent": keras.Input((2,), name="latent"), "condition": keras.Input((1,), name="condition")}
    value = keras.layers.Concatenate()([inputs[name] for name in join])
    for part in parts:
        value = part(value)
    return keras.Model(inputs, value)


def test_batch_normalisation_goes_into_matrix_and_bias() -> None:
    dense, normalisation = keras.layers.Dense(1, use_bias=False), keras.layers.BatchNormalization(epsilon=0.0)
    generator = make_generator(dense, normalisation)
    dense.kernel.assign([[1.0], [2.0], [3.0]])
    values = ("gamma", 6.0), ("beta", 0.5), ("moving_mean", 10.0), ("moving_variance", 4.0)
    for name, value in values:
        getattr(normalisation, name).assign([value])
    folded = fold(generator, KINETIC)
    np.testing.assert_array_equal(folded.kernels[0], [[3.0], [6.0], [9.0]])
    np.testing.assert_array_equal(folded.biases[0], [-29.5])
    assert (folded.activations, folded.heads, folded.rest) == (("linear",), None, KINETIC)


@pytest.mark.parametrize(
    ("activation", "name"), [("relu", "rectified"), ("sigmoid", "sigmoid"), ("swish", "swish"), ("tanh", "tanh")]
)
def test_layers_without_a_factor_are_as_they_are(activation: str, name: str) -> None:
    generator = make_generator(keras.layers.Dense(4, activation), keras.layers.Dense(2, bias_initializer="ones"))
    folded = fold(generator, KINETIC)
    first, second = (layer for layer in generator.layers if isinstance(layer, keras.layers.Dense))
    for layer, kernel, bias in zip((first, second), folded.kernels, folded.biases, strict=True):
        np.testing.assert_array_equal(kernel, layer.kernel.numpy())
        np.testing.assert_array_equal(bias, layer.bias.numpy())
    assert folded.activations == (name, "linear")
    assert {array.dtype for array in (*folded.kernels, *folded.biases)} == {np.dtype(np.float32)}


def test_the_factor_of_a_trained_swish_stands_in_the_kernels() -> None:
    generator = make_generator(first := keras.layers.Dense(4), swish := Swish(), last := keras.layers.Dense(2))
    swish.beta.assign(np.full(swish.beta.shape, 4.0))
    first.bias.assign([1.0, 2.0, 3.0, 4.0])
    last.bias.assign([1.0, 2.0])
    folded = fold(generator, KINETIC)
    np.testing.assert_array_equal(folded.kernels[0], 4 * first.kernel.numpy())
    np.testing.assert_array_equal(folded.kernels[1], last.kernel.numpy() / 4)
    np.testing.assert_array_equal(folded.biases[0], [4.0, 8.0, 12.0, 16.0])
    np.testing.assert_array_equal(folded.biases[1], [1.0, 2.0])


def test_heads_take_the_last_step_of_the_transform() -> None:
    folded = fold(make_generator(keras.layers.Dense(13), ShowerHeads((2, 8))), FRACTIONS)
    assert (folded.heads, folded.rest.steps) == (FRACTIONS.steps[1], (Mask(1.0),))
    assert folded.activations == ("linear",)
    momenta = np.array([200.0, 5000.0])
    expected = (np.sqrt(momenta**2 + MASSES["pion"] ** 2) - MASSES["pion"]) / 0.5
    np.testing.assert_allclose(folded.energy_scales(momenta), expected[:, None], rtol=1e-6)
    assert fold(make_generator(keras.layers.Dense(13)), KINETIC).energy_scales(momenta).tolist() == [[1.0], [1.0]]


def branches(value: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.Add()([keras.layers.Dense(4)(value), keras.layers.Dense(4)(value)])


def stopped_swish(value: keras.KerasTensor) -> keras.KerasTensor:
    swish = Swish()
    value = keras.layers.Dense(4)(swish(keras.layers.Dense(4)(value)))
    swish.beta.assign(np.zeros(swish.beta.shape))
    return value


def doubled_swish(value: keras.KerasTensor) -> keras.KerasTensor:
    swish = Swish()
    value = swish(keras.layers.Dense(4)(value))
    swish.beta.assign(np.full(swish.beta.shape, 2.0))
    return value


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (keras.layers.Dense(4, "elu"), "activations must be among linear, .*swish. Received: elu"),
        (keras.layers.LayerNormalization(), "LayerNormalization"),
        (branches, "must begin with latent and condition joined. Received: .*add"),
        (stopped_swish, "a factor in its sigmoid that is not 0"),
        (doubled_swish, "last layer's swish must have the factor 1 in its sigmoid. Received: 2"),
        (lambda value: keras.layers.Softmax()(keras.layers.Dense(4, "relu")(value)), "only dense layers"),
    ],
)
def test_what_is_no_chain_is_refused(part: Part, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        fold(make_generator(part), KINETIC)


def test_inputs_must_come_in_their_order() -> None:
    with pytest.raises(ExportError, match="latent and condition joined"):
        fold(make_generator(keras.layers.Dense(4), join=("condition", "latent")), KINETIC)


@pytest.mark.parametrize(
    "steps", [(), (KineticFractions(),), (LayerFractions((2, 8)), Mask(1.0)), (LayerFractions((8, 2)),)]
)
def test_heads_need_their_step(steps: tuple) -> None:
    generator = make_generator(keras.layers.Dense(13), ShowerHeads((2, 8)))
    with pytest.raises(ExportError, match="must end in LayerFractions of \\(2, 8\\). Received"):
        fold(generator, Chain(steps))


def test_weights_must_be_finite() -> None:
    config = replace(caloshowergan.CaloShowerGanConfig(), generator_units=(4,))
    generator = caloshowergan.build_generator(config, TINY_VOXELS)
    generator.trainable_variables[0].assign(np.full(generator.trainable_variables[0].shape, np.nan))
    with pytest.raises(ExportError, match="finite"):
        fold(generator, caloshowergan.build_transform(config, TINY_VOXELS))
