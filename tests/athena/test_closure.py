from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from toy_gan import make_conditioned
from toy_generators import tiny_generator

from calogen.athena import interface as athena
from calogen.athena.closure import (
    FALSE_ALARM,
    Agreement,
    agreement,
    closure,
    draw_noise,
    energies_of,
    in_float64,
    keras_energies,
)
from calogen.athena.interface import SELECTOR, V1, V2, VoxelGenerator
from calogen.errors import ExportError
from calogen.lwtnn.graph import Graph
from calogen.lwtnn.layers import Dense
from calogen.showers.conditions import Conditions
from calogen.showers.sample import Showers
from calogen.training.latent import Latent


@pytest.fixture(scope="module")
def generator() -> VoxelGenerator:
    return tiny_generator(2.0**8, 2.0**18)


def _changed(graph: Graph, factor: float) -> Graph:
    """The graph with its first dense layer's weights changed."""
    first = next(index for index, layer in enumerate(graph.layers) if isinstance(layer, Dense))
    layers = list(graph.layers)
    layers[first] = replace(layers[first], weights=layers[first].weights * factor)
    return replace(graph, layers=tuple(layers))


def test_a_conversion_closes_and_a_wrong_weight_does_not(generator: VoxelGenerator) -> None:
    slot = athena.SLOTS[22][1]
    graph = athena.lwtnn_graph(generator, slot, V2)
    found = closure(graph, generator, slot, V2, num_showers=300)
    assert found.float64 < 1e-8 < found.float32 < 1e-5
    assert found.num_showers == 300
    assert closure(_changed(graph, 1.0001), generator, slot, V2, num_showers=300).float64 > 1e-6


def test_a_wrong_condition_noise_or_order_shows(generator: VoxelGenerator) -> None:
    low, high = athena.SLOTS[22]
    graph = athena.lwtnn_graph(generator, low, V2)
    assert closure(graph, generator, low, V2).float64 < 1e-8
    assert closure(graph, generator, high, V2).float64 > 1e-3  # the other slot's limits
    (output,) = graph.outputs.values()
    swapped = replace(graph, outputs={"out": replace(output, labels=output.labels[::-1])})
    assert closure(swapped, generator, low, V2).float64 > 1e-3
    shifted = replace(generator, latent=Latent(dim=3, mean=0.4, spread=0.5))
    assert closure(graph, shifted, low, V2).float64 > 1e-3


