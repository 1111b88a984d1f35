from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_VOXELS, make_showers
from reference import preprocessing as slow
from toy_gan import distances_at_start

from calogen.errors import ConfigError
from calogen.features.moments import moments
from calogen.generation.generate import generate
from calogen.models import caloshowergan
from calogen.models.caloshowergan import (
    CONFIGS,
    SPLITS,
    CaloShowerGanConfig,
    build,
    build_critic,
    build_generator,
    build_latent,
    build_schedule,
    build_trainer,
    build_transform,
)
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1
from calogen.training.critic import dense_chain
from calogen.training.layers import ShowerHeads, SpectralDense
from calogen.training.run import assemble_run
from calogen.units import MASSES

TINY: dict[str, Any] = {"latent_dim": 3, "generator_units": (8,), "critic_units": (8, 6), "critic_steps": 2}
PHOTON = replace(CONFIGS["photon"][0], **TINY)
PION = replace(CONFIGS["pion"][0], **TINY)
SHOWERS = make_showers(TINY_VOXELS, 300)
SIZES = tuple(layer.size for layer in TINY_VOXELS.layers)


def counts(network: keras.Model) -> tuple[int, int]:
    """Trainable and all parameters, without the vectors of spectral normalisation."""
    trainable = sum(np.prod(variable.shape, dtype=int) for variable in network.trainable_variables)
    other = [variable for variable in network.non_trainable_variables if variable.name != "singular_vector"]
    return int(trainable), int(trainable + sum(np.prod(variable.shape, dtype=int) for variable in other))


# Table 2 with the voxels alone ("261k", "408k"; "871k", "829k"), the layer normalisation of section 4.2, section 4.1
@pytest.mark.parametrize(
    ("name", "generator", "critic"),
    [
        ("photon-kinetic", (260_504, 262_640), 408_113),
        ("photon-low-kinetic", (260_504, 262_640), 408_113),
        ("photon-medium-kinetic", (103_304, 104_740), 408_113),
        ("photon-high-kinetic", (103_304, 104_740), 408_113),
        ("photon-upper-kinetic", (103_304, 104_740), 408_113),
        ("pion-kinetic", (871_333, 874_133), 828_801),
        ("photon-code", (260_504, 262_640), 408_113),
        ("pion-code", (871_333, 874_133), 828_801),
        ("photon", (262_174, 263_574), 410_321),
        ("photon-low", (262_174, 263_574), 410_321),
        ("photon-medium", (103_774, 104_474), 410_321),
        ("photon-high", (103_774, 104_474), 410_321),
        ("photon-upper", (103_774, 104_474), 410_321),
        ("photon-normalised-heads", (262_922, 265_070), 410_321),
        ("pion", (877_741, 880_541), 835_201),
    ],
)
def test_parameters_are_the_published_ones(name: str, generator: tuple[int, int], critic: int) -> None:
    networks = build(*CONFIGS[name])
    assert list(networks) == ["generator", "critic"]
    assert counts(networks["generator"]) == generator
    assert counts(networks["critic"]) == (critic, critic)


def test_every_configuration_has_its_counts_tested() -> None:
    marks = test_parameters_are_the_published_ones.pytestmark
    assert {case[0] for case in marks[0].args[1]} == set(CONFIGS)


@pytest.mark.parametrize(("number", "expected"), [(2, 367_380), (3, 472_120)])
def test_the_challenges_submissions_have_the_sizes_of_their_splits(number: int, expected: int) -> None:
    generators = [build_generator(*CONFIGS[f"{name}-kinetic"]) for name in SPLITS[number]]
    assert sum(counts(generator)[1] for generator in generators) == expected


def test_half_sized_generators_with_normalised_heads_have_their_counts() -> None:
    config, geometry = CONFIGS["photon-medium"]
    assert counts(build_generator(replace(config, output_batch_normalization=True), geometry)) == (104_522, 105_970)


