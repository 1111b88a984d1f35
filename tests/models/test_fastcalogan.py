from dataclasses import replace
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from reference import preprocessing as slow
from toy_gan import distances_at_start

from calogen.errors import ConfigError
from calogen.features.moments import moments
from calogen.models import fastcalogan
from calogen.models.fastcalogan import (
    CONFIGS,
    FastCaloGanConfig,
    build,
    build_critic,
    build_curriculum,
    build_generator,
    build_latent,
    build_trainer,
    build_transform,
)
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1
from calogen.training.critic import dense_chain
from calogen.units import MASSES

TINY: dict[str, Any] = {"generator_units": (8,), "critic_units": (8, 6)}
SHOWERS = make_showers(TINY_VOXELS, 300)
MOMENTA = 2.0 ** np.arange(8, 23)


def parameters(*widths: int) -> int:
    """Of dense layers from one width to the next."""
    return sum(before * after + after for before, after in pairwise(widths))


def test_version_1_has_the_layers_of_the_note() -> None:
    for name, voxels in (("photon", 368), ("pion", 533)):
        networks = build(*CONFIGS[name])
        assert list(networks) == ["generator", "critic"]
        assert networks["generator"].count_params() == parameters(51, 50, 100, 200, voxels)
        assert networks["critic"].count_params() == parameters(voxels + 1, voxels, voxels, voxels, 1)
        activations = [layer.activation for layer in networks["generator"].layers if hasattr(layer, "activation")]
        assert activations[1::2] == [keras.activations.relu] * 4, "the output too"


@pytest.mark.parametrize(
    ("name", "generator", "critic"),
    [
        ("photon-low-v2", 261_268, 408_481),
        ("photon-high-v2", 107_290, 408_481),
        ("pion-v2", 848_733, 829_601),
    ],
)
def test_version_2_has_the_parameters_of_the_challenge(name: str, generator: int, critic: int) -> None:
    networks = build(*CONFIGS[name])
    assert networks["generator"].count_params() == generator
    assert networks["critic"].count_params() == critic


def test_momentum_ranges_and_geometries() -> None:
    assert {name: config.momentum_range for name, (config, _) in CONFIGS.items()} == {
        "photon": (256.0, 4_194_304.0),
        "pion": (256.0, 4_194_304.0),
        "photon-low-v2": (256.0, 4096.0),
        "photon-high-v2": (4096.0, 4_194_304.0),
        "pion-v2": (256.0, 4_194_304.0),
    }
    for name, (config, geometry) in CONFIGS.items():
        assert geometry is (PIONS_DATASET1 if "pion" in name else PHOTONS_DATASET1)
        assert config.particle == name.split("-", maxsplit=1)[0]


def test_normalisation_is_that_of_the_versions_activations() -> None:
    layers = {
        name: [type(layer) for layer in build_generator(config, geometry).layers]
        for name, (config, geometry) in CONFIGS.items()
    }
    normalised = {name: kinds.count(keras.layers.BatchNormalization) for name, kinds in layers.items()}
    assert normalised == {"photon": 0, "pion": 0, "photon-low-v2": 3, "photon-high-v2": 4, "pion-v2": 0}
    assert {name: config.generator_activation for name, (config, _) in CONFIGS.items()} == {
        name: "swish" if name == "photon-high-v2" else "relu" for name in CONFIGS
    }


def test_latent_spaces_of_both_versions() -> None:
    first, second = (build_latent(CONFIGS[name][0]) for name in ("photon", "pion-v2"))
    assert (first.dim, first.distribution, first.mean, first.spread) == (50, "uniform", 0.0, 1.0)
    assert (second.dim, second.distribution, second.mean, second.spread) == (100, "normal", 0.5, 0.5)


def test_the_condition_of_version_1_is_the_share_of_the_highest_momentum() -> None:
    for name in ("photon", "pion"):
        transform = build_transform(*CONFIGS[name])
        np.testing.assert_allclose(
            transform.condition(np.array([2.0**8, 2.0**21, 2.0**22])), [[2.0**-14], [0.5], [1.0]], rtol=1e-6
        )


def test_the_condition_of_version_2_is_logarithmic_and_0_to_1_in_its_range() -> None:
    for name in ("photon-low-v2", "photon-high-v2", "pion-v2"):
        config, geometry = CONFIGS[name]
        low, high = config.momentum_range
        middle = np.sqrt(low * high)
        labels = build_transform(config, geometry).condition(np.array([low, middle, high]))
        expected = slow.log_energy(middle, low, high, MASSES[config.particle])
        np.testing.assert_allclose(labels, [[0.0, 0.0], [expected, 0.0], [1.0, 0.0]], atol=1e-6)
        assert (expected > 0.51) == (config.particle == "pion")