def test_the_copy_in_float64_has_the_same_weights(generator: VoxelGenerator) -> None:
    copy = in_float64(generator.model)
    given = {"latent": np.full((2, 3), 0.1), "condition": np.full((2, 1), 0.3)}  # no float32 numbers
    exact, single = copy(given).numpy(), generator.model(given).numpy()
    assert (exact.dtype, single.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(single, exact, rtol=1e-5)
    rounded = copy({name: value.astype(np.float32).astype(np.float64) for name, value in given.items()}).numpy()
    assert 1e-10 < np.abs(rounded - exact).max() < 1e-6  # inputs are not rounded either
    assert np.abs(single - exact).max() > 0


def test_noise_is_that_of_the_interface() -> None:
    trained = Latent(dim=3, mean=2.0, spread=3.0)
    for interface, mean, spread in ((V1, 0.0, 1 / np.sqrt(3)), (V2, 0.5, 0.5), (SELECTOR, 2.0, 3.0)):
        noise = draw_noise(trained, interface, 40_000, seed=1)
        assert noise.shape == (40_000, 3)
        error = spread / np.sqrt(noise.size)  # five of them: one false alarm in two million
        assert abs(noise.mean() - mean) < 5 * error
        assert abs(noise.std() - spread) < 5 * error
    assert np.abs(draw_noise(trained, V1, 1000, seed=1)).max() <= 1


def test_energies_are_the_outputs_times_the_kinetic_energy_in_our_order(generator: VoxelGenerator) -> None:
    slot, momenta = athena.SLOTS[22][1], np.array([5000.0, 2.0**16])
    graph = athena.lwtnn_graph(generator, slot, V2)
    noise = draw_noise(generator.latent, V2, 2, seed=3)
    found = energies_of(graph, generator, slot, V2, momenta, noise)
    condition = generator.transform.condition(momenta)
    features = generator.model({"latent": noise.astype(np.float32), "condition": condition}).numpy()
    np.testing.assert_allclose(found, generator.transform.energies(features, momenta), rtol=1e-4, atol=1e-3)


def test_energies_of_a_model_with_conditions() -> None:
    """The toy's voxels hold 1 + (impact_eta - 0.2) / 0.1 times a share of the energy."""
    run, momenta = make_conditioned(), np.full(3, 8192.0)
    given = Conditions(momenta, {"impact_eta": np.array([0.2, 0.25, 0.3])})
    found = keras_energies(run.generator, run.transform, np.zeros((3, 2), np.float32), given).sum(axis=1)
    np.testing.assert_allclose(found / found[0], [1.0, 1.5, 2.0], rtol=1e-5)


def _energy(showers: Showers) -> np.ndarray:
    return showers.energies.sum(axis=1)


def _first(showers: Showers) -> np.ndarray:
    values = showers.energies[:, 0].astype(np.float64)
    return np.where(values > 0, values, np.nan)


def test_samples_of_one_distribution_agree_and_others_do_not() -> None:
    quantities = {"energy": _energy, "first voxel": _first, "nothing": lambda showers: np.zeros(len(showers))}
    first, second = (make_showers(TINY_VOXELS, 4000, seed) for seed in (1, 2))
    found = agreement(first, second, quantities)
    assert found.num_tests == 18  # nine energies; a constant is no test
    assert found.agrees  # false alarm: one in a thousand; the seeds are fixed
    other = replace(second, energies=second.energies * np.float32(1.05))
    different = agreement(first, other, quantities)
    assert not different.agrees
    assert different.where.startswith("energy at ")
    assert different.below > found.below


def test_empty_showers_cannot_be_compared() -> None:
    showers = make_showers(TINY_VOXELS, 50)
    empty = replace(showers, energies=np.zeros_like(showers.energies))
    with pytest.raises(ExportError, match="must give showers that differ. Received: equal or empty ones"):
        agreement(empty, empty, {"energy": _energy, "first voxel": _first})


def test_the_smallest_of_many_p_values_may_be_small() -> None:
    border = 1 - (1 - FALSE_ALARM) ** (1 / 50)
    assert border == pytest.approx(FALSE_ALARM / 50, rel=1e-3)
    assert Agreement(50, 1.01 * border, 0.05, "x").agrees
    assert not Agreement(50, 0.99 * border, 0.05, "x").agrees
    assert Agreement(50, 0.5, 0.0, "x").to_json() == {
        "num_tests": 50,
        "smallest": 0.5,
        "below": 0.0,
        "where": "x",
        "agrees": True,
        "false_alarm": FALSE_ALARM,
    }


def test_p_values_of_exact_copies_are_uniform(generator: VoxelGenerator) -> None:
    """The exported network against itself, other noise: 120 tests; a share of 5 % +- 4.5 sigma is below 0.05."""
    slot, momenta = athena.SLOTS[22][1], np.repeat([2.0**13, 2.0**15, 2.0**17], 300)
    graph = athena.lwtnn_graph(generator, slot, V2)
    below, count = 0.0, 0
    for seed in range(0, 40, 2):
        samples = [
            Showers(
                TINY_VOXELS,
                momenta,
                energies_of(graph, generator, slot, V2, momenta, draw_noise(generator.latent, V2, 900, s)),
            )
            for s in (seed, seed + 1)
        ]
        found = agreement(*samples, {"energy": _energy, "first voxel": _first})
        below, count = below + found.below * found.num_tests, count + found.num_tests
    assert count == 120
    assert below / count < 0.05 + 4.5 * np.sqrt(0.05 * 0.95 / count)