def test_the_splits_span_all_momenta_and_share_their_borders() -> None:
    ranges = {number: [CONFIGS[name][0].momentum_range for name in names] for number, names in SPLITS.items()}
    assert ranges == {
        1: [(256.0, 4_194_304.0)],
        2: [(256.0, 4096.0), (4096.0, 4_194_304.0)],
        3: [(256.0, 4096.0), (4096.0, 262_144.0), (262_144.0, 4_194_304.0)],
    }
    assert all(CONFIGS[f"{name}-kinetic"][0].momentum_range == CONFIGS[name][0].momentum_range for name in SPLITS[3])


def test_the_configurations_are_those_of_table_2() -> None:
    names = (
        "latent_dim",
        "generator_units",
        "generator_activation",
        "critic_units",
        "critic_steps",
        "gradient_penalty_weight",
        "batch_size",
    )
    table = {
        "photon": (100, (100, 200, 400), "swish", (368, 368, 368), 8, 3.0, 1024),
        "photon-low": (100, (100, 200, 400), "relu", (368, 368, 368), 8, 3.0, 1024),
        "photon-medium": (50, (50, 100, 200), "swish", (368, 368, 368), 8, 3.0, 1024),
        "pion": (200, (200, 400, 800), "relu", (800, 400, 200), 5, 20.0, 1024),
    }
    for name, expected in table.items():
        assert tuple(getattr(CONFIGS[name][0], value) for value in names) == expected
    assert {geometry.name for name, (_, geometry) in CONFIGS.items() if "pion" in name} == {PIONS_DATASET1.name}
    assert {geometry.name for name, (_, geometry) in CONFIGS.items() if "photon" in name} == {PHOTONS_DATASET1.name}
    assert {config.particle for name, (config, _) in CONFIGS.items() if "pion" in name} == {"pion"}
    assert {config.particle for name, (config, _) in CONFIGS.items() if "photon" in name} == {"photon"}
    assert all(
        (config.normalisation == "kinetic") == name.endswith(("-kinetic", "-code"))
        for name, (config, _) in CONFIGS.items()
    )


@pytest.mark.parametrize(
    ("config", "num_normalised"), [(PHOTON, 1), (replace(PHOTON, output_batch_normalization=True), 2), (PION, 1)]
)
def test_the_generator_is_normalised_where_the_counts_say(config: CaloShowerGanConfig, num_normalised: int) -> None:
    generator = build_generator(config, TINY_VOXELS)
    kinds = [type(layer) for layer in generator.layers]
    assert kinds.count(keras.layers.BatchNormalization) == num_normalised
    assert kinds[-1] is ShowerHeads
    last_dense = len(kinds) - 1 - kinds[::-1].index(keras.layers.Dense)
    assert (keras.layers.BatchNormalization in kinds[last_dense:]) == config.output_batch_normalization
    kinetic = build_generator(replace(config, normalisation="kinetic"), TINY_VOXELS)
    assert kinetic.layers[-1].activation is keras.activations.get(config.generator_activation)
    assert kinetic.output_shape == (None, 10)


def test_the_latent_space_is_that_of_section_3_1() -> None:
    latent = build_latent(CONFIGS["pion"][0])
    assert (latent.dim, latent.distribution, latent.mean, latent.spread) == (200, "normal", 0.5, 0.5)


@pytest.mark.parametrize("kind", ["reparametrised", "projected", "none"])
def test_the_critic_is_normalised_as_asked_and_a_chain(kind: str) -> None:
    critic = build_critic(replace(PHOTON, spectral_normalization=kind), TINY_VOXELS)
    expected = {
        "reparametrised": SpectralDense,
        "projected": keras.layers.SpectralNormalization,
        "none": keras.layers.Dense,
    }[kind]
    assert [type(layer) for layer in critic.layers[3::2]] == [expected] * 3
    chain = dense_chain(critic)
    assert chain is not None
    assert (chain.shower_dim, chain.slopes) == (13, (0.0, 0.0))


