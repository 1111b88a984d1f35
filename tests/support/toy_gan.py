"""A tiny GAN and its showers, for the tests of what looks at trained GANs."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
from conftest import TINY_VOXELS, make_showers

from calogen.evaluation.iterations import IterationScan, NetworkTest
from calogen.features.conditions import Column
from calogen.features.moments import moments
from calogen.features.transforms import Chain
from calogen.models import caloshowergan, fastcalogan
from calogen.models.caloshowergan import CaloShowerGanConfig
from calogen.reproduction.chi2_selection import challenge_showers
from calogen.showers.sample import Showers
from calogen.training.fit import fit
from calogen.training.run import TrainedRun, assemble_run

CONFIG = CaloShowerGanConfig(
    lowest_momentum=2.0**10,
    highest_momentum=2.0**12,
    latent_dim=3,
    generator_units=(8,),
    critic_units=(8,),
    critic_steps=2,
    batch_size=16,
    learning_rate=1e-3,
    spectral_normalization="none",
    iterations=4,
    seed=5,
)
"""Four iterations, each of them saved."""
GAN_VALUES = {"ablation": False, "merit": "energy", "rule": "caloshowergan", "bfloat16": False}
"""Values of `OPTIONS` that nobody changed."""


def toy_showers(per_momentum: int, seed: int = 1, momenta: tuple[float, ...] = (1024.0, 2048.0, 4096.0)) -> Showers:
    """As many photon-like showers of each momentum, in an order of chance."""
    chosen = np.random.default_rng(seed).permutation(np.repeat(momenta, per_momentum))
    showers = make_showers(TINY_VOXELS, len(chosen), seed)
    energies = showers.energies * (chosen / showers.incident_energies)[:, None].astype(np.float32)
    return replace(showers, incident_energies=chosen, energies=energies)


def train(directory: Path, showers: Showers, config: CaloShowerGanConfig = CONFIG) -> TrainedRun:
    """The trained run, in its directory."""
    return fit(caloshowergan, config, showers.geometry, showers, directory)


def distances_at_start(model: ModuleType, config: Any, showers: Showers) -> dict[str, float]:
    """Mean distance of generated features' means from the showers', before any training, by `output_start`."""
    transform = model.build_transform(config, showers.geometry).fit(showers)
    features, distances = transform.forward(showers), {}
    for start in ("data", "zero"):
        networks = model.build(config, showers.geometry)
        model.build_trainer(replace(config, output_start=start), showers.geometry, networks, moments(features))
        latent = model.build_latent(config).draw(len(showers), seed=1)
        inputs = {"latent": latent, "condition": transform.condition(showers.incident_energies)}
        found = networks["generator"](inputs, training=True).numpy()
        distances[start] = float(np.abs(found.mean(axis=0) - features.mean(axis=0)).mean())
    return distances


def network_test(scans: Mapping[str, IterationScan], name: str = "toy", **fields: Any) -> NetworkTest:
    """A test made by hand."""
    momenta = {momentum for scan in scans.values() for momentum in scan.momenta.tolist()} | {*fields.get("chi2", {})}
    values: dict[str, Any] = {"chi2": {}, "floor": {}, "num_showers": {}}
    values["statistics"] = {momentum: challenge_showers(momentum) for momentum in momenta}
    return NetworkTest(name=name, scans=scans, **(values | fields))


RANGES = ((256.0, 4096.0), (4096.0, 262_144.0), (262_144.0, 4_194_304.0))


def make_gan(low: float, high: float, response: float, **fields: Any) -> TrainedRun:
    """A GAN whose voxels have all the same share of the incident energy."""
    config = fastcalogan.FastCaloGanConfig(
        lowest_momentum=low, highest_momentum=high, latent_dim=2, generator_units=(4,), critic_units=(4,), **fields
    )
    networks = fastcalogan.build(config, TINY_VOXELS)
    for variable in networks["generator"].trainable_variables[2:]:
        variable.assign(np.full(variable.shape, response if variable.name == "bias" else 0.0))
    transform = fastcalogan.build_transform(config, TINY_VOXELS)
    return assemble_run(fastcalogan, config, TINY_VOXELS, networks, transform)


def make_conditioned(offset: float = 0.2, scale: float = 0.1) -> TrainedRun:
    """A GAN of any momentum whose voxels hold more the farther `impact_eta` lies above an offset."""
    config = fastcalogan.FastCaloGanConfig(latent_dim=2, generator_units=(4,), critic_units=(4,))
    latent, condition = keras.Input((2,), name="latent"), keras.Input((2,), name="condition")
    joined = keras.layers.Concatenate()([latent, condition])
    output = keras.layers.Dense(TINY_VOXELS.size, "relu", kernel_initializer="zeros", bias_initializer="ones")(joined)
    generator = keras.Model({"latent": latent, "condition": condition}, output)
    generator.trainable_variables[0].assign(np.outer([0.0, 0.0, 0.0, 1.0], np.ones(TINY_VOXELS.size)))
    plain = fastcalogan.build_transform(config, TINY_VOXELS)
    chain = Chain(plain.steps, (*plain.encodings, Column("impact_eta", offset, scale)))
    return assemble_run(fastcalogan, config, TINY_VOXELS, {"generator": generator}, chain)