@pytest.mark.parametrize("name", ["photon", "pion-v2"])
def test_fractions_of_the_kinetic_energy_come_back(name: str) -> None:
    config = CONFIGS[name][0]
    transform = build_transform(config, TINY_VOXELS).fit(SHOWERS)
    features = transform.forward(SHOWERS)
    expected = slow.kinetic_fractions(SHOWERS.energies, SHOWERS.incident_energies, MASSES[config.particle])
    np.testing.assert_allclose(features, expected, rtol=1e-6)
    restored = transform.inverse(features, SHOWERS.incident_energies, TINY_VOXELS)
    np.testing.assert_allclose(restored.energies, SHOWERS.energies, rtol=1e-6)
    empty = SHOWERS.energies[:, 2:].sum(axis=1) == 0
    assert empty.any()
    assert not restored.energies[empty, 2:].any()


def test_the_critic_is_a_chain() -> None:
    chain = dense_chain(build_critic(replace(CONFIGS["pion-v2"][0], **TINY), TINY_VOXELS))
    assert chain is not None
    assert (chain.shower_dim, chain.slopes) == (10, (0.0, 0.0))


def test_the_trainer_has_the_configurations_numbers() -> None:
    for name, beta_1 in (("photon", 0.5), ("pion-v2", 0.55)):
        config = replace(CONFIGS[name][0], **TINY)
        trainer = build_trainer(config, TINY_VOXELS, build(config, TINY_VOXELS), moments(np.zeros((1, 10), np.float32)))
        settings = trainer.optimizer.get_config()
        assert (type(trainer.optimizer), settings["beta_1"]) == (keras.optimizers.Adam, beta_1)
        assert settings["learning_rate"] == pytest.approx(1e-4)
        assert trainer.critic_steps == 5


@pytest.mark.parametrize("name", ["photon", "photon-high-v2"])
def test_the_generator_starts_near_the_data(name: str) -> None:
    distances = distances_at_start(fastcalogan, replace(CONFIGS[name][0], **TINY), SHOWERS)
    assert distances["data"] < 0.7 * distances["zero"], distances


def test_momenta_are_added_upward_and_downward_in_turn() -> None:
    rng = np.random.default_rng(3)
    momenta = rng.permutation(np.repeat(MOMENTA, rng.integers(3, 9, len(MOMENTA))))
    curriculum = build_curriculum(FastCaloGanConfig(), momenta)
    stages, seen = [], 0
    for num_showers in curriculum.counts:
        (momentum,) = np.unique(momenta[curriculum.order[seen:num_showers]])
        assert num_showers - seen == (momenta == momentum).sum()
        stages.append(int(np.log2(momentum)))
        seen = num_showers
    assert stages == [15, 16, 14, 17, 13, 18, 12, 19, 11, 20, 10, 21, 9, 22, 8]
    assert curriculum.starts == (0, *range(50_000, 310_001, 20_000))
    assert len(curriculum.starts) == 15
    np.testing.assert_array_equal(np.sort(curriculum.order), np.arange(len(momenta)))


def test_the_starts_shrink_with_the_training() -> None:
    curriculum = build_curriculum(FastCaloGanConfig(iterations=1000), np.array([1.0, 2.0, 4.0]))
    assert curriculum.starts == (0, 50, 70)
    np.testing.assert_array_equal(curriculum.order, [1, 2, 0])
    one = build_curriculum(FastCaloGanConfig(), np.array([4.0, 4.0]))
    assert (one.starts, one.counts) == ((0,), (2,))


def test_version_2_trains_on_all_momenta_from_the_start() -> None:
    for name, (config, _) in CONFIGS.items():
        curriculum = build_curriculum(config, MOMENTA)
        assert (curriculum.counts == (15,)) == name.endswith("v2")


def test_seeds_make_different_networks_of_different_layers() -> None:
    config = replace(CONFIGS["photon"][0], **TINY)
    first, same, other = (build(replace(config, seed=seed), TINY_VOXELS) for seed in (1, 1, 2))
    for name in ("generator", "critic"):
        weights = [network[name].get_weights() for network in (first, same, other)]
        np.testing.assert_array_equal(weights[0][0], weights[1][0])
        assert (weights[0][0] != weights[2][0]).all()
        assert weights[0][0].ravel()[:3].tolist() != weights[0][2].ravel()[:3].tolist()


def test_first_weights_are_normal_with_variance_2_over_the_inputs() -> None:
    kernel = build(*CONFIGS["pion"])["critic"].layers[-2].kernel.numpy()
    # six standard errors of a standard deviation from 533 x 533 values
    assert kernel.std() == pytest.approx(np.sqrt(2 / 533), rel=6 / np.sqrt(2 * kernel.size))


@pytest.mark.parametrize(
    "values",
    [
        {"particle": "electron"},
        {"condition": "sqrt"},
        {"batch_normalization": "output"},
        {"output_start": "mean"},
        {"schedule": "random"},
        {"learning_rate": 0.0},
        {"critic_steps": 0},
        {"batch_size": 0},
        {"iterations": 0},
        {"first_stage": 0.0},
        {"lowest_momentum": 2.0**22},
        {"generator_units": (8, 0)},
    ],
)
def test_nonsense_is_refused(values: dict) -> None:
    with pytest.raises(ConfigError, match="hidden layers" if "generator_units" in values else next(iter(values))):
        FastCaloGanConfig(**values)