def test_labels_are_those_of_equation_1() -> None:
    transform = build_transform(PION, TINY_VOXELS).fit(SHOWERS)
    labels = transform.condition(np.array([2.0**8, 2.0**15, 2.0**22]))
    middle = slow.log_energy(2.0**15, 2.0**8, 2.0**22, MASSES["pion"])
    np.testing.assert_allclose(labels, [[0.0], [middle], [1.0]], atol=1e-6)
    assert middle > 0.51, "the mass makes the kinetic energy of the lowest momentum smaller"
    for name, (config, geometry) in CONFIGS.items():
        limits = build_transform(config, geometry).condition(np.array(config.momentum_range))
        np.testing.assert_allclose(limits, [[0.0], [1.0]], atol=1e-6, err_msg=name)


def test_what_the_paper_tried_in_vain_can_be_tried() -> None:
    config = replace(PHOTON, condition="maximum", noise_energy=0.2, mask_energy=0.05)
    transform = build_transform(config, TINY_VOXELS).fit(SHOWERS)
    assert [type(step).__name__ for step in transform.steps] == ["Mask", "Noise", "LayerFractions"]
    np.testing.assert_allclose(transform.condition(np.array([256.0, 2.0**22])), [[2.0**-14], [1.0]])


@pytest.mark.parametrize("config", [PHOTON, PION])
def test_layers_come_back_and_empty_voxels_with_their_rule(config: CaloShowerGanConfig) -> None:
    energies = SHOWERS.energies.copy()
    energies[:30, :2], energies[30:60, 2:], energies[::7, 5] = 0.0, 0.0, 0.0
    showers = Showers(TINY_VOXELS, SHOWERS.incident_energies, energies)
    transform = build_transform(config, TINY_VOXELS).fit(showers)
    features = transform.forward(showers)
    mass = MASSES[config.particle]
    expected = slow.layer_fractions(energies, showers.incident_energies, SIZES, 1.0, mass, 1e-4)
    np.testing.assert_allclose(features, expected, rtol=1e-6)
    restored = transform.energies(features.astype(np.float64), showers.incident_energies)
    np.testing.assert_allclose(restored, np.where(energies > 0, energies, 1e-4), rtol=1e-6)


@pytest.mark.parametrize("config", [PHOTON, PION])
def test_kinetic_fractions_come_back(config: CaloShowerGanConfig) -> None:
    transform = build_transform(replace(config, normalisation="kinetic"), TINY_VOXELS).fit(SHOWERS)
    features = transform.forward(SHOWERS)
    expected = slow.kinetic_fractions(SHOWERS.energies, SHOWERS.incident_energies, MASSES[config.particle])
    np.testing.assert_allclose(features, expected, rtol=1e-6)
    restored = transform.inverse(features, SHOWERS.incident_energies, TINY_VOXELS)
    np.testing.assert_allclose(restored.energies, SHOWERS.energies, rtol=1e-6)
    assert (restored.energies[SHOWERS.energies == 0] == 0).all()


def test_the_generator_gives_features_like_those_of_showers() -> None:
    networks, latent = build(PHOTON, TINY_VOXELS), build_latent(PHOTON).draw(50, seed=1)
    features = build_transform(PHOTON, TINY_VOXELS).fit(SHOWERS).forward(SHOWERS)
    generated = networks["generator"]({"latent": latent, "condition": np.full((50, 1), 0.5, np.float32)}).numpy()
    for group in (slice(0, 2), slice(2, 10), slice(10, 12)):
        for values in (features, generated):
            np.testing.assert_allclose(values[:, group].sum(axis=1), 1.0, rtol=1e-5)
    assert features.shape[1] == generated.shape[1] == 13
    assert (generated >= 0).all()


def test_a_swish_below_zero_gives_no_negative_energies() -> None:
    config = replace(PHOTON, normalisation="kinetic")
    transform, networks = build_transform(config, TINY_VOXELS), build(config, TINY_VOXELS)
    run = assemble_run(caloshowergan, config, TINY_VOXELS, networks, transform)
    momenta = np.geomspace(2.0**8, 2.0**22, 200)
    inputs = {"latent": run.latent.draw(200, seed=0), "condition": transform.condition(momenta)}
    assert float(tf.reduce_min(networks["generator"](inputs))) < -0.01
    energies = generate(run, momenta, seed=0).energies
    assert (energies >= 0).all()
    assert (energies == 0).any()
    assert (energies > 0).any()


def test_the_trainer_has_the_configurations_optimizers() -> None:
    config = replace(PION, learning_rate=2e-3, beta_2=0.99)
    networks = build(config, TINY_VOXELS)
    data = build_transform(config, TINY_VOXELS).fit(SHOWERS)
    trainer = build_trainer(config, TINY_VOXELS, networks, moments(data.forward(SHOWERS)))
    before = [weights.copy() for network in networks.values() for weights in network.get_weights()]
    batch = {
        "shower": tf.constant(data.forward(SHOWERS[:16])),
        "condition": tf.constant(data.condition(SHOWERS.incident_energies[:16])),
    }
    terms = trainer.iterate(lambda step: batch, trainer.step_seed())
    assert all(np.isfinite(float(value)) for value in terms.values())
    after = [weights for network in networks.values() for weights in network.get_weights()]
    assert sum((new != old).any() for new, old in zip(after, before, strict=True)) > len(after) - 4
    settings = trainer.optimizer.get_config()
    assert type(trainer.optimizer) is keras.optimizers.Adam
    assert settings["learning_rate"] == pytest.approx(2e-3)
    assert (settings["beta_1"], settings["beta_2"]) == (0.5, 0.99)
    assert trainer.critic_steps == 2


@pytest.mark.parametrize("name", ["photon", "photon-kinetic", "photon-low-kinetic", "pion"])
def test_the_generator_starts_near_the_data(name: str) -> None:
    distances = distances_at_start(caloshowergan, replace(CONFIGS[name][0], **TINY), SHOWERS)
    assert distances["data"] < 0.9 * distances["zero"], distances


def test_all_showers_train_from_the_start() -> None:
    curriculum = build_schedule(PHOTON, SHOWERS.incident_energies).curriculum
    np.testing.assert_array_equal(curriculum.order, np.arange(300))
    assert (curriculum.starts, curriculum.counts) == ((0,), (300,))


def test_seeds_make_different_networks_of_different_layers() -> None:
    first, same, other = (build(replace(PHOTON, seed=seed), TINY_VOXELS) for seed in (1, 1, 2))
    for name in ("generator", "critic"):
        weights = [network[name].get_weights() for network in (first, same, other)]
        kernels = [array for array in weights[0] if array.ndim == 2]
        np.testing.assert_array_equal(kernels[0], weights[1][0])
        assert (kernels[0] != weights[2][0]).all()
        assert kernels[0].ravel()[:3].tolist() != kernels[1].ravel()[:3].tolist()


@pytest.mark.parametrize(
    "values",
    [
        {"particle": "proton"},
        {"normalisation": "log"},
        {"condition": "linear"},
        {"noise_energy": -1.0},
        {"mask_energy": float("nan")},
        {"batch_statistics": "none"},
        {"spectral_normalization": "all"},
        {"output_start": "mean"},
        {"latent_dim": 0},
        {"learning_rate": 0.0},
        {"critic_steps": 0},
        {"batch_size": 0},
        {"iterations": 0},
        {"empty_energy": 0.0},
        {"lowest_momentum": 0.0},
        {"highest_momentum": 256.0},
        {"critic_units": (8, 0)},
    ],
)
def test_nonsense_is_refused(values: dict) -> None:
    with pytest.raises(ConfigError, match="hidden layers" if "critic_units" in values else next(iter(values))):
        CaloShowerGanConfig(**values)
